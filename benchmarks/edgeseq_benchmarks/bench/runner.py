"""The benchmark: every bundle measured on this machine, one result record."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NamedTuple, TypedDict

import msgspec

import edgeseq
from edgeseq.errors import BundleError, DeviceError, EdgeseqError, InputError
from edgeseq.formats.bundle import BundleFiles
from edgeseq.formats.bundle_zip import open_bundle
from edgeseq.formats.result import (
    EnergyWindow,
    Finding,
    MachineState,
    ResultRecord,
    Runner,
    Settings,
)
from edgeseq.progress import ProgressCallback, no_progress
from edgeseq.subprocesses.command_runs import command_text
from edgeseq.tasks.head import Head
from edgeseq.units import check_threads
from edgeseq_benchmarks.bench import limited_stage, optional_stages, stages, validity
from edgeseq_benchmarks.bench.context import BenchContext, Timeouts
from edgeseq_benchmarks.bench.launcher import MachineLostError
from edgeseq_benchmarks.bench.limits.boards import find_board
from edgeseq_benchmarks.bench.limits.cgroup import Hierarchy
from edgeseq_benchmarks.bench.limits.page_cache import scratch_folder
from edgeseq_benchmarks.bench.machine import Machine
from edgeseq_benchmarks.bench.partial_result import Checkpoints, CheckpointWriter
from edgeseq_benchmarks.bench.sequence_subject import SequenceSubject
from edgeseq_benchmarks.bench.stream_subject import StreamSubject
from edgeseq_benchmarks.bench.subject import Subject
from edgeseq_benchmarks.bench.this_machine import ThisMachine
from edgeseq_benchmarks.bench.validity import stage_checks

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Durations(NamedTuple):
    """Seconds: at least of a model's queries, at most of a run under a limit, of the memory curve,
    and of the search for working memory."""

    queries_s: float
    limited_s: float
    curve_s: float
    search_s: float


# MLPerf Mobile (`assets/tasks.pbtxt`): normal runs take at least 1,024 queries and 60 s.
MIN_QUERIES = 1024
FULL = Durations(queries_s=60.0, limited_s=20.0, curve_s=120.0, search_s=60.0)
QUICK = Durations(queries_s=5.0, limited_s=8.0, curve_s=15.0, search_s=30.0)
_QUIET_S = 0.5
_EMULATED_PATIENCE = 5


class SettingsOptions(TypedDict, total=False):
    """The fields of `Settings` that a user chooses."""

    threads: int
    memory_limits_bytes: Sequence[int]
    memory_curve: bool
    memory_curve_bundles: Sequence[str]
    profile: bool
    cpus: float | None
    board: str | None
    energy: bool
    examples: int | None
    working_memory: bool
    runners: Sequence[Runner]


RUNNERS: tuple[Runner, ...] = ("native", "python")


def default_settings(*, quick: bool = False, **options: Unpack[SettingsOptions]) -> Settings:
    """The settings of a full or a quick run.

    Raises `InputError` for less than one thread or example, an impossible number of processors, an
    unknown board, or an unknown runner.
    """
    cpus, board = options.get("cpus"), options.get("board")
    if cpus is not None and not 0.01 <= cpus <= 1024:
        raise InputError(
            "is not a number of processors", where="--cpus", found=cpus, expected="0.01 or more"
        )
    if board is not None:
        find_board(board)
    threads = options.get("threads", 1)
    check_threads(threads)
    examples = options.get("examples")
    runners = tuple(options.get("runners", RUNNERS))
    if not runners or len(set(runners)) < len(runners) or not set(runners) <= set(RUNNERS):
        raise InputError(
            "is not a choice of runners",
            where="runners",
            found=", ".join(runners) or "none",
            expected=" or ".join(RUNNERS) + ", or both",
        )
    if examples is not None and examples < 1:
        raise InputError("is not a number of examples", where="--examples", found=examples)
    durations = QUICK if quick else FULL
    return Settings(
        threads=threads,
        quick=quick,
        min_queries=MIN_QUERIES,
        min_duration_s=durations.queries_s,
        rounds=20,
        cold_starts=5,
        memory_limits_bytes=tuple(options.get("memory_limits_bytes", ())),
        memory_curve=options.get("memory_curve", False),
        memory_curve_bundles=tuple(options.get("memory_curve_bundles", ())),
        profile=options.get("profile", False),
        cpus=cpus,
        board=board,
        energy=options.get("energy", False),
        examples=examples,
        runners=runners,
        limited_duration_s=durations.limited_s,
        curve_budget_s=durations.curve_s,
        search_budget_s=durations.search_s,
        working_memory=options.get("working_memory", True),
    )


def bench(
    bundles: Sequence[Path],
    *,
    settings: Settings,
    progress: ProgressCallback = no_progress,
    command: Sequence[str] = (),
    timeouts: Timeouts | None = None,
    checkpoints: Checkpoints | None = None,
) -> ResultRecord:
    """Measures the bundles on this machine.

    A bundle whose process dies or hangs keeps what was measured, with an invalid finding. However
    the run ends, no process and no control group is left behind.

    Args:
        bundles: Folders or `.zip` files.
        settings: See `default_settings`.
        progress: Called between two measurements, never during one.
        command: What the result records as the command that made it.
        timeouts: How long a measured process may be silent.
        checkpoints: Saves unfinished results during the run; none by default.

    Raises:
        BundleError: A bundle cannot be read, or none passes the check.
        InputError: No bundle, or two with the same name.
        DeviceError: This machine cannot set a limit that the settings contain, or cannot run the
            one runner that they name.
    """
    with ExitStack() as stack:
        scratch = scratch_folder()[0] if any(path.is_file() for path in bundles) else None
        opened = [
            # Large files are hashed by the check, in a process that may die of them.
            stack.enter_context(open_bundle(path, verify_hashes=False, scratch=scratch))
            for path in bundles
        ]
        return bench_opened(
            opened,
            ThisMachine(progress),
            settings=settings,
            progress=progress,
            command=command,
            timeouts=timeouts,
            checkpoints=checkpoints,
        )


def bench_opened(
    bundles: Sequence[BundleFiles],
    machine: Machine,
    *,
    settings: Settings,
    progress: ProgressCallback = no_progress,
    command: Sequence[str] = (),
    timeouts: Timeouts | None = None,
    checkpoints: Checkpoints | None = None,
) -> ResultRecord:
    """Measures bundles on `machine`; otherwise as `bench`.

    Raises what `bench` raises, and `MachineLostError`, with the result so far.
    """
    run = _BenchRun(subjects_of(bundles, settings, machine), settings, command, machine)
    writer = None
    if checkpoints is not None:
        writer = CheckpointWriter(checkpoints, run.result, run.subjects)
    timeouts = timeouts or _default_timeouts(is_emulated=run.device.emulated)
    context = BenchContext(settings, machine, timeouts, progress, writer)
    try:
        return run.measure(context)
    except MachineLostError as lost:
        if any(subject.loaded is not None for subject in run.subjects):
            unfinished = Finding("unfinished", "invalid", f"the run did not finish: {lost}")
            lost.result = run.result((unfinished,))
        raise


def _default_timeouts(*, is_emulated: bool) -> Timeouts:
    """Timeouts for a machine; an emulated processor is slower than any board."""
    timeouts = Timeouts()
    if not is_emulated:
        return timeouts
    return Timeouts(*(_EMULATED_PATIENCE * limit_s for limit_s in timeouts))


class _BenchRun:
    """One run of the benchmark, and the observations of the machine in it."""

    def __init__(
        self,
        subjects: list[Subject],
        settings: Settings,
        command: Sequence[str],
        machine: Machine,
    ) -> None:
        self.subjects, self._settings, self._command = subjects, settings, tuple(command)
        self._machine = machine
        self._hierarchy = _find_hierarchy(settings, machine)
        self._reader = machine.find_energy_reader() if settings.energy else None
        self._idle: EnergyWindow | None = None
        self.device = machine.info()
        self._created_utc = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self._states: list[MachineState] = []

    def measure(self, context: BenchContext) -> ResultRecord:
        """Runs all stages."""
        subjects, settings = self.subjects, self._settings
        watch = self._machine.watch()
        time.sleep(_QUIET_S)
        self._states.append(watch.read("before"))
        with sigterm_as_interrupt():
            stages.check_bundles(subjects, context)
            drop_refused(subjects)
            stages.measure_memory(subjects, context)
            stages.measure_cold_starts(subjects, context)
            rounds = stages.measure_rounds(subjects, watch, context)
            self._states += rounds.states
            stages.score_streams(subjects, context)
            if settings.profile:
                optional_stages.measure_profiles(subjects, context)
            if self._reader is not None:
                self._idle = optional_stages.measure_energy(subjects, self._reader, context)
            if self._hierarchy is not None:
                limited_stage.measure_limited(subjects, self._hierarchy, self.device, context)
        watch.read("after")
        time.sleep(_QUIET_S)
        self._states.append(watch.read("after"))
        reader_name = None if self._reader is None else self._reader.name
        return self.result(
            (
                *validity.settings_findings(self._effective_settings(), rounds.overhead_ns),
                *stage_checks.energy_findings(settings, reader_name, self._idle),
                *validity.batch_findings(len(subjects), rounds.interleaved),
            )
        )

    def result(self, findings: Sequence[Finding]) -> ResultRecord:
        """The measurements so far, with findings about the run as a whole."""
        effective = self._effective_settings()
        return ResultRecord(
            created_utc=self._created_utc,
            edgeseq_version=edgeseq.__version__,
            command=self._command,
            device=self.device,
            runtime=self._machine.runtime([s.loaded for s in self.subjects if s.loaded]),
            requested=self._settings,
            effective=effective,
            machine=tuple(self._states),
            runs=tuple(subject.run(effective) for subject in self.subjects),
            findings=(*validity.machine_findings(self._states, self.device), *findings),
            git_state=own_git_state(),
            energy_idle=self._idle,
        )

    def _effective_settings(self) -> Settings:
        """The settings with the threads that were started and the queries that there are."""
        started = [subject.loaded.threads_started for subject in self.subjects if subject.loaded]
        examples = max(len(subject.examples) for subject in self.subjects)
        return msgspec.structs.replace(
            self._settings,
            threads=min(self._settings.threads, 1 + max(started, default=0)),
            min_queries=max(self._settings.min_queries, examples),
            working_memory=any(subject.working_memory for subject in self.subjects),
            runners=tuple(dict.fromkeys(subject.launcher.runner for subject in self.subjects)),
        )


SUBJECT_TYPES: dict[Head, type[Subject]] = {
    "text-classification": Subject,
    "multilabel-classification": Subject,
    "token-classification": Subject,
    "language-modeling": StreamSubject,
    "sequence-classification": SequenceSubject,
    "sequence-regression": SequenceSubject,
}


def subjects_of(
    bundles: Sequence[BundleFiles], settings: Settings, machine: Machine | None = None
) -> list[Subject]:
    """The bundles with their test examples read, each once for each runner that can run it.

    Raises `InputError` for none, for two of one name, and for a curve of a bundle that is not
    among them; `BundleError` for one whose examples cannot be read; both, or `DeviceError`, for one
    that no runner of the settings can run.
    """
    check_names(bundles)
    names = [bundle.manifest.name for bundle in bundles]
    unknown = set(settings.memory_curve_bundles) - set(names)
    if unknown:
        raise InputError(
            "no such bundle for a memory curve",
            found=", ".join(sorted(unknown)),
            expected=" or ".join(names),
        )
    machine = machine or ThisMachine()
    return [subject for bundle in bundles for subject in _in_runners(bundle, settings, machine)]


def _in_runners(bundle: BundleFiles, settings: Settings, machine: Machine) -> list[Subject]:
    """The bundle in each runner; the others say why one cannot run it.

    Raises its error when none can.
    """
    subjects: list[Subject] = []
    obstacles: list[tuple[str, EdgeseqError]] = []
    for runner in settings.runners:
        try:
            launcher = machine.launcher(bundle, runner)
        except (BundleError, DeviceError) as error:
            obstacles.append((runner, error))
        else:
            subjects.append(SUBJECT_TYPES[bundle.head](bundle, settings, launcher))
    if not subjects:
        raise obstacles[0][1]
    for subject in subjects:
        if len(subjects) > 1:
            subject.title = f"{subject.name}, {subject.launcher.runner}"
        for missing, obstacle in obstacles:
            subject.add_missing_runner(missing, obstacle)
    return subjects


def check_names(bundles: Sequence[BundleFiles]) -> None:
    """Raises `InputError` for no bundle, and for two of one name."""
    if not bundles:
        raise InputError("no bundle to measure", fix="name at least one bundle folder")
    names = [bundle.manifest.name for bundle in bundles]
    for bundle in bundles:
        if names.count(bundle.manifest.name) > 1:
            raise InputError(
                "another bundle has the same name",
                where=bundle.path,
                found=bundle.manifest.name,
                fix="name each bundle once, or convert one again under another name",
            )


def drop_refused(subjects: list[Subject]) -> None:
    """Removes the subjects that their runner refuses where another one has the bundle."""
    for subject in [subject for subject in subjects if subject.refusal is not None]:
        others = [other for other in subjects if other.name == subject.name and not other.failed]
        if subject.refusal is not None and others:
            subjects.remove(subject)
            for other in others:
                other.add_missing_runner(subject.launcher.runner, subject.refusal)


def _find_hierarchy(settings: Settings, machine: Machine) -> Hierarchy | None:
    """The way to set limits, looked for before anything is measured; None when not needed.

    Raises `DeviceError` when processor time is to be limited and cannot be on this machine.
    """
    searches = settings.working_memory or settings.memory_curve or settings.memory_curve_bundles
    if not (settings.memory_limits_bytes or searches or settings.cpus or settings.board):
        return None
    limiter = machine.find_limiter()
    if settings.cpus and limiter.mechanism.startswith("cgroup") and not limiter.cpu_path:
        raise DeviceError(
            "cannot limit processor time",
            where=limiter.path,
            found="no cpu controller that this user may write to",
            fix="leave --cpus out, or mount the cpu controller",
        )
    return limiter


def own_git_state() -> str | None:
    """`git describe` of the toolkit's source; None when it is not run from a checkout."""
    command = ["git", "-C", str(Path(__file__).resolve().parent), "describe", "--always", "--dirty"]
    return command_text(command, timeout_s=5.0).strip() or None


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Lets SIGTERM end the run like Ctrl-C, so that processes and groups are cleaned up.

    Where the program hears the signal itself (`edgeseq.interrupts`), it stays in charge.
    """

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    is_main_thread = threading.current_thread() is threading.main_thread()
    if not is_main_thread or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
