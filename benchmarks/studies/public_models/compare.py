"""Converts one public model in each lowering and compares the files with its framework."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import msgspec
import numpy as np

from edgeseq.errors import CheckpointError, EdgeseqError
from edgeseq.runtime.interpreter import SignatureNames, TfliteModel
from edgeseq_converters.convert.import_model import ImportOptions, load_model
from edgeseq_converters.convert.lower.dispatch import (
    LOWERINGS,
    OUTPUT,
    Target,
    choose_lowering,
    network_to_tflite,
    recipes_of,
)
from edgeseq_converters.convert.lower.recurrent.whole import FLOAT_INPUT, INPUT, SIGNATURE
from edgeseq_converters.convert.recipes import get_recipe
from edgeseq_converters.models.network import Network
from edgeseq_converters.models.network_layers import FloatInput, Recurrent
from studies.public_models.frameworks import (
    Array,
    NoReference,
    Reference,
    answers_of,
    inputs_for,
    reference_of,
)
from studies.public_models.sources import DESCRIPTIONS, SAVED_MODEL, FoundModel, Source

PAIRS = (*((lowering, "float32") for lowering in LOWERINGS["lstm"]), ("loop", "dynamic_wi8_afp32"))
"""(lowering, recipe) of the files: float32 in each lowering, int8 weights in the default one."""
UNROLLED_LIMIT = 256
"""Steps beyond which the lowering `unrolled` is left out: it has every operator once a step."""
_FARTHEST = float(np.finfo(np.float32).max)


class FileDifference(msgspec.Struct, frozen=True):
    """One converted file against the framework: the largest difference of an output, that over the
    largest |output|, and over how many inputs; or why none was made."""

    recipe: str
    lowering: str
    size_bytes: int = 0
    n_inputs: int = 0
    max_abs_error: float = 0.0
    relative_error: float = 0.0
    refused: str = ""


class ModelOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one public model.

    `refused` is the line that the importer refuses it with; `unchecked` says why no framework here
    runs it: then no file is compared.
    """

    name: str
    origin: str
    path: str
    sha256: str
    licence: str
    written_by: str = ""
    framework: str = ""
    input: str = ""
    layers: str = ""
    parameters: int = 0
    found: bool = True
    refused: str = ""
    unchecked: str = ""
    files: tuple[FileDifference, ...] = ()


def compare_model(
    source: Source,
    model: FoundModel | None,
    *,
    pairs: Sequence[tuple[str, str]] = PAIRS,
) -> ModelOutcome:
    """Converts `source`, found as `model`, to a file for each (lowering, recipe) of `pairs`, and
    compares the files with its framework."""
    outcome = ModelOutcome(
        name=source.name,
        origin=source.origin,
        path=source.path,
        sha256=source.sha256,
        licence=source.licence,
    )
    if model is None:
        return msgspec.structs.replace(outcome, found=False)
    with tempfile.TemporaryDirectory() as folder:
        path, beside = lay_out(source, model, Path(folder))
        description = _description(source, beside)
        reference, unchecked, inputs, answers = None, "", [], []
        try:
            reference = reference_of(path, description)
            inputs = inputs_for(reference)
            answers = [answer for batch in inputs for answer in answers_of(reference, batch)]
        except NoReference as reason:
            reference, unchecked = None, str(reason)
        if reference is not None:
            outcome = msgspec.structs.replace(
                outcome,
                framework=reference.framework,
                written_by=reference.written_by,
                input=_input_of(reference),
            )
        try:
            network = load_model(
                path, ImportOptions(name=source.name, description=description)
            ).model
            if not isinstance(network, Network):
                raise CheckpointError("is no recurrent network", where=path)
        except EdgeseqError as refusal:
            return msgspec.structs.replace(outcome, refused=_without(str(refusal), path))
        given = list(zip(_rows(inputs), answers, strict=reference is not None))
        files = tuple(_files(network, reference, given, Path(folder), pairs))
    return msgspec.structs.replace(
        outcome,
        layers=layer_words(network),
        parameters=network.parameters,
        unchecked=unchecked,
        files=files,
    )


def lay_out(source: Source, model: FoundModel, folder: Path) -> tuple[Path, list[Path]]:
    """Copies a model's files into `folder`, under the names of their source.

    Returns the model's file, or the folder of a SavedModel, and the files beside it.
    """
    listed = PurePosixPath(source.path)
    root = folder / listed.parent.name
    paths = []
    for name, content in ((listed.name, model.path), *model.beside.items()):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(content, path)
        paths.append(path)
    path, *beside = paths
    return root if listed.name == SAVED_MODEL else path, beside


def _description(source: Source, beside: Sequence[Path]) -> Path | None:
    """What tells the layers of weights: a description here, or Keras' own beside the file."""
    if source.description:
        return DESCRIPTIONS / source.description
    return next((file for file in beside if file.suffix == ".json"), None)


def _input_of(reference: Reference) -> str:
    steps = "n" if reference.steps is None else reference.steps
    what = "ids" if reference.features is None else f"× {reference.features} numbers"
    return f"{steps} {what}"


def layer_words(network: Network) -> str:
    """The layers of a network by their kinds and the numbers that they give."""
    words = []
    for layer, shape in zip(network.layers, network.shapes()[1:], strict=True):
        kind = type(layer).__name__
        if isinstance(layer, Recurrent):
            kind = layer.forward.kind.upper()
            kind = kind if layer.backward is None else f"two-way {kind}"
        words.append(f"{kind} {shape.features}")
    runs = [(word, len(list(equal))) for word, equal in itertools.groupby(words)]
    return ", ".join(word if count == 1 else f"{count} × {word}" for word, count in runs)


def _files(
    network: Network,
    reference: Reference | None,
    given: Sequence[tuple[Array, Array]],
    folder: Path,
    pairs: Sequence[tuple[str, str]],
) -> Iterator[FileDifference]:
    """A file for each (lowering, recipe) that goes together, run on what the framework was given;
    without a framework nothing is compared."""
    if reference is None:
        return
    rows, answers = [row for row, _ in given], [answer for _, answer in given]
    for lowering, recipe in pairs:
        known = choose_lowering("lstm", lowering)
        if recipe not in recipes_of("lstm", known):
            continue
        steps = reference.steps if lowering == "unrolled" else network.repeated_rows
        if lowering == "unrolled" and (steps is None or steps > UNROLLED_LIMIT):
            continue
        path = folder / f"{recipe}-{lowering}.tflite"
        try:
            content = network_to_tflite(
                network, get_recipe(recipe), Target(known, steps), output=OUTPUT
            )
            path.write_bytes(content)
            outputs = _outputs(network, path, rows)
            if network.per_token and reference.masks:
                # What stands beside masked padding is no answer.
                lengths = [int(np.flatnonzero(row)[-1]) + 1 for row in rows]
                outputs = [x[:length] for x, length in zip(outputs, lengths, strict=True)]
        except EdgeseqError as refusal:
            yield FileDifference(recipe, lowering, refused=_without(str(refusal), path))
            continue
        yield file_difference(FileDifference(recipe, lowering, len(content)), answers, outputs)


def _rows(inputs: Sequence[Array]) -> list[Array]:
    return [row for batch in inputs for row in batch]


def _outputs(network: Network, path: Path, rows: Sequence[Array]) -> list[Array]:
    """The file's outputs for each input, by the runtime in this process."""
    features = network.input.features if isinstance(network.input, FloatInput) else None
    name = INPUT if features is None else FLOAT_INPUT
    model = TfliteModel(
        str(path),
        signature=SignatureNames(SIGNATURE, name, OUTPUT),
        by_token=network.per_token,
        features=features,
    )
    return [model.infer(row if features else row.tolist()) for row in rows]


def file_difference(
    file: FileDifference, answers: Sequence[Array], outputs: Sequence[Array]
) -> FileDifference:
    """The file's outputs against the framework's: a masked text ends before its padding.

    The framework's are finite; a file's that is not counts as float32's largest number away.
    """
    differences = [
        np.abs(np.atleast_1d(answer)[: len(output)].reshape(output.shape) - output).max()
        for answer, output in zip(answers, outputs, strict=True)
    ]
    error = float(np.nan_to_num(differences, nan=_FARTHEST, posinf=_FARTHEST).max())
    largest = max(float(np.abs(answer).max()) for answer in answers)
    return msgspec.structs.replace(
        file,
        n_inputs=len(outputs),
        max_abs_error=error,
        relative_error=error / max(largest, 1e-6),
    )


def _without(line: str, path: Path) -> str:
    """The refusal without the name of a temporary file, or the folder of descriptions."""
    line = line.replace(f"{path}: ", "").replace(str(path), path.name)
    return line.replace(f"{DESCRIPTIONS}/", "")
