"""Runs steps that build on each other, two at a time where that is possible.

One thread starts the steps' processes and waits for messages of any of them, so Ctrl-C, a step's
error and all progress arrive in one place.
"""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import msgspec

from edgeseq.errors import StepError
from edgeseq.progress import ProgressCallback
from edgeseq.subprocesses.job_processes import JOBS, STEP_GRACE_S, JobProcess, JobRequest, stop_all
from edgeseq.suite.steps import Step, StepRecord

WORKERS = 2
"""Most of a conversion has one thread, so two steps fill two cores; a third would need gigabytes
more of memory and gain little."""


class _ActiveStep(msgspec.Struct, frozen=True):
    step: Step
    child: JobProcess
    progress: ProgressCallback
    began_unix_s: float
    began_s: float


def default_workers() -> int:
    """How many steps run at a time: `WORKERS`, or fewer where there are fewer cores."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux alone has it
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return min(WORKERS, cores)


def next_step(
    waiting: Sequence[Step], running: Collection[Step], finished: Collection[str]
) -> Step | None:
    """The step of `waiting` to start now beside `running`; None: wait until one of those ends.

    It is the first one whose inputs are there (`finished` has their steps' names). One training
    runs at a time. A measuring step runs alone, and only when no other step can be started.
    """
    if any(step.kind == "measure" for step in running):
        return None
    for step in sorted(waiting, key=lambda step: step.kind == "measure"):
        if any(needed.name not in finished for needed in step.after):
            continue
        if step.kind == "measure" and running:
            continue
        if step.kind == "train" and any(active.kind == "train" for active in running):
            continue
        return step
    return None


def run_steps(
    steps: Sequence[Step],
    root: Path,
    *,
    finished: Collection[str],
    progress: Callable[[Step], ProgressCallback],
    on_finished: Callable[[Step, StepRecord], None],
    workers: int | None = None,
    command: Sequence[str] = JOBS,
) -> None:
    """Runs `steps`, each in a process started in `root`, as soon as its inputs are there.

    `finished` are the names of steps that need not be run; `progress(step)` is called when a step
    starts and gives what hears its progress; `on_finished` is called when its record is written.
    `workers` is how many run at a time (`default_workers()` if None), `command` starts a child.

    Raises what the first step that failed raised, `StepError` when a step waits for one that is
    neither finished nor among `steps`, or `KeyboardInterrupt`, after the others that
    ran have been ended; they leave no output and are done again by the next run.
    """
    workers = default_workers() if workers is None else workers
    waiting = list(steps)
    done = set(finished)
    running: dict[int, _ActiveStep] = {}
    with selectors.DefaultSelector() as selector:
        try:
            while waiting or running:
                while len(running) < workers:
                    step = next_step(waiting, [active.step for active in running.values()], done)
                    if step is None:
                        break
                    waiting.remove(step)
                    active = _start(step, root, progress(step), command)
                    running[active.child.fileno()] = active
                    selector.register(active.child, selectors.EVENT_READ)
                if not running:
                    raise StepError(f"nothing makes what {waiting[0].title} needs")
                for key, _ in selector.select():
                    active = running[key.fd]
                    answered = active.child.poll(active.progress)
                    if answered is None:
                        continue
                    selector.unregister(active.child)
                    active.child.stop(grace_s=STEP_GRACE_S)
                    del running[key.fd]
                    record = active.step.finish(
                        root,
                        began_unix_s=active.began_unix_s,
                        seconds=time.monotonic() - active.began_s,
                        answer=answered.answer,
                        peak=answered.peak_memory_bytes,
                    )
                    done.add(active.step.name)
                    on_finished(active.step, record)
        finally:
            stop_all(active.child for active in running.values())


def _start(
    step: Step, root: Path, progress: ProgressCallback, command: Sequence[str]
) -> _ActiveStep:
    began_unix_s, began_s = time.time(), time.monotonic()
    log = root / "log" / f"{step.name}.log"
    job = JobRequest(
        step.job,
        step.arguments,
        journal=str(step.journal_path(Path())),
        output=str(step.relative_output(root)),
    )
    child = JobProcess(job, log=log, cwd=root, command=command)
    return _ActiveStep(step, child, progress, began_unix_s, began_s)
