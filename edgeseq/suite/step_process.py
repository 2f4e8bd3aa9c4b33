"""The process of a step: what it is told, and the step without others beside it."""

from __future__ import annotations

import time
from pathlib import Path

from edgeseq.progress import ProgressCallback
from edgeseq.subprocesses.job_processes import JobRequest, run_job
from edgeseq.suite.steps import Step, StepRecord


def step_request(step: Step, root: Path) -> JobRequest:
    """What the step's process, which starts in `root`, is told."""
    return JobRequest(
        step.job,
        step.arguments,
        journal=str(step.journal_path(Path())),
        output=str(step.relative_output(root)),
    )


def log_path(step: Step, root: Path) -> Path:
    """Where the step's process logs to."""
    return root / "log" / f"{step.name}.log"


def run_step_alone(step: Step, root: Path, progress: ProgressCallback) -> StepRecord:
    """Runs one step and writes its record; raises what `run_job` raises, and `OutputError`."""
    began_unix_s, began_s = time.time(), time.monotonic()
    result = run_job(
        step_request(step, root), log=log_path(step, root), cwd=root, progress=progress
    )
    return step.finish(
        root,
        began_unix_s=began_unix_s,
        seconds=time.monotonic() - began_s,
        answer=result.answer,
        peak=result.peak_memory_bytes,
    )
