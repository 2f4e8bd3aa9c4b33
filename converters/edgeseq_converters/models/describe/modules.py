"""What names and shapes of arrays say: one module each, whatever framework saved them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ModuleKind = Literal[
    "table",
    "vector",
    "lstm",
    "gru",
    "rnn",
    "linear",
    "batch_norm",
    "layer_norm",
    "pool",
    "activation",
    "other",
]


@dataclass(frozen=True)
class FoundModule:
    """A module under its `prefix`: what it takes and gives, in features.

    A `table` has `inputs` rows; it is an embedding, or a linear layer without a bias. A `vector`
    is a single array of as many numbers. `how` is
    what a `pool` without weights is called after. `other` has arrays that no layer is known for,
    and `note` says why.
    """

    kind: ModuleKind
    prefix: str
    inputs: int = 0
    outputs: int = 0
    directions: int = 1
    layers: int = 1
    how: str = ""
    note: str = ""
    zero_row: bool = False


@dataclass(frozen=True)
class FoundWeights:
    """All modules in the file's order. `is_ordered`: that is the model's. `is_complete`: layers
    without weights are listed as well."""

    modules: tuple[FoundModule, ...]
    is_ordered: bool = False
    is_complete: bool = False
    state_dict: str | None = None
    framework: Literal["torch", "keras"] = "torch"
