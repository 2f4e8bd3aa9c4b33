"""Arrays as bytes of a safetensors file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def array_bytes(arrays: Mapping[str, Any], metadata: dict[str, str] | None = None) -> bytes:
    """The file's content for NumPy arrays by name, any shapes and types.

    safetensors 0.8 writes an array as it lies in memory and its shape beside it, so that a
    transposed one would be read back with its numbers in other places; here each is laid out by
    rows first.
    """
    import numpy as np
    from safetensors.numpy import save

    in_order = {name: np.asarray(one, order="C") for name, one in arrays.items()}
    return bytes(save(in_order, metadata))
