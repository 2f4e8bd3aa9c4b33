"""Successive halving: which trainings are ended early, by their scores after each epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence

KEPT_SHARE = 0.5
MIN_COMPETITORS = 3
"""Nothing is ended for being worse than one or two others."""


def is_rung(epochs: int) -> bool:
    """Whether trainings are compared after so many epochs: 1, 2, 4, 8 …"""
    return epochs > 0 and epochs & (epochs - 1) == 0


def is_ended(scores: Sequence[float], others: Sequence[Sequence[float]]) -> bool:
    """Whether a training with these scores per epoch is worse than the better half of `others`.

    Each is compared by its best score so far, with all that have trained as long: the asynchronous
    form of successive halving (Li et al. 2020, "A System for Massively Parallel Hyperparameter
    Tuning", algorithm 2). It decides after 1, 2, 4, 8 … epochs, in which a score is a fraction.
    """
    epochs = len(scores)
    if not is_rung(epochs):
        return False
    reached = [max(other[:epochs]) for other in others if len(other) >= epochs]
    if len(reached) < MIN_COMPETITORS:
        return False
    best = sorted([*reached, max(scores)], reverse=True)
    return max(scores) < best[math.ceil(KEPT_SHARE * len(best)) - 1]
