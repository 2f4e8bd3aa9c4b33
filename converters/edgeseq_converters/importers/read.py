"""What kind of recurrent model stands at a path, and its reader."""

from __future__ import annotations

from pathlib import Path

from edgeseq.errors import CheckpointError
from edgeseq_converters.importers.keras_files import read_h5, read_keras
from edgeseq_converters.importers.keras_saved_model import read_saved_model
from edgeseq_converters.network import Network

_READERS = {".keras": read_keras, ".h5": read_h5, ".hdf5": read_h5}


def reads(path: Path) -> bool:
    """Whether `read_network` has a reader for what stands at `path`."""
    if path.is_dir():
        return (path / "saved_model.pb").is_file()
    return path.suffix.lower() in _READERS


def read_network(path: Path, *, description: Path | None = None) -> Network:
    """The LSTM or GRU model at `path` as a `Network`.

    Raises `CheckpointError` in one line for what is missing, damaged, hostile or no such model,
    naming the layer and the reason where one cannot be converted.
    """
    if not path.exists():
        raise CheckpointError("no such file", where=path, fix="check the path")
    del description
    if path.is_dir() and (path / "saved_model.pb").is_file():
        return read_saved_model(path)
    return _READERS[path.suffix.lower()](path)
