"""What one token hands to the next: inputs of the graph that were outputs of the last token."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgeseq.errors import BundleError
from edgeseq.formats.tflite_file import read_tflite

StateDtype = Literal["int8", "int16"]
LARGEST = "largest"
_FIRST = {"hidden": 0, "cell": 0, LARGEST: -128}
_DTYPES: dict[str, StateDtype] = {"INT8": "int8", "INT16": "int16"}


@dataclass(frozen=True)
class StepState:
    """A state [1, size]; its input has the name of its kind (hidden, cell, largest) and a number.

    Before the first token every element is `first`.
    """

    name: str
    dtype: StateDtype
    size: int

    @property
    def first(self) -> int:
        return _FIRST[self.name.split("_")[0]]

    @property
    def first_byte(self) -> int:
        """Every byte of the state before the first token."""
        return self.first % 256

    @property
    def size_bytes(self) -> int:
        return self.size * (1 if self.dtype == "int8" else 2)


def read_states(path: Path) -> tuple[StepState, ...]:
    """The states of the exported graph of one token at `path`, in the order of its inputs.

    Raises `BundleError` for a damaged file and for another graph.
    """
    graph = read_tflite(path).subgraphs[0]
    states = []
    for tensor in (graph.tensors[index] for index in graph.inputs[1:]):
        dtype = _DTYPES.get(tensor.dtype)
        if dtype is None or tensor.name.split("_")[0] not in _FIRST:
            raise BundleError(
                "is not a graph of one token",
                where=path,
                found=f"an input {tensor.name!r} of {tensor.dtype}",
                expected=f"int8 and int16 inputs called {', '.join(_FIRST)} with a number",
                fix="export the bundle again",
            )
        states.append(StepState(tensor.name.split(":")[0], dtype, tensor.shape[-1]))
    return tuple(states)
