"""The optional stages of a benchmark: profile, energy, limits."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

from edgeseq.formats.memory_limits import LimitedRun
from edgeseq.formats.result import DeviceInfo, EnergyWindow
from edgeseq.units import format_bytes
from edgeseq_benchmarks.bench import protocol
from edgeseq_benchmarks.bench.context import BenchContext
from edgeseq_benchmarks.bench.limits.boards import find_board, limits_here
from edgeseq_benchmarks.bench.limits.cgroup import Hierarchy
from edgeseq_benchmarks.bench.limits.curve import memory_curve
from edgeseq_benchmarks.bench.limits.limited_run import LimitedTask, run_limited
from edgeseq_benchmarks.bench.probes.energy import EnergyReader, Meter
from edgeseq_benchmarks.bench.probes.operator_profile import profile_bundle
from edgeseq_benchmarks.bench.stages import (
    WARMUP_TEXTS,
    load_child,
    slice_command,
    start_child,
)
from edgeseq_benchmarks.bench.subject import Subject
from edgeseq_benchmarks.bench.validity import stage_checks

# More than a minute of the fastest model makes; its times travel as one reply.
_ENERGY_QUERIES = 3_000_000


def measure_profiles(subjects: Sequence[Subject], context: BenchContext) -> None:
    """The operator profile of each model, in a separate process."""
    for number, subject in enumerate(subjects):
        context.report("profile", number, len(subjects), subject.title)
        if subject.failed:
            continue
        with subject.optional_stage("profile"):
            subject.profile = profile_bundle(
                subject.bundle,
                subject.texts(subject.order[:WARMUP_TEXTS]),
                threads=context.settings.threads,
                timeout_s=context.timeouts.load_s,
            )
            subject.findings += stage_checks.profile_findings(subject.profile)
    context.report("profile", len(subjects), len(subjects))


def measure_energy(
    subjects: Sequence[Subject], reader: EnergyReader, context: BenchContext
) -> EnergyWindow | None:
    """The machine's energy while idle, which is returned, and while each model runs queries.

    Apart from the rounds that latency comes from, because reading power costs the machine time.
    """
    duration_s, total = context.settings.energy_duration_s, len(subjects)
    timeouts = context.timeouts
    context.report("energy", 0, total, "idle")
    with Meter(reader) as meter:
        time.sleep(duration_s)
    idle = meter.window(queries=0)
    for number, subject in enumerate(subjects):
        context.report("energy", number, total, subject.title)
        if subject.failed or idle is None:
            continue
        with subject.optional_stage("energy"), start_child(subject) as child:
            load_child(subject, child, context)
            command = slice_command(
                subject, subject.order, subject.order[:WARMUP_TEXTS],
                min_queries=1, max_queries=_ENERGY_QUERIES, min_duration_s=duration_s,
            )  # fmt: skip
            likely_s = 20 * len(subject.order) * subject.slowest_ns / 1e9
            timeout_s = timeouts.slice_s + 2 * duration_s + likely_s
            with Meter(reader) as meter:
                done = child.request(command, protocol.SliceDone, timeout_s=timeout_s)
            subject.energy = meter.window(len(protocol.unpack(done.queries.text)))
    context.report("energy", total, total)
    return idle


def measure_limited(
    subjects: Sequence[Subject], hierarchy: Hierarchy, device: DeviceInfo, context: BenchContext
) -> None:
    """Each model inside each limit, then along its memory curve."""
    for number, subject in enumerate(subjects):
        if subject.failed or subject.loaded is None:
            continue

        def report(note: str, number: int = number) -> None:
            context.report("limits", number, len(subjects), note)

        report(subject.title)
        with subject.optional_stage("limits"):
            _measure_limited(subject, context, hierarchy, device, report)
        subject.findings += stage_checks.limited_findings(subject.limited)
    context.report("limits", len(subjects), len(subjects))


def _measure_limited(
    subject: Subject,
    context: BenchContext,
    hierarchy: Hierarchy,
    device: DeviceInfo,
    report: Callable[[str], None],
) -> None:
    settings = context.settings
    needs_curve = settings.memory_curve or subject.name in settings.memory_curve_bundles
    limits = settings.memory_limits_bytes
    if settings.cpus is not None and not limits:
        limits = (device.memory_bytes,)  # only processor time is limited
    if subject.loaded is None or not (needs_curve or limits or settings.board):
        return
    # Processor time beyond the quota is waited for.
    slowdown = 1 / min(1.0, settings.cpus or 1.0)
    cold_s = slowdown * max((start.total_ns for start in subject.cold_starts), default=0) / 1e9
    mapped, machine = subject.loaded.mapped_files, context.machine
    with machine.private_files(subject.bundle, subject.launcher, mapped) as files:
        task = LimitedTask(
            bundle=subject.bundle,
            files=files,
            texts=subject.texts(subject.order[: settings.limited_queries]),
            threads=settings.threads,
            duration_s=settings.limited_duration_s,
            # Libraries come from the disk, not from the page cache: five times the usual start.
            load_timeout_s=settings.limited_duration_s + 5 * cold_s,
            cpus=settings.cpus,
            limited_group=machine.limited_group,
        )

        def run_under(limit_bytes: int, *, task: LimitedTask) -> LimitedRun:
            run = run_limited(hierarchy, task, limit_bytes)
            report(f"{subject.title}: {format_bytes(limit_bytes)} {run.status}")
            return run

        if settings.board:
            board = find_board(settings.board)
            limit_bytes, cpus, limitations = limits_here(board, device.cores, device.memory_bytes)
            on_board = task._replace(
                cpus=cpus, board=settings.board, limitations=limitations, purpose="board"
            )
            subject.limited.append(run_under(limit_bytes, task=on_board))
        runs = [run_under(limit_bytes, task=task) for limit_bytes in limits]
        subject.limited += runs
        if needs_curve:
            # A curve is a dozen runs: each gets a share of the time, the last ones use all of it.
            share_s = settings.curve_budget_s / 12
            short = task._replace(
                duration_s=share_s, load_timeout_s=share_s + 5 * cold_s, purpose="curve"
            )
            subject.limited += memory_curve(
                partial(run_under, task=short),
                start_bytes=round(subject.peak_bytes * 1.1),
                budget_s=settings.curve_budget_s,
                known=tuple(runs),
            )
