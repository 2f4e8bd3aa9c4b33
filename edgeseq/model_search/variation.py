"""Proposals near the best candidate so far: late in a search a step from it gains more than a new
sample of the whole space, whose good part is small."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial

CHANGED_SHARE = 0.35
OTHER_CHOICE_SHARE = 0.25
STEP_SHARE = 0.2


def vary(trial: FrozenTrial, generator: np.random.Generator) -> dict[str, Any]:
    """The parameters of `trial` with a third of its numbers moved by up to about a fifth of their
    range and few of its choices made anew; the family stays."""
    parameters = dict(trial.params)
    for name, distribution in trial.distributions.items():
        if name == "arch":
            continue
        share = (
            OTHER_CHOICE_SHARE
            if isinstance(distribution, CategoricalDistribution)
            else CHANGED_SHARE
        )
        if generator.random() < share:
            parameters[name] = _moved(distribution, parameters[name], generator)
    return parameters


def _moved(distribution: BaseDistribution, value: Any, generator: np.random.Generator) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[generator.integers(len(distribution.choices))]
    if not isinstance(distribution, IntDistribution | FloatDistribution):
        return value
    low, high = float(distribution.low), float(distribution.high)
    place = float(value)
    if distribution.log:
        low, high, place = math.log(low), math.log(high), math.log(place)
    # At least a step of a whole number, or it would stay.
    step = STEP_SHARE * generator.random() * (high - low)
    if isinstance(distribution, IntDistribution) and not distribution.log:
        step = max(step, float(distribution.step))
    place = min(high, max(low, place + generator.normal(scale=step)))
    place = math.exp(place) if distribution.log else place
    if isinstance(distribution, FloatDistribution):
        return min(distribution.high, max(distribution.low, place))
    number = distribution.low + round((place - distribution.low) / distribution.step) * (
        distribution.step
    )
    return min(distribution.high, max(distribution.low, number))
