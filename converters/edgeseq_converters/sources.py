"""What can be converted."""

from __future__ import annotations

from pathlib import Path

from edgeseq.errors import CheckpointError
from edgeseq.model_folder import TrainedModel, read_model_folder

ACCEPTED = "a trained-model folder (with model.json), as `edgeseq train` writes it"

# Told apart by what is in a folder, or by a file's ending, so that the refusal can say so.
_FOLDERS = {
    "saved_model.pb": "a TensorFlow SavedModel",
    "config.json": "a Hugging Face checkpoint",
    "bundle.json": "a bundle that was converted already",
}
_SUFFIXES = {
    ".keras": "a Keras file",
    ".h5": "a Keras file",
    ".pt": "a PyTorch file",
    ".pth": "a PyTorch file",
    ".bin": "a PyTorch file",
    ".safetensors": "bare weights",
    ".onnx": "an ONNX file",
    ".tflite": "a .tflite file that was converted already",
}


def read_source(path: Path) -> TrainedModel:
    """Reads the model at `path`.

    Raises `CheckpointError` saying what was found and what is accepted.
    """
    if (path / "model.json").is_file():
        return read_model_folder(path)
    found = "nothing"
    if path.is_dir():
        known = (kind for name, kind in _FOLDERS.items() if (path / name).is_file())
        found = next(known, "another folder")
    elif path.exists():
        found = _SUFFIXES.get(path.suffix.lower(), "another file")
    raise CheckpointError(
        "cannot be converted",
        where=path,
        found=found,
        expected=ACCEPTED,
        fix="train the model with `edgeseq train`",
    )
