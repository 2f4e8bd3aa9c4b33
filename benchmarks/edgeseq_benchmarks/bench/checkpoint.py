"""What a benchmark has measured so far, given away while it goes on: a board may be lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from edgeseq.formats.result import Finding, Result
from edgeseq.progress import ProgressCallback, ProgressUpdate
from edgeseq_benchmarks.bench.subject import Subject

Keep = Callable[[Result], None]
"""Takes an unfinished result; what it does happens between two slices, never beside one."""

# Writing it takes a moment, and the files that the next slice reads out of the page cache.
KEEP_INTERVAL_S = 60.0


def keeping(
    progress: ProgressCallback,
    keep: Keep,
    made: Callable[[Sequence[Finding]], Result],
    subjects: Sequence[Subject],
    *,
    interval_s: float,
) -> ProgressCallback:
    """A progress callback that hands `keep` what there is, once a model has been loaded.

    It does so at most every `interval_s`. `made` makes a result of what there is and the
    findings that it is given.
    """
    kept_at = time.monotonic()

    def report_and_keep(update: ProgressUpdate, /) -> None:
        nonlocal kept_at
        progress(update)
        if time.monotonic() - kept_at < interval_s:
            return
        if any(subject.loaded is not None for subject in subjects):
            keep(made((_unfinished(update),)))
            kept_at = time.monotonic()

    return report_and_keep


def _unfinished(update: ProgressUpdate) -> Finding:
    far = f"{update.done:g} of {update.total:g}" if update.total else "begun"
    return Finding(
        "unfinished",
        "invalid",
        f"the run was not finished: measured as far as {update.stage} ({far})",
    )
