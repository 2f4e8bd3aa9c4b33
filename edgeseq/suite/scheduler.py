"""Runs steps that build on each other, as many at a time as the workers have threads.

Dask decides which step runs where and when. This process submits the steps and waits in one thread
for whatever happens, so Ctrl-C, a step's error and all progress arrive in one place.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import queue
import uuid
from collections.abc import Callable, Collection, Sequence
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import msgspec
from distributed import Client, Future, KilledWorker

from edgeseq.errors import ClusterError, StepError
from edgeseq.formats.codec import decode_json
from edgeseq.formats.drafts import temporary_folder
from edgeseq.progress import ProgressCallback, ProgressUpdate
from edgeseq.subprocesses.job_processes import JOBS
from edgeseq.suite.cluster import Cluster
from edgeseq.suite.local_cluster import local_client
from edgeseq.suite.placement import ClusterPlacement, LocalPlacement, Placement
from edgeseq.suite.step_tasks import TaskEvent, TaskOutcome, run_task
from edgeseq.suite.steps import Step, StepRecord
from edgeseq.suite.store import Store
from edgeseq.suite.stored_steps import fetch_step

WORKERS = 2
"""Most of a conversion has one thread, so two steps fill two cores; a third would need gigabytes
more of memory and gain little."""
_WRITERS = 8
"""Threads that fetch outputs and write records: most of the time they wait for the disk, which
syncs several files at a time about as fast as one."""
_MEASURE_LAST = -1e6
"""The priority of measuring steps: they begin when no other step can."""


def default_workers() -> int:
    """How many steps run at a time: `WORKERS`, or fewer where there are fewer cores."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux alone has it
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return min(WORKERS, cores)


def run_steps(
    steps: Sequence[Step],
    root: Path,
    *,
    finished: Collection[str],
    progress: Callable[[Step], ProgressCallback],
    on_finished: Callable[[Step, StepRecord], None],
    workers: int | None = None,
    command: Sequence[str] = JOBS,
    cluster: Cluster | None = None,
    store: Store | None = None,
    on_fetched: Callable[[Step, StepRecord], None] = lambda *_: None,
) -> None:
    """Runs `steps`, each in a separate process, as soon as its inputs are there.

    They run in `root`, or on the workers of `cluster`, whose outputs come here through `store`.
    What the store has already is fetched, not run, and told to `on_fetched`.

    One training runs at a time. A measuring step runs alone, and when no other step can begin.

    `finished` are the names of steps that need not be run; `progress(step)` is called when a step
    starts and gives what hears its progress; `on_finished` is called when its record is written.
    `workers` is how many run at a time (`default_workers()` if None), `command` starts a child.

    Raises `StoreError`, `ClusterError`, what the first step that failed raised, `StepError` when a
    step waits for one that is neither finished nor among `steps`, or `KeyboardInterrupt`, after the
    others that ran have been ended; they leave no output and are done again by the next run.
    """
    _check_inputs(steps, finished)
    if store is not None:
        steps = _without_stored(steps, root, store, on_fetched)
    if not steps:
        return
    with contextlib.ExitStack() as stack:
        placement: Placement
        if cluster is None or store is None:
            scratch = stack.enter_context(temporary_folder())
            workers = default_workers() if workers is None else workers
            client = stack.enter_context(local_client(workers, scratch))
            placement = LocalPlacement(root, scratch / "lock", store)
        else:
            client = cluster.client
            placement = ClusterPlacement(root, cluster, store)
        run = _Run(client, placement, tuple(command))
        try:
            run.submit(steps)
            run.wait(progress, on_finished)
        finally:
            run.stop()


def _without_stored(
    steps: Sequence[Step],
    root: Path,
    store: Store,
    on_fetched: Callable[[Step, StepRecord], None],
) -> list[Step]:
    """The steps that the store does not have; the others are fetched."""
    missing = []
    threads = concurrent.futures.ThreadPoolExecutor(_WRITERS)
    try:
        records = threads.map(lambda step: fetch_step(step, root, store), steps)
        for step, record in zip(steps, records, strict=True):
            if record is None:
                missing.append(step)
            else:
                on_fetched(step, record)
    finally:
        threads.shutdown(cancel_futures=True)
    return missing


def _check_inputs(steps: Sequence[Step], finished: Collection[str]) -> None:
    available = {*finished, *(step.name for step in steps)}
    for step in steps:
        if any(needed.name not in available for needed in step.after):
            raise StepError(f"nothing makes what {step.title} needs")


def _measuring_last(steps: Sequence[Step]) -> list[Step]:
    """Every step after those that it builds on, and what measures and builds on that last."""
    by_name = {step.name: step for step in steps}
    graph = {
        step.name: [needed.name for needed in step.after if needed.name in by_name]
        for step in steps
    }
    late: set[str] = set()
    for name in (order := list(TopologicalSorter(graph).static_order())):
        if by_name[name].kind == "measure" or late.intersection(graph[name]):
            late.add(name)
    return [by_name[name] for name in sorted(order, key=late.__contains__)]


class _Writing(NamedTuple):
    """A step whose output and record have been written, or could not be."""

    name: str
    record: concurrent.futures.Future[StepRecord]


class _Run:
    """Steps that were submitted, and the events that they send until they have ended."""

    def __init__(self, client: Client, placement: Placement, command: tuple[str, ...]) -> None:
        self._name = f"run-{uuid.uuid4().hex}"
        self._client = client
        self._placement = placement
        self._command = command
        self._steps: dict[str, Step] = {}
        self._futures: dict[str, Future] = {}
        self._events: queue.SimpleQueue[Future | bytes | _Writing] = queue.SimpleQueue()
        self._writers = concurrent.futures.ThreadPoolExecutor(_WRITERS)
        self._written: set[str] = set()
        client.subscribe_topic(self._name, lambda event: self._events.put(event[1]))

    def submit(self, steps: Sequence[Step]) -> None:
        """Hands the steps to Dask; what measures comes last, so that the others are known then."""
        priorities = {step.name: -float(position) for position, step in enumerate(steps)}
        for step in _measuring_last(steps):
            task = self._placement.task(self._name, step, self._command)
            self._steps[step.name] = step
            self._futures[step.name] = self._client.submit(
                run_task,
                msgspec.json.encode(task),
                [self._futures[needed.name] for needed in step.after if needed.name in priorities],
                key=f"{self._name}-{step.name}",
                priority=priorities[step.name] + (_MEASURE_LAST if step.kind == "measure" else 0),
                **self._placement.options(step),
            )
        for future in list(self._futures.values()):
            future.add_done_callback(self._events.put)

    def wait(
        self,
        progress: Callable[[Step], ProgressCallback],
        on_finished: Callable[[Step, StepRecord], None],
    ) -> None:
        """Waits until all have ended; raises the error of the first that failed."""
        listeners: dict[str, ProgressCallback] = {}
        names = {future.key: name for name, future in self._futures.items()}
        while self._futures:
            try:
                event = self._events.get(timeout=self._placement.check_interval_s)
            except queue.Empty:
                self._placement.check([self._steps[name] for name in self._futures])
                continue
            if isinstance(event, _Writing):
                record = event.record.result()
                del self._futures[event.name]
                on_finished(self._steps[event.name], record)
            elif isinstance(event, bytes):
                told = decode_json(event, TaskEvent)
                if told.outcome is None:
                    self._hear(told, listeners, progress)
                else:
                    self._write(told.name, told.outcome)
            elif (name := names[event.key]) not in self._written:  # it ended, and told nothing
                self._write(name, _outcome(event, self._steps[name]))

    def _write(self, name: str, outcome: TaskOutcome) -> None:
        """Has the record of a step that ended written, once; raises what the step raised."""
        if outcome.failure is not None:
            raise outcome.failure.to_error()
        # Without an answer a step before it failed, whose event is on its way.
        if outcome.answer is not None and name not in self._written:
            self._written.add(name)
            writing = self._writers.submit(self._placement.finish, self._steps[name], outcome)
            writing.add_done_callback(lambda record: self._events.put(_Writing(name, record)))

    def _hear(
        self,
        told: TaskEvent,
        listeners: dict[str, ProgressCallback],
        progress: Callable[[Step], ProgressCallback],
    ) -> None:
        step = self._steps[told.name]
        if told.update is not None:
            listeners[step.name](told.update)
        elif step.name not in listeners:
            listeners[step.name] = progress(step)
        else:
            note = "its worker was lost: runs on another"
            listeners[step.name](ProgressUpdate(step.title, note=note))

    def stop(self) -> None:
        """Ends what still runs; what ended is written."""
        if self._futures:
            self._placement.stop(self._name)
        self._writers.shutdown(cancel_futures=True)


def _outcome(future: Future, step: Step) -> TaskOutcome:
    """The outcome of a task that has ended; raises `ClusterError` where Dask lost it."""
    if future.status in ("cancelled", "lost"):
        raise ClusterError(
            "the scheduler was lost",
            where=step.title,
            fix="start it and its workers again; finished steps are kept: run it again to resume",
        )
    try:
        return decode_json(future.result(), TaskOutcome)
    except KilledWorker as error:
        raise ClusterError(
            "every worker that ran this step was lost",
            where=step.title,
            found=f"{error.last_worker.address} at last",
            fix="look there for memory that ran out; run it again to resume",
        ) from error
    except Exception as error:  # what Dask or a worker without edgeseq raised
        raise ClusterError(
            "a worker could not run this step", where=step.title, found=str(error)
        ) from error
