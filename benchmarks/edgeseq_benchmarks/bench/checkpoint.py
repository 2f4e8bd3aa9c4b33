"""What a benchmark has measured so far, given away while it goes on: a board may be lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from edgeseq.formats.result import Finding, Result
from edgeseq.progress import Progress, Report
from edgeseq_benchmarks.bench.subject import Subject

Keep = Callable[[Result], None]
"""Takes an unfinished result; what it does happens between two slices, never beside one."""

# Writing it takes a moment, and the files that the next slice reads out of the page cache.
KEEP_INTERVAL_S = 60.0


def keeping(
    report: Report,
    keep: Keep,
    made: Callable[[Sequence[Finding]], Result],
    subjects: Sequence[Subject],
    *,
    interval_s: float,
) -> Report:
    """A `report` that hands `keep` what there is, once a model has been loaded.

    It does so at most every `interval_s`. `made` makes a result of what there is and the
    findings that it is given.
    """
    kept_at = time.monotonic()

    def report_and_keep(progress: Progress, /) -> None:
        nonlocal kept_at
        report(progress)
        if time.monotonic() - kept_at < interval_s:
            return
        if any(subject.loaded is not None for subject in subjects):
            keep(made((_unfinished(progress),)))
            kept_at = time.monotonic()

    return report_and_keep


def _unfinished(progress: Progress) -> Finding:
    far = f"{progress.done:g} of {progress.total:g}" if progress.total else "begun"
    return Finding(
        "unfinished",
        "invalid",
        f"the run was not finished: measured as far as {progress.stage} ({far})",
    )
