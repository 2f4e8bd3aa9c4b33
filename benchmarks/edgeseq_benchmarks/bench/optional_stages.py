"""The optional stages of a benchmark without limits: profile and energy."""

from __future__ import annotations

import time
from collections.abc import Sequence

from edgeseq.formats.result import EnergyWindow, Finding
from edgeseq_benchmarks.bench import protocol
from edgeseq_benchmarks.bench.context import BenchContext
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
    """The operator profile of each model, in a Python process: the only one with a profiler."""
    in_python = {subject.name for subject in subjects if subject.launcher.runner == "python"}
    for number, subject in enumerate(subjects):
        context.report("profile", number, len(subjects), subject.title)
        if subject.failed:
            continue
        if subject.launcher.runner != "python":
            if subject.name not in in_python:
                message = "the time per operator is measured in the Python runner alone"
                subject.findings.append(Finding("no-profile", "note", message))
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
