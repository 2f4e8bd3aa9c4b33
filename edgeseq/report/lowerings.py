"""Which lowering of a model this device runs fastest, where several were measured."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import msgspec

from edgeseq.report.rows import Entry
from edgeseq.stats.latency import median_ratio
from edgeseq.units import format_factor


class Candidate(msgspec.Struct, frozen=True):
    """One lowering that was measured: how many times the picked one's median it takes, with the
    95 % interval (block bootstrap; both None for the picked one itself)."""

    bundle: str
    lowering: str
    p50_ms: float
    ratio: float | None = None
    ratio_ci95: tuple[float, float] | None = None


class LoweringChoice(msgspec.Struct, frozen=True):
    """The lowering with the smallest median of one model in one recipe, on one device."""

    model: str
    recipe: str
    picked: str
    lowering: str
    candidates: tuple[Candidate, ...]

    @property
    def sentence(self) -> str:
        """What was picked and against what, in words."""
        others = []
        for one in self.candidates:
            if one.ratio is not None and one.ratio_ci95 is not None:
                low, high = (format_factor(end) for end in one.ratio_ci95)
                times = f"{format_factor(one.ratio)} times ({low} to {high})"
                others.append(f"{one.lowering} takes {times} its median")
        said = ", ".join(others)
        return f"Of the lowerings of {self.model}, {self.lowering} is the fastest here: {said}."


def lowering_choices(entries: Sequence[Entry]) -> tuple[LoweringChoice, ...]:
    """A choice for each model and recipe of which several lowerings have a valid median."""
    usable = [entry for entry in entries if entry.row.valid and entry.row.p50_ms is not None]
    usable.sort(key=_model)
    choices = []
    for (model, recipe), group in groupby(usable, key=_model):
        members = sorted(group, key=lambda entry: entry.row.p50_ms or 0.0)
        if len({entry.row.lowering for entry in members}) > 1:
            choices.append(_choice(model, recipe, members))
    return tuple(choices)


def _model(entry: Entry) -> tuple[str, str]:
    """A bundle's name without its lowering, which `edgeseq convert` puts at the end."""
    return entry.row.bundle.removesuffix(f"-{entry.row.lowering}"), entry.row.recipe


def _choice(model: str, recipe: str, members: Sequence[Entry]) -> LoweringChoice:
    best, *others = members
    candidates = [Candidate(best.row.bundle, best.row.lowering, best.row.p50_ms or 0.0)]
    for entry in others:
        ratio = median_ratio(entry.run.queries.total_ns, best.run.queries.total_ns)
        candidates.append(
            Candidate(
                entry.row.bundle,
                entry.row.lowering,
                entry.row.p50_ms or 0.0,
                ratio.estimate,
                (ratio.low, ratio.high),
            )
        )
    return LoweringChoice(model, recipe, best.row.bundle, best.row.lowering, tuple(candidates))
