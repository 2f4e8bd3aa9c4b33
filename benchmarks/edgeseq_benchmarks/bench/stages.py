"""The stages of a benchmark, in the order in which `bench` runs them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import NamedTuple

import msgspec

from edgeseq.errors import EdgeseqError
from edgeseq.formats.codec import from_builtins
from edgeseq.formats.result import (
    ColdStart,
    MachineState,
    MemoryPhase,
    Settings,
)
from edgeseq.progress import ProgressCallback, ProgressUpdate
from edgeseq_benchmarks.bench import protocol
from edgeseq_benchmarks.bench.probes.machine_state import Watch, available_bytes
from edgeseq_benchmarks.bench.stream_subject import StreamSubject, score_documents
from edgeseq_benchmarks.bench.subject import Subject
from edgeseq_benchmarks.bench.verify import verify
from edgeseq_benchmarks.bench.worker_client import WorkerClient, load_command, lost_while_loading

# The memory stage begins with the longest texts, which decide the peak.
_LONGEST_TEXTS = 8
# At the start of each round, so that caches are the model's own again; recorded apart.
WARMUP_TEXTS = 4
_OVERHEAD_QUERIES = 2000
STREAM_LENGTHS = (1, 2, 4, 512)
"""Contexts, in words, at which the next word is timed beside the usual lengths."""


class Timeouts(NamedTuple):
    """How long a measured process may be silent before it counts as hung."""

    load_s: float = 180.0
    answer_s: float = 120.0
    # Beside what the slowest query seen so far makes likely, times 20.
    slice_s: float = 60.0


def check_bundles(
    subjects: Sequence[Subject], settings: Settings, timeouts: Timeouts, progress: ProgressCallback
) -> None:
    """Every bundle verified in a process of its own, which may die without taking the run along.

    A bundle that fails is lost, with the reason as a finding; raises its error when all do.
    """

    def check(subject: Subject) -> None:
        subject.findings += verify(
            subject.bundle,
            threads=settings.threads,
            texts=subject.texts(subject.order[:WARMUP_TEXTS]),
            check_timeout_s=timeouts.load_s,
            answer_timeout_s=timeouts.answer_s,
        )

    _each(subjects, "check", progress, check)


def measure_memory(
    subjects: Sequence[Subject], settings: Settings, timeouts: Timeouts, progress: ProgressCallback
) -> None:
    """The ledger of memory by phase, with and without the model file's pages in the end: one
    process alone after the other.

    Alone, because a page that two processes have mapped is half a page in each one's PSS. A
    bundle that cannot be loaded is lost; raises its error when none can be.
    """
    _each(subjects, "memory", progress, lambda one: _measure_memory(one, settings, timeouts))


def _each(
    subjects: Sequence[Subject],
    stage: str,
    progress: ProgressCallback,
    do: Callable[[Subject], None],
) -> None:
    """Does something with every subject that is left; raises the first error when none survives."""
    failures: list[EdgeseqError] = []
    for done, subject in enumerate(subjects):
        progress(ProgressUpdate(stage, done, len(subjects), subject.name))
        if subject.failed:
            continue
        with subject.required_stage(stage):
            try:
                do(subject)
            except EdgeseqError as failure:
                failures.append(failure)
                raise
    progress(ProgressUpdate(stage, len(subjects), len(subjects)))
    if failures and all(subject.failed for subject in subjects):
        raise failures[0]


def _measure_memory(subject: Subject, settings: Settings, timeouts: Timeouts) -> None:
    bundle = subject.bundle
    first_text = subject.examples[subject.order[0]].asked
    with WorkerClient(subject.name) as child:
        with lost_while_loading(bundle):
            load = load_command(
                bundle, child, threads=settings.threads, first_text=first_text, ledger=True
            )
            loaded = child.ask(load, protocol.ModelLoaded, timeout_s=timeouts.load_s)
        subject.loaded = loaded
        longest = sorted(subject.order, key=lambda number: -len(subject.examples[number].text))
        steady = [*longest[:_LONGEST_TEXTS], *subject.order[: settings.steady_texts]]
        texts = slice_command(subject, steady, (), min_queries=0, max_queries=0, min_duration_s=0)

        def answer_all() -> tuple[MemoryPhase, int]:
            done = child.ask(
                texts, protocol.SliceDone, timeout_s=timeouts.slice_s + timeouts.answer_s
            )
            read = protocol.ReadMemory("steady")
            reading = child.ask(read, protocol.MemoryReading, timeout_s=timeouts.answer_s)
            return _phase(reading), max(protocol.unpack(done.queries.total_ns))

        last, subject.slowest_ns = answer_all()
        subject.memory = [*map(_phase, loaded.memory), last]
        mapped = child.ask(
            protocol.ReleaseWeights(), protocol.WeightsReleased, timeout_s=timeouts.answer_s
        )
        if mapped.mapped_bytes:
            # The same texts again: the words they look up are mapped again, and belong to it.
            subject.after_weight_release, _ = answer_all()


def _phase(reading: protocol.MemoryReading) -> MemoryPhase:
    return from_builtins(msgspec.structs.asdict(reading), MemoryPhase)


def slice_command(
    subject: Subject,
    examples: Sequence[int],
    warmup: Sequence[int],
    *,
    min_queries: int,
    max_queries: int,
    min_duration_s: float,
) -> protocol.RunSlice:
    """The command that times test examples given by index; bounds as in `protocol.RunSlice`."""
    return protocol.RunSlice(
        texts=subject.texts(examples),
        warmup_texts=subject.texts(warmup),
        min_queries=min_queries,
        max_queries=max_queries,
        min_duration_ns=round(min_duration_s * 1e9),
    )


def measure_cold_starts(
    subjects: Sequence[Subject], settings: Settings, timeouts: Timeouts, progress: ProgressCallback
) -> None:
    """From the start of a process to its first answer, in fresh processes, models in turn."""
    total = settings.cold_starts * len(subjects)
    for number in range(settings.cold_starts):
        for place, subject in enumerate(_in_turn(subjects, number)):
            progress(
                ProgressUpdate("cold start", number * len(subjects) + place, total, subject.name)
            )
            if subject.failed:
                continue
            first_text = subject.examples[subject.order[number % len(subject.order)]].asked
            with subject.required_stage("cold start"), WorkerClient(subject.name) as child:
                load = load_command(
                    subject.bundle, child, threads=settings.threads, first_text=first_text
                )
                loaded = child.ask(load, protocol.ModelLoaded, timeout_s=timeouts.load_s)
                subject.cold_starts.append(
                    ColdStart(
                        import_ns=loaded.import_ns,
                        load_ns=loaded.load_ns,
                        first_answer_ns=loaded.first_answer_ns,
                        total_ns=loaded.total_ns,
                    )
                )
    progress(ProgressUpdate("cold start", total, total))


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
    progress: ProgressCallback,
) -> Measured:
    """Latency, accuracy and the length sweep: all models loaded, interleaved in rounds.

    Models that do not fit into half of the free memory together are measured in batches; within
    a batch they are interleaved.
    """
    overhead_ns: tuple[int, ...] = ()
    states: list[MachineState] = []
    batches = _batches([subject for subject in subjects if not subject.failed])
    for batch in batches:
        with ExitStack() as stack:
            children: dict[int, WorkerClient] = {}
            for subject in batch:
                with subject.required_stage("load"):
                    child = stack.enter_context(WorkerClient(subject.name))
                    children[id(subject)] = child
                    load_child(subject, child, settings, timeouts)
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
                progress(ProgressUpdate("rounds", number, settings.rounds))
                for subject in _in_turn(batch, number):
                    if not subject.failed:
                        with subject.required_stage(f"round {number + 1}"):
                            _run_round(subject, children[id(subject)], number, settings, timeouts)
                states.append(watch.read("during", pids))
            progress(ProgressUpdate("rounds", settings.rounds, settings.rounds))
            _sweep_lengths(batch, children, settings, timeouts, progress)
    return Measured(overhead_ns, tuple(states), max((len(batch) for batch in batches), default=0))


def score_streams(
    subjects: Sequence[Subject], settings: Settings, timeouts: Timeouts, progress: ProgressCallback
) -> None:
    """Perplexity: the documents of every model of the next word, read from beginning to end."""
    for subject in subjects:
        if not isinstance(subject, StreamSubject) or subject.failed:
            continue
        with subject.required_stage("documents"), WorkerClient(subject.name) as child:
            load_child(subject, child, settings, timeouts)
            score_documents(
                subject,
                child,
                quick=settings.quick,
                timeout_s=timeouts.answer_s,
                progress=progress,
            )


def load_child(
    subject: Subject, child: WorkerClient, settings: Settings, timeouts: Timeouts
) -> None:
    """Loads the bundle into `child`; raises as `WorkerClient.ask` does."""
    first_text = subject.examples[subject.order[0]].asked
    load = load_command(subject.bundle, child, threads=settings.threads, first_text=first_text)
    child.ask(load, protocol.ModelLoaded, timeout_s=timeouts.load_s)


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
    subject: Subject, child: WorkerClient, number: int, settings: Settings, timeouts: Timeouts
) -> None:
    examples = subject.slice_of_round(number, settings.rounds)
    before = subject.slice_of_round((number - 1) % settings.rounds, settings.rounds)
    warmup = before[-WARMUP_TEXTS:]
    min_duration_s = settings.min_duration_s / settings.rounds
    # A quick run makes no more queries than the set has examples, unless its time is not up.
    enough = min(settings.min_queries, len(subject.order) if settings.quick else math.inf)
    command = slice_command(
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
    children: dict[int, WorkerClient],
    settings: Settings,
    timeouts: Timeouts,
    progress: ProgressCallback,
) -> None:
    lengths = settings.length_tokens
    if any(isinstance(subject, StreamSubject) for subject in batch):
        lengths = tuple(sorted({*lengths, *STREAM_LENGTHS}))
    total = len(lengths)
    for number, tokens in enumerate(lengths):
        progress(ProgressUpdate("lengths", number, total, f"{tokens} tokens"))
        for subject in _in_turn(batch, number):
            # A stream goes on behind what it sees: its cost there is news, too.
            endless = isinstance(subject, StreamSubject)
            if subject.failed or (tokens > subject.bundle.manifest.max_tokens and not endless):
                continue
            command = protocol.RunLength(
                tokens=tokens,
                texts=subject.joined_texts(tokens, count=8),
                min_samples=settings.length_samples,
                max_samples=20 * settings.length_samples,
                min_duration_ns=100_000_000,
                max_duration_ns=1_000_000_000,
            )
            with subject.required_stage(f"length {tokens}"):
                done = children[id(subject)].ask(
                    command, protocol.LengthDone, timeout_s=timeouts.slice_s
                )
                if times_ns := protocol.unpack(done.inference_ns):
                    subject.lengths[tokens] = list(times_ns)
    progress(ProgressUpdate("lengths", total, total))
