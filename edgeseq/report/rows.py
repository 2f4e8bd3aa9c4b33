"""One row a model and device, derived from the raw records: what `summary.json` lists.

Nothing here is stored with the measurements, so that a number and its samples cannot disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from edgeseq.errors import ResultError
from edgeseq.formats.bundle import Lowering, RecipeName
from edgeseq.formats.result import (
    DeviceInfo,
    Finding,
    MemoryPhase,
    Result,
    Run,
    RuntimeInfo,
    Settings,
    read_result,
)
from edgeseq.formats.trained_model import Arch
from edgeseq.report.evidence import Ci95, ClassScore, OpenCi95, SourceScore, scores, timing
from edgeseq.stats.latency import median
from edgeseq.tasks.scoring import METRICS, Metric, metric_of, n_answers


class Row(msgspec.Struct, frozen=True):
    """A row of `summary.json` (version 1); None is "not measured", never zero.

    `p50_ms`, `p95_ms` are of a whole query (tokenize + inference + decode), `inference_*` of the
    inference in it; a percentile below its sample floor is None, and so is every time of an
    emulated device. The high end of an interval of times is None where the samples do not show
    it. `cold_start_ms` is the median over fresh processes. `peak_memory_bytes` is
    what comes on top of the bare runtime: the highest peak over the phases after
    `runtime_imported` minus the resident set at the end of that phase. `peak_process_bytes` is
    the highest peak of the whole process; `memory_after_release_bytes` is what would come on top of
    the runtime in a program that releases the model file's pages (`peak_after_weight_release`).
    `score` is a value of `metric` (`edgeseq.tasks.scoring`): fractions in 0..1, but for a
    perplexity.
    `n_examples` counts texts, `n_answers` what was scored: texts, or words where there is one
    answer for each. With the scope `inference` (on a phone) the times of a query are those of its
    inference, and a cold start is loading and the first inference.
    """

    bundle: str
    task: str
    arch: Arch
    recipe: RecipeName
    lowering: Lowering
    device: str
    threads: int
    parameters: int
    size_bytes: int
    metric: str
    score: float | None
    score_ci95: Ci95 | None
    n_examples: int
    p50_ms: float | None
    p95_ms: float | None
    cold_start_ms: float | None
    peak_memory_bytes: int | None
    peak_process_bytes: int | None
    valid: bool
    invalid_reasons: tuple[str, ...]
    n_queries: int = 0
    p50_ms_ci95: OpenCi95 | None = None
    p95_ms_ci95: OpenCi95 | None = None
    inference_p50_ms: float | None = None
    inference_p95_ms: float | None = None
    macro_f1: float | None = None
    per_class: tuple[ClassScore, ...] = ()
    per_source: tuple[SourceScore, ...] = ()
    findings: tuple[Finding, ...] = ()
    n_answers: int = 0
    scope: Literal["query", "inference"] = "query"
    memory_after_release_bytes: int | None = None

    @property
    def by(self) -> Metric:
        """How `score` is to be read, compared and shown."""
        return METRICS[self.metric]

    @property
    def rank(self) -> float:
        """What models are ordered by: more is better, and less than all without a score."""
        return self.by.rank(self.score)

    @property
    def score_text(self) -> str:
        """The score in words."""
        return "not measured" if self.score is None else self.by.show(self.score)

    @property
    def interval_text(self) -> str:
        """The score's interval in words, empty when there is none."""
        return "" if self.score_ci95 is None else self.by.show_interval(*self.score_ci95)


class Entry(msgspec.Struct, frozen=True):
    """A row with the run that it was derived from."""

    row: Row
    run: Run


class Group(msgspec.Struct, frozen=True):
    """Models that may be compared: one device, one runtime, equal settings, the same examples."""

    device: DeviceInfo
    runtime: RuntimeInfo
    effective: Settings
    task: str
    data_name: str
    data_sha256: str
    entries: tuple[Entry, ...]
    results: tuple[Result, ...]
    files: tuple[str, ...]

    @property
    def title(self) -> str:
        threads = f"{self.effective.threads} thread" + "s" * (self.effective.threads != 1)
        title = f"{self.device.name}, {threads}"
        if self.effective.cpus is not None:
            title += f", limits with {self.effective.cpus:g} processors"
        return title + (", quick run" if self.effective.quick else "")

    @property
    def timed(self) -> str:
        """What the times are of, in words."""
        inference = any(entry.row.scope == "inference" for entry in self.entries)
        return "inference alone" if inference else "a whole query"

    @property
    def rows(self) -> tuple[Row, ...]:
        return tuple(entry.row for entry in self.entries)


_Key = tuple[DeviceInfo, RuntimeInfo, int, bool, float | None, str, str, tuple[str, ...], str]


def read_groups(paths: Sequence[Path]) -> tuple[Group, ...]:
    """Reads result files and puts together what may be compared, in the order of the files.

    Raises `ResultError` for a file that does not fit, for no file, and where one model was
    measured twice under equal conditions: the two would have to be one.
    """
    if not paths:
        raise ResultError("no result file given", fix="name what `edgeseq bench` wrote")
    members: dict[_Key, list[tuple[Run, Result, Path]]] = {}
    for path in paths:
        result = read_result(path)
        for run in result.runs:
            members.setdefault(_key(result, run), []).append((run, result, path))
    return tuple(_group(found) for found in members.values())


def _key(result: Result, run: Run) -> _Key:
    examples = run.predictions.examples_sha256 if run.predictions else ""
    effective, bundle = result.effective, run.bundle
    return (
        result.device, result.runtime, effective.threads, effective.quick, effective.cpus,
        bundle.task, bundle.data_sha256, bundle.labels, examples,
    )  # fmt: skip


def _group(found: Sequence[tuple[Run, Result, Path]]) -> Group:
    seen: dict[str, Path] = {}
    for run, _, path in found:
        name = run.bundle.name
        if name in seen:
            raise ResultError(
                f"{name} was measured twice under equal conditions",
                where=path,
                found=f"also in {seen[name]}",
                fix="give one of the two, or use `edgeseq compare OLD NEW`",
            )
        seen[name] = path
    first_run, first, _ = found[0]
    # One entry a result, whatever number of its runs belongs here.
    sources = {id(result): (result, path.name) for _, result, path in found}.values()
    return Group(
        device=first.device,
        runtime=first.runtime,
        effective=first.effective,
        task=first_run.bundle.task,
        data_name=first_run.bundle.data_name,
        data_sha256=first_run.bundle.data_sha256,
        entries=tuple(Entry(derive_row(result, run), run) for run, result, _ in found),
        results=tuple(result for result, _ in sources),
        files=tuple(name for _, name in sources),
    )


def derive_row(result: Result, run: Run) -> Row:
    """The row of one run on the device and with the settings of its result."""
    bundle = run.bundle
    findings = (*run.findings, *result.findings)
    reasons = tuple(finding.message for finding in findings if finding.severity == "invalid")
    emulated = result.device.emulated
    total = timing(() if emulated else run.queries.total_ns)
    inference = timing(() if emulated else run.queries.inference_ns)
    cold_ns = [] if emulated else [start.total_ns for start in run.cold_starts]
    found = scores(run)
    return Row(
        bundle=bundle.name,
        task=bundle.task,
        arch=bundle.arch,
        recipe=bundle.recipe,
        lowering=bundle.lowering,
        device=result.device.name,
        threads=result.effective.threads,
        parameters=bundle.parameters,
        size_bytes=bundle.size_bytes,
        metric=metric_of(bundle.task).name,
        score=found.score if found else None,
        score_ci95=found.score_ci95 if found else None,
        n_examples=len(run.predictions.sources) if run.predictions else 0,
        p50_ms=total.p50_ms,
        p95_ms=total.p95_ms,
        cold_start_ms=median(cold_ns) / 1e6 if cold_ns else None,
        peak_memory_bytes=peak_beyond_runtime(run.memory),
        peak_process_bytes=peak_of_process(run.memory),
        valid=not reasons,
        invalid_reasons=reasons,
        n_queries=len(run.queries.total_ns),
        p50_ms_ci95=total.p50_ci95,
        p95_ms_ci95=total.p95_ci95,
        inference_p50_ms=inference.p50_ms,
        inference_p95_ms=inference.p95_ms,
        macro_f1=found.macro_f1 if found else None,
        per_class=found.per_class if found else (),
        per_source=found.per_source if found else (),
        findings=findings,
        n_answers=n_answers(run.predictions) if run.predictions else 0,
        scope=run.scope,
        memory_after_release_bytes=peak_after_weight_release(run.memory, run.after_weight_release),
    )


def peak_of_process(phases: Sequence[MemoryPhase]) -> int | None:
    """The highest resident set of the whole process, in bytes.

    None when a phase has no peak: the end of a phase is only a lower bound of it.
    """
    peaks = [phase.peak_bytes for phase in phases]
    known = [peak for peak in peaks if peak is not None]
    return max(known) if known and len(known) == len(peaks) else None


def peak_beyond_runtime(phases: Sequence[MemoryPhase]) -> int | None:
    """The highest peak after `runtime_imported` minus the resident set at its end, in bytes.

    None without that phase, or when a later phase has no peak.
    """
    names = [phase.phase for phase in phases]
    if "runtime_imported" not in names:
        return None
    start = names.index("runtime_imported")
    peak = peak_of_process(phases[start + 1 :])
    return None if peak is None else max(0, peak - phases[start].rss_bytes)


def peak_after_weight_release(
    phases: Sequence[MemoryPhase], after_weight_release: MemoryPhase | None
) -> int | None:
    """`peak_beyond_runtime`, in bytes, of a program that releases the model file's pages once it
    has answered: the phases up to the first answer, then `after_weight_release`.

    None without that, or where `peak_beyond_runtime` would be.
    """
    if after_weight_release is None:
        return None
    return peak_beyond_runtime(
        [*(one for one in phases if one.phase != "steady"), after_weight_release]
    )
