"""The stages of a bench on a phone, in the order in which `bench` runs them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import NamedTuple

from edgeseq.errors import BundleError, DeviceError
from edgeseq.formats.result import Finding, MemoryPhase, OperatorProfile, PhaseName, Settings
from edgeseq.progress import ProgressCallback, ProgressUpdate
from edgeseq_benchmarks.bench.probes.operator_profile import TOKENS as PROFILE_TOKENS
from edgeseq_benchmarks.devices.android.benchmark_model import nanoseconds, parse_operators
from edgeseq_benchmarks.devices.android.phone_memory import watch_memory
from edgeseq_benchmarks.devices.android.phone_scripts import PROFILE
from edgeseq_benchmarks.devices.android.phone_subject import PhoneSubject
from edgeseq_benchmarks.devices.android.tool_runs import (
    PhoneLostError,
    ToolOutput,
    ToolRun,
    ToolRunner,
)
from edgeseq_benchmarks.devices.base import Device, DeviceLostError

# Long enough for some samples of a model at work.
MEMORY_S = 1.5
_PROFILE_RUNS = 50
_MEAN = re.compile(r"\bcount=(\d+)\b.*?\b(?:avg|curr)=([\d.e+]+)")


class PhoneSession:
    """What every stage needs; `delegate` is the one that the tool reported."""

    def __init__(
        self,
        device: Device,
        folder: PurePosixPath,
        runner: ToolRunner,
        settings: Settings,
        progress: ProgressCallback,
    ) -> None:
        self.device = device
        self.folder = folder
        self.runner = runner
        self.settings = settings
        self.progress = progress
        self.delegate = "none named"

    @property
    def call_s(self) -> float:
        """How long one call with one process of the tool may take."""
        return self.runner.options.call_s + self.runner.options.run_s

    def run(
        self, stage: str, subjects: Sequence[PhoneSubject], jobs: Sequence[ToolRun]
    ) -> list[ToolOutput | None]:
        """Runs jobs; the subject of a failed one is marked failed. None for jobs that failed."""
        if not jobs:
            return []
        done = self.runner.run(jobs, lambda n: self.progress(ProgressUpdate(stage, n, len(jobs))))
        return self.judge(stage, subjects, jobs, done)

    def judge(
        self,
        stage: str,
        subjects: Sequence[PhoneSubject],
        jobs: Sequence[ToolRun],
        results: list[ToolOutput | None],
    ) -> list[ToolOutput | None]:
        """The results with None for the jobs that failed, whose subjects are marked failed."""
        by_number = {subject.number: subject for subject in subjects}
        for position, (job, result) in enumerate(zip(jobs, results, strict=True)):
            if result is None:
                continue
            if result.status != 0:
                results[position] = None
                if not by_number[job.model].failed:
                    by_number[job.model].mark_failed(
                        stage, result.reason(self.runner.options.run_s)
                    )
            elif any("XNNPACK" in line for line in result.lines):
                self.delegate = "xnnpack"
        return results


def check(phone: PhoneSession, subjects: Sequence[PhoneSubject]) -> None:
    """Every bundle answers its golden examples; raises `DeviceError` when none can."""
    jobs = [job for subject in subjects for job in subject.golden_jobs()]
    results = phone.run("check", subjects, jobs)
    for subject in subjects:
        if not subject.failed:
            with subject.required_stage("check"):
                runs = zip(jobs, results, strict=True)
                subject.take_golden(
                    [output for job, output in runs if output and job.model == subject.number]
                )
    if all(subject.failed for subject in subjects):
        finding = next(output for output in subjects[0].findings if output.code == "process-lost")
        raise DeviceError(
            "cannot run any of the bundles",
            where=phone.device.name,
            found=finding.message,
            fix="try benchmark_model on the phone by hand, see docs/guides/android.md",
        )


def measure_memory(phone: PhoneSession, subjects: Sequence[PhoneSubject]) -> None:
    """The bare runtime, then each model on its longest text, one process after the other."""

    def watch(phase: PhaseName, model: str, inputs: str, job: ToolRun) -> MemoryPhase | None:
        numbers = (job.offset, job.tokens, phone.settings.threads)
        arguments = (str(phone.folder), model, inputs, *map(str, numbers))
        return watch_memory(
            phone.device, phase, arguments, timeout_s=phone.call_s, seconds=MEMORY_S
        )

    bare = watch("runtime_imported", "empty.tflite", "/dev/zero", ToolRun(0, 0, 1, 0, 1))
    for number, subject in enumerate(subjects):
        phone.progress(ProgressUpdate("memory", number, len(subjects), subject.name))
        if subject.failed:
            continue
        with _goes_without(subject, "memory"):
            name, inputs = f"model.{subject.number}.tflite", f"inputs.{subject.number}"
            steady = watch("steady", name, inputs, subject.longest)
            if bare is None or steady is None:
                words = "memory was not measured: this kernel does not split it (before Linux 4.5)"
                subject.findings.append(Finding("memory-not-measured", "warning", words))
            else:
                subject.memory = [bare, steady]
    phone.progress(ProgressUpdate("memory", len(subjects), len(subjects)))


@contextmanager
def _goes_without(subject: PhoneSubject, stage: str) -> Iterator[None]:
    """`Subject.optional_stage`, except that a lost phone ends the run."""
    lost: DeviceLostError | None = None
    with subject.optional_stage(stage):
        try:
            yield
        except DeviceLostError as error:
            lost = error
    if lost is not None:
        raise lost


def measure_cold_starts(phone: PhoneSession, subjects: Sequence[PhoneSubject]) -> None:
    """Loading and first inference in fresh processes, the models taking turns."""
    living = [subject for subject in subjects if not subject.failed]
    turns = [subject for _ in range(phone.settings.cold_starts) for subject in living]
    jobs = [subject.job(subject.order[0], warmups=1, runs=1) for subject in turns]
    for subject, done in zip(turns, phone.run("cold start", subjects, jobs), strict=True):
        if done is not None:
            subject.take_cold(done)


def measure_rounds(
    phone: PhoneSession, subjects: Sequence[PhoneSubject], read_state: Callable[[], None]
) -> None:
    """All test examples of all models in interleaved rounds, until there are enough queries.

    A pass is every example once; passes repeat until each model has its queries and the time that
    was asked for has gone by, the tool's own starting and loading included. One round of one model
    is one adb call.
    """
    settings = phone.settings
    begun_s, number = time.monotonic(), 0
    while True:
        number = _measure_pass(phone, subjects, number, read_state)
        living = [subject for subject in subjects if not subject.failed]
        fewest = min((subject.query_count for subject in living), default=settings.max_queries)
        enough = fewest >= settings.min_queries
        long_enough = time.monotonic() - begun_s >= settings.min_duration_s
        if (enough and long_enough) or fewest >= settings.max_queries:
            phone.progress(ProgressUpdate("rounds", number, number))
            return


class _Slice(NamedTuple):
    """One model's part of a round: its place among the jobs of the pass."""

    subject: PhoneSubject
    round: int
    first: int
    jobs: list[ToolRun]
    examples: list[int]


def _measure_pass(
    phone: PhoneSession,
    subjects: Sequence[PhoneSubject],
    number: int,
    read_state: Callable[[], None],
) -> int:
    """Every example once; `number` is that of its first round. Returns that of the next pass."""
    slices: list[_Slice] = []
    jobs: list[ToolRun] = []
    for round_ in range(phone.settings.rounds):
        living = [subject for subject in subjects if not subject.failed]
        # Every other round the other way round, so that none is always first.
        for subject in living if round_ % 2 == 0 else living[::-1]:
            runs, examples = subject.round_jobs(round_, phone.settings.rounds, first=number == 0)
            slices.append(_Slice(subject, number + round_, len(jobs), runs, examples))
            jobs += runs
    if jobs:
        phone.runner.load(jobs)
    for position, part in enumerate(slices):
        if not part.subject.failed:
            _measure_slice(phone, subjects, part)
        if position % max(1, len(slices) // 4) == 0:
            read_state()
    return number + phone.settings.rounds


def _measure_slice(phone: PhoneSession, subjects: Sequence[PhoneSubject], part: _Slice) -> None:
    def report_count(count: int) -> None:
        note = f"{part.subject.name}, text {count} of {len(part.jobs)}"
        phone.progress(ProgressUpdate("rounds", part.round, None, note))

    try:
        results = phone.runner.run_part(part.first, len(part.jobs), report_count)
    except PhoneLostError as error:
        _take_slice(part, phone.judge("rounds", subjects, part.jobs, error.done))
        raise
    _take_slice(part, phone.judge("rounds", subjects, part.jobs, results))


def _take_slice(part: _Slice, results: Sequence[ToolOutput | None]) -> None:
    with part.subject.required_stage("rounds"):
        for job, done, example in zip(part.jobs, results, part.examples, strict=True):
            if done is not None:
                part.subject.take_round(job, done, example, part.round)


def measure_lengths(phone: PhoneSession, subjects: Sequence[PhoneSubject]) -> None:
    """Inference alone at chosen lengths."""
    jobs: list[ToolRun] = []
    length_points: list[tuple[PhoneSubject, int]] = []
    for subject in subjects:
        if not subject.failed:
            runs, lengths = subject.length_jobs()
            jobs += runs
            length_points += [(subject, tokens) for tokens in lengths]
    for done, (subject, tokens) in zip(
        phone.run("lengths", subjects, jobs), length_points, strict=True
    ):
        if done is not None:
            subject.take_length(done, tokens)


def measure_profiles(phone: PhoneSession, subjects: Sequence[PhoneSubject]) -> None:
    """Which operators take the time, by the tool's own profiler."""
    for subject in subjects:
        if not subject.failed:
            with _goes_without(subject, "profile"):
                subject.profile = _profile(phone, subjects, subject)


def _profile(
    phone: PhoneSession, subjects: Sequence[PhoneSubject], subject: PhoneSubject
) -> OperatorProfile:
    job = subject.near(PROFILE_TOKENS)
    plain = phone.run("profile", subjects, [job])[0]
    answer = phone.device.run(
        (
            *("sh", "-c", PROFILE, "sh", str(phone.folder)),
            *(f"model.{subject.number}.tflite", f"inputs.{subject.number}"),
            *(str(n) for n in (job.offset, job.tokens, phone.settings.threads, _PROFILE_RUNS)),
        ),
        timeout_s=phone.call_s,
    )
    lines = answer.stdout.decode("utf-8", errors="replace").splitlines()
    operators = parse_operators(lines, _PROFILE_RUNS)
    means = [match for line in lines if (match := _MEAN.search(line))]
    if answer.returncode != 0 or plain is None or not operators or len(means) < 2:
        raise BundleError("no profile", where=subject.name, found=lines[-1] if lines else "nothing")
    return OperatorProfile(
        tokens=job.tokens,
        runs=_PROFILE_RUNS,
        plain_ns=tuple(map(nanoseconds, plain.times.runs_us)),
        # The warm-up's line comes first, then the runs'.
        invoke_us=round(int(means[1][1]) * float(means[1][2])),
        operators=operators,
        shares=(),
    )
