"""What the observations mean for the numbers: findings, each with its reason.

`invalid` takes a run out of every verdict, `warning` and `note` are shown with it. The functions
only look at what was observed, so each can be tested without a machine that misbehaves.
"""

from edgeseq_benchmarks.bench.validity.machine_checks import machine_findings
from edgeseq_benchmarks.bench.validity.prediction_checks import (
    answer_findings,
    golden_findings,
    leak_findings,
    token_findings,
)
from edgeseq_benchmarks.bench.validity.timing_checks import (
    batch_findings,
    clock_findings,
    settings_findings,
    thread_findings,
    timing_findings,
)

__all__ = [
    "answer_findings",
    "batch_findings",
    "clock_findings",
    "golden_findings",
    "leak_findings",
    "machine_findings",
    "settings_findings",
    "thread_findings",
    "timing_findings",
    "token_findings",
]
