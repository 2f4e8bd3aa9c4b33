"""Reads the SavedModel folder of Keras 2 (`model.save("folder")`).

`keras_metadata.pb` describes the layers, the checkpoint below `variables/` holds their weights and
the graph of objects that owns them. A SavedModel without that description (Keras 3's
`model.export`, `tf.saved_model.save`) holds TensorFlow operations alone and is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from edgeseq.errors import CheckpointError
from edgeseq.formats.storage import read_bytes
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.keras.config import KerasLayer, parse_json, parse_model
from edgeseq_converters.models.keras.network import network_of
from edgeseq_converters.models.keras.weights import Slot
from edgeseq_converters.models.network import Network
from edgeseq_converters.models.zip_archive import LIMIT_BYTES

METADATA = "keras_metadata.pb"
_CHECKPOINT = Path("variables") / "variables"
_WRITER = "2"
"""The version of Keras whose SavedModel holds `keras_metadata.pb`: Keras 3 writes no layers."""
_METADATA_LIMIT_BYTES = 256 << 20


def read_saved_model(path: Path, *, same_inputs: bool = False) -> Network:
    """The network of a Keras 2 SavedModel folder.

    Raises `CheckpointError` when the folder has no description of the layers, is damaged, or
    holds what `network_of` refuses.
    """
    if not (path / METADATA).is_file():
        raise CheckpointError(
            "holds TensorFlow operations and no description of the layers",
            where=path,
            found=f"a SavedModel without {METADATA}",
            fix="save the model as .keras or .h5",
        )
    content = read_bytes(path / METADATA, error=CheckpointError, limit_bytes=_METADATA_LIMIT_BYTES)
    described = dict(_nodes(content, path / METADATA))
    root = _plain(parse_json(described.get("root", "{}"), str(path / METADATA)))
    model = parse_model(root, str(path), _WRITER)
    names = {
        str(parse_json(text, str(path / METADATA)).get("name")): node.removeprefix("root.")
        for node, text in described.items()
        if node.count(".") == 1
    }
    return network_of(model, _Checkpoint(path, names), same_inputs=same_inputs)


def _plain(value: Any) -> Any:
    """The value with lists in place of what Keras writes for tuples."""
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    if value.get("class_name") == "__tuple__" and isinstance(value.get("items"), list):
        return _plain(value["items"])
    return {key: _plain(entry) for key, entry in value.items()}


class _Checkpoint:
    """Weights by walking the checkpoint's graph of objects: layer, then part, then variable."""

    def __init__(self, path: Path, variable_paths: Mapping[str, str]) -> None:
        # TensorFlow takes seconds to load; of all formats a SavedModel alone needs it.
        import tensorflow as tf  # noqa: PLC0415 - see above
        from tensorflow.core.protobuf.trackable_object_graph_pb2 import (  # noqa: PLC0415 - see above
            TrackableObjectGraph,
        )

        self._read_errors = (tf.errors.OpError, ValueError, RuntimeError)
        self._places = variable_paths
        try:
            self._reader = tf.train.load_checkpoint(str(path / _CHECKPOINT))
            self._shapes = self._reader.get_variable_to_shape_map()
            graph = TrackableObjectGraph.FromString(
                self._reader.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH")
            )
        except (*self._read_errors, DecodeError) as failure:
            raise CheckpointError(
                "is a damaged SavedModel",
                where=path / _CHECKPOINT,
                found=failure,
                fix="save the model as .keras or .h5",
            ) from failure
        self._nodes: Sequence[Any] = graph.nodes

    def arrays(self, layer: KerasLayer, slots: Sequence[Slot]) -> list[FloatArray]:
        """The layer's arrays in the slots' order; `CheckpointError` when one is missing."""
        keys = [self._key(layer, slot) for slot in slots]
        size_bytes = sum(4 * int(np.prod(self._shapes[key], dtype=object)) for key in keys)
        if size_bytes > LIMIT_BYTES:
            raise layer.refuse("is too large", found=f"{size_bytes} bytes")
        try:
            arrays = [np.asarray(self._reader.get_tensor(key)) for key in keys]
        except self._read_errors as failure:
            raise layer.refuse("has damaged arrays", found=failure) from failure
        for key, array in zip(keys, arrays, strict=True):
            if array.dtype.kind != "f":
                raise layer.refuse(f"has an array that is not of floats: {key}", found=array.dtype)
        return [array.astype(np.float32) for array in arrays]

    def _key(self, layer: KerasLayer, slot: Slot) -> str:
        part, variable = slot
        path = self._places.get(layer.name)
        steps = [*(path or "").split("."), *part.split("/"), variable]
        at = 0
        for step in (step for step in steps if step):
            after = [c.node_id for c in self._nodes[at].children if c.local_name == step]
            if path is None or not after or not 0 <= after[0] < len(self._nodes):
                raise layer.refuse(f"has no array {variable} in the checkpoint")
            at = after[0]
        for attribute in self._nodes[at].attributes:
            if attribute.checkpoint_key in self._shapes:
                return str(attribute.checkpoint_key)
        raise layer.refuse(f"has no array {variable} in the checkpoint")


def _nodes(content: bytes, where: Path) -> Iterator[tuple[str, str]]:
    """(node path, JSON) of each object that `SavedMetadata` describes.

    The message has field 1, repeated: an object with the strings 3 (path) and 5 (JSON). Read by
    the wire format (protobuf.dev/programming-guides/encoding), as its class is in tf_keras alone.
    """
    try:
        for number, node in _fields(content):
            if number == 1:
                parts = dict(_fields(node))
                yield parts.get(3, b"").decode("utf-8"), parts.get(5, b"{}").decode("utf-8")
    except (IndexError, ValueError) as failure:
        raise CheckpointError(
            "is damaged", where=where, fix="save the model as .keras or .h5"
        ) from failure


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """(number, content) of each length-delimited field; numbers are skipped."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 2:
            size, at = _varint(message, at)
            if at + size > len(message):
                raise ValueError("cut off")
            yield tag >> 3, message[at : at + size]
            at += size
        elif kind == 0:
            _, at = _varint(message, at)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind}")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at += 1
        shift += 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
