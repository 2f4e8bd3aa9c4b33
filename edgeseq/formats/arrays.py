"""Arrays and metadata as bytes of a safetensors file, and back."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeseq.errors import CheckpointError
from edgeseq.formats.codec import decode_json

_HEADER_LIMIT_BYTES = 100_000_000
"""The largest header that safetensors itself reads."""


def array_bytes(arrays: Mapping[str, Any], metadata: dict[str, str] | None = None) -> bytes:
    """The file's content for NumPy arrays by name, any shapes and types.

    safetensors 0.8 writes an array as it lies in memory and its shape beside it, so that a
    transposed one would be read back in the wrong order; here each is stored by rows.
    """
    in_order = {
        name: array if array.flags.c_contiguous else array.copy(order="C")
        for name, array in arrays.items()
    }
    return bytes(_safetensors().numpy.save(in_order, metadata))


def arrays_from_bytes(content: bytes, *, where: Path, fix: str) -> dict[str, Any]:
    """The NumPy arrays of a safetensors file; `where` and `fix` are for the error.

    Raises `CheckpointError` when it is not a safetensors file.
    """
    safetensors = _safetensors()
    try:
        arrays: dict[str, Any] = safetensors.numpy.load(content)
    except safetensors.SafetensorError as failure:
        raise CheckpointError(
            "is not a safetensors file", where=where, found=str(failure), fix=fix
        ) from failure
    return arrays


def _safetensors() -> Any:
    """The library with its NumPy part: what only reads formats holds no NumPy, for its memory is
    measured."""
    import safetensors.numpy  # noqa: PLC0415 - see above

    return safetensors


def read_metadata(content: bytes) -> dict[str, str]:
    """The `__metadata__` of a safetensors file (its header is JSON after a 64-bit length).

    Raises `ValueError` or `msgspec.MsgspecError` when there is no such header.
    """
    if len(content) < 8:
        raise ValueError("too short for a header")
    (length,) = struct.unpack_from("<Q", content)
    if length > min(len(content) - 8, _HEADER_LIMIT_BYTES):
        raise ValueError("the header is longer than the file")
    header = decode_json(content[8 : 8 + length], dict[str, dict[str, Any]])
    return {name: str(value) for name, value in header.get("__metadata__", {}).items()}
