"""What can be converted, and what stands at a path.

A model comes as one of two things: a `TrainedModel`, which `edgeseq train` wrote with its
tokenizer, labels and data, or a bare `Network` that somebody else's file was read into.
"""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from edgeseq.errors import CheckpointError
from edgeseq.formats.trained_model import TrainedModel, read_model_folder
from edgeseq_converters.models import read as importers
from edgeseq_converters.models.network import Network

Source = TrainedModel | Network
"""What a path is read into; `isinstance` tells them apart."""

TRAINED = "a trained-model folder (with model.json), as `edgeseq train` writes it"
ACCEPTED = f"{TRAINED}, {importers.ACCEPTED}"

# Told apart by what is in a folder, or by a file's ending, so that the refusal can say so.
_FOLDERS = {
    "saved_model.pb": "a TensorFlow SavedModel",
    "config.json": "a Hugging Face checkpoint",
    "bundle.json": "a bundle that was converted already",
}
_SUFFIXES = {
    ".keras": "a Keras file",
    ".h5": "a Keras file",
    ".hdf5": "a Keras file",
    ".pt": "a PyTorch file",
    ".pth": "a PyTorch file",
    ".pt2": "an exported PyTorch module",
    ".bin": "a PyTorch file",
    ".safetensors": "bare weights",
    ".pkl": "a pickle, which can hold code",
    ".onnx": "an ONNX file",
    ".tflite": "a .tflite file that was converted already",
}


def load_source(path: Path, *, description: Path | None = None) -> Source:
    """Reads the model at `path`: a trained-model folder, or any file that holds an LSTM or GRU.

    `description` names the layers of PyTorch weights (docs/guides/sources.md). Raises
    `CheckpointError` saying what was found and what is accepted, or which layer cannot be converted
    and why.
    """
    if (path / "model.json").is_file():
        return read_model_folder(path)
    if importers.reads(path):
        return importers.read_network(path, description=description)
    raise CheckpointError(
        "cannot be converted",
        where=path,
        found=_kind(path),
        expected=ACCEPTED,
        fix="train the model with `edgeseq train`, or save it as .keras",
    )


def read_source(path: Path) -> TrainedModel:
    """Reads the trained-model folder at `path`.

    Raises `CheckpointError` saying what was found; a bare network is none (see `load_source`).
    """
    if (path / "model.json").is_file():
        return read_model_folder(path)
    raise CheckpointError(
        "cannot be converted",
        where=path,
        found=_kind(path),
        expected=TRAINED,
        fix="train the model with `edgeseq train`",
    )


def refuse(path: Path) -> NoReturn:
    """Raises `CheckpointError` saying what stands at `path` and what is accepted."""
    raise CheckpointError(
        "cannot be converted",
        where=path,
        found=_kind(path),
        expected=f"{ACCEPTED}, or a Hugging Face checkpoint",
        fix="train the model with `edgeseq train`, or save it as .keras",
    )


def _kind(path: Path) -> str:
    if path.is_dir():
        known = (kind for name, kind in _FOLDERS.items() if (path / name).is_file())
        return next(known, "another folder")
    return _SUFFIXES.get(path.suffix.lower(), "another file") if path.exists() else "nothing"
