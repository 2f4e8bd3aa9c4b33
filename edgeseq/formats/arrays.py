"""Arrays as bytes of a safetensors file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def array_bytes(arrays: Mapping[str, Any], metadata: dict[str, str] | None = None) -> bytes:
    """The file's content for NumPy arrays by name, any shapes and types.

    safetensors 0.8 writes an array as it lies in memory and its shape beside it, so that a
    transposed one would be read back in the wrong order; here each is stored by rows.
    """
    import numpy as np
    from safetensors.numpy import save

    in_order = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    return bytes(save(in_order, metadata))
