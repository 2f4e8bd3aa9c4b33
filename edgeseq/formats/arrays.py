"""Arrays as bytes of a safetensors file, and back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeseq.errors import CheckpointError


def array_bytes(arrays: Mapping[str, Any], metadata: dict[str, str] | None = None) -> bytes:
    """The file's content for NumPy arrays by name, any shapes and types.

    safetensors 0.8 writes an array as it lies in memory and its shape beside it, so that a
    transposed one would be read back in the wrong order; here each is stored by rows.
    """
    # A process that only reads formats holds no NumPy: its memory is measured.
    import safetensors.numpy

    in_order = {
        name: array if array.flags.c_contiguous else array.copy(order="C")
        for name, array in arrays.items()
    }
    return bytes(safetensors.numpy.save(in_order, metadata))


def arrays_from_bytes(content: bytes, *, where: Path, fix: str) -> dict[str, Any]:
    """The NumPy arrays of a safetensors file; `where` and `fix` are for the error.

    Raises `CheckpointError` when it is not a safetensors file.
    """
    import safetensors.numpy

    try:
        arrays: dict[str, Any] = safetensors.numpy.load(content)
    except safetensors.SafetensorError as failure:
        raise CheckpointError(
            "is not a safetensors file", where=where, found=str(failure), fix=fix
        ) from failure
    return arrays
