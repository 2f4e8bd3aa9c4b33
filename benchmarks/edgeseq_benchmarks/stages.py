"""The stages of a benchmark, in the order in which `bench` runs them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import NamedTuple

import msgspec

from edgeseq.errors import EdgeseqError
from edgeseq.progress import Progress, Report
from edgeseq.results import (
    ColdStart,
    DeviceInfo,
    EnergyWindow,
    LimitedRun,
    MachineState,
    MemoryPhase,
    Settings,
)
from edgeseq.units import format_bytes
from edgeseq_benchmarks import protocol, validity
from edgeseq_benchmarks.boards import find_board, limits_here
from edgeseq_benchmarks.children import Child, load_command, lost_while_loading
from edgeseq_benchmarks.curve import memory_curve
from edgeseq_benchmarks.energy import Meter, Reader
from edgeseq_benchmarks.limited import LimitedTask, run_limited
from edgeseq_benchmarks.limits import Hierarchy
from edgeseq_benchmarks.machine import Watch, available_bytes
from edgeseq_benchmarks.operators import profile_bundle
from edgeseq_benchmarks.own_files import own_files
from edgeseq_benchmarks.subject import Subject
from edgeseq_benchmarks.verify import verify

# Texts of the memory stage: enough to reach a steady state, the longest among them.
_STEADY_TEXTS = 64
_LONGEST_TEXTS = 8
# At the start of each round, so that caches are the model's own again; recorded apart.
_WARMUP_TEXTS = 4
_OVERHEAD_QUERIES = 2000
# Above what a minute of the fastest model takes; its times travel as one reply.
_ENERGY_QUERIES = 3_000_000


class Timeouts(NamedTuple):
    """How long a measured process may be silent before it counts as hung."""

    load_s: float = 180.0
    answer_s: float = 120.0
    # Beside what the slowest query seen so far makes likely, times 20.
    slice_s: float = 60.0


def check_bundles(
    subjects: Sequence[Subject], settings: Settings, timeouts: Timeouts, report: Report
) -> None:
    """Every bundle verified in a process of its own, which may die without taking the run along.

    A bundle that fails is lost, with the reason as a finding; raises its error when all do.
    """

    def check(subject: Subject) -> None:
        subject.findings += verify(
            subject.bundle,
            threads=settings.threads,
            texts=subject.texts(subject.order[:_WARMUP_TEXTS]),
            check_timeout_s=timeouts.load_s,
            answer_timeout_s=timeouts.answer_s,
        )

    _each(subjects, "check", report, check)


def measure_memory(
    subjects: Sequence[Subject], settings: Settings, timeouts: Timeouts, report: Report
) -> None:
    """The ledger of memory by phase: one process alone after the other.

    Alone, because a page that two processes have mapped is half a page in each one's PSS. A
    bundle that cannot be loaded is lost; raises its error when none can be.
    """
    _each(subjects, "memory", report, lambda one: _measure_memory(one, settings, timeouts))


def _each(
    subjects: Sequence[Subject], stage: str, report: Report, do: Callable[[Subject], None]
) -> None:
    """Does something with every subject that is left; raises the first error when none survives."""
    failures: list[EdgeseqError] = []
    for done, subject in enumerate(subjects):
        report(Progress(stage, done, len(subjects), subject.name))
        if subject.lost:
            continue
        with subject.survives(stage):
            try:
                do(subject)
            except EdgeseqError as failure:
                failures.append(failure)
                raise
    report(Progress(stage, len(subjects), len(subjects)))
    if failures and all(subject.lost for subject in subjects):
        raise failures[0]


def _measure_memory(subject: Subject, settings: Settings, timeouts: Timeouts) -> None:
    bundle = subject.bundle
    first_text = subject.examples[subject.order[0]].text
    with Child(subject.name) as child:
        with lost_while_loading(bundle):
            load = load_command(
                bundle, child, threads=settings.threads, first_text=first_text, ledger=True
            )
            loaded = child.ask(load, protocol.Loaded, timeout_s=timeouts.load_s)
        subject.loaded = loaded
        longest = sorted(subject.order, key=lambda number: -len(subject.examples[number].text))
        steady = [*longest[:_LONGEST_TEXTS], *subject.order[:_STEADY_TEXTS]]
        done = child.ask(
            _slice_command(subject, steady, (), min_queries=0, max_queries=0, min_duration_s=0),
            protocol.SliceDone,
            timeout_s=timeouts.slice_s + timeouts.answer_s,
        )
        subject.slowest_ns = max(protocol.unpack(done.queries.total_ns))
        last = child.ask(
            protocol.ReadMemory("steady"), protocol.Memory, timeout_s=timeouts.answer_s
        )
    subject.memory = [
        msgspec.convert(msgspec.structs.asdict(phase), MemoryPhase)
        for phase in (*loaded.memory, last)
    ]


def _slice_command(
    subject: Subject,
    examples: Sequence[int],
    warmup: Sequence[int],
    *,
    min_queries: int,
    max_queries: int,
    min_duration_s: float,
) -> protocol.RunSlice:
    return protocol.RunSlice(
        texts=subject.texts(examples),
        warmup_texts=subject.texts(warmup),
        min_queries=min_queries,
        max_queries=max_queries,
        min_duration_ns=round(min_duration_s * 1e9),
    )


def measure_cold_starts(
    subjects: Sequence[Subject], settings: Settings, timeouts: Timeouts, report: Report
) -> None:
    """From the start of a process to its first answer, in fresh processes, models in turn."""
    total = settings.cold_starts * len(subjects)
    for number in range(settings.cold_starts):
        for place, subject in enumerate(_in_turn(subjects, number)):
            report(Progress("cold start", number * len(subjects) + place, total, subject.name))
            if subject.lost:
                continue
            first_text = subject.examples[subject.order[number % len(subject.order)]].text
            with subject.survives("cold start"), Child(subject.name) as child:
                load = load_command(
                    subject.bundle, child, threads=settings.threads, first_text=first_text
                )
                loaded = child.ask(load, protocol.Loaded, timeout_s=timeouts.load_s)
                subject.cold_starts.append(
                    ColdStart(
                        import_ns=loaded.import_ns,
                        load_ns=loaded.load_ns,
                        first_answer_ns=loaded.first_answer_ns,
                        total_ns=loaded.total_ns,
                    )
                )
    report(Progress("cold start", total, total))


def _in_turn(subjects: Sequence[Subject], number: int) -> list[Subject]:
    """The subjects, each time another one first: nobody always follows the same neighbour."""
    start = number % max(1, len(subjects))
    return [*subjects[start:], *subjects[:start]]


class Measured(NamedTuple):
    """What the rounds have observed beside the models."""

    overhead_ns: tuple[int, ...]
    states: tuple[MachineState, ...]
    together: int


def measure_rounds(
    subjects: Sequence[Subject],
    settings: Settings,
    timeouts: Timeouts,
    watch: Watch,
    report: Report,
) -> Measured:
    """Latency, accuracy and the length sweep: all models loaded, interleaved in rounds.

    Models that do not fit into half of the free memory together are measured in batches; within
    a batch they are interleaved.
    """
    overhead_ns: tuple[int, ...] = ()
    states: list[MachineState] = []
    batches = _batches([subject for subject in subjects if not subject.lost])
    for batch in batches:
        with ExitStack() as stack:
            children: dict[int, Child] = {}
            for subject in batch:
                with subject.survives("load"):
                    child = stack.enter_context(Child(subject.name))
                    children[id(subject)] = child
                    _load(subject, child, settings, timeouts)
                    overhead_ns = overhead_ns or protocol.unpack(
                        child.ask(
                            protocol.MeasureOverhead(_OVERHEAD_QUERIES),
                            protocol.Overhead,
                            timeout_s=timeouts.answer_s,
                        ).total_ns
                    )
            pids = [child.pid for child in children.values()]
            watch.read("during", pids)  # loading is nobody's latency: its load is left out
            for number in range(settings.rounds):
                report(Progress("rounds", number, settings.rounds))
                for subject in _in_turn(batch, number):
                    if not subject.lost:
                        with subject.survives(f"round {number + 1}"):
                            _run_round(subject, children[id(subject)], number, settings, timeouts)
                states.append(watch.read("during", pids))
            report(Progress("rounds", settings.rounds, settings.rounds))
            _sweep_lengths(batch, children, settings, timeouts, report)
    return Measured(overhead_ns, tuple(states), max((len(batch) for batch in batches), default=0))


def _load(subject: Subject, child: Child, settings: Settings, timeouts: Timeouts) -> None:
    first_text = subject.examples[subject.order[0]].text
    load = load_command(subject.bundle, child, threads=settings.threads, first_text=first_text)
    child.ask(load, protocol.Loaded, timeout_s=timeouts.load_s)


def _batches(subjects: Sequence[Subject]) -> list[list[Subject]]:
    """Subjects whose processes fit into half of the available memory together."""
    available = available_bytes()
    batches: list[list[Subject]] = [[]]
    used_bytes = 0
    for subject in subjects:
        need_bytes = max(phase.peak_bytes or phase.rss_bytes for phase in subject.memory)
        if batches[-1] and available is not None and used_bytes + need_bytes > available / 2:
            batches.append([])
            used_bytes = 0
        batches[-1].append(subject)
        used_bytes += need_bytes
    return [batch for batch in batches if batch]


def _run_round(
    subject: Subject, child: Child, number: int, settings: Settings, timeouts: Timeouts
) -> None:
    examples = subject.slice_of_round(number, settings.rounds)
    before = subject.slice_of_round((number - 1) % settings.rounds, settings.rounds)
    warmup = before[-_WARMUP_TEXTS:]
    min_duration_s = settings.min_duration_s / settings.rounds
    # A quick run makes no more queries than the set has examples, unless its time is not up.
    enough = min(settings.min_queries, len(subject.order) if settings.quick else math.inf)
    command = _slice_command(
        subject,
        examples,
        warmup,
        min_queries=math.ceil(enough / settings.rounds),
        max_queries=math.ceil(settings.max_queries / settings.rounds),
        min_duration_s=min_duration_s,
    )
    queries = max(len(examples), command.min_queries) + len(warmup)
    likely_s = max(queries * subject.slowest_ns / 1e9, min_duration_s)
    timeout_s = timeouts.slice_s + 20 * likely_s
    done = child.ask(command, protocol.SliceDone, timeout_s=timeout_s)
    subject.warmup.add(done.warmup, warmup, number)
    subject.take_slice(done, examples, number)


def _sweep_lengths(
    batch: Sequence[Subject],
    children: dict[int, Child],
    settings: Settings,
    timeouts: Timeouts,
    report: Report,
) -> None:
    total = len(settings.length_tokens)
    for number, tokens in enumerate(settings.length_tokens):
        report(Progress("lengths", number, total, f"{tokens} tokens"))
        for subject in _in_turn(batch, number):
            if subject.lost or tokens > subject.bundle.manifest.max_tokens:
                continue
            command = protocol.RunLength(
                tokens=tokens,
                texts=subject.joined_texts(tokens, count=8),
                min_samples=settings.length_samples,
                max_samples=20 * settings.length_samples,
                min_duration_ns=100_000_000,
                max_duration_ns=1_000_000_000,
            )
            with subject.survives(f"length {tokens}"):
                done = children[id(subject)].ask(
                    command, protocol.LengthDone, timeout_s=timeouts.slice_s
                )
                if times_ns := protocol.unpack(done.inference_ns):
                    subject.lengths[tokens] = list(times_ns)
    report(Progress("lengths", total, total))


def measure_profiles(
    subjects: Sequence[Subject], settings: Settings, timeouts: Timeouts, report: Report
) -> None:
    """The operator profile of each model, in a process of its own."""
    for done, subject in enumerate(subjects):
        report(Progress("profile", done, len(subjects), subject.name))
        if subject.lost:
            continue
        with subject.goes_without("profile"):
            subject.profile = profile_bundle(
                subject.bundle,
                subject.texts(subject.order[:_WARMUP_TEXTS]),
                threads=settings.threads,
                timeout_s=timeouts.load_s,
            )
            subject.findings += validity.profile_findings(subject.profile)
    report(Progress("profile", len(subjects), len(subjects)))


def measure_energy(
    subjects: Sequence[Subject],
    settings: Settings,
    timeouts: Timeouts,
    reader: Reader,
    report: Report,
) -> EnergyWindow | None:
    """What the machine takes idle, which is returned, and while each model answers without a pause.

    Apart from the rounds that latency comes from: reading power costs the machine something.
    """
    duration_s, total = settings.energy_duration_s, len(subjects)
    report(Progress("energy", 0, total, "idle"))
    with Meter(reader) as meter:
        time.sleep(duration_s)
    idle = meter.window(queries=0)
    for done, subject in enumerate(subjects):
        report(Progress("energy", done, total, subject.name))
        if subject.lost or idle is None:
            continue
        with subject.goes_without("energy"), Child(subject.name) as child:
            _load(subject, child, settings, timeouts)
            command = _slice_command(
                subject, subject.order, subject.order[:_WARMUP_TEXTS],
                min_queries=1, max_queries=_ENERGY_QUERIES, min_duration_s=duration_s,
            )  # fmt: skip
            likely_s = 20 * len(subject.order) * subject.slowest_ns / 1e9
            with Meter(reader) as meter:
                answered = child.ask(
                    command,
                    protocol.SliceDone,
                    timeout_s=timeouts.slice_s + 2 * duration_s + likely_s,
                )
            subject.energy = meter.window(len(protocol.unpack(answered.queries.text)))
    report(Progress("energy", total, total))
    return idle


def measure_limited(
    subjects: Sequence[Subject],
    settings: Settings,
    hierarchy: Hierarchy,
    device: DeviceInfo,
    report: Report,
) -> None:
    """Each model inside each limit, then along its memory curve."""
    for done, subject in enumerate(subjects):
        if subject.lost or subject.loaded is None:
            continue

        def note(words: str, done: int = done) -> None:
            report(Progress("limits", done, len(subjects), words))

        note(subject.name)
        with subject.goes_without("limits"):
            _measure_limited(subject, settings, hierarchy, device, note)
        subject.findings += validity.limited_findings(subject.limited)
    report(Progress("limits", len(subjects), len(subjects)))


def _measure_limited(
    subject: Subject,
    settings: Settings,
    hierarchy: Hierarchy,
    device: DeviceInfo,
    note: Callable[[str], None],
) -> None:
    curve = settings.memory_curve or subject.name in settings.memory_curve_bundles
    limits = settings.memory_limits_bytes
    if settings.cpus is not None and not limits:
        limits = (device.memory_bytes,)  # processor time alone is limited
    if subject.loaded is None or not (curve or limits or settings.board):
        return
    # Processor time beyond the quota is waited for.
    slower = 1 / min(1.0, settings.cpus or 1.0)
    cold_s = slower * max((start.total_ns for start in subject.cold_starts), default=0) / 1e9
    with own_files(subject.bundle, subject.loaded.mapped_files) as files:
        task = LimitedTask(
            bundle=subject.bundle,
            files=files,
            texts=subject.texts(subject.order[: settings.limited_queries]),
            threads=settings.threads,
            duration_s=settings.limited_duration_s,
            # Libraries come from the disk, not from the page cache: five times the usual start.
            load_timeout_s=settings.limited_duration_s + 5 * cold_s,
            cpus=settings.cpus,
        )
        # A curve is a dozen runs: each gets a share of the time, the last ones hang for all of it.
        share_s = settings.curve_budget_s / 12
        short = task._replace(duration_s=share_s, load_timeout_s=share_s + 5 * cold_s)

        def under(limit_bytes: int, *, task: LimitedTask) -> LimitedRun:
            run = run_limited(hierarchy, task, limit_bytes)
            note(f"{subject.name}: {format_bytes(limit_bytes)} {run.status}")
            return run

        if settings.board:
            board = find_board(settings.board)
            limit_bytes, cpus, lacks = limits_here(board, device.cores, device.memory_bytes)
            on_board = task._replace(cpus=cpus, board=settings.board, lacks=lacks)
            subject.limited.append(under(limit_bytes, task=on_board))
        plain = [under(limit, task=task) for limit in limits]
        subject.limited += plain
        if curve:
            peak_bytes = max(phase.peak_bytes or phase.rss_bytes for phase in subject.memory)
            subject.limited += memory_curve(
                partial(under, task=short),
                start_bytes=round(peak_bytes * 1.1),
                budget_s=settings.curve_budget_s,
                known=tuple(plain),
            )
