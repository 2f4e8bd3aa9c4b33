"""Reads an exported PyTorch module (`torch.export.save`, a `.pt2` file) as a network.

The archive holds the graph of aten operations as JSON and the weights as raw bytes, so PyTorch is
not needed and nothing in it is run. Its sample inputs, which are a pickle, are left alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgeseq.errors import CheckpointError
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.keras.config import parse_json
from edgeseq_converters.models.network import Network
from edgeseq_converters.models.network_layers import FloatInput
from edgeseq_converters.models.torch.graph import run_graph
from edgeseq_converters.models.torch.values import Node
from edgeseq_converters.models.zip_archive import LIMIT_BYTES, Archive

_DTYPES = {6: "<f2", 7: "<f4", 8: "<f8"}
"""Half, float and double in torch/_export/serde/schema.py."""
_STRIDED = 7
_MODEL = "models/model.json"
_WEIGHTS = "data/weights/"


def read_program(path: Path) -> Network:
    """The network that a program of one module computes.

    Raises `CheckpointError` for a damaged archive, an archive of PyTorch before 2.9, and a graph
    that is not a chain from token ids, or numbers [sequences, steps, features], through recurrent
    layers to one output, naming the operation.
    """
    with Archive(path) as archive:
        roots = [name.removesuffix(_MODEL) for name in archive.names() if name.endswith(_MODEL)]
        if len(roots) != 1:
            raise CheckpointError(
                "is not an exported module of a supported form",
                where=path,
                fix="export it with PyTorch 2.9 or newer, or save its state dict",
            )
        (root,) = roots
        try:
            program = parse_json(archive.text(root + _MODEL), f"{path}: {_MODEL}")
            weights = _Weights(archive, root)
            module = program["graph_module"]
            nodes, output = module["graph"]["nodes"], module["graph"]["outputs"]
            arrays: dict[str, FloatArray] = {}
            inputs: list[str] = []
            for spec in module["signature"]["input_specs"]:
                ((kind, entry),) = spec.items()
                if kind in ("parameter", "buffer"):
                    name = entry[f"{kind}_name"]
                    if weights.floats(name):
                        arrays[entry["arg"]["name"]] = weights.array(name)
                elif kind == "user_input":
                    inputs.append(entry["arg"]["as_tensor"]["name"])
                else:
                    raise CheckpointError(f"takes an input of kind {kind}", where=path)
            if len(inputs) != 1 or len(output) != 1:
                raise CheckpointError(
                    "has several inputs or outputs",
                    where=path,
                    found=f"{len(inputs)} and {len(output)}",
                    fix="export a module that takes token ids or numbers and gives one tensor",
                )
            parsed = [Node.parse(node, str(path)) for node in nodes]
            result = output[0]["as_tensor"]["name"]
            numbers = _float_input(module["graph"]["tensor_values"][inputs[0]], path)
            return run_graph(
                parsed,
                arrays=arrays,
                input_name=inputs[0],
                entry=numbers,
                output=result,
                name=path.stem,
            )
        except (KeyError, TypeError, AttributeError, IndexError, ValueError) as failure:
            raise CheckpointError(
                "is a damaged exported module", where=path, found=failure, fix="export it again"
            ) from failure


def _float_input(meta: Mapping[str, Any], path: Path) -> FloatInput | None:
    """The input of numbers that a tensor's description tells; None for whole numbers, which are
    token ids."""
    if meta["dtype"] not in _DTYPES:
        return None
    sizes = meta["sizes"]
    features = sizes[-1].get("as_int") if len(sizes) == 3 else None
    if features is None:
        raise CheckpointError(
            "takes numbers that are not in sequences",
            where=path,
            found=f"{len(sizes)} axes",
            expected="[sequences, steps, features] with a fixed number of features",
        )
    return FloatInput("input", int(features))


class _Weights:
    """Raw arrays: data/weights/model_weights_config.json says where each one lies."""

    def __init__(self, archive: Archive, root: str) -> None:
        self._archive = archive
        self._root = root
        name = f"{root}{_WEIGHTS}model_weights_config.json"
        self._entries: Mapping[str, Any] = parse_json(archive.text(name), name)["config"]
        self._left_bytes = LIMIT_BYTES
        if archive.holds(root + "byteorder") and archive.text(root + "byteorder") != b"little":
            raise CheckpointError("is not in little-endian order", where=archive.path)

    def floats(self, name: str) -> bool:
        """Whether the array holds floats; BatchNorm's counter does not."""
        return self._entries[name]["tensor_meta"]["dtype"] in _DTYPES

    def array(self, name: str) -> FloatArray:
        """The array of that name, whatever its strides in the storage are."""
        entry = self._entries[name]
        meta = entry["tensor_meta"]
        where = f"{self._archive.path}: {name}"
        if entry.get("use_pickle") or meta["layout"] != _STRIDED:
            raise CheckpointError("is not a plain array", where=where, fix="save the state dict")
        sizes = [int(size["as_int"]) for size in meta["sizes"]]
        strides = [int(stride["as_int"]) for stride in meta["strides"]]
        offset = int(meta["storage_offset"]["as_int"])
        member = str(entry["path_name"])
        storage = self._archive.content(f"{self._root}{_WEIGHTS}{member}")
        flat = np.frombuffer(storage, dtype=np.dtype(_DTYPES[meta["dtype"]]))
        if min([offset, *sizes, *strides]) < 0 or len(sizes) != len(strides):
            raise CheckpointError("has a strange shape", where=where, found=sizes)
        count: int = math.prod(sizes)
        self._left_bytes -= 4 * count
        last = offset + sum((n - 1) * stride for n, stride in zip(sizes, strides, strict=True))
        if self._left_bytes < 0 or (count and last >= flat.size):
            raise CheckpointError(
                "claims more values than the file holds", where=where, found=sizes
            )
        if not count:
            return np.zeros(sizes, np.float32)
        steps = [stride * flat.itemsize for stride in strides]
        view = np.lib.stride_tricks.as_strided(flat[offset:], sizes, steps, writeable=False)
        return np.ascontiguousarray(view, dtype=np.float32)
