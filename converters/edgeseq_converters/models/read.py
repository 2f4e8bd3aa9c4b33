"""The kind of recurrent model at a path, and its reader."""

from __future__ import annotations

from pathlib import Path

from edgeseq.errors import CheckpointError
from edgeseq_converters.models.description import KERAS_ENDINGS, TORCH_ENDINGS
from edgeseq_converters.models.keras.files import read_h5, read_keras
from edgeseq_converters.models.keras.saved_model import read_saved_model
from edgeseq_converters.models.network import Network
from edgeseq_converters.models.onnx.graph import read_onnx
from edgeseq_converters.models.torch.program import read_program
from edgeseq_converters.models.torch.state import read_torch_state

_READERS = {".pt2": read_program, ".onnx": read_onnx}
_KERAS = ".keras"
ACCEPTED = (
    "a Keras file (.keras, .h5), a Keras 2 SavedModel, an exported PyTorch module (.pt2), "
    "an ONNX file, or PyTorch weights (.pt, .pth, .safetensors) with a description"
)


def reads(path: Path) -> bool:
    """Whether `read_network` has a reader for the kind of file at `path`."""
    if path.is_dir():
        return (path / "saved_model.pb").is_file()
    return path.is_file() and path.suffix.lower() in (
        _KERAS,
        *_READERS,
        *KERAS_ENDINGS,
        *TORCH_ENDINGS,
    )


def read_network(
    path: Path, *, description: Path | None = None, same_inputs: bool = False
) -> Network:
    """The LSTM or GRU model at `path` as a `Network`.

    `description` names the layers that weights of PyTorch or Keras belong to; the other kinds of
    file hold their own. `same_inputs`: all inputs of a Keras model with several are given the same.
    Raises `CheckpointError` in one line for what is missing, damaged, hostile or no such model,
    naming the layer and the reason where one cannot be converted.
    """
    if not reads(path):
        raise CheckpointError(
            "is not a recurrent model that can be read",
            where=path,
            found="nothing" if not path.exists() else path.suffix or "another folder",
            expected=ACCEPTED,
        )
    suffix = path.suffix.lower() if path.is_file() else ""
    if description is not None and suffix not in (*TORCH_ENDINGS, *KERAS_ENDINGS):
        raise CheckpointError(
            "describes its layers itself", where=path, fix="leave the description out"
        )
    try:
        if suffix in TORCH_ENDINGS:
            return read_torch_state(path, description)
        if suffix in KERAS_ENDINGS:
            return read_h5(path, description, same_inputs=same_inputs)
        if suffix in _READERS:
            return _READERS[suffix](path)
        read = read_keras if suffix else read_saved_model
        return read(path, same_inputs=same_inputs)
    except CheckpointError as refusal:
        named = refusal.where or ""
        if named.startswith((str(path), str(description))):
            raise
        # `Network` knows the model's name alone.
        raise CheckpointError(
            refusal.what,
            where=f"{path}: {named}",
            found=refusal.found,
            expected=refusal.expected,
            fix=refusal.fix,
        ) from refusal
