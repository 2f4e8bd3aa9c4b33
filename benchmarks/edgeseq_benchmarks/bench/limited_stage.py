"""The stage in which each model runs inside limits: those asked for, a board's, the search for its
minimum working memory, and its memory curve."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from edgeseq.formats.memory_limits import LimitedRun
from edgeseq.formats.result import DeviceInfo, Settings
from edgeseq.units import format_bytes
from edgeseq_benchmarks.bench.context import BenchContext
from edgeseq_benchmarks.bench.limits.boards import find_board, limits_here
from edgeseq_benchmarks.bench.limits.cgroup import Hierarchy
from edgeseq_benchmarks.bench.limits.curve import STEP, memory_curve, works
from edgeseq_benchmarks.bench.limits.limited_run import LimitedTask, run_limited
from edgeseq_benchmarks.bench.limits.page_cache import FreshFiles
from edgeseq_benchmarks.bench.limits.unprivileged import RLIMIT_LIMITATIONS
from edgeseq_benchmarks.bench.limits.working_memory import (
    SearchBounds,
    bounded_task,
    repeated,
    search_working_memory,
)
from edgeseq_benchmarks.bench.stages import LONGEST_TEXTS
from edgeseq_benchmarks.bench.subject import Subject
from edgeseq_benchmarks.bench.validity import stage_checks


def measure_limited(
    subjects: Sequence[Subject], hierarchy: Hierarchy, device: DeviceInfo, context: BenchContext
) -> None:
    """Each model inside each limit, then its working memory and its memory curve."""
    for number, subject in enumerate(subjects):
        if subject.failed or subject.loaded is None:
            continue

        def report(note: str, number: int = number) -> None:
            context.report("limits", number, len(subjects), note)

        report(subject.title)
        if _needs_runs(subject, context.settings, hierarchy):
            with (
                subject.optional_stage("limits"),
                context.machine.private_files(
                    subject.bundle, subject.launcher, subject.loaded.mapped_files
                ) as files,
            ):
                _LimitedRuns(subject, files, context, hierarchy, report).measure(device)
        subject.findings += stage_checks.limited_findings(subject.limited, subject.working_memory)
        if context.settings.working_memory:
            obstacle = RLIMIT_LIMITATIONS if hierarchy.mechanism == "rlimit" else ""
            subject.findings += stage_checks.working_memory_findings(
                subject.working_memory, obstacle
            )
    context.report("limits", len(subjects), len(subjects))


def _needs_runs(subject: Subject, settings: Settings, hierarchy: Hierarchy) -> bool:
    """Whether there is anything to run: a copy of the files takes time and room."""
    needs_limits = bool(settings.memory_limits_bytes or settings.board or settings.cpus)
    return needs_limits or _can_search(settings, hierarchy) or _needs_curve(subject, settings)


def _can_search(settings: Settings, hierarchy: Hierarchy) -> bool:
    return settings.working_memory and hierarchy.mechanism != "rlimit"


def _needs_curve(subject: Subject, settings: Settings) -> bool:
    return settings.memory_curve or subject.name in settings.memory_curve_bundles


# A limit that was asked for may be too small by far, and each pass takes its whole time then.
_PASSES = 2


class _LimitedRuns:
    """All runs of one model inside limits."""

    def __init__(
        self,
        subject: Subject,
        files: FreshFiles,
        context: BenchContext,
        hierarchy: Hierarchy,
        report: Callable[[str], None],
    ) -> None:
        settings = context.settings
        self._subject, self._settings = subject, settings
        self._limited_group = context.machine.limited_group
        self._hierarchy, self._report = hierarchy, report
        cold_s = max((start.total_ns for start in subject.cold_starts), default=0) / 1e9
        # Processor time beyond the quota is waited for.
        self._cold_s = cold_s / min(1.0, settings.cpus or 1.0)
        self._task = self._make_task(files, subject.order[: settings.limited_queries])
        # A run without a limit must have its answers, however long it takes.
        self._search_task = self._make_task(files, repeated(subject.order))._replace(
            cpus=None, duration_s=settings.search_budget_s, warmup_s=settings.search_budget_s
        )

    def _make_task(self, files: FreshFiles, examples: Sequence[int]) -> LimitedTask:
        subject, settings = self._subject, self._settings
        once = list(dict.fromkeys(examples))
        return LimitedTask(
            bundle=subject.bundle,
            files=files,
            texts=subject.texts(examples),
            threads=settings.threads,
            duration_s=settings.limited_duration_s,
            # Libraries come from the disk, not from the page cache: five times the usual start.
            load_timeout_s=settings.limited_duration_s + 5 * self._cold_s,
            # With the longest ones, so that what they need counts in every run.
            warmup_texts=subject.texts([*subject.longest_examples(LONGEST_TEXTS), *once]),
            warmup_s=settings.limited_duration_s,
            passes=_PASSES,
            cpus=settings.cpus,
            limited_group=self._limited_group,
        )

    def _run_under(self, limit_bytes: int, *, task: LimitedTask) -> LimitedRun:
        run = run_limited(self._hierarchy, task, limit_bytes)
        self._report(f"{self._subject.title}: {format_bytes(limit_bytes)} {run.status}")
        return run

    def measure(self, device: DeviceInfo) -> None:
        """Adds the runs to the subject."""
        subject, settings = self._subject, self._settings
        if settings.board:
            subject.limited.append(self._run_as_board(settings.board, device))
        limits = settings.memory_limits_bytes
        if settings.cpus is not None and not limits:
            limits = (device.memory_bytes,)  # only processor time is limited
        runs = [self._run_under(limit_bytes, task=self._task) for limit_bytes in limits]
        subject.limited += runs
        if _can_search(settings, self._hierarchy):
            self._search(device)
        if _needs_curve(subject, settings):
            self._add_curve(runs)

    def _run_as_board(self, name: str, device: DeviceInfo) -> LimitedRun:
        limit_bytes, cpus, limitations = limits_here(
            find_board(name), device.cores, device.memory_bytes
        )
        task = self._task._replace(cpus=cpus, board=name, limitations=limitations, purpose="board")
        return self._run_under(limit_bytes, task=task)

    def _search(self, device: DeviceInfo) -> None:
        subject = self._subject
        reference = self._search_task._replace(purpose="reference")
        limited = self._search_task._replace(purpose="working_memory")
        subject.working_memory = search_working_memory(
            partial(self._run_under, device.memory_bytes, task=reference),
            lambda limit_bytes, references: self._run_under(
                limit_bytes, task=bounded_task(limited, references)
            ),
            SearchBounds(
                floor_bytes=subject.anonymous_bytes,
                peak_bytes=subject.needed_peak_bytes,
                memory_bytes=device.memory_bytes,
                budget_s=self._settings.search_budget_s,
            ),
        )

    def _add_curve(self, runs: Sequence[LimitedRun]) -> None:
        """From below what the search has tried, or from the peak."""
        subject, settings = self._subject, self._settings
        searched = subject.working_memory.runs if subject.working_memory else ()
        answered = [run.limit_bytes for run in searched if works(run)]
        start_bytes = min(answered) * STEP if answered else subject.peak_bytes * 1.1
        # A curve is a dozen runs: each gets a share of the time, the last ones use all of it.
        share_s = settings.curve_budget_s / 12
        short = self._task._replace(
            duration_s=share_s,
            load_timeout_s=share_s + 5 * self._cold_s,
            warmup_s=share_s / 2,
            purpose="curve",
        )
        subject.limited += memory_curve(
            partial(self._run_under, task=short),
            start_bytes=round(start_bytes),
            budget_s=settings.curve_budget_s,
            known=(*runs, *searched),
        )
