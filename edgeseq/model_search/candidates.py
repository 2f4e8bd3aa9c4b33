"""What is searched over: a candidate is a family with its settings, recipe and lowering."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from edgeseq.formats.bundle_manifest import Lowering, RecipeName
from edgeseq.formats.trained_model import Arch
from edgeseq.reporting.budgets import Budget, limits_of
from edgeseq.reporting.rows import ReportRow
from edgeseq.suite.schema import bundle_name

SHAPE_SETTINGS = (
    "embedding_size",
    "hidden_size",
    "layers",
    "bidirectional",
    "pooling",
    "min_piece_count",
    "max_tokens",
)
"""The settings of a training that decide how large and how fast the model is."""


class Candidate(msgspec.Struct, frozen=True):
    """A model to be: `train` are settings of its training by the names of `edgeseq train --set`;
    with `is_distilled` it learns from the search's teacher."""

    arch: Arch
    recipe: RecipeName
    lowering: Lowering
    train: dict[str, Any]
    is_distilled: bool = False

    @property
    def shape(self) -> dict[str, Any]:
        """The settings in `SHAPE_SETTINGS`: models of equal shape cost the same."""
        return {name: self.train[name] for name in SHAPE_SETTINGS if name in self.train}

    @property
    def name(self) -> str:
        """What its model is called: the family, and a hash of what its training depends on."""
        return f"{self.arch}-{_hash((self.arch, self.train, self.is_distilled))}"

    @property
    def shape_name(self) -> str:
        """The same of what its costs depend on."""
        content = (self.arch, self.shape, self.recipe, self.lowering, self.is_distilled)
        return f"{self.arch}-{_hash(content)}"

    @property
    def bundle(self) -> str:
        """What its bundle is called."""
        return bundle_name(self.name, self.recipe, self.lowering)

    def __str__(self) -> str:
        """The family and the settings of its shape, in words."""
        shape = ", ".join(f"{name}={value}" for name, value in self.shape.items())
        return f"{self.arch} ({shape}; {self.recipe}, {self.lowering})"


def _hash(content: object) -> str:
    return hashlib.sha256(msgspec.json.encode(content, order="deterministic")).hexdigest()[:10]


class Costs(msgspec.Struct, frozen=True):
    """What a model costs on a device; None is "not measured". The names are those of `ReportRow`.

    Bytes and milliseconds; `required_memory_bytes` is the working memory of the process, or its
    peak where that cannot be measured.
    """

    required_memory_bytes: float | None
    p95_ms: float | None
    size_bytes: float
    peak_memory_bytes: float | None = None
    p50_ms: float | None = None
    cold_start_ms: float | None = None

    @classmethod
    def of(cls, row: ReportRow) -> Costs:
        """The costs in a row of a report."""
        return cls(**{name: getattr(row, name) for name in cls.__struct_fields__})

    def excess(self, budget: Budget) -> dict[str, float]:
        """By the key of each limit, how many times the limit this is; infinite: not measured."""
        values = {
            limit.key: (getattr(self, limit.row_field), allowed)
            for limit, allowed in limits_of(budget)
        }
        return {
            key: float("inf") if value is None else value / allowed
            for key, (value, allowed) in values.items()
        }

    def fits(self, budget: Budget) -> bool:
        """Whether every limit is kept."""
        return all(factor <= 1 for factor in self.excess(budget).values())
