"""The smallest recipe that loses little enough: `--recipe auto`."""

from __future__ import annotations

import math
from typing import Protocol

import msgspec

from edgeseq.errors import ConversionError, RefusedError
from edgeseq.formats.bundle import BundleManifest, Fidelity, RecipeName

ORDER: tuple[RecipeName, ...] = (
    "dynamic_wi4_ei4_afp32",
    "dynamic_wi4_afp32",
    "static_wi8_ai8",
    "dynamic_wi8_afp32",
    "weight_only_wi8_afp32",
    "static_wi8_ai16",
    "float16",
    "float32",
)
"""From the smallest file to the largest; of equal sizes the faster one on most processors first."""
KEPT_FRACTION = 0.99
"""Of the float model's score that must be kept where no number of points is named: the rule of
MLPerf Inference's accuracy targets (99 % of the reference)."""


class Search(msgspec.Struct, frozen=True):
    """What was kept, and why each smaller recipe was refused."""

    manifest: BundleManifest
    refused: dict[str, str]


def check_drop(fidelity: Fidelity, max_drop: float | None, *, where: str) -> None:
    """Raises `RefusedError` when the model scores too far below the float one.

    `max_drop` is in points of the task's metric (percent), on the same development texts; without
    it the model must keep `KEPT_FRACTION` of the float model's score.
    """
    if fidelity.score is None or fidelity.float_score is None:
        return
    lost = 100 * (fidelity.float_score - fidelity.score)
    allowed = max_drop
    if allowed is None:
        allowed = 100 * (1 - KEPT_FRACTION) * fidelity.float_score
    if lost > allowed:
        raise RefusedError(
            f"loses {lost:.2f} points of {100 * fidelity.float_score:.2f} on "
            f"{fidelity.n_examples} development texts",
            where=where,
            expected=f"at most {allowed:.2f}",
            fix="choose a finer --recipe, or allow more with --max-drop",
        )


def check_perplexity(fidelity: Fidelity, max_drop: float | None, *, where: str) -> None:
    """Raises `RefusedError` when the model's perplexity is too far above the float one's.

    A point is a hundredth of its logarithm, about a percent
    (`edgeseq.tasks.perplexity`); without
    `max_drop` one is allowed, as `KEPT_FRACTION` allows a percent of other scores.
    """
    if not fidelity.score or not fidelity.float_score:
        return
    lost = 100 * math.log(fidelity.score / fidelity.float_score)
    allowed = 100 * (1 - KEPT_FRACTION) if max_drop is None else max_drop
    if lost > allowed:
        raise RefusedError(
            f"loses {lost:.2f} points of perplexity, {fidelity.score:.1f} against "
            f"{fidelity.float_score:.1f} on {fidelity.n_examples} words of development text",
            where=where,
            expected=f"at most {allowed:.2f}",
            fix="choose a finer --recipe, or allow more with --max-drop",
        )


class Convert(Protocol):
    """Makes a bundle in a recipe, or raises."""

    def __call__(self, *, recipe: str) -> BundleManifest: ...


def search(convert: Convert, available: tuple[str, ...]) -> Search:
    """Tries `convert` with the recipes in `ORDER` that are `available`; the first that does not
    raise is kept.

    Raises `RefusedError` with every reason when none is.
    """
    refused: dict[str, str] = {}
    for name in ORDER:
        if name not in available:
            continue
        try:
            return Search(convert(recipe=name), refused)
        except (ConversionError, RefusedError) as reason:
            refused[name] = str(reason)
    raise RefusedError(
        "no recipe is good enough",
        found="; ".join(refused.values()),
        fix="allow more with --max-drop",
    )
