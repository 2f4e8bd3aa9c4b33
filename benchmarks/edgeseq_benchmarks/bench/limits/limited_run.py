"""One model inside one set of limits: it works, slows down, hangs or is killed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from edgeseq.errors import BundleError, DeviceError
from edgeseq.formats.bundle import BundleFiles
from edgeseq.formats.memory_limits import LimitedRun, LimitedStatus, LimitPurpose
from edgeseq_benchmarks.bench import protocol
from edgeseq_benchmarks.bench.limits.cgroup import Hierarchy
from edgeseq_benchmarks.bench.limits.page_cache import FreshFiles
from edgeseq_benchmarks.bench.limits.unprivileged import LimitedGroup, limited_group
from edgeseq_benchmarks.bench.worker_client import WorkerClient, WorkerLostError, load_command


class PassSoFar(NamedTuple):
    """A pass over the texts: its times in ns and major page faults until now.

    `is_warm` when all texts were run before it, `is_last` when no pass may follow.
    """

    times_ns: Sequence[int]
    major_faults: int
    is_warm: bool
    is_last: bool


class HopelessCheck(Protocol):
    """Decides whether a run can still keep the speed."""

    def __call__(self, current: PassSoFar) -> bool:
        """Whether it cannot, whatever the rest of the pass is like."""


class LimitedTask(NamedTuple):
    """What is run under each limit: the bundle's own files, real test sentences, and bounds.

    The process runs `warmup_texts` in order for up to `warmup_s`, so that what the queries need of
    the files has been read once, then `texts` for up to `duration_s`. While that has major page
    faults it is repeated, up to `passes` times, because pages that were lost while the process
    loaded come back one by one; the last pass counts. The watchdog ends the process when it has not
    loaded within `load_timeout_s`, or is silent for longer than such a time and a half. Once
    `is_hopeless` says so of a pass's times so far, the rest is left out. `cpus` is a limit
    on processor time; `board`, `limitations`, `purpose` and `budget` are for the record;
    `limited_group` makes the group.
    """

    bundle: BundleFiles
    files: FreshFiles
    texts: Sequence[protocol.Text]
    threads: int
    duration_s: float
    load_timeout_s: float
    warmup_texts: Sequence[protocol.Text] = ()
    warmup_s: float = 0.0
    passes: int = 1
    is_hopeless: HopelessCheck | None = None
    cpus: float | None = None
    board: str | None = None
    limitations: str = ""
    purpose: LimitPurpose = "limit"
    budget: str = ""
    limited_group: LimitedGroup = limited_group


class _Observed:
    """What was seen of the process, also if it is lost."""

    def __init__(self) -> None:
        self.phase: protocol.Phase = "started"
        self.status: LimitedStatus = "answered"
        self.message = ""
        self.first_answer_ns: int | None = None
        self.warmup_ns: list[int] = []
        self.total_ns: list[int] = []
        self.faults_before: int | None = None
        self.faults: int | None = None

    @property
    def query_major_faults(self) -> int | None:
        """Major page faults since the warm-up ended."""
        if self.faults is None or self.faults_before is None:
            return None
        return self.faults - self.faults_before


def run_limited(hierarchy: Hierarchy, task: LimitedTask, limit_bytes: int) -> LimitedRun:
    """Runs the model once under `limit_bytes` and the task's limit on processor time.

    The status is `answered` when all texts, or as many as the bounds allow, were run; `killed`
    when the kernel killed the process because memory ran out; `timed_out` when the watchdog ended
    it; `failed` when it ended by itself. `total_ns` has the completed queries in any case.
    """
    eviction = task.files.evict()
    observed = _Observed()
    with task.limited_group(hierarchy, limit_bytes, task.cpus) as group:
        child = WorkerClient(task.bundle.manifest.name, task.files.launcher, wrap=group.wrap)
        try:
            group.started(child.pid)
            _load(child, task, observed)
            _run_passes(child, task, observed)
            observed.phase = "steady"
        except WorkerLostError as lost:
            killed = lost.returncode == -9 and group.oom_kills() > 0
            observed.status = "timed_out" if lost.hung else "killed" if killed else "failed"
            observed.message = str(lost)
        except (BundleError, DeviceError) as refused:
            # "failed to allocate" in the runtime's words is the message.
            observed.status, observed.message = "failed", str(refused)
        finally:
            group.settle()
            child.kill()
        return LimitedRun(
            limit_bytes=limit_bytes,
            status=observed.status,
            phase=observed.phase,
            total_ns=tuple(observed.total_ns),
            major_faults=group.major_faults(),
            peak_bytes=group.peak_bytes(),
            mechanism=group.mechanism,
            files=eviction.description,
            shared_bytes=eviction.shared_bytes,
            message=observed.message,
            cpus=task.cpus,
            throttled_ns=group.throttled_ns(),
            board=task.board,
            limitations="; ".join(part for part in (group.limitations, task.limitations) if part),
            purpose=task.purpose,
            warmup_ns=tuple(observed.warmup_ns),
            query_major_faults=observed.query_major_faults,
            first_answer_ns=observed.first_answer_ns,
            budget=task.budget,
        )


def _load(child: WorkerClient, task: LimitedTask, observed: _Observed) -> None:
    """Loads the model and runs its first text."""
    deadline = time.monotonic() + task.load_timeout_s
    load = load_command(
        task.bundle, child, threads=task.threads, first_text=task.texts[0], announce=True
    )
    child.send(load, deadline=deadline)
    while isinstance(
        reply := child.receive(protocol.Reply, deadline=deadline), protocol.PhaseReached
    ):
        observed.phase = reply.phase
    if isinstance(reply, protocol.ModelLoaded):
        observed.first_answer_ns = reply.total_ns


def _run_passes(child: WorkerClient, task: LimitedTask, observed: _Observed) -> None:
    """Runs the warm-up, then the texts until a pass has no major page faults."""
    for progress in _run_texts(child, task.warmup_texts, task.warmup_s):
        observed.warmup_ns += progress.total_ns
        observed.faults = progress.major_faults
    for number in range(1, task.passes + 1):
        is_warm = number > 1 or len(observed.warmup_ns) >= len(task.warmup_texts)
        observed.warmup_ns += observed.total_ns
        observed.total_ns.clear()
        observed.faults_before = observed.faults
        for progress in _run_texts(child, task.texts, task.duration_s):
            observed.total_ns += progress.total_ns
            observed.faults = progress.major_faults
            faults = observed.query_major_faults or 0
            current = PassSoFar(observed.total_ns, faults, is_warm, number == task.passes)
            if not progress.done and task.is_hopeless and task.is_hopeless(current):
                observed.message = "stopped early: it cannot keep its speed under this limit"
                return
        if not observed.query_major_faults or len(observed.total_ns) < len(task.texts):
            return


def _run_texts(
    child: WorkerClient, texts: Sequence[protocol.Text], duration_s: float
) -> Iterator[protocol.LimitedProgress]:
    """Runs the texts once, for up to `duration_s`; yields what is reported of them."""
    if not texts:
        return
    # A query may be running when the time is over.
    deadline = time.monotonic() + 1.5 * duration_s + 1.0
    child.send(protocol.RunLimited(tuple(texts), round(duration_s * 1e9)), deadline=deadline)
    done = False
    while not done:
        progress = child.receive(protocol.LimitedProgress, deadline=deadline)
        done = progress.done
        yield progress
