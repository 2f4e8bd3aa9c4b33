"""A step of a suite as a task of a Dask worker: its process is started and watched in a thread.

Tasks take and give JSON, and a step's failure is an answer: Dask then passes bytes on, and only
what it does itself (a worker that is gone) is an error to it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import distributed
import msgspec

from edgeseq.errors import EdgeseqError, StepError, StoreError
from edgeseq.formats.codec import decode_json
from edgeseq.formats.drafts import temporary_folder
from edgeseq.progress import ProgressCallback, ProgressUpdate
from edgeseq.subprocesses.job_processes import (
    JOBS,
    STEP_GRACE_S,
    JobFailure,
    JobProcess,
    JobRequest,
    JobResult,
)
from edgeseq.suite.outputs import list_output
from edgeseq.suite.store import Store, StoredRecord, StoreKind
from edgeseq.suite.training_states import kept_training_state
from edgeseq.suite.workers import check_version, worker_environment

PROGRESS_INTERVAL_S = 0.1
"""Less often than a training reports: each report passes through the scheduler."""


class StoredWork(msgspec.Struct, frozen=True):
    """What a worker elsewhere takes from the store at `store`, and the key of what it puts there.

    `inputs` are kinds and keys of the entries that the step reads.
    """

    store: str
    key: str
    inputs: tuple[tuple[StoreKind, str], ...]
    edgeseq_version: str
    keeps_state: bool


class StepTask(msgspec.Struct, frozen=True):
    """A step to run in the folder `root`, or with `stored` in a folder of the worker.

    `run` names the run of the suite that it belongs to; `command` starts the step's process; `lock`
    is a file that all steps of a run on a machine share (`_machine_lock`).
    """

    run: str
    name: str
    job: JobRequest
    is_alone: bool
    root: str
    log: str
    lock: str
    command: tuple[str, ...]
    stored: StoredWork | None = None


class TaskOutcome(msgspec.Struct, frozen=True):
    """The end of a task.

    The step's answer, or its failure; neither where a step before it failed.
    """

    began_unix_s: float
    seconds: float
    answer: dict[str, object] | None = None
    peak_memory_bytes: int | None = None
    failure: JobFailure | None = None


class TaskEvent(msgspec.Struct, frozen=True):
    """What a task tells the client: that the step `name` began, its progress, or its outcome."""

    name: str
    update: ProgressUpdate | None = None
    outcome: TaskOutcome | None = None


def run_task(content: bytes, inputs: Sequence[bytes]) -> bytes:
    """Runs the step in `content` (a `StepTask`) if the steps before it ended well.

    Args:
        content: The task as JSON.
        inputs: The outcomes of the steps before it.

    Returns:
        A `TaskOutcome` as JSON.
    """
    task = decode_json(content, StepTask)
    outcome = TaskOutcome(time.time(), 0.0)
    if all(decode_json(before, TaskOutcome).answer is not None for before in inputs):
        outcome = _run(task)
        # Fetching results from workers takes a round trip for each; events just arrive.
        _send(task, TaskEvent(task.name, outcome=outcome))
    return msgspec.json.encode(outcome)


def _run(task: StepTask) -> TaskOutcome:
    began_unix_s, began_s = time.time(), time.monotonic()
    try:
        with _machine_lock(Path(task.lock or _cluster_lock()), alone=task.is_alone):
            began_unix_s, began_s = time.time(), time.monotonic()
            progress = _progress_sender(task)
            if task.stored is None:
                result = RUNNING_STEPS.run(task, progress)
            else:
                result = _run_stored(task, task.stored, progress)
    except EdgeseqError as error:
        failure = JobFailure.of(error)
        if task.stored is not None:
            where = ": ".join(filter(None, (f"worker {_worker_name()}", failure.where)))
            failure = msgspec.structs.replace(failure, where=where)
        return TaskOutcome(began_unix_s, time.monotonic() - began_s, failure=failure)
    seconds = time.monotonic() - began_s
    return TaskOutcome(began_unix_s, seconds, result.answer, result.peak_memory_bytes)


@contextmanager
def _machine_lock(path: Path, *, alone: bool) -> Iterator[None]:
    """Waits until no measuring step runs on this machine, or (`alone`) no other step at all."""
    with path.open("ab") as file:  # a killed process gives it back
        fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield


def _cluster_lock() -> str:
    """The file that all workers of this user and scheduler share on this machine."""
    scheduler = hashlib.sha256(distributed.get_worker().scheduler.address.encode()).hexdigest()
    # Workers of one machine may have separate temporary folders.
    folder = next(filter(Path.is_dir, map(Path, ("/dev/shm", "/tmp"))), Path.home())  # noqa: S108
    return str(folder / f"edgeseq-cluster-{os.getuid()}-{scheduler[:16]}.lock")


def _progress_sender(task: StepTask) -> ProgressCallback:
    """Sends progress to the client, and first that the step begins."""
    last_s = float("-inf")

    def send(update: ProgressUpdate) -> None:
        nonlocal last_s
        if update.done == update.total or time.monotonic() - last_s >= PROGRESS_INTERVAL_S:
            last_s = time.monotonic()
            _send(task, TaskEvent(task.name, update))

    _send(task, TaskEvent(task.name))
    return send


def _send(task: StepTask, event: TaskEvent) -> None:
    distributed.get_worker().log_event(task.run, msgspec.json.encode(event))


def _worker_name() -> str:
    return str(distributed.get_worker().address)


def _run_stored(task: StepTask, work: StoredWork, progress: ProgressCallback) -> JobResult:
    """Runs a step in a folder of this worker, with its inputs from the store and its output to it.

    Another worker may have put the output there before this one: then it is not run.
    """
    check_version(work.edgeseq_version)
    store = Store(work.store)
    stored = store.read_record("steps", work.key)
    if stored is not None:
        return JobResult(stored.answer, stored.peak_memory_bytes)
    home = Path(distributed.get_worker().local_directory)
    with temporary_folder(home) as folder:
        for kind, key in work.inputs:
            if store.fetch(kind, key, folder) is None:
                raise StoreError("the store lost an input", where=work.store, found=key)
        began_unix_s, began_s = time.time(), time.monotonic()
        here = msgspec.structs.replace(
            task,
            root=str(folder),
            log=str(home / "edgeseq-logs" / Path(task.log).name),
            job=_with_data_dir(task.job),
            command=task.command or JOBS,
        )
        with contextlib.ExitStack() as stack:
            if work.keeps_state:
                stack.enter_context(kept_training_state(store, work.key, folder, task.job.output))
            result = RUNNING_STEPS.run(here, progress, worker_environment())
        record = StoredRecord(
            files=list_output(folder / task.job.output, folder, {}),
            answer=result.answer,
            began_unix_s=began_unix_s,
            seconds=time.monotonic() - began_s,
            peak_memory_bytes=result.peak_memory_bytes,
            worker=_worker_name(),
        )
        store.put("steps", work.key, record, folder)
    if work.keeps_state:
        store.remove("states", work.key)
    return result


def _with_data_dir(job: JobRequest) -> JobRequest:
    """The job with this worker's folder of local copies of data sets."""
    data = job.arguments.get("data")
    if not isinstance(data, dict):
        return job
    data = {**data, "data_dir": os.environ.get("EDGESEQ_DATA")}
    return msgspec.structs.replace(job, arguments={**job.arguments, "data": data})


class RunningSteps:
    """The steps that run in threads of this process, so that another thread can end them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._processes: dict[JobProcess, str] = {}
        self._stopped: set[str] = set()

    def run(
        self, task: StepTask, progress: ProgressCallback, env: Mapping[str, str] | None = None
    ) -> JobResult:
        """Runs a step; raises what it raised, and `StepError` where its run was stopped."""
        with self._changed:
            if task.run in self._stopped:
                raise StepError("the run was stopped", where=task.name)
            process = JobProcess(
                task.job,
                log=Path(task.log),
                cwd=Path(task.root),
                command=task.command,
                env=env,
            )
            self._processes[process] = task.run
        try:
            while (result := process.poll(progress)) is None:
                pass
        finally:
            process.stop(grace_s=STEP_GRACE_S)
            with self._changed:
                del self._processes[process]
                self._changed.notify_all()
        return result

    def stop(self, run: str, *, grace_s: float = STEP_GRACE_S) -> None:
        """Ends the steps of a run, those that would begin too, and waits for their ends."""
        with self._changed:
            self._stopped.add(run)
            for process in self._of(run):
                process.interrupt()
            if not self._changed.wait_for(lambda: not self._of(run), grace_s):
                for process in self._of(run):
                    process.kill()
                self._changed.wait_for(lambda: not self._of(run), grace_s)

    def _of(self, run: str) -> list[JobProcess]:
        return [process for process, of in self._processes.items() if of == run]


RUNNING_STEPS = RunningSteps()


def stop_soon(run: str) -> None:
    """Ends the steps of a run on this worker, without holding up its loop."""
    threading.Thread(target=RUNNING_STEPS.stop, args=(run,), daemon=True).start()
