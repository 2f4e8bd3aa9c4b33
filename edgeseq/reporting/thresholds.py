"""What `edgeseq compare --fail-on` understands.

    METRIC>AMOUNT        several, separated by blanks or commas: "p95>10% memory>5MB score>1pt"

A threshold fails when NEW is *worse* than OLD by more than the amount, whichever direction is worse
for that metric. The amount is `N%` of OLD's value, or a number with the metric's unit: ns, us, ms
or s for times (p50, p95, cold_start), B, kB, MB, KiB, MiB … for bytes (memory, peak_memory,
model_memory, size), and `pt` for points of the score, which takes no percentage: 1 % of 80 % could
be either. `memory` is working memory, and the peak of the process where neither result has it;
`peak_memory` is that peak.
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from edgeseq.errors import InputError
from edgeseq.reporting.format import Unit
from edgeseq.units import parse_bytes, parse_duration_ms

MetricName = Literal[
    "p50", "p95", "cold_start", "memory", "peak_memory", "model_memory", "size", "score"
]

UNITS: dict[MetricName, Unit] = {
    "p50": "ms",
    "p95": "ms",
    "cold_start": "ms",
    "memory": "bytes",
    "peak_memory": "bytes",
    "model_memory": "bytes",
    "size": "bytes",
    "score": "points",
}
_NUMBER = r"(?P<number>\d+(?:\.\d*)?|\.\d+)"
_WHERE = "--fail-on"


class RegressionThreshold(msgspec.Struct, frozen=True):
    """How much worse a metric may get: `amount` is a fraction of the old value if `relative`,
    else in the metric's unit (ms, bytes, points); `text` is its source: `p95>10%`."""

    metric: MetricName
    amount: float
    relative: bool
    text: str = ""


def parse_thresholds(text: str) -> tuple[RegressionThreshold, ...]:
    """The thresholds in `text`; raises `InputError` for anything else, and for none."""
    words = re.sub(r"\s*>\s*", ">", text).replace(",", " ").split()
    # "10 %" and "5 MB" are one amount.
    joined = re.sub(r"(?<=[\d.]) (?=[%a-zA-Zµ])", "", " ".join(words)).split()
    if not joined:
        raise InputError("is empty", where=_WHERE, expected="like p95>10%")
    return tuple(_parse(word) for word in joined)


def _parse(word: str) -> RegressionThreshold:
    name, sign, amount = word.partition(">")
    metric = next((metric for metric in UNITS if metric == name), None)
    if not sign or metric is None:
        raise InputError(
            "is not METRIC>AMOUNT",
            where=_WHERE,
            found=repr(word),
            expected=f"like p95>10%, of {', '.join(UNITS)}",
        )
    unit = UNITS[metric]
    if match := re.fullmatch(rf"{_NUMBER}%", amount):
        if unit == "points":
            raise InputError(
                "takes points, not a percentage",
                where=_WHERE,
                found=repr(word),
                expected="score>1pt",
            )
        return RegressionThreshold(metric, float(match["number"]) / 100, relative=True, text=word)
    if unit == "points":
        match = re.fullmatch(rf"{_NUMBER}(?:pt|pts|points?)", amount)
        if match is None:
            raise InputError(
                "is not a number of points", where=_WHERE, found=repr(word), expected="score>1pt"
            )
        return RegressionThreshold(metric, float(match["number"]), relative=False, text=word)
    if re.fullmatch(rf"{_NUMBER}", amount):
        raise InputError(
            "has no unit", where=_WHERE, found=repr(word), expected=f"{metric}>10% or with a unit"
        )
    parse = parse_bytes if unit == "bytes" else parse_duration_ms
    return RegressionThreshold(
        metric, float(parse(amount, where=_WHERE)), relative=False, text=word
    )
