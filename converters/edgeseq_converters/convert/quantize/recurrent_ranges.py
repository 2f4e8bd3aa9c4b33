"""Ranges of a network's tensors on real texts: what a static quantization is set by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgeseq.errors import ConversionError
from edgeseq_converters.models.arrays import FloatArray, ModelInput
from edgeseq_converters.models.network import Network
from edgeseq_converters.models.reference_recurrent import answers

PERCENTILE = 99.99
"""Of all values of a tensor over the calibration texts. The very largest ones are left out: one
outlier would cost all others their resolution, and more texts would make it worse (minimum and
maximum only grow)."""
_KEPT_VALUES = 200_000


@dataclass(frozen=True)
class Ranges:
    """Smallest and largest value by tensor name (the names of `network_reference.answers`)."""

    bounds: dict[str, tuple[float, float]]

    def of(self, *names: str) -> tuple[float, float]:
        """The range that covers all of these tensors."""
        bounds = [self.bounds[name] for name in names]
        return min(low for low, _ in bounds), max(high for _, high in bounds)

    def largest(self, *names: str) -> float:
        """The largest magnitude of these tensors."""
        low, high = self.of(*names)
        return max(-low, high)


def calibrate(network: Network, texts: Sequence[ModelInput]) -> Ranges:
    """Runs the float network over `texts` and takes the ranges of its tensors: from
    the (100 − `PERCENTILE`)th to the `PERCENTILE`th percentile.

    Raises `ConversionError` without texts.
    """
    if not texts:
        raise ConversionError(
            "a static recipe needs texts to calibrate on",
            where=network.name,
            found="none",
            fix="name data with --data, or choose a dynamic recipe",
        )
    observed: dict[str, list[FloatArray]] = {}
    generator = np.random.default_rng(0)

    def observe(name: str, values: FloatArray) -> None:
        flat = values.reshape(-1)
        if flat.size > _KEPT_VALUES:
            flat = generator.choice(flat, _KEPT_VALUES, replace=False)
        observed.setdefault(name, []).append(flat)

    answers(network, texts, observe)
    bounds = {}
    for name, parts in observed.items():
        values = np.concatenate(parts)
        low, high = np.percentile(values, [100 - PERCENTILE, PERCENTILE])
        bounds[name] = (float(low), float(high))
    return Ranges(bounds)
