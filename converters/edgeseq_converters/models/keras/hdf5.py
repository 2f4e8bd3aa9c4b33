"""Arrays and attributes out of an HDF5 file that may be damaged or hostile.

HDF5 can point at other files (external and soft links, external storage, virtual data sets) and
claim arrays of any size. Nothing of that is followed: what is read is in the file itself and
within `LIMIT_BYTES` for all arrays together.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from edgeseq.errors import CheckpointError
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.zip_archive import LIMIT_BYTES


class Hdf5:
    """An open HDF5 file. `where` names it in errors."""

    def __init__(self, root: Any, where: str | Path) -> None:
        self._root = root
        self.where = where
        self._left_bytes = LIMIT_BYTES

    def holds(self, path: str) -> bool:
        """Whether `path` exists; raises `CheckpointError` for a link out of here."""
        with self._damage():
            return self._find(path) is not None

    def names(self, path: str) -> tuple[str, ...]:
        """Names in the group `path`, none when it is missing."""
        with self._damage():
            item = self._find(path)
            return tuple(item) if isinstance(item, h5py.Group) else ()

    def texts(self, path: str, attribute: str) -> tuple[str, ...] | None:
        """The attribute's text or texts; None when it is missing.

        Keras splits a list beyond 64 KB, HDF5's own limit, into `name0`, `name1`, ….
        """
        with self._damage():
            item = self._find(path)
            if item is None:
                return None
            if attribute in item.attrs:
                return _texts(item.attrs[attribute])
            parts: list[str] = []
            while f"{attribute}{len(parts)}" in item.attrs and len(parts) < 1 << 16:
                parts.append(f"{attribute}{len(parts)}")
            return tuple(text for part in parts for text in _texts(item.attrs[part])) or None

    def shape(self, path: str) -> tuple[int, ...]:
        """The shape of the data set `path`; raises `CheckpointError` when it is missing."""
        with self._damage():
            item = self._find(path)
            if not isinstance(item, h5py.Dataset):
                raise self._error(f"has no array {path}")
            return tuple(int(size) for size in item.shape)

    def array(self, path: str) -> FloatArray:
        """The data set `path` as float32.

        Raises `CheckpointError` when it is missing, not of floats, not wholly in this file, or
        larger than what is left of `LIMIT_BYTES`.
        """
        with self._damage():
            item = self._find(path)
            if not isinstance(item, h5py.Dataset):
                raise self._error(f"has no array {path}")
            if item.is_virtual or item.external:
                raise self._error(f"array {path} points at another file")
            if item.dtype.kind != "f":
                raise self._error(
                    f"array {path} is not of floats", found=item.dtype, fix="save it in float32"
                )
            # Python's integers: a claimed shape may overflow NumPy's.
            size_bytes = math.prod(int(size) for size in item.shape) * max(4, item.dtype.itemsize)
            if size_bytes > self._left_bytes:
                raise self._error(
                    f"array {path} is too large",
                    found=f"{size_bytes} bytes",
                    expected=f"<= {LIMIT_BYTES} for all arrays",
                )
            if size_bytes and not item.id.get_storage_size():
                raise self._error(f"array {path} has a shape and no values")
            self._left_bytes -= size_bytes
            return np.asarray(item[()], dtype=np.float32)

    def _find(self, path: str) -> Any:
        """The item at `path`, component by component, so that no link is followed unseen."""
        node = self._root
        for name in path.split("/"):
            if name in ("", "."):
                continue
            if not isinstance(node, h5py.Group) or name not in node:
                link = isinstance(node, h5py.Group) and node.get(name, getlink=True)
                if isinstance(link, h5py.SoftLink | h5py.ExternalLink):
                    raise self._error(f"{path} points elsewhere")
                return None
            if not isinstance(node.get(name, getlink=True), h5py.HardLink):
                raise self._error(f"{path} points elsewhere")
            node = node[name]
        return node

    def _error(self, what: str, **details: Any) -> CheckpointError:
        return CheckpointError(what, where=self.where, **details)

    @contextlib.contextmanager
    def _damage(self) -> Iterator[None]:
        """h5py's many errors about a damaged file as ours."""
        try:
            yield
        except (OSError, KeyError, RuntimeError, ValueError, TypeError, OverflowError) as failure:
            raise CheckpointError(
                "is a damaged HDF5 file", where=self.where, found=failure, fix="save it again"
            ) from failure


@contextlib.contextmanager
def open_hdf5(source: Path | bytes, where: str | Path) -> Iterator[Hdf5]:
    """Opens a file, or a file's content, for reading.

    Raises `CheckpointError` when it is not an HDF5 file or is truncated.
    """
    try:
        root = h5py.File(source if isinstance(source, Path) else io.BytesIO(source), "r")
    except (OSError, ValueError, RuntimeError) as failure:
        raise CheckpointError(
            "is not a whole HDF5 file", where=where, found=failure, fix="save it again"
        ) from failure
    with root:
        yield Hdf5(root, where)


def _texts(value: Any) -> tuple[str, ...]:
    values = [value] if isinstance(value, str | bytes) else np.asarray(value).reshape(-1).tolist()
    return tuple(text.decode("utf-8") if isinstance(text, bytes) else str(text) for text in values)
