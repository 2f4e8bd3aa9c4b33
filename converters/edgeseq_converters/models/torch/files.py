"""Arrays by name out of a PyTorch state dict's file.

A `.pt` file is a pickle; torch.load reads it with `weights_only=True`, which makes tensors and
plain containers alone. `.safetensors` needs no PyTorch at all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from edgeseq.errors import CheckpointError
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.zip_archive import LIMIT_BYTES

_SAVE_STATE = "save the weights: torch.save(model.state_dict(), 'weights.pt')"


def read_arrays(path: Path, key: str | None) -> dict[str, FloatArray]:
    """The arrays of floats at `path` as float32; `key` names them within a larger checkpoint.

    Raises `CheckpointError` for a file that is damaged, holds more than weights or is beyond
    `LIMIT_BYTES`, and for a `.pt` file where PyTorch is not installed.
    """
    return _safetensors(path) if path.suffix.lower() == ".safetensors" else _torch(path, key)


def find_arrays(path: Path) -> tuple[dict[str, FloatArray], str | None]:
    """The arrays at `path`, or those of the one state dict within a checkpoint, with its key.

    Raises `CheckpointError` as `read_arrays` does.
    """
    if path.suffix.lower() == ".safetensors":
        return _safetensors(path), None
    loaded = _load(path)
    key = None
    if isinstance(loaded, dict) and not _is_state(loaded):
        keys = [name for name, value in loaded.items() if _is_state(value)]
        key = keys[0] if len(keys) == 1 else None
    return _arrays(path, loaded if key is None else loaded[key]), key


def _safetensors(path: Path) -> dict[str, FloatArray]:
    _check_size(path)
    try:
        arrays = load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as failure:
        raise CheckpointError(
            "is not a safetensors file of floats",
            where=path,
            found=failure,
            fix="save it again, in float32",
        ) from failure
    return {
        name: np.asarray(array, np.float32)
        for name, array in arrays.items()
        if np.asarray(array).dtype.kind == "f"
    }


def _torch(path: Path, key: str | None) -> dict[str, FloatArray]:
    loaded = _load(path)
    if key is not None:
        loaded = loaded.get(key) if isinstance(loaded, dict) else None
    return _arrays(path, loaded)


def _load(path: Path) -> Any:
    """What `torch.load` makes of the file, of weights and plain containers alone."""
    try:
        import torch  # noqa: PLC0415 - optional: only PyTorch files need it
    except ModuleNotFoundError as failure:
        raise CheckpointError(
            "needs PyTorch to be read",
            where=path,
            fix="pip install torch, or save the state dict as .safetensors",
        ) from failure
    _check_size(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as failure:
        raise CheckpointError(
            "is not a file of weights alone",
            where=path,
            found=str(failure).partition("\n")[0],
            fix=_SAVE_STATE,
        ) from failure


def _is_state(value: Any) -> bool:
    """Whether it holds tensors by name."""
    return (
        isinstance(value, dict)
        and bool(value)
        and all(
            isinstance(name, str) and hasattr(tensor, "is_floating_point")
            for name, tensor in value.items()
        )
    )


def _arrays(path: Path, state: Any) -> dict[str, FloatArray]:
    if not _is_state(state):
        raise CheckpointError(
            "is not a state dict",
            where=path,
            found=f"keys {', '.join(map(str, list(state)[:6]))}"
            if isinstance(state, dict)
            else type(state).__name__,
            expected="arrays by name",
            fix=f"name the key of the weights as state_dict in the description, or {_SAVE_STATE}",
        )
    remaining_bytes = LIMIT_BYTES
    arrays: dict[str, FloatArray] = {}
    for name, value in state.items():
        if not (str(value.layout) == "torch.strided" and value.device.type == "cpu"):
            raise CheckpointError(f"{name} is not a dense array", where=path, fix=_SAVE_STATE)
        if value.is_floating_point():
            remaining_bytes -= (
                4 * value.numel()
            )  # a tensor may repeat a small storage: count before copying
            if remaining_bytes < 0:
                raise CheckpointError(f"{name} is too large", where=path, found=list(value.shape))
            arrays[name] = value.detach().float().contiguous().numpy()
    return arrays


def _check_size(path: Path) -> None:
    size_bytes = path.stat().st_size
    if size_bytes > LIMIT_BYTES:
        raise CheckpointError(
            "is too large", where=path, found=f"{size_bytes} bytes", expected=f"<= {LIMIT_BYTES}"
        )
