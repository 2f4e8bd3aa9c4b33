"""The stages of a benchmark, in the order in which `bench` runs them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import NamedTuple

import msgspec

from edgeseq.errors import BundleError, DeviceError, EdgeseqError
from edgeseq.formats.codec import from_builtins
from edgeseq.formats.result import ColdStart, MachineState, MemoryPhase
from edgeseq_benchmarks.bench import protocol
from edgeseq_benchmarks.bench.context import BenchContext
from edgeseq_benchmarks.bench.machine import MachineWatch
from edgeseq_benchmarks.bench.stream_subject import StreamSubject, score_documents
from edgeseq_benchmarks.bench.subject import Subject
from edgeseq_benchmarks.bench.verify import verify
from edgeseq_benchmarks.bench.worker_client import (
    WorkerClient,
    WorkerLostError,
    load_command,
    lost_while_loading,
)

# The memory stage begins with the longest texts, which decide the peak.
LONGEST_TEXTS = 8
# At the start of each round, to refill caches after another model's slice; recorded apart.
WARMUP_TEXTS = 4
_OVERHEAD_QUERIES = 2000


def check_bundles(subjects: Sequence[Subject], context: BenchContext) -> None:
    """Verifies each bundle in a separate process, which may die without ending the run.

    A bundle that fails is marked, with the reason as a finding; raises its error when all do.
    """

    def check(subject: Subject) -> None:
        try:
            subject.findings += verify(
                subject.bundle,
                subject.launcher,
                threads=context.settings.threads,
                texts=subject.texts(subject.order[:WARMUP_TEXTS]),
                available_bytes=context.machine.available_bytes(),
                check_timeout_s=context.timeouts.load_s,
                answer_timeout_s=context.timeouts.answer_s,
            )
        except (BundleError, DeviceError) as error:
            # A process that died or hung is no answer.
            is_answer = not isinstance(error.__cause__, WorkerLostError)
            if is_answer and subject.launcher.runner != "python":
                subject.refusal = error
            raise

    _run_required_stage("check", check, subjects, context)


def measure_memory(subjects: Sequence[Subject], context: BenchContext) -> None:
    """Memory by phase, also after the model file's pages are released: one process at a time.

    One at a time, because a page that two processes have mapped is half a page in each one's PSS.
    A bundle that cannot be loaded is marked as failed; raises its error when none can be.
    """
    _run_required_stage("memory", lambda s: _measure_memory(s, context), subjects, context)


def _run_required_stage(
    stage: str,
    measure: Callable[[Subject], None],
    subjects: Sequence[Subject],
    context: BenchContext,
) -> None:
    """Measures each subject that has not failed; raises the first error when all have."""
    failures: list[EdgeseqError] = []
    for number, subject in enumerate(subjects):
        context.report(stage, number, len(subjects), subject.title)
        if subject.failed:
            continue
        with subject.required_stage(stage):
            try:
                measure(subject)
            except EdgeseqError as failure:
                failures.append(failure)
                raise
    context.report(stage, len(subjects), len(subjects))
    if failures and all(subject.failed for subject in subjects):
        raise failures[0]


def _measure_memory(subject: Subject, context: BenchContext) -> None:
    settings, timeouts = context.settings, context.timeouts
    bundle = subject.bundle
    first_text = subject.examples[subject.order[0]].model_input
    with start_child(subject) as child:
        with lost_while_loading(bundle):
            load = load_command(
                bundle, child, threads=settings.threads, first_text=first_text, ledger=True
            )
            loaded = child.request(load, protocol.ModelLoaded, timeout_s=timeouts.load_s)
        subject.loaded = loaded
        steady = [*subject.longest_examples(LONGEST_TEXTS), *subject.order[: settings.steady_texts]]
        texts = slice_command(subject, steady, (), min_queries=0, max_queries=0, min_duration_s=0)

        def run_steady_phase() -> tuple[MemoryPhase, int]:
            timeout_s = timeouts.slice_s + timeouts.answer_s
            done = child.request(texts, protocol.SliceDone, timeout_s=timeout_s)
            read = protocol.ReadMemory("steady")
            reading = child.request(read, protocol.MemoryReading, timeout_s=timeouts.answer_s)
            return _phase(reading), max(protocol.unpack(done.queries.total_ns))

        last, subject.slowest_ns = run_steady_phase()
        subject.memory = [*map(_phase, loaded.memory), last]
        if subject.launcher.runner == "native":
            return  # released when the model was loaded
        release = protocol.ReleaseWeights()
        mapped = child.request(release, protocol.WeightsReleased, timeout_s=timeouts.answer_s)
        if mapped.mapped_bytes:
            # The same texts again: the embedding rows that they look up are mapped again.
            subject.after_weight_release, _ = run_steady_phase()


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


def measure_cold_starts(subjects: Sequence[Subject], context: BenchContext) -> None:
    """From the start of a process to its first prediction, in fresh processes, models in turn."""
    settings = context.settings
    total = settings.cold_starts * len(subjects)
    for number in range(settings.cold_starts):
        for position, subject in enumerate(_rotated(subjects, number)):
            context.report("cold start", number * len(subjects) + position, total, subject.title)
            if subject.failed:
                continue
            first_text = subject.examples[subject.order[number % len(subject.order)]].model_input
            with subject.required_stage("cold start"), start_child(subject) as child:
                load = load_command(
                    subject.bundle, child, threads=settings.threads, first_text=first_text
                )
                timeout_s = context.timeouts.load_s
                loaded = child.request(load, protocol.ModelLoaded, timeout_s=timeout_s)
                subject.cold_starts.append(
                    ColdStart(
                        import_ns=loaded.import_ns,
                        load_ns=loaded.load_ns,
                        first_answer_ns=loaded.first_answer_ns,
                        total_ns=loaded.total_ns,
                    )
                )
    context.report("cold start", total, total)


def _rotated(subjects: Sequence[Subject], number: int) -> list[Subject]:
    """The subjects, each time beginning with the next one: none always follows the same one."""
    start = number % max(1, len(subjects))
    return [*subjects[start:], *subjects[:start]]


class RoundsSummary(NamedTuple):
    """What the rounds have observed beside the models; `interleaved` is the largest batch."""

    overhead_ns: tuple[int, ...]
    states: tuple[MachineState, ...]
    interleaved: int


def measure_rounds(
    subjects: Sequence[Subject], watch: MachineWatch, context: BenchContext
) -> RoundsSummary:
    """Latency, predictions and the length sweep: all models loaded, interleaved in rounds.

    Models that do not fit into half of the free memory together are measured in batches; within
    a batch they are interleaved.
    """
    settings = context.settings
    overhead_ns: tuple[int, ...] = ()
    states: list[MachineState] = []
    running = [subject for subject in subjects if not subject.failed]
    batches = _batches(running, context.machine.available_bytes())
    for batch in batches:
        with ExitStack() as stack:
            children: dict[int, WorkerClient] = {}
            for subject in batch:
                with subject.required_stage("load"):
                    child = stack.enter_context(start_child(subject))
                    children[id(subject)] = child
                    load_child(subject, child, context)
                    overhead_ns = overhead_ns or _measure_overhead(child, context)
            pids = [child.pid for child in children.values()]
            watch.read("during", pids)  # the load of loading is not part of any round
            for number in range(settings.rounds):
                context.report("rounds", number, settings.rounds)
                for subject in _rotated(batch, number):
                    if not subject.failed:
                        with subject.required_stage(f"round {number + 1}"):
                            _run_round(subject, children[id(subject)], number, context)
                states.append(watch.read("during", pids))
            context.report("rounds", settings.rounds, settings.rounds)
            _sweep_lengths(batch, children, context)
    interleaved = max((len(batch) for batch in batches), default=0)
    return RoundsSummary(overhead_ns, tuple(states), interleaved)


def _measure_overhead(child: WorkerClient, context: BenchContext) -> tuple[int, ...]:
    command = protocol.MeasureOverhead(_OVERHEAD_QUERIES)
    reply = child.request(command, protocol.Overhead, timeout_s=context.timeouts.answer_s)
    return protocol.unpack(reply.total_ns)


def score_streams(subjects: Sequence[Subject], context: BenchContext) -> None:
    """Perplexity: reads the documents of every language model from beginning to end."""
    for subject in subjects:
        if isinstance(subject, StreamSubject) and not subject.failed:
            with subject.required_stage("documents"), start_child(subject) as child:
                load_child(subject, child, context)
                score_documents(subject, child, context)


def start_child(subject: Subject) -> WorkerClient:
    """Starts a process for the subject, without its model; raises `DeviceError`."""
    return WorkerClient(subject.title, subject.launcher)


def load_child(subject: Subject, child: WorkerClient, context: BenchContext) -> None:
    """Loads the bundle into `child`; raises as `WorkerClient.request` does."""
    first_text = subject.examples[subject.order[0]].model_input
    threads = context.settings.threads
    load = load_command(subject.bundle, child, threads=threads, first_text=first_text)
    child.request(load, protocol.ModelLoaded, timeout_s=context.timeouts.load_s)


def _batches(subjects: Sequence[Subject], available: int | None) -> list[list[Subject]]:
    """Subjects whose processes fit into half of the `available` bytes of memory together."""
    batches: list[list[Subject]] = [[]]
    used_bytes = 0
    for subject in subjects:
        total_bytes = used_bytes + subject.peak_bytes
        if batches[-1] and available is not None and total_bytes > available / 2:
            batches.append([])
            used_bytes = 0
        batches[-1].append(subject)
        used_bytes += subject.peak_bytes
    return [batch for batch in batches if batch]


def _run_round(subject: Subject, child: WorkerClient, number: int, context: BenchContext) -> None:
    settings = context.settings
    examples = subject.slice_of_round(number, settings.rounds)
    previous = subject.slice_of_round((number - 1) % settings.rounds, settings.rounds)
    warmup = previous[-WARMUP_TEXTS:]
    min_duration_s = settings.min_duration_s / settings.rounds
    # A quick run makes no more queries than the set has examples, unless its time is not up.
    min_queries = min(settings.min_queries, len(subject.order) if settings.quick else math.inf)
    command = slice_command(
        subject,
        examples,
        warmup,
        min_queries=math.ceil(min_queries / settings.rounds),
        max_queries=math.ceil(settings.max_queries / settings.rounds),
        min_duration_s=min_duration_s,
    )
    queries = max(len(examples), command.min_queries) + len(warmup)
    likely_s = max(queries * subject.slowest_ns / 1e9, min_duration_s)
    timeout_s = context.timeouts.slice_s + 20 * likely_s
    done = child.request(command, protocol.SliceDone, timeout_s=timeout_s)
    subject.warmup.add(done.warmup, warmup, number)
    subject.add_slice(done, examples, number)


def _sweep_lengths(
    batch: Sequence[Subject], children: dict[int, WorkerClient], context: BenchContext
) -> None:
    settings = context.settings
    lengths = {id(subject): subject.sweep_lengths(settings) for subject in batch}
    every_length = sorted(set().union(*lengths.values()))
    total = len(every_length)
    for number, tokens in enumerate(every_length):
        context.report("lengths", number, total, f"{tokens} tokens")
        for subject in _rotated(batch, number):
            if subject.failed or tokens not in lengths[id(subject)]:
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
                done = children[id(subject)].request(
                    command, protocol.LengthDone, timeout_s=context.timeouts.slice_s
                )
                if times_ns := protocol.unpack(done.inference_ns):
                    subject.lengths[tokens] = list(times_ns)
    context.report("lengths", total, total)
