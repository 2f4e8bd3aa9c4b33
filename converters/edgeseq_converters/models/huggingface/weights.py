"""Weights: safetensors, whole or in parts, or PyTorch's pickle read without running its code."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import safetensors

from edgeseq.errors import CheckpointError
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.huggingface.files import Files, inside

SAFETENSORS = "model.safetensors"
PICKLE = "pytorch_model.bin"
_INDEX = ".index.json"
FLOATS = ("float32", "float16", "bfloat16", "float64")


class StoredTensor(msgspec.Struct, frozen=True):
    """One array of a checkpoint; `read` gives it as float32 if `dtype` is one of `FLOATS`."""

    dtype: str
    shape: tuple[int, ...]
    read: Callable[[], FloatArray]


class CheckpointWeights(msgspec.Struct, frozen=True):
    """All arrays of a checkpoint; `sha256` is of the file (of the files in order, if several)."""

    tensors: Mapping[str, StoredTensor]
    sha256: str
    where: Path


def read_weights(files: Files) -> CheckpointWeights:
    """The arrays of a checkpoint, from `model.safetensors` or its parts, else from
    `pytorch_model.bin` or its parts.

    The pickle is read by `torch.load(weights_only=True)`, which knows tensors and plain
    containers and runs no code. Raises `CheckpointError` when weights are missing, a file is
    damaged or missing, or holds more than tensors, and when a pickle is there but no PyTorch.
    """
    for name, parse in ((SAFETENSORS, parse_safetensors), (PICKLE, _parse_pickle)):
        parts = _parts(files, name)
        if not parts:
            continue
        tensors: dict[str, StoredTensor] = {}
        digest = hashlib.sha256()
        for part in parts:
            content = files.read(part)
            digest.update(content)
            tensors |= parse(content, where=files.where / part)
        return CheckpointWeights(tensors, digest.hexdigest(), files.where / parts[0])
    other_formats = [
        name for name in files.names() if name.endswith((".bin", ".h5", ".msgpack", ".onnx"))
    ]
    raise CheckpointError(
        f"has neither {SAFETENSORS} nor {PICKLE}",
        where=files.where,
        found=", ".join(other_formats) or "no weights",
        fix="load it once with transformers and save it with save_pretrained, which writes it",
    )


def _parts(files: Files, name: str) -> list[str]:
    if files.has(name):
        return [name]
    if not files.has(name + _INDEX):
        return []
    index = files.read_json(name + _INDEX)
    weight_map = index.get("weight_map")
    where = files.where / (name + _INDEX)
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError("has no weight_map", where=where)
    return sorted({inside(part, where=where) for part in weight_map.values()})


def parse_safetensors(content: bytes, *, where: Path) -> dict[str, StoredTensor]:
    """The tensors of a safetensors file; raises `CheckpointError` when it is none."""
    deserialize: Any = safetensors.deserialize

    try:
        entries = deserialize(content)
    except safetensors.SafetensorError as failure:
        raise CheckpointError(
            "is not a safetensors file",
            where=where,
            found=str(failure),
            fix="fetch or save the checkpoint again",
        ) from failure
    return {name: _safetensor(entry) for name, entry in entries}


_SAFETENSORS_TYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64"}


def _safetensor(entry: Mapping[str, Any]) -> StoredTensor:
    dtype = _SAFETENSORS_TYPES.get(entry["dtype"], str(entry["dtype"]))
    shape, data = tuple(entry["shape"]), entry["data"]

    def read() -> FloatArray:
        if dtype == "bfloat16":
            # The upper half of a float32's bits.
            bits = np.frombuffer(data, "<u2").astype(np.uint32) << 16
            return bits.view(np.float32).reshape(shape)
        values = np.frombuffer(data, np.dtype(dtype).newbyteorder("<"))
        return values.reshape(shape).astype(np.float32)

    return StoredTensor(dtype=dtype, shape=shape, read=read)


def _parse_pickle(content: bytes, *, where: Path) -> dict[str, StoredTensor]:
    try:
        import torch  # noqa: PLC0415 - optional: only pickled checkpoints need it
    except ModuleNotFoundError as failure:
        raise CheckpointError(
            "holds its weights in PyTorch's pickle, and PyTorch is not installed",
            where=where,
            expected=SAFETENSORS,
            fix="pip install torch, or save the checkpoint with save_pretrained, which writes it",
        ) from failure
    try:
        loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as failure:  # UnpicklingError, RuntimeError, EOFError, KeyError, …
        raise CheckpointError(
            "is not a file of tensors alone",
            where=where,
            found=(str(failure).strip() or type(failure).__name__).splitlines()[0][:200],
            fix="save the checkpoint with save_pretrained, which writes safetensors",
        ) from failure
    if not isinstance(loaded, Mapping):
        raise CheckpointError("holds no tensors by name", where=where, found=type(loaded).__name__)
    return {
        str(name): _torch_tensor(value)
        for name, value in loaded.items()
        if isinstance(value, torch.Tensor)
    }


def _torch_tensor(value: Any) -> StoredTensor:
    def read() -> FloatArray:
        return np.asarray(value.detach().float().contiguous().numpy())

    return StoredTensor(
        dtype=str(value.dtype).removeprefix("torch."), shape=tuple(value.shape), read=read
    )


def take_tensor(
    weights: CheckpointWeights, names: tuple[str, ...], shape: tuple[int, ...]
) -> FloatArray:
    """The first of `names` that there is, as float32 of exactly `shape`.

    Raises `CheckpointError` naming the tensor when none is there, or it has another shape or
    type, or holds NaN or infinity.
    """
    where = weights.where
    name = next((name for name in names if name in weights.tensors), None)
    if name is None:
        raise CheckpointError(
            f"tensor {names[0]} is missing", where=where, expected=f"shape {list(shape)}"
        )
    tensor = weights.tensors[name]
    if tensor.shape != shape:
        raise CheckpointError(
            f"tensor {name} does not have the shape that config.json gives",
            where=where,
            found=list(tensor.shape),
            expected=list(shape),
        )
    if tensor.dtype not in FLOATS:
        raise CheckpointError(
            f"tensor {name} has a type that is not read",
            where=where,
            found=tensor.dtype,
            expected=" or ".join(FLOATS),
            fix="save the checkpoint again in float32",
        )
    array = np.ascontiguousarray(tensor.read(), dtype=np.float32)
    if not np.isfinite(array).all():
        raise CheckpointError(f"tensor {name} holds NaN or infinity", where=where)
    return array


def spellings(name: str, prefix: str) -> tuple[str, ...]:
    """What checkpoints call one array: with and without the model's prefix, and layer norms by
    the older `gamma` and `beta`."""
    older = re.sub(r"(LayerNorm|layer_norm)\.weight$", r"\1.gamma", name)
    older = re.sub(r"(LayerNorm|layer_norm)\.bias$", r"\1.beta", older)
    candidates = (name, prefix + name, older, prefix + older)
    return tuple(dict.fromkeys(candidates))
