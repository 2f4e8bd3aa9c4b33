"""Which lowering of a model this device runs fastest, where several were measured."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import msgspec

from edgeseq.reporting.rows import MeasuredModel
from edgeseq.stats.latency import median_ratio
from edgeseq.units import format_factor


class LoweringCandidate(msgspec.Struct, frozen=True):
    """A measured lowering: how many times the fastest one's median it takes, with the 95 % interval
    (block bootstrap; both None for the fastest itself)."""

    bundle: str
    lowering: str
    p50_ms: float
    ratio: float | None = None
    ratio_ci95: tuple[float, float] | None = None


class LoweringChoice(msgspec.Struct, frozen=True):
    """The lowering with the smallest median of one model in one recipe, on one device."""

    model: str
    recipe: str
    fastest_bundle: str
    lowering: str
    candidates: tuple[LoweringCandidate, ...]

    @property
    def sentence(self) -> str:
        """The fastest lowering and how much longer the others take."""
        slower = []
        for candidate in self.candidates:
            if candidate.ratio is not None and candidate.ratio_ci95 is not None:
                low, high = (format_factor(end) for end in candidate.ratio_ci95)
                factor = f"{format_factor(candidate.ratio)} times ({low} to {high})"
                slower.append(f"{candidate.lowering} takes {factor} its median")
        return f"The fastest lowering of {self.model} is {self.lowering}: {', '.join(slower)}."


def lowering_choices(models: Sequence[MeasuredModel]) -> tuple[LoweringChoice, ...]:
    """A choice for each model and recipe of which several lowerings have a valid median."""
    timed = [model for model in models if model.row.valid and model.row.p50_ms is not None]
    timed.sort(key=_name_and_recipe)
    choices = []
    for (name, recipe), members in groupby(timed, key=_name_and_recipe):
        candidates = sorted(members, key=lambda model: model.row.p50_ms or 0.0)
        if len({model.row.lowering for model in candidates}) > 1:
            choices.append(_choose(name, recipe, candidates))
    return tuple(choices)


def _name_and_recipe(model: MeasuredModel) -> tuple[str, str]:
    """A bundle's name without its lowering, which `edgeseq convert` puts at the end."""
    return model.row.bundle.removesuffix(f"-{model.row.lowering}"), model.row.recipe


def _choose(name: str, recipe: str, models: Sequence[MeasuredModel]) -> LoweringChoice:
    fastest, *slower = models
    row = fastest.row
    candidates = [LoweringCandidate(row.bundle, row.lowering, row.p50_ms or 0.0)]
    for model in slower:
        ratio = median_ratio(model.run.queries.total_ns, fastest.run.queries.total_ns)
        candidates.append(
            LoweringCandidate(
                model.row.bundle,
                model.row.lowering,
                model.row.p50_ms or 0.0,
                ratio.estimate,
                (ratio.low, ratio.high),
            )
        )
    return LoweringChoice(name, recipe, row.bundle, row.lowering, tuple(candidates))
