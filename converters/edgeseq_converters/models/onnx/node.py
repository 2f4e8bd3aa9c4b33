"""One operation of an ONNX graph as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgeseq.errors import CheckpointError

_MAX_SHOWN = 120
# AttributeProto.AttributeType
_FLOAT, _INT, _STRING, _TENSOR, _FLOATS, _INTS, _STRINGS = 1, 2, 3, 4, 6, 7, 8


@dataclass(frozen=True)
class OnnxNode:
    """Its operator, own name, attributes, and the names of its inputs and outputs.

    An input that is left out has the name "".
    """

    where: str
    operator: str
    name: str
    attributes: Mapping[str, Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @classmethod
    def parse(
        cls, node: Any, where: str, number: int, read_array: Callable[[Any], Any]
    ) -> OnnxNode:
        """From the protobuf message; raises `CheckpointError` for subgraphs and own domains."""
        name = (node.name or f"number {number}")[:_MAX_SHOWN]
        parsed = cls(where, str(node.op_type), name, {}, tuple(node.input), tuple(node.output))
        if node.domain not in ("", "ai.onnx"):
            raise parsed.refuse("is not one of ONNX' own operators", found=node.domain)
        attributes = {entry.name: _value(parsed, entry, read_array) for entry in node.attribute}
        return cls(where, parsed.operator, name, attributes, parsed.inputs, parsed.outputs)

    def refuse(self, what: str, **details: Any) -> CheckpointError:
        """An error that names this operation."""
        short = {key: str(value)[:_MAX_SHOWN] for key, value in details.items()}
        return CheckpointError(
            f"node {self.name} ({self.operator}) {what}", where=self.where, **short
        )

    def integer(self, key: str, default: int) -> int:
        """An attribute that is a whole number."""
        value = self.attributes.get(key, default)
        if not isinstance(value, int):
            raise self.refuse(f"has a strange {key}", found=value, expected="a whole number")
        return value

    def number(self, key: str, default: float) -> float:
        """An attribute that is a number."""
        value = self.attributes.get(key, default)
        if not isinstance(value, int | float):
            raise self.refuse(f"has a strange {key}", found=value, expected="a number")
        return float(value)

    def integers(self, key: str) -> tuple[int, ...] | None:
        """An attribute that is a list of whole numbers; None when it is left out."""
        value = self.attributes.get(key)
        if value is None:
            return None
        if not (isinstance(value, tuple) and all(isinstance(entry, int) for entry in value)):
            raise self.refuse(f"has a strange {key}", found=value, expected="whole numbers")
        return value

    def strings(self, key: str) -> tuple[str, ...]:
        """An attribute that is a list of texts; () when it is left out."""
        value = self.attributes.get(key, ())
        if not (isinstance(value, tuple) and all(isinstance(entry, str) for entry in value)):
            raise self.refuse(f"has a strange {key}", found=value, expected="texts")
        return value


def _value(node: OnnxNode, entry: Any, read_array: Callable[[Any], Any]) -> Any:
    if entry.ref_attr_name:
        raise node.refuse(f"takes {entry.name} from a function's attribute")
    if entry.type == _TENSOR:
        return read_array(entry.t)
    if entry.type in (_STRING, _STRINGS):
        texts = [entry.s] if entry.type == _STRING else entry.strings
        decoded = tuple(text.decode("utf-8", errors="replace") for text in texts)
        return decoded[0] if entry.type == _STRING else decoded
    plain = {_FLOAT: entry.f, _INT: entry.i, _FLOATS: entry.floats, _INTS: entry.ints}
    if entry.type not in plain:
        raise node.refuse(
            "holds operations inside an operation",
            found=entry.name,
            fix="export the network so that its LSTM, GRU or RNN is one operation, "
            "or save the Keras or PyTorch file",
        )
    value = plain[entry.type]
    return tuple(value) if entry.type in (_FLOATS, _INTS) else value
