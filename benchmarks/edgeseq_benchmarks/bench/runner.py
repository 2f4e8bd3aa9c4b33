"""The benchmark: every bundle measured on this machine, one result record."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from types import FrameType

import msgspec

import edgeseq
from edgeseq.errors import DeviceError, InputError
from edgeseq.formats.bundle import Bundle
from edgeseq.formats.bundle_zip import open_bundle
from edgeseq.formats.result import Finding, Result, RuntimeInfo, Settings
from edgeseq.progress import ProgressCallback, no_progress
from edgeseq.subprocesses import command_text
from edgeseq_benchmarks.bench import optional_stages, stages, validity
from edgeseq_benchmarks.bench.checkpoint import KEEP_INTERVAL_S, Keep, keeping
from edgeseq_benchmarks.bench.limits.boards import find_board
from edgeseq_benchmarks.bench.limits.cgroup import Hierarchy
from edgeseq_benchmarks.bench.limits.page_cache import scratch_folder
from edgeseq_benchmarks.bench.limits.unprivileged import find_limiter
from edgeseq_benchmarks.bench.probes.energy import find_reader
from edgeseq_benchmarks.bench.probes.machine_state import Watch, device_info, is_emulated
from edgeseq_benchmarks.bench.stages import Timeouts
from edgeseq_benchmarks.bench.stream_subject import StreamSubject
from edgeseq_benchmarks.bench.subject import Subject
from edgeseq_benchmarks.bench.validity import stage_checks

# MLPerf Mobile (`assets/tasks.pbtxt`): normal runs take at least 1,024 queries and 60 s.
MIN_QUERIES = 1024
_FULL_DURATION_S = 60.0
_QUICK_DURATION_S = 5.0
_QUIET_S = 0.5
_EMULATED_PATIENCE = 5


def default_settings(
    *,
    quick: bool = False,
    threads: int = 1,
    memory_limits_bytes: Sequence[int] = (),
    memory_curve: bool = False,
    memory_curve_bundles: Sequence[str] = (),
    profile: bool = False,
    cpus: float | None = None,
    board: str | None = None,
    energy: bool = False,
    examples: int | None = None,
) -> Settings:
    """The settings of a full or a quick run.

    Raises `InputError` for less than one thread, a share of a processor that cannot be had, or an
    unknown board.
    """
    if cpus is not None and not 0.01 <= cpus <= 1024:
        raise InputError(
            "is not a number of processors", where="--cpus", found=cpus, expected="0.01 or more"
        )
    if board is not None:
        find_board(board)
    if threads < 1:
        raise InputError("is not a number of threads", where="threads", found=threads)
    if examples is not None and examples < 1:
        raise InputError("is not a number of examples", where="--examples", found=examples)
    return Settings(
        threads=threads,
        quick=quick,
        min_queries=MIN_QUERIES,
        min_duration_s=_QUICK_DURATION_S if quick else _FULL_DURATION_S,
        rounds=20,
        cold_starts=5,
        memory_limits_bytes=tuple(memory_limits_bytes),
        memory_curve=memory_curve,
        memory_curve_bundles=tuple(memory_curve_bundles),
        profile=profile,
        cpus=cpus,
        board=board,
        energy=energy,
        examples=examples,
        limited_duration_s=8.0 if quick else 20.0,
        curve_budget_s=25.0 if quick else 120.0,
    )


def bench(
    bundles: Sequence[Path],
    *,
    settings: Settings,
    progress: ProgressCallback = no_progress,
    command: Sequence[str] = (),
    timeouts: Timeouts | None = None,
    keep: Keep | None = None,
    keep_interval_s: float = KEEP_INTERVAL_S,
) -> Result:
    """Measures the bundles on this machine; `command` is kept in the result as it was given.

    `bundles` are folders or `.zip` files. Raises `BundleError` when one cannot be read or none
    passes the check, `InputError` for two bundles of one name, `DeviceError` when a limit was asked
    for that this machine cannot set at all. A bundle whose process dies or hangs later keeps what
    was measured, with an invalid finding. Whatever ends the run, no process and no control group
    is left behind. `keep` is given what has been measured so far, as a result of its own that
    says that it is unfinished, at most every `keep_interval_s`.
    """
    with ExitStack() as stack:
        scratch = scratch_folder()[0] if any(path.is_file() for path in bundles) else None
        opened = [
            # What is large is hashed by the check, in a process that may die of it.
            stack.enter_context(open_bundle(path, verify_hashes=False, scratch=scratch))
            for path in bundles
        ]
        return _bench(
            opened,
            settings,
            progress,
            command,
            timeouts or _timeouts_here(),
            keep=keep,
            keep_interval_s=keep_interval_s,
        )


def _timeouts_here() -> Timeouts:
    """How long this machine may be silent; an emulated processor is slower than any board."""
    usual = Timeouts()
    if not is_emulated():
        return usual
    return Timeouts(*(_EMULATED_PATIENCE * limit_s for limit_s in usual))


def _bench(
    bundles: Sequence[Bundle],
    settings: Settings,
    progress: ProgressCallback,
    command: Sequence[str],
    timeouts: Timeouts,
    *,
    keep: Keep | None,
    keep_interval_s: float,
) -> Result:
    subjects = subjects_of(bundles, settings)
    hierarchy = _hierarchy(subjects, settings)
    reader, idle = find_reader() if settings.energy else None, None
    device = device_info()
    created_utc = datetime.now(timezone.utc).isoformat(timespec="seconds")
    watch = Watch()
    time.sleep(_QUIET_S)
    states = [watch.read("before")]

    def made(findings: Sequence[Finding]) -> Result:
        effective = _effective(subjects, settings)
        return Result(
            created_utc=created_utc,
            edgeseq_version=edgeseq.__version__,
            command=tuple(command),
            device=device,
            runtime=_runtime(subjects),
            requested=settings,
            effective=effective,
            machine=tuple(states),
            runs=tuple(subject.run(effective) for subject in subjects),
            findings=(*validity.machine_findings(states, device), *findings),
            git_state=own_git_state(),
            energy_idle=idle,
        )

    if keep is not None:
        progress = keeping(progress, keep, made, subjects, interval_s=keep_interval_s)
    with sigterm_as_interrupt():
        stages.check_bundles(subjects, settings, timeouts, progress)
        stages.measure_memory(subjects, settings, timeouts, progress)
        stages.measure_cold_starts(subjects, settings, timeouts, progress)
        measured = stages.measure_rounds(subjects, settings, timeouts, watch, progress)
        states += measured.states
        stages.score_streams(subjects, settings, timeouts, progress)
        if settings.profile:
            optional_stages.measure_profiles(subjects, settings, timeouts, progress)
        if reader is not None:
            idle = optional_stages.measure_energy(subjects, settings, timeouts, reader, progress)
        if hierarchy is not None:
            optional_stages.measure_limited(subjects, settings, hierarchy, device, progress)
    watch.read("after")
    time.sleep(_QUIET_S)
    states.append(watch.read("after"))
    return made(
        (
            *validity.settings_findings(_effective(subjects, settings), measured.overhead_ns),
            *stage_checks.energy_findings(settings, None if reader is None else reader.name, idle),
            *validity.batch_findings(len(subjects), measured.together),
        )
    )


def subjects_of(bundles: Sequence[Bundle], settings: Settings) -> list[Subject]:
    """The bundles with their test examples read.

    Raises `InputError` for none, for two of one name, and for a curve of a bundle that is not
    among them; `BundleError` for one whose examples cannot be read.
    """
    if not bundles:
        raise InputError("no bundle to measure", fix="name at least one bundle folder")
    subjects: list[Subject] = [
        (StreamSubject if bundle.head == "language-modeling" else Subject)(bundle, settings)
        for bundle in bundles
    ]
    names = [subject.name for subject in subjects]
    for subject in subjects:
        if names.count(subject.name) > 1:
            raise InputError(
                "another bundle has the same name",
                where=subject.bundle.path,
                found=subject.name,
                fix="name each bundle once, or convert one again under another name",
            )
    unknown = set(settings.memory_curve_bundles) - set(names)
    if unknown:
        raise InputError(
            "no such bundle for a memory curve",
            found=", ".join(sorted(unknown)),
            expected=" or ".join(names),
        )
    return subjects


def _hierarchy(subjects: Sequence[Subject], settings: Settings) -> Hierarchy | None:
    """The way to set limits, looked for before anything is measured; None when not needed.

    Raises `DeviceError` when processor time cannot be limited here though it was asked for.
    """
    curve = settings.memory_curve or settings.memory_curve_bundles
    if not (settings.memory_limits_bytes or curve or settings.cpus or settings.board):
        return None
    found = find_limiter() if subjects else None
    if found and settings.cpus and found.mechanism.startswith("cgroup") and not found.cpu_path:
        raise DeviceError(
            "cannot limit processor time",
            where=found.path,
            found="no cpu controller that this user may write to",
            fix="leave --cpus out, or mount the cpu controller",
        )
    return found


def _effective(subjects: Sequence[Subject], settings: Settings) -> Settings:
    """The settings as they turned out: the threads that were used, the queries that there are."""
    started = [subject.loaded.threads_started for subject in subjects if subject.loaded]
    examples = max(len(subject.examples) for subject in subjects)
    return msgspec.structs.replace(
        settings,
        threads=min(settings.threads, 1 + max(started, default=0)),
        min_queries=max(settings.min_queries, examples),
    )


def _runtime(subjects: Sequence[Subject]) -> RuntimeInfo:
    loaded = next(subject.loaded for subject in subjects if subject.loaded is not None)
    try:
        version = metadata.version(loaded.package)
    except metadata.PackageNotFoundError:
        version = "unknown"
    return RuntimeInfo(package=loaded.package, version=version, python=loaded.python)


def own_git_state() -> str | None:
    """What git says about the toolkit's own source, None when it is not run from a checkout."""
    command = ["git", "-C", str(Path(__file__).resolve().parent), "describe", "--always", "--dirty"]
    return command_text(command, timeout_s=5.0).strip() or None


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Lets SIGTERM end the run like Ctrl-C, so that processes and groups are cleaned up."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
