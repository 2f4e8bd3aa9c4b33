"""Where the steps of a run are: in this process's folder, or on the workers of a cluster."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any, Protocol

import msgspec

from edgeseq.errors import ClusterError, StoreError
from edgeseq.subprocesses.job_processes import JOBS
from edgeseq.suite.cluster import Cluster
from edgeseq.suite.local_cluster import TRAINING
from edgeseq.suite.step_process import log_path, step_request
from edgeseq.suite.step_tasks import RUNNING_STEPS, StepTask, TaskOutcome, stop_soon
from edgeseq.suite.steps import Step, StepRecord
from edgeseq.suite.store import Store
from edgeseq.suite.stored_steps import InputUploads, fetch_step, store_step

LOST_S = 120.0
"""How long a run waits for a worker to come back that it cannot do without."""


class Placement(Protocol):
    """What the scheduler asks of a place where steps run."""

    @property
    def check_interval_s(self) -> float | None:
        """How often to `check`; None: never."""

    def options(self, step: Step) -> dict[str, Any]:
        """What Dask is told of a step: resources, and workers."""

    def task(self, run: str, step: Step, command: tuple[str, ...]) -> StepTask:
        """The step as a task of `run`."""

    def finish(self, step: Step, outcome: TaskOutcome) -> StepRecord:
        """Writes the record of a step that ended, with its output in the suite's folder."""

    def check(self, unfinished: Collection[Step]) -> None:
        """Raises `ClusterError` where these steps cannot end any more; asked at intervals."""

    def stop(self, run: str) -> None:
        """Ends what still runs of `run`."""


class LocalPlacement:
    """The suite's output folder, in which the steps run; a store gets what they made."""

    check_interval_s = None

    def __init__(self, root: Path, lock: Path, store: Store | None) -> None:
        self._root = root
        self._lock = lock
        self._store = store

    def options(self, step: Step) -> dict[str, Any]:
        return {"resources": {TRAINING: 1}} if step.kind == "train" else {}

    def task(self, run: str, step: Step, command: tuple[str, ...]) -> StepTask:
        request = step_request(step, self._root)
        if self._store is not None and "teacher_outputs" in request.arguments:
            arguments = {**request.arguments, "teacher_outputs": self._store.url}
            request = msgspec.structs.replace(request, arguments=arguments)
        return StepTask(
            run=run,
            name=step.name,
            job=request,
            is_alone=step.kind == "measure",
            root=str(self._root),
            log=str(log_path(step, self._root)),
            lock=str(self._lock),
            command=command,
        )

    def finish(self, step: Step, outcome: TaskOutcome) -> StepRecord:
        record = step.finish(
            self._root,
            began_unix_s=outcome.began_unix_s,
            seconds=outcome.seconds,
            answer=outcome.answer or {},
            peak=outcome.peak_memory_bytes,
        )
        if self._store is not None:
            store_step(step, record, self._root, self._store)
        return record

    def check(self, unfinished: Collection[Step]) -> None:
        """This process's threads are not lost."""

    def stop(self, run: str) -> None:
        RUNNING_STEPS.stop(run)


class ClusterPlacement:
    """The workers of a cluster, which take inputs from the store and put outputs there."""

    check_interval_s = 10.0

    def __init__(self, root: Path, cluster: Cluster, store: Store) -> None:
        self._root = root
        self._cluster = cluster
        self._store = store
        self._uploads = InputUploads(store)
        self._lost_since_s: float | None = None

    def options(self, step: Step) -> dict[str, Any]:
        if step.kind != "measure":
            return {}
        if boards := _boards(step):
            self._cluster.check_boards(boards)
            return {"resources": dict.fromkeys(boards, 1)}
        return {"workers": self._cluster.measuring_workers, "allow_other_workers": False}

    def task(self, run: str, step: Step, command: tuple[str, ...]) -> StepTask:
        for needed in step.after:
            record = needed.finished(self._root)
            if record is not None:
                store_step(needed, record, self._root, self._store)
        request, work = self._uploads.describe(step, step_request(step, self._root))
        return StepTask(
            run=run,
            name=step.name,
            job=request,
            is_alone=step.kind == "measure",
            root="",
            log=log_path(step, self._root).name,
            lock="",
            command=() if command == JOBS else command,  # of the worker's own Python
            stored=work,
        )

    def finish(self, step: Step, outcome: TaskOutcome) -> StepRecord:
        record = fetch_step(step, self._root, self._store)
        if record is None:
            raise StoreError(
                "the store lost what a step made",
                where=self._store.url,
                found=f"nothing of {step.title} after {outcome.seconds:.0f} s",
                fix="check that all machines reach the same store; run it again to resume",
            )
        return record

    def check(self, unfinished: Collection[Step]) -> None:
        present = set(self._cluster.workers())
        here = [step for step in unfinished if step.kind == "measure" and not _boards(step)]
        is_lost = not present or (
            here and not present.intersection(self._cluster.measuring_workers)
        )
        if not is_lost:
            self._lost_since_s = None
            return
        now_s = time.monotonic()
        self._lost_since_s = now_s if self._lost_since_s is None else self._lost_since_s
        if now_s - self._lost_since_s > LOST_S:
            raise ClusterError(
                "the workers that measure were lost" if present else "all workers were lost",
                where=self._cluster.address,
                fix="start workers; finished steps are kept: run it again to resume",
            )

    def stop(self, run: str) -> None:
        """What a scheduler that is gone cannot pass on ends with its workers."""
        if self._cluster.client.status == "running":
            with contextlib.suppress(Exception):
                self._cluster.client.run(stop_soon, run, on_error="ignore")


def _boards(step: Step) -> list[str]:
    return [name for name in step.arguments.get("on", ()) if name != "local"]
