"""From a trained model of the next word to a checked bundle.

The bundle's signature is `stream`: tokens and states in, logits and states out, or of a
transformer a window of tokens and the places that answers are wanted for. It has no labels; its
golden examples hold ln p of each token of a text (not the logits of the whole vocabulary), and
`eval.jsonl` the documents of the test part.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from edgeseq.datasets.wikitext import EOS
from edgeseq.errors import ConversionError, DataError
from edgeseq.formats.bundle import (
    FILES,
    BundleManifest,
    Fidelity,
    FileEntry,
    Golden,
    GoldenExample,
    Signature,
    TensorSpec,
    check_model,
    read_bundle,
)
from edgeseq.formats.codec import from_builtins
from edgeseq.formats.storage import new_folder, sha256_file, write_json
from edgeseq.formats.tflite_file import TfliteFile, read_tflite
from edgeseq.formats.trained_model import TrainedModel
from edgeseq.progress import ProgressCallback, ProgressUpdate, no_progress
from edgeseq.subprocesses import JobRequest
from edgeseq.tasks.examples import Dataset, StreamExample
from edgeseq_converters.convert import pipeline as text_convert
from edgeseq_converters.convert.lower.dispatch import Target
from edgeseq_converters.convert.recipes import Recipe
from edgeseq_converters.convert.verify.fidelity import Sample
from edgeseq_converters.convert.verify.samples import Texts
from edgeseq_converters.convert.verify.stream_fidelity import Compared
from edgeseq_converters.convert.verify.structure import (
    check_operators,
    check_runtime,
    check_weights,
)
from edgeseq_converters.models.arrays import vocabulary_size


class Check(Protocol):
    """Raises when a conversion has lost too much."""

    def __call__(self, fidelity: Fidelity, *, where: str) -> None: ...


N_COMPARED = 32
COMPARED_TOKENS = 64
"""Pieces of development text that a conversion is compared on: 2,048 answers over the whole
vocabulary. Each is read in one go by the float model and in two pieces by the converted one."""
N_GOLDEN = 16
GOLDEN_TOKENS = 32


def convert_stream(
    model_dir: Path,
    out: Path,
    model: TrainedModel,
    dataset: Dataset[StreamExample],
    *,
    recipe: Recipe,
    target: Target,
    check: Check | None = None,
    progress: ProgressCallback = no_progress,
    overwrite: bool = False,
) -> BundleManifest:
    """Converts the model in `model_dir` and writes the bundle `out`, whole or not at all.

    `check` is given what the conversion lost, and the recipe's name as `where`; what it raises is
    raised.

    Raises `DataError` when the data has no text to compare on, `ConversionError` when the file is
    not what the recipe says or answers differently from the float model, `OutputError` when `out`
    exists (without `overwrite`).
    """
    pieces = _pieces(model, dataset.dev, where=dataset.name)
    with new_folder(out, overwrite=overwrite) as draft:
        path = draft / "model.tflite"
        began = time.monotonic()
        arguments = {"model_dir": str(model_dir.absolute()), "out": str(path.absolute())}
        arguments |= {"recipe": recipe.name, "target": msgspec.to_builtins(target)}
        with tempfile.TemporaryDirectory(prefix="edgeseq-convert-") as folder:
            sample = Path(folder) / "sample.json"
            write_json(
                sample, Sample(_pieces(model, dataset.train or dataset.dev, where=dataset.name))
            )
            arguments["sample"] = str(sample)
            _, peak = text_convert.in_worker(
                JobRequest("convert", arguments), where=out, progress=no_progress
            )
            content = read_tflite(path)
            words = text_convert.words_table(model)
            signature = _checked(content, recipe, where=out / "model.tflite", words=words)
            if target.runtime is not None:
                check_runtime(content, target.runtime, where=out / "model.tflite")
            converted = text_convert.Converted(
                content, signature, time.monotonic() - began, peak_memory_bytes=peak
            )
            write_json(sample, Sample(pieces))
            asked: dict[str, Any] = {name: arguments[name] for name in ("model_dir", "sample")}
            asked |= {"tflite": str(path.absolute()), "golden": N_GOLDEN}
            asked["golden_tokens"] = GOLDEN_TOKENS
            answer, _ = text_convert.in_worker(
                JobRequest("compare_stream", asked), where=out, progress=progress
            )
        compared = from_builtins(answer, Compared)
        measured = _fidelity(compared, recipe, where=out / "model.tflite")
        if check is not None:
            check(measured, where=recipe.name)
        text_convert.write_texts(draft, model, dataset)
        write_json(draft / "golden.json", _golden(model, pieces, compared, recipe))
        manifest = BundleManifest(
            name=text_convert.bundle_name(model, recipe, target),
            task=model.manifest.task,
            arch=model.manifest.arch,
            recipe=recipe.name,
            lowering=target.lowering,
            parameters=model.parameters,
            vocabulary_size=vocabulary_size(model),
            max_tokens=model.manifest.max_tokens,
            signature=signature,
            fidelity=measured,
            provenance=text_convert.provenance(model_dir, model, dataset, converted),
            files={
                name: FileEntry((draft / name).stat().st_size, sha256_file(draft / name))
                for name in FILES
            },
            min_runtime_version=content.min_runtime_version,
        )
        write_json(draft / "bundle.json", manifest)
        check_model(read_bundle(draft, verify_hashes=False))
    progress(ProgressUpdate(f"convert {model.manifest.name} to {recipe.name}", 1, 1))
    return manifest


def _pieces(
    model: TrainedModel, examples: Sequence[StreamExample], *, where: str
) -> tuple[tuple[int, ...], ...]:
    """Pieces of text as ids, spread over the documents, an `<eos>` before each.

    Raises `DataError` when there is no text.
    """
    tokens = min(COMPARED_TOKENS, model.manifest.max_tokens)
    texts = Texts(model, vocabulary_size(model), tokens)
    documents = [one for one in examples if one.words]
    if not documents:
        raise DataError("has no development text to compare a conversion on", where=where)
    pieces = []
    for number in range(N_COMPARED):
        words = documents[number % len(documents)].words
        begin = (number * 131) % max(1, len(words) - tokens)
        text = " ".join([EOS, *words[begin : begin + tokens - 1]])
        pieces.append(texts.encode(text))
    return tuple(pieces)


def _checked(content: TfliteFile, recipe: Recipe, *, where: Path, words: str) -> Signature:
    """The file's one signature; `words` is the name of its table of words.

    Raises `ConversionError` when it does not stream.
    """
    check_operators(content, where)
    check_weights(content, recipe, where, words=words)
    names = [one.key for one in content.signatures]
    if len(names) != 1:
        raise ConversionError("has not exactly one signature", where=where, found=names)
    entry = content.signatures[0]

    def specs(tensors: dict[str, object]) -> tuple[TensorSpec, ...]:
        found: Sequence[TensorSpec] = [
            TensorSpec(name, one.dtype.lower(), one.shape)  # type: ignore[attr-defined]
            for name, one in tensors.items()
        ]
        return tuple(found)

    return Signature(entry.key, specs(dict(entry.inputs)), specs(dict(entry.outputs)))


def _fidelity(compared: Compared, recipe: Recipe, *, where: Path) -> Fidelity:
    """What is kept of the comparison; raises `ConversionError` beyond the recipe's bound."""
    bound = recipe.bound
    relative = compared.max_abs_error / max(compared.largest_logit, 1e-6)
    if not relative <= bound.relative_error:
        raise ConversionError(
            f"answers differ from the float model's by {relative:.2g} of the largest logit",
            where=where,
            expected=f"<= {bound.relative_error:g} with {recipe.name} ({bound.reason})",
            fix="choose a finer recipe",
        )
    if compared.same_first < bound.label_agreement:
        raise ConversionError(
            f"another word is the likeliest one in {1 - compared.same_first:.1%} of the places",
            where=where,
            expected=f"<= {1 - bound.label_agreement:.1%} with {recipe.name} ({bound.reason})",
            fix="choose a finer recipe",
        )
    return Fidelity(
        n_examples=compared.tokens,
        max_abs_error=compared.max_abs_error,
        cosine=compared.cosine,
        label_agreement=compared.same_first,
        bound=bound.relative_error,
        float_score=compared.float_perplexity,
        score=compared.perplexity,
    )


def _golden(
    model: TrainedModel, pieces: Sequence[Sequence[int]], compared: Compared, recipe: Recipe
) -> Golden:
    """ln p of each token behind the first one, by the float model; the first one's is 0."""
    words = Texts(model, vocabulary_size(model)).words()
    examples = []
    for ids, nats in zip(pieces, compared.golden, strict=False):
        kept = tuple(ids[:GOLDEN_TOKENS])
        text = " ".join(words[place] for place in kept)
        examples.append(GoldenExample(text=text, token_ids=kept, logits=nats))
    largest = max(abs(one) for nats in compared.golden for one in nats)
    tolerance = 2 * compared.golden_error + recipe.bound.slack * largest
    return Golden(examples=tuple(examples), tolerance=tolerance)
