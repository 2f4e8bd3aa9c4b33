"""The answers of the framework that a model is from, on inputs as it was trained."""

from __future__ import annotations

import importlib
import json
import os
import zipfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
OPEN_LENGTHS = (1, 3, 8, 20, 40)
"""Lengths of the inputs of a model that takes any."""
PER_LENGTH = 4
ROWS, STEPS = 20, 4000
"""Inputs of a model of a fixed length: `ROWS`, or as many as have `STEPS` steps together."""


class Reference(NamedTuple):
    """A framework's model: `answer` gives its outputs for a batch [rows, n] or [rows, n, features].

    `steps` is None for an open length; `features` None for token ids, which are below
    `vocabulary`; a model made for batches of one size has that `batch`; one that `masks` skips the
    id 0 wherever it is.
    """

    framework: str
    written_by: str
    answer: Callable[[Array], Array]
    steps: int | None
    features: int | None
    vocabulary: int = 0
    batch: int | None = None
    masks: bool = False


class NoReference(Exception):  # noqa: N818 - no error: some files' framework is not to be had
    """No framework here runs the file; the text says why."""


def reference_of(path: Path, description: Path | None = None) -> Reference:
    """The framework's model at `path`, loaded by the framework itself; weights in the layers of
    the description: `model.to_json()` of Keras' weights, the importer's form of PyTorch's.

    Raises `NoReference` where none here can.
    """
    suffix = path.suffix.lower()
    if path.is_dir() or suffix in (".h5", ".hdf5", ".keras"):
        return _keras(path, description)
    if suffix == ".onnx":
        return _onnx(path)
    if description is None:
        raise NoReference("weights without a description of their layers")
    return _torch(path, description)


def inputs_for(reference: Reference, *, seed: int = 0) -> list[Array]:
    """Batches of random inputs: ids padded with 0 in front, behind, or not at all, as training
    scripts pad them, of a model that masks it behind alone; or numbers of a standard normal
    distribution.

    A model of a fixed length gets rows of that length alone.
    """
    rng = np.random.default_rng(seed)
    lengths = OPEN_LENGTHS if reference.steps is None else (reference.steps,)
    rows = reference.batch or PER_LENGTH
    if reference.batch is None and reference.steps is not None:
        rows = min(ROWS, max(2, STEPS // reference.steps))
    batches = []
    for steps in lengths:
        if reference.features is not None:
            shape = (rows, steps, reference.features)
            batches.append(rng.standard_normal(shape).astype(np.float32))
            continue
        ids = rng.integers(min(1, reference.vocabulary - 1), reference.vocabulary, (rows, steps))
        for row in range(rows if reference.steps is not None else 0):
            real = int(rng.integers(1, steps + 1))
            behind, front = slice(real, steps), slice(0, steps - real)
            ids[row, (behind if reference.masks else front, behind, slice(0, 0))[row % 3]] = 0
        batches.append(ids.astype(np.int32))
    return batches


def answers_of(reference: Reference, batch: Array) -> Array:
    """The framework's outputs; raises `NoReference` where it cannot run what it has loaded, or
    gives a number that is not finite."""
    try:
        outputs = reference.answer(batch)
    except Exception as failure:  # Keras, ONNX Runtime and PyTorch share no class of errors
        raise NoReference(
            f"{reference.framework} cannot run it: {_first_line(failure)}"
        ) from failure
    if not np.isfinite(outputs).all():
        raise NoReference(f"{reference.framework} gives numbers that are not finite")
    return outputs


def _keras(path: Path, description: Path | None) -> Reference:
    written_by = keras_version(path)
    major = int(written_by.split(".")[0]) if written_by else 2
    if major < 2:
        raise NoReference(f"Keras {written_by} is not to be had for this Python")
    model_json = description if description and description.suffix == ".json" else None
    if model_json is None and not _has_layers(path):
        raise NoReference("weights without layers, which no framework loads alone")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    package = "tf_keras" if major == 2 else "keras"
    keras = importlib.import_module(package)  # of many seconds, and only one of them is needed
    name = f"{package} {version(package)}"
    try:
        if model_json is None:
            model = keras.models.load_model(path, compile=False)
        else:
            model = keras.models.model_from_json(model_json.read_text(encoding="utf-8"))
            model.load_weights(path)
    except Exception as failure:  # an old file's settings fail anywhere in Keras' own constructors
        raise NoReference(f"{name} cannot load it: {_first_line(failure)}") from failure
    shapes = [tuple(tensor.shape) for tensor in model.inputs]
    if len(shapes) != 1 or len(shapes[0]) not in (2, 3):
        raise NoReference(f"its inputs are {shapes}")
    (shape,) = shapes
    embeddings = [layer for layer in model.layers if type(layer).__name__ == "Embedding"]

    def answer(inputs: Array) -> Array:
        return np.asarray(model(inputs, training=False), np.float32)

    return Reference(
        name,
        f"Keras {written_by or 'of an unknown version'}",
        answer,
        steps=shape[1],
        features=shape[2] if len(shape) == 3 else None,
        vocabulary=embeddings[0].input_dim if embeddings else 0,
        batch=shape[0],
        masks=any(layer.mask_zero for layer in embeddings),
    )


def _has_layers(path: Path) -> bool:
    """Whether a Keras file says which layers its weights are of."""
    if path.is_dir() or path.suffix.lower() == ".keras":
        return True
    with h5py.File(path) as file:
        return "model_config" in file.attrs


def keras_version(path: Path) -> str:
    """The version of Keras that wrote the file; empty when it does not say."""
    if path.is_dir():
        return "2"
    if path.suffix.lower() == ".keras":
        with zipfile.ZipFile(path) as archive:
            return str(json.loads(archive.read("metadata.json")).get("keras_version", ""))
    with h5py.File(path) as file:
        places = [file.attrs, *(file[key].attrs for key in ("model_weights",) if key in file)]
        found = next((place["keras_version"] for place in places if "keras_version" in place), "")
    return found.decode() if isinstance(found, bytes) else str(found)


def _onnx(path: Path) -> Reference:
    onnxruntime = importlib.import_module("onnxruntime")  # of the extra `peers` alone
    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as failure:  # the runtime's errors have no common class
        raise NoReference(f"ONNX Runtime cannot load it: {_first_line(failure)}") from failure
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1:
        raise NoReference(f"it has {len(inputs)} inputs")
    (entry,) = inputs
    batch, steps, *features = (size if isinstance(size, int) else None for size in entry.shape)

    def answer(values: Array) -> Array:
        return np.asarray(session.run([outputs[0].name], {entry.name: values})[0], np.float32)

    producer = session.get_modelmeta().producer_name
    return Reference(
        f"onnxruntime {version('onnxruntime')}",
        producer,
        answer,
        steps,
        features[0] if features else None,
        batch=batch,
    )


def _torch(path: Path, description: Path) -> Reference:
    reference = importlib.import_module("studies.public_models.torch_reference")
    module = reference.DescribedModule(path, description)
    return Reference(
        f"torch {version('torch')}",
        "PyTorch",
        module.answer,
        steps=None,
        features=module.features,
        vocabulary=module.vocabulary,
    )


def _first_line(failure: Exception) -> str:
    line, *_ = str(failure).strip().splitlines() or ["no message"]
    return f"{type(failure).__name__}: {line[:120]}"
