"""A model as a bare .tflite file: no tokenizer, no data, no bundle."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from edgeseq.errors import DataError, InputError, OutputError
from edgeseq.formats.codec import decode_json
from edgeseq.formats.storage import new_file, read_bytes, write_bytes
from edgeseq.progress import ProgressCallback, no_progress
from edgeseq.tasks.registry import task_of
from edgeseq_converters.convert.import_model import ImportedModel
from edgeseq_converters.convert.lower.dispatch import recipes_of
from edgeseq_converters.convert.lower.encoder import encoder
from edgeseq_converters.convert.numeric_inputs import random_sequences, read_sequences
from edgeseq_converters.convert.pipeline import lower_model
from edgeseq_converters.convert.plan import ConversionOptions, ConversionPlan, plan_file
from edgeseq_converters.convert.verify.fidelity import check_relative_error
from edgeseq_converters.convert.verify.interpreter_process import ModelFile, run_model
from edgeseq_converters.convert.verify.older_runtime import check_older_runtime
from edgeseq_converters.convert.verify.structure import file_signature
from edgeseq_converters.models import reference_recurrent
from edgeseq_converters.models.arrays import FloatArray, ModelInput, vocabulary_size
from edgeseq_converters.models.network import Network
from edgeseq_converters.models.network_layers import (
    Activation,
    Convolution,
    Dense,
    FloatInput,
)
from edgeseq_converters.models.reference import reference_answers

RANDOM_LENGTHS = (1, 2, 5, 8, 13, 21, 32, 64)
"""Lengths of the random inputs that a file is compared on where none are given: 4 each."""


class BareFile(msgspec.Struct, frozen=True):
    """The file that was written, and its difference from the float model on `n_examples` texts.

    `max_abs_error` is over the outputs, `relative_error` that over the largest |output|; `shape`
    is the output's, −1 an open axis of tokens; `tried_runtime` says how an older runtime that the
    file is for was tried.
    """

    path: str
    size_bytes: int
    output: str
    shape: tuple[int, ...]
    n_examples: int
    max_abs_error: float
    relative_error: float
    parameters: int
    streaming: bool = False
    tried_runtime: str | None = None
    input: str = "input_ids"


def convert_to_file(
    imported: ImportedModel,
    out: Path,
    options: ConversionOptions = ConversionOptions(),  # noqa: B008 - frozen
    *,
    progress: ProgressCallback = no_progress,
) -> BareFile:
    """Writes the model as the file `out`, after comparing it with the float one.

    A recurrent network keeps its outputs as they are; a checkpoint has the outputs of its head:
    sentence embeddings, tags, masked tokens or classes. Without `options.token_ids` the comparison
    uses random ids (of an input of numbers: random ones), int4 weights are rounded one by one, and
    static recipes are refused.

    Raises `CheckpointError`, `ConversionError`, `DataError`, `InputError` and `OutputError`;
    nothing is written then.
    """
    model = imported.model
    if isinstance(model, Network) and model.repeated_rows is not None and options.length is None:
        options = msgspec.structs.replace(options, length=model.repeated_rows)
    arch = model.arch if isinstance(model, Network) else model.manifest.arch
    plan = plan_file(arch, out, options)
    _check_options(imported, plan, options)
    if out.exists() and not options.overwrite:
        raise OutputError("already exists", where=out, fix="choose another --out or --overwrite")
    calibration, texts = _inputs(imported, plan, options.token_ids)
    reference = _reference(imported, texts)
    output, length = _output_name(imported), plan.target.steps
    shape = _output_shape(imported, reference[0], length)
    lowered = lower_model(
        model,
        plan,
        calibration,
        file_signature(output, shape, length, _features(imported)),
        streaming=options.streaming,
        progress=progress,
    )
    with new_file(out) as draft:
        write_bytes(draft, lowered.content)
        file = ModelFile(
            draft,
            out,
            signature_key=lowered.signature.key,
            output=output,
            width=shape[-1],
            per_token=len(shape) == 3,
            input=lowered.signature.inputs[0].name,
            features=_features(imported),
        )
        outputs = run_model(file, texts, stage="compare with the float model", progress=progress)
        pairs = list(zip(reference, outputs, strict=True))
        # A network that masks padding ends with the text.
        error = max(
            float(np.abs(expected - values[: len(expected)]).max()) for expected, values in pairs
        )
        largest = max(float(np.abs(expected).max()) for expected in reference)
        check_relative_error(error / max(largest, 1e-6), plan.recipe, where=out)
        tried_runtime = check_older_runtime(
            plan.target.runtime, file, texts, outputs, plan.recipe, progress=progress
        )
    return BareFile(
        path=str(out),
        size_bytes=len(lowered.content),
        output=output,
        shape=shape,
        n_examples=len(texts),
        max_abs_error=error,
        relative_error=error / max(largest, 1e-6),
        parameters=model.parameters,
        streaming=options.streaming,
        tried_runtime=tried_runtime,
        input=lowered.signature.inputs[0].name,
    )


def _check_options(
    imported: ImportedModel, plan: ConversionPlan, options: ConversionOptions
) -> None:
    model = imported.model
    arch = model.arch if isinstance(model, Network) else model.manifest.arch
    if not isinstance(model, Network):
        if options.streaming or imported.options.description is not None:
            raise InputError(
                "--streaming and --description are for recurrent networks",
                found=str(imported.source),
                fix="remove them",
            )
        if task_of(model.manifest.task).is_streaming:
            raise InputError(
                "a language model is converted to a bundle",
                where=imported.source,
                fix="name a folder with --out",
            )
        if model.manifest.word_features is not None:
            raise InputError(
                "a tagger with word features is converted to a bundle, on texts",
                where=imported.source,
                fix="name a folder with --out and data with --data",
            )
    static = plan.recipe.activations != "float32"
    available = recipes_of(arch, plan.target.lowering)
    if static and options.token_ids is None and plan.recipe.name in available:
        raise InputError(
            "a static recipe needs inputs to calibrate on",
            found=plan.recipe.name,
            fix="name a file of token ids with --ids, one JSON list per line, or one of arrays",
        )


def _output_name(imported: ImportedModel) -> str:
    """`probabilities` when a network ends in a softmax or a sigmoid, else `logits`, or what the
    head of a checkpoint has."""
    if not isinstance(imported.model, Network):
        bert = imported.model.manifest.bert
        return "logits" if bert is None else encoder.output_name(bert.head)
    last = imported.model.layers[-1]
    function = last.function if isinstance(last, Dense | Activation | Convolution) else "linear"
    return "probabilities" if function in ("softmax", "sigmoid") else "logits"


def _output_shape(
    imported: ImportedModel, answer: FloatArray, length: int | None
) -> tuple[int, ...]:
    """The shape of the output beside the float model's `answer` to a text; `length`: of a
    fixed-length file."""
    if answer.ndim == 1:
        return (1, answer.shape[0])
    model = imported.model
    if length is not None and isinstance(model, Network):
        length = model.output_rows(length)
    return (1, length or -1, answer.shape[1])


def _features(imported: ImportedModel) -> int | None:
    """Of an input of numbers."""
    entry = imported.model.input if isinstance(imported.model, Network) else None
    return entry.features if isinstance(entry, FloatInput) else None


def _reference(imported: ImportedModel, texts: Sequence[ModelInput]) -> list[FloatArray]:
    if isinstance(imported.model, Network):
        return reference_recurrent.answers(imported.model, texts)
    return reference_answers(imported.model, texts)


def _inputs(
    imported: ImportedModel, plan: ConversionPlan, path: Path | None
) -> tuple[Sequence[ModelInput], Sequence[ModelInput]]:
    """What ranges and rounding are chosen on, from the file at `path` if there is one, and what
    the file is compared on."""
    entry = imported.model.input if isinstance(imported.model, Network) else None
    if isinstance(entry, FloatInput):
        steps = plan.target.steps
        sequences = [] if path is None else read_sequences(path, entry, steps)
        for number, sequence in enumerate(sequences):
            _check_length(imported, len(sequence), f"{path}: sequence {number}")
        lengths = _random_lengths(imported, steps) if steps is None else (steps,)
        return sequences, sequences or random_sequences(entry, lengths)
    calibration = () if path is None else _read_token_ids(path, imported)
    texts = calibration or _random_ids(imported, plan)
    return calibration, [text[: plan.target.steps] for text in texts]


def _random_ids(imported: ImportedModel, plan: ConversionPlan) -> list[list[int]]:
    """Random texts; under `mask_zero` without the id of padding."""
    model = imported.model
    vocabulary, lowest = _vocabulary(imported), 0
    if isinstance(model, Network):
        lowest = int(model.embedding.mask_zero and vocabulary > 1)
    longest = plan.target.steps or _max_tokens(imported) or RANDOM_LENGTHS[-1]
    lengths = _random_lengths(imported, longest)
    rng = np.random.default_rng(0)
    return [rng.integers(lowest, vocabulary, n).tolist() for n in lengths for _ in range(4)]


def _random_lengths(imported: ImportedModel, longest: int | None) -> tuple[int, ...]:
    """Lengths of random inputs that the model has an answer to."""
    model, shortest = imported.model, _min_tokens(imported)
    if isinstance(model, Network) and model.only_tokens is not None:
        return (model.only_tokens,)
    lengths = [n for n in RANDOM_LENGTHS if shortest <= n <= (longest or n)]
    return tuple(lengths or [shortest])


def _vocabulary(imported: ImportedModel) -> int:
    model = imported.model
    return model.embedding.vocabulary_size if isinstance(model, Network) else vocabulary_size(model)


def _min_tokens(imported: ImportedModel) -> int:
    """Tokens of the shortest text that the model has an answer to."""
    model = imported.model
    return model.required_tokens if isinstance(model, Network) else 1


def _max_tokens(imported: ImportedModel) -> int | None:
    model = imported.model
    return model.only_tokens if isinstance(model, Network) else model.manifest.max_tokens


def _check_length(imported: ImportedModel, count: int, where: str) -> None:
    """Raises `DataError` about `where` for an input of a length that the model does not take."""
    longest, shortest = _max_tokens(imported), _min_tokens(imported)
    if longest is not None and count > longest:
        raise DataError(
            "is longer than the model takes", where=where, found=count, expected=longest
        )
    if count < shortest:
        raise DataError(
            "is shorter than the model takes: the windows of its convolutions and pooling, or a "
            "layer that flattens, need more",
            where=where,
            found=count,
            expected=f"at least {shortest}",
        )


def _read_token_ids(path: Path, imported: ImportedModel) -> list[list[int]]:
    """The lists of token ids in a file, one per line.

    Raises `DataError` naming the line: an id beyond the embedding table, or a text longer than the
    model takes.
    """
    size = _vocabulary(imported)
    texts = []
    for number, line in enumerate(read_bytes(path, error=DataError).splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            ids: list[int] = decode_json(line, list[int])
        except (msgspec.DecodeError, json.JSONDecodeError) as failure:
            raise DataError(
                "is not a list of token ids", where=where, found=failure, expected="[12, 7, 5]"
            ) from failure
        if not ids or min(ids) < 0 or max(ids) >= size:
            raise DataError(
                "has a token id beyond the embedding table",
                where=where,
                found=f"{min(ids)} to {max(ids)}" if ids else "no id",
                expected=f"0 to {size - 1}",
            )
        _check_length(imported, len(ids), where)
        texts.append(ids)
    if not texts:
        raise DataError("holds no token ids", where=path, expected="one JSON list per line")
    return texts
