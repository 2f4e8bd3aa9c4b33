"""Whether the numbers can be trusted: findings, each with its reason.

`invalid` excludes a run from every verdict, `warning` and `note` are shown with it. The functions
only use recorded observations, so each can be tested without a machine that misbehaves.
"""

from edgeseq_benchmarks.bench.validity.machine_checks import machine_findings
from edgeseq_benchmarks.bench.validity.prediction_checks import (
    golden_findings,
    leak_findings,
    prediction_findings,
    token_findings,
    word_findings,
)
from edgeseq_benchmarks.bench.validity.timing_checks import (
    batch_findings,
    clock_findings,
    settings_findings,
    thread_findings,
    timing_findings,
)

__all__ = [
    "batch_findings",
    "clock_findings",
    "golden_findings",
    "leak_findings",
    "machine_findings",
    "prediction_findings",
    "settings_findings",
    "thread_findings",
    "timing_findings",
    "token_findings",
    "word_findings",
]
