"""An ONNX file as nodes and arrays: protobuf through the `onnx` package, nothing is run.

An array may lie in a file beside the model (`external_data`), as PyTorch's exporter writes large
ones; it is read from the same folder alone and within `LIMIT_BYTES`.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from edgeseq.errors import CheckpointError
from edgeseq.formats.storage import read_bytes
from edgeseq_converters.models.onnx.node import OnnxNode
from edgeseq_converters.models.zip_archive import LIMIT_BYTES

OPSETS = range(7, 27)
"""Versions of the operator set whose meaning is known here; 14 and later have `layout`."""
_TYPES = {1: "<f4", 6: "<i4", 7: "<i8", 9: "?", 10: "<f2", 11: "<f8"}
"""TensorProto.DataType: float, int32, int64, bool, float16, double."""
_FIELDS = {1: "float_data", 6: "int32_data", 7: "int64_data", 9: "int32_data", 11: "double_data"}


@dataclass(frozen=True)
class OnnxGraph:
    """Nodes in the order of computation, arrays and input shapes by name.

    A size of an input's shape is None where it is open.
    """

    where: str
    opset: int
    nodes: tuple[OnnxNode, ...]
    arrays: Mapping[str, np.ndarray[Any, Any]]
    inputs: Mapping[str, tuple[int | None, ...]]
    outputs: tuple[str, ...]


def read_graph(path: Path) -> OnnxGraph:
    """The graph at `path`.

    Raises `CheckpointError` for a file that is damaged or beyond `LIMIT_BYTES`, for a graph with
    functions, sparse arrays or fields that are not known, and where `onnx` is not installed.
    """
    try:
        # Optional, and slow to load: only ONNX files need it.
        onnx = importlib.import_module("onnx")
    except ModuleNotFoundError as failure:
        raise CheckpointError(
            "needs the onnx package to be read", where=path, fix="pip install 'edgeseq[onnx]'"
        ) from failure
    content = read_bytes(path, error=CheckpointError, limit_bytes=LIMIT_BYTES)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except (DecodeError, RuntimeError, ValueError) as failure:
        raise CheckpointError(
            "is not a whole ONNX file", where=path, found=failure, fix="export it again"
        ) from failure
    graph = model.graph
    if not graph.node or not graph.output:
        raise CheckpointError("is not a whole ONNX file", where=path, found="no operations")
    _check_fields(path, model, graph)
    arrays = _Arrays(path)
    tensors = {tensor.name: arrays.read(tensor) for tensor in graph.initializer}
    return OnnxGraph(
        where=str(path),
        opset=_opset(path, model),
        nodes=tuple(
            OnnxNode.parse(node, str(path), number, arrays.read)
            for number, node in enumerate(graph.node)
        ),
        arrays=tensors,
        inputs={value.name: _shape(value) for value in graph.input if value.name not in tensors},
        outputs=tuple(value.name for value in graph.output),
    )


def _check_fields(path: Path, model: Any, graph: Any) -> None:
    """Refuses what would change the answer and is not read."""
    for what, value in (
        ("functions", model.functions),
        ("training steps", model.training_info),
        ("sparse arrays", graph.sparse_initializer),
        ("quantized tensors", graph.quantization_annotation),
    ):
        if len(value):
            raise CheckpointError(
                f"has {what}, which are not read", where=path, fix="export the float model in eval"
            )


def _opset(path: Path, model: Any) -> int:
    versions = {entry.domain: int(entry.version) for entry in model.opset_import}
    version = versions.get("", versions.get("ai.onnx", 0))
    if version not in OPSETS:
        raise CheckpointError(
            "has a version of the operator set that is not known",
            where=path,
            found=version,
            expected=f"{OPSETS[0]} to {OPSETS[-1]}",
            fix="export it with opset_version=17",
        )
    return version


def _shape(value: Any) -> tuple[int | None, ...]:
    dims = value.type.tensor_type.shape.dim
    return tuple(int(dim.dim_value) if dim.HasField("dim_value") else None for dim in dims)


class _Arrays:
    """Arrays of the file and beside it, counted against `LIMIT_BYTES`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._left_bytes = LIMIT_BYTES

    def read(self, tensor: Any) -> np.ndarray[Any, Any]:
        """The array; raises `CheckpointError` for a type, size or position that cannot be read."""
        where = f"{self._path}: {tensor.name or 'an array'}"
        if tensor.data_type not in _TYPES:
            raise CheckpointError(
                "has an array of a type that cannot be converted",
                where=where,
                found=f"data type {tensor.data_type}",
                expected="float32, float16, float64 or whole numbers",
                fix="export the float model",
            )
        dtype = np.dtype(_TYPES[tensor.data_type])
        size_bytes = math.prod(int(size) for size in tensor.dims) * dtype.itemsize
        self._left_bytes -= size_bytes
        if self._left_bytes < 0 or any(size < 0 for size in tensor.dims):
            raise CheckpointError("is too large", where=where, found=list(tensor.dims))
        try:
            if tensor.data_location == 1:
                flat = np.frombuffer(self._external(tensor, where, size_bytes), dtype)
            elif tensor.HasField("raw_data"):
                flat = np.frombuffer(tensor.raw_data, dtype)
            elif tensor.data_type == 10:
                # Half floats are bit patterns in the field of whole numbers.
                flat = np.asarray(tensor.int32_data, np.uint16).view(dtype)
            else:
                flat = np.asarray(getattr(tensor, _FIELDS[tensor.data_type]), dtype)
            array = flat.reshape(tuple(tensor.dims))
        except (ValueError, OverflowError) as failure:
            raise CheckpointError(
                "is a damaged ONNX file", where=where, found=failure, fix="export it again"
            ) from failure
        return array.astype(np.float32) if dtype.kind == "f" else array

    def _external(self, tensor: Any, where: str, size_bytes: int) -> bytes:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        unknown = set(entries) - {"location", "offset", "length", "checksum"}
        name = entries.get("location", "")
        beside = self._path.parent / name
        if unknown or not name or Path(name).name != name or beside.is_symlink():
            raise CheckpointError(
                "lies in a file that is not beside the model", where=where, found=name or unknown
            )
        try:
            offset, length = int(entries.get("offset", 0)), int(entries.get("length", size_bytes))
            with beside.open("rb") as file:
                file.seek(offset)
                content: bytes = file.read(size_bytes)
        except (OSError, ValueError, OverflowError) as failure:
            raise CheckpointError(
                "is in a file beside the model that cannot be read",
                where=where,
                found=failure,
                fix=f"keep {name} in the model's folder",
            ) from failure
        if length != size_bytes:
            raise CheckpointError(
                "is a damaged ONNX file",
                where=where,
                found=f"{length} bytes in {name}",
                expected=size_bytes,
                fix="export it again",
            )
        return content
