"""One model inside one set of limits: it works, slows down, hangs or is killed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from edgeseq.errors import BundleError, DeviceError
from edgeseq.formats.bundle import BundleFiles
from edgeseq.formats.memory_limits import LimitedRun, LimitedStatus, LimitPurpose
from edgeseq_benchmarks.bench import protocol
from edgeseq_benchmarks.bench.limits.cgroup import Hierarchy
from edgeseq_benchmarks.bench.limits.page_cache import PrivateFiles
from edgeseq_benchmarks.bench.limits.unprivileged import limited_group
from edgeseq_benchmarks.bench.worker_client import WorkerClient, WorkerLostError, load_command


class LimitedTask(NamedTuple):
    """What is run under each limit: the bundle's own files, real test sentences, and bounds.

    The process runs `texts` in order for up to `duration_s`. The watchdog ends it when it has
    not loaded within `load_timeout_s`, or is silent for longer than `duration_s` and a half.
    `cpus` is a limit on processor time; `board`, `limitations` and `purpose` are for the record.
    """

    bundle: BundleFiles
    files: PrivateFiles
    texts: Sequence[protocol.Text]
    threads: int
    duration_s: float
    load_timeout_s: float
    cpus: float | None = None
    board: str | None = None
    limitations: str = ""
    purpose: LimitPurpose = "limit"


def run_limited(hierarchy: Hierarchy, task: LimitedTask, limit_bytes: int) -> LimitedRun:
    """Runs the model once under `limit_bytes` and the task's limit on processor time.

    The status is `answered` when all texts, or as many as the duration allows, were run; `killed`
    when the kernel killed the process because memory ran out; `timed_out` when the watchdog ended
    it; `failed` when it ended by itself. `total_ns` has the completed queries in any case.
    """
    files = task.files.evict()
    answered_ns: list[int] = []
    phase: protocol.Phase = "started"
    status: LimitedStatus = "answered"
    message = ""
    with limited_group(hierarchy, limit_bytes, task.cpus) as group:
        child = WorkerClient(task.bundle.manifest.name, task.files.launcher, wrap=group.wrap)
        try:
            group.started(child.pid)
            deadline = time.monotonic() + task.load_timeout_s
            child.send(
                load_command(
                    task.bundle,
                    child,
                    threads=task.threads,
                    first_text=task.texts[0],
                    announce=True,
                ),
                deadline=deadline,
            )
            while isinstance(
                reply := child.receive(protocol.Reply, deadline=deadline), protocol.PhaseReached
            ):
                phase = reply.phase
            deadline = time.monotonic() + 1.5 * task.duration_s
            command = protocol.RunLimited(tuple(task.texts), round(task.duration_s * 1e9))
            child.send(command, deadline=deadline)
            done = False
            while not done:
                some = child.receive(protocol.LimitedProgress, deadline=deadline)
                answered_ns += some.total_ns
                done = some.done
            phase = "steady"
        except WorkerLostError as lost:
            killed = lost.returncode == -9 and group.oom_kills() > 0
            status = "timed_out" if lost.hung else "killed" if killed else "failed"
            message = str(lost)
        except (BundleError, DeviceError) as refused:
            # "failed to allocate" in the runtime's words is the message.
            status, message = "failed", str(refused)
        finally:
            group.settle()
            child.kill()
        return LimitedRun(
            limit_bytes=limit_bytes,
            status=status,
            phase=phase,
            total_ns=tuple(answered_ns),
            major_faults=group.major_faults(),
            peak_bytes=group.peak_bytes(),
            mechanism=group.mechanism,
            files=files,
            message=message,
            cpus=task.cpus,
            throttled_ns=group.throttled_ns(),
            board=task.board,
            purpose=task.purpose,
            limitations="; ".join(part for part in (group.limitations, task.limitations) if part),
        )
