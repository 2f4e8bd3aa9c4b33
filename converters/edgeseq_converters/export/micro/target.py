"""The target `micro`: an int8 LSTM for TensorFlow Lite Micro, fed token by token."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgeseq.errors import RefusedError
from edgeseq.formats.bundle import BundleFiles
from edgeseq.formats.export_folder import MODEL, ExportFolder, ExportGolden
from edgeseq.formats.export_target import ExportContents, ExportOptions, RuntimeOutputs
from edgeseq.formats.padding import TEXT_ALONE
from edgeseq.formats.runner_file import UnsupportedTokenizerError
from edgeseq.formats.storage import read_bytes, write_bytes
from edgeseq.formats.tflite_file import read_tflite
from edgeseq.runtime.text_tokenizer import TextTokenizer
from edgeseq_converters.export.golden import bundle_logits, export_golden
from edgeseq_converters.export.micro.c_sources import MicroSources
from edgeseq_converters.export.micro.micro_readme import readme
from edgeseq_converters.export.micro.micro_runtime import (
    MicroRun,
    is_installed,
    run_in_litert,
    run_micro,
    runtime_name,
)
from edgeseq_converters.export.micro.one_token_graph import (
    FIX,
    one_token_model,
)
from edgeseq_converters.export.micro.tokenizer_check import find_c_compiler, tokenize_in_c
from edgeseq_converters.export.micro.vocabulary_table import VocabularyTable, vocabulary_table
from edgeseq_converters.models.arrays import FloatArray

NEEDED_RECIPE, NEEDED_LOWERING = "static_wi8_ai8", "fused"


class MicroTarget:
    """See `edgeseq.formats.export_target.ExportTarget`."""

    def export(self, bundle: BundleFiles, folder: Path, options: ExportOptions) -> ExportContents:
        """Writes the model, its C files and the vocabulary to `folder`; raises `RefusedError`."""
        check_bundle(bundle)
        content = read_bytes(bundle.model_path, error=RefusedError)
        model = one_token_model(content, where=bundle.model_path)
        tokenizer = TextTokenizer.of_bundle(bundle)
        golden_ids = [example.token_ids for example in bundle.golden.examples]
        test_texts = [example.text for example in bundle.read_examples()]
        token_ids = [*golden_ids, *map(tokenizer.token_ids, test_texts)]
        write_bytes(folder / MODEL, model.content)
        expected = run_in_litert(folder / MODEL, token_ids)
        of_bundle = bundle_logits(bundle, token_ids)
        # Not everywhere installed: there are wheels for few systems.
        run = run_micro(folder / MODEL, token_ids) if is_installed() else None
        golden = _golden(bundle, expected, run)
        vocabulary, reason = find_vocabulary(bundle)
        sources = MicroSources(
            model=model,
            labels=bundle.labels,
            num_token_ids=bundle.manifest.vocabulary_size,
            max_tokens=bundle.manifest.max_tokens,
            padding=bundle.manifest.padding,
            arena_bytes=None if run is None else run.arena_bytes,
            vocabulary=vocabulary,
            examples=golden.examples,
            tolerance=golden.tolerance,
        )
        sources.write(folder)
        test = slice(len(golden_ids), None)
        notes = [_bundle_note(of_bundle[test], expected[test], model.logit_step)]
        if run is None:
            notes.append("not measured in TensorFlow Lite Micro: pip install 'edgeseq[micro]'")
        else:
            notes.append(_agreement_note(expected[test], run.outputs[test]))
        if vocabulary is None:
            notes.append(f"no tokenizer in C: {reason}; the app gives token ids")
        else:
            texts = [*test_texts, *options.texts]
            notes.append(_tokenizer_note(folder, texts, tokenizer))
        return ExportContents(
            golden=golden,
            readme=readme(bundle, sources, notes),
            notes=tuple(notes),
            settings=settings(sources),
        )

    def run_golden(self, export: ExportFolder) -> RuntimeOutputs:
        """Runs the golden texts in the interpreter of PyPI's `tflite-micro`, and the C tokenizer
        where there is a compiler."""
        name = runtime_name()
        path = export.path / MODEL
        read_tflite(path)
        examples = export.golden.examples
        run = run_micro(path, [example.token_ids for example in examples])
        outputs = tuple(tuple(row.tolist()) for row in run.outputs)
        return RuntimeOutputs(name, outputs, tuple(_tokenizer_findings(export)))


TARGET = MicroTarget()


def check_bundle(bundle: BundleFiles) -> None:
    """Raises `RefusedError`, saying why and what to convert, for a bundle whose manifest tells
    that a microcontroller cannot run it."""
    manifest = bundle.manifest
    reason, fix = "", FIX
    if manifest.arch != "lstm":
        reason = (
            "attention needs all tokens of a text at once, and TensorFlow Lite Micro has tensors "
            "of fixed shapes and no GELU"
        )
        fix = "train an LSTM for it (--arch lstm --set bidirectional=false), then " + FIX
    elif bundle.head != "text-classification":
        reason, fix = f"its task is {manifest.task}", "export a text classifier"
    elif manifest.recipe != NEEDED_RECIPE:
        reason = (
            f"recipe {manifest.recipe}: TensorFlow Lite Micro has no products of float "
            "activations with int8 weights, and a microcontroller no room for float32"
        )
    elif manifest.lowering != NEEDED_LOWERING:
        reason = (
            f"lowering {manifest.lowering}: only the fused LSTM operator keeps its state between "
            "two tokens"
        )
    if reason:
        raise RefusedError(
            "a microcontroller cannot run this bundle", where=bundle.path, found=reason, fix=fix
        )


def settings(sources: MicroSources) -> dict[str, int | float | list[str] | None]:
    """What export.json says of the target: bytes of flash and memory, and the operators."""
    return {
        "arena_bytes": sources.arena_bytes,
        "state_bytes": sources.model.state_bytes,
        "model_bytes": sources.model.size_bytes,
        "vocabulary_bytes": None if sources.vocabulary is None else sources.vocabulary.size_bytes,
        "logit_step": sources.model.logit_step,
        "operators": list(sources.model.operators),
    }


def _golden(bundle: BundleFiles, expected: FloatArray, run: MicroRun | None) -> ExportGolden:
    """LiteRT's logits of the exported file; the tolerance is what all texts differed by in the two
    runtimes, and without the second one what the recipe allows."""
    tolerance = bundle.golden.tolerance
    if run is not None:
        # In float64, as golden.json is compared: the largest difference itself is allowed.
        tolerance = float(np.abs(np.subtract(run.outputs, expected, dtype=np.float64)).max())
    examples = bundle.golden.examples
    return export_golden("logits", examples, expected[: len(examples)], tolerance)


def _bundle_note(of_bundle: FloatArray, exported: FloatArray, step: float) -> str:
    """How far the exported graph is from the fused operator of the bundle, both in LiteRT."""
    largest = np.abs(exported - of_bundle).max() / step
    same = (exported.argmax(axis=1) == of_bundle.argmax(axis=1)).sum()
    return (
        f"{same:,} of {len(exported):,} test texts have the bundle's label; the largest difference "
        f"of a logit is {largest:.0f} of the 255 steps of int8"
    )


def _agreement_note(expected: FloatArray, outputs: FloatArray) -> str:
    equal = (outputs == expected).all(axis=1).sum()
    return (
        f"{equal:,} of {len(expected):,} test texts have the same logits in {runtime_name()} and "
        "in LiteRT, to the last digit"
    )


def find_vocabulary(bundle: BundleFiles) -> tuple[VocabularyTable | None, str]:
    """The bundle's tokenizer as a table, or None and why it cannot be one."""
    tokenizer_json = bundle.tokenizer_path.read_text(encoding="utf-8")
    if bundle.manifest.padding != TEXT_ALONE:
        return None, "it would cut texts before Classify pads them"
    try:
        return vocabulary_table(tokenizer_json, bundle.manifest.max_tokens), ""
    except UnsupportedTokenizerError as unsupported:
        return None, str(unsupported)


def _tokenizer_note(folder: Path, texts: Sequence[str], tokenizer: TextTokenizer) -> str:
    compiler = find_c_compiler()
    if compiler is None:
        return "the C tokenizer is not compared with the bundle's: no C compiler is installed here"
    answers = tokenize_in_c(folder, texts, compiler)
    different = [
        text for text, ids in zip(texts, answers, strict=True) if ids != tokenizer.token_ids(text)
    ]
    in_ascii = sum(text.isascii() for text in different)
    return (
        f"{len(different):,} of {len(texts):,} texts have other tokens in C, {in_ascii:,} of them "
        "in ASCII: it lower-cases and splits at punctuation in ASCII alone"
    )


def _tokenizer_findings(export: ExportFolder) -> list[str]:
    compiler = find_c_compiler()
    if compiler is None or "tokenizer.c" not in export.manifest.files:
        return []
    examples = [example for example in export.golden.examples if example.text.isascii()]
    answers = tokenize_in_c(export.path, [example.text for example in examples], compiler)
    return [
        f"the C tokenizer gives other tokens: {example.text[:60]!r}"
        for example, ids in zip(examples, answers, strict=True)
        if ids != list(example.token_ids)
    ]
