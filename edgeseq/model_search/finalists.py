"""Which of the trained models are measured in full and scored on the test split."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgeseq.formats.search_record import SearchTrial
from edgeseq.model_search.candidates import Candidate
from edgeseq.reporting.budgets import Budget
from edgeseq.reporting.search_section import COST_NAMES, frontier


def candidate_of(trial: SearchTrial) -> Candidate:
    """The candidate of a trial."""
    return Candidate(
        trial.arch, trial.recipe, trial.lowering, trial.settings, is_distilled=trial.is_distilled
    )


def choose_finalists(
    trials: Sequence[SearchTrial], budget: Budget, *, count: int
) -> list[SearchTrial]:
    """The model with the best development score, the cheapest of those that lose no more points
    than the budget allows, and the next best ones, of `count` different models in all.

    Cheapest is the smallest geometric mean of memory, p95 and size, as in a verdict. Only models
    that no other one beats in score and all three costs are chosen.
    """
    ranked = frontier(trials)
    different = list({trial.model: trial for trial in reversed(ranked)}.values())[::-1]
    if not different:
        return []
    lowest = _score(different[0]) - budget.drop_points / 100
    close = sorted((t for t in different[1:] if _score(t) >= lowest), key=_cost)
    others = [trial for trial in different[1:] if _score(trial) < lowest]
    return [different[0], *close, *others][:count]


def _score(trial: SearchTrial) -> float:
    return trial.dev_score or 0.0


def _cost(trial: SearchTrial) -> float:
    costs = [cost for name in COST_NAMES if (cost := trial.costs.get(name))]
    return math.fsum(map(math.log, costs)) / max(len(costs), 1)
