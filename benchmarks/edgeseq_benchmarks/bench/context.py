"""What all stages of a benchmark need: settings, timeouts, progress and checkpoints."""

from __future__ import annotations

from typing import NamedTuple

from edgeseq.formats.result import Settings
from edgeseq.progress import ProgressCallback, ProgressUpdate, no_progress
from edgeseq_benchmarks.bench.machine import Machine
from edgeseq_benchmarks.bench.partial_result import CheckpointWriter


class Timeouts(NamedTuple):
    """How long a measured process may be silent before it counts as hung."""

    load_s: float = 180.0
    answer_s: float = 120.0
    # In addition to 20 times the likely duration, by the slowest query so far.
    slice_s: float = 60.0


class BenchContext(NamedTuple):
    """The settings of a run, the machine that it measures on, and where its progress goes."""

    settings: Settings
    machine: Machine
    timeouts: Timeouts = Timeouts()
    progress: ProgressCallback = no_progress
    checkpoints: CheckpointWriter | None = None

    def report(self, stage: str, done: float, total: float, note: str = "") -> None:
        """Reports progress between two measurements, and saves a checkpoint if one is due."""
        update = ProgressUpdate(stage, done, total, note)
        self.progress(update)
        if self.checkpoints is not None:
            self.checkpoints.save_if_due(update)
