"""One row per model and device, derived from the raw records: what `summary.json` lists.

Nothing here is stored with the measurements, so that a number and its samples cannot disagree.
The terminal's table, the report, `compare` and `recommend` all take their numbers from a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from edgeseq.errors import ResultError
from edgeseq.formats.bundle_manifest import Lowering, RecipeName
from edgeseq.formats.result import (
    NO_QUERIES,
    RUNNER_TITLES,
    BundleIdentity,
    DeviceInfo,
    Finding,
    MemoryPhase,
    MicroFootprint,
    ResultRecord,
    Run,
    Runner,
    RuntimeInfo,
    Settings,
)
from edgeseq.formats.result_stream import ResultStream
from edgeseq.formats.trained_model import Arch
from edgeseq.reporting.limit_outcomes import LimitOutcome, limits_tried
from edgeseq.reporting.run_statistics import (
    Ci95,
    ClassScore,
    FurtherScore,
    OpenCi95,
    SourceScore,
    latency_summary,
    percentile_ms,
    split_scores,
    working_memory_of,
)
from edgeseq.stats.latency import median
from edgeseq.tasks.metric import Metric
from edgeseq.tasks.scoring import metric_of, n_answers

WORKING_MEMORY, PEAK_MEMORY = "working memory", "peak memory"


class ReportRow(msgspec.Struct, frozen=True):
    """A row of `summary.json` (version 2); None is "not measured", never zero.

    - `p50_ms`, `p95_ms`: a whole query (tokenize + inference + decode); `inference_*` the inference
      in it. None below the percentile's sample floor, and for every time of an emulated device. The
      high end of an interval of times is None where the samples do not show it. `*_at_most_ms` is
      what the true percentile does not exceed with 99 % confidence.
    - `cold_start_ms`: median over fresh processes.
    - `peak_memory_bytes`: peak beyond the bare runtime (`peak_beyond_runtime`);
      `peak_process_bytes`: peak of the whole process; `memory_after_release_bytes`:
      peak beyond the runtime of a program that releases the model file's pages.
    - `working_memory_bytes`: the minimum working memory (`edgeseq.stats.working_memory`): the
      smallest hard limit on the whole process under which `runner` keeps its speed;
      `working_memory_p95_ms` the p95 under it; `working_memory_bracket_bytes` the largest limit
      below it that was too small (0: none was), and itself.
      `limits_tried` are all limits, largest first, a verdict's before others of its size.
    - `score`: a value of `metric` (`edgeseq.tasks.scoring`), a fraction in 0..1 unless it is a
      perplexity.
      `further_scores` are those of the task's other metrics.
    - `n_examples` counts texts, `n_answers` what was scored: texts, words or label decisions.
    - With the scope `inference` (on a phone) times of a query are those of its inference, and a
      cold start is loading and the first inference.
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
    runner: Runner
    n_queries: int = 0
    p50_ms_ci95: OpenCi95 | None = None
    p95_ms_ci95: OpenCi95 | None = None
    inference_p50_ms: float | None = None
    inference_p95_ms: float | None = None
    macro_f1: float | None = None
    per_class: tuple[ClassScore, ...] = ()
    per_source: tuple[SourceScore, ...] = ()
    further_scores: tuple[FurtherScore, ...] = ()
    findings: tuple[Finding, ...] = ()
    n_answers: int = 0
    scope: Literal["query", "inference"] = "query"
    memory_after_release_bytes: int | None = None
    working_memory_bytes: int | None = None
    working_memory_bracket_bytes: tuple[int, int] | None = None
    working_memory_p95_ms: float | None = None
    limits_tried: tuple[LimitOutcome, ...] = ()
    p50_at_most_ms: float | None = None
    p95_at_most_ms: float | None = None

    @property
    def required_memory_bytes(self) -> int | None:
        """What a limit on memory is compared with: working memory, else the peak."""
        if self.working_memory_bytes is not None:
            return self.working_memory_bytes
        return self.peak_process_bytes

    @property
    def memory_title(self) -> str:
        """What `required_memory_bytes` is."""
        return WORKING_MEMORY if self.working_memory_bytes is not None else PEAK_MEMORY

    @property
    def metric_definition(self) -> Metric:
        """How `score` is read, compared and shown."""
        return metric_of(self.task)

    @property
    def rank(self) -> float:
        """What models are ordered by: higher is better, and minus infinity without a score."""
        return self.metric_definition.rank(self.score)

    @property
    def can_ship(self) -> bool:
        """Whether the measurement is valid and has a score."""
        return self.valid and self.score is not None


class MeasuredModel(msgspec.Struct, frozen=True):
    """A row with the run that it was derived from."""

    row: ReportRow
    run: Run


class ModelGroup(msgspec.Struct, frozen=True):
    """Models that may be compared: one device, one runtime and runner, equal settings, the same
    examples. `footprints` are what models of the same data take of a microcontroller."""

    device: DeviceInfo
    runtime: RuntimeInfo
    runner: Runner
    effective: Settings
    task: str
    data_name: str
    data_sha256: str
    models: tuple[MeasuredModel, ...]
    results: tuple[ResultRecord, ...]
    files: tuple[str, ...]
    footprints: tuple[MicroFootprint, ...] = ()

    @property
    def title(self) -> str:
        """Device, threads and what else sets the group apart."""
        threads = f"{self.effective.threads} thread" + "s" * (self.effective.threads != 1)
        title = f"{self.device.name}, {RUNNER_TITLES[self.runner]}, {threads}"
        if self.effective.cpus is not None:
            title += f", limits with {self.effective.cpus:g} processors"
        return title + (", quick run" if self.effective.quick else "")

    @property
    def timed_scope(self) -> str:
        """What times are of, in words."""
        inference = any(row.scope == "inference" for row in self.rows)
        return "inference alone" if inference else "a whole query"

    @property
    def rows(self) -> tuple[ReportRow, ...]:
        """The rows of all models."""
        return tuple(model.row for model in self.models)

    @property
    def memory_title(self) -> str:
        """What the models' `required_memory_bytes` are."""
        titles = dict.fromkeys(row.memory_title for row in self.rows)
        return " or ".join(titles) if titles else PEAK_MEMORY

    @property
    def timed_models(self) -> tuple[MeasuredModel, ...]:
        """Models whose times are latencies: none on an emulated device."""
        return () if self.device.emulated else self.models


_Key = tuple[
    DeviceInfo, RuntimeInfo, Runner, int, bool, float | None, str, str, tuple[str, ...], str
]


def read_groups(results: Sequence[Path | ResultRecord]) -> tuple[ModelGroup, ...]:
    """Reads results (files or records) and groups what may be compared: native processes first,
    otherwise in their order.

    Raises `ResultError` for a file that does not fit, without any result, for footprints without a
    measured model of the same data, and where one model was measured twice under equal conditions.
    """
    if not results:
        raise ResultError("no result file given", fix="name what `edgeseq bench` wrote")
    members: dict[_Key, list[_Member]] = {}
    footprints: list[MicroFootprint] = []
    for source in results:
        result, derived = _derive_members(source)
        footprints += result.footprints
        for member in derived:
            members.setdefault(_key(member.result, member.model.run), []).append(member)
    if footprints and not members:
        raise ResultError(
            "holds footprints on a microcontroller alone, which are shown beside measured models",
            where=", ".join(str(source) for source in results if isinstance(source, Path)) or None,
            fix="name a result of measured models too",
        )
    measured = {_data_of(group[0].model.run.bundle) for group in members.values()}
    for footprint in footprints:
        if _data_of(footprint.bundle) not in measured:
            raise ResultError(
                f"no model was measured on the data of the footprint of {footprint.bundle.name}",
                found=f"{footprint.bundle.task}, {footprint.bundle.data_name}",
                fix="name a result of models measured on the same data, or leave it out",
            )
    by_runner = sorted(members.values(), key=lambda group: group[0].model.run.runner != "native")
    return tuple(_group(group, footprints) for group in by_runner)


class _Member(msgspec.Struct, frozen=True):
    """A model with the result that it is from, and that one's file ("": not saved)."""

    model: MeasuredModel
    result: ResultRecord
    path: str


def _derive_members(source: Path | ResultRecord) -> tuple[ResultRecord, list[_Member]]:
    """A result and its models; of a file's runs only what a report shows is kept."""
    if isinstance(source, ResultRecord):
        models = [MeasuredModel(derive_row(source, run), run) for run in source.runs]
        return source, [_Member(model, source, "") for model in models]
    stream = ResultStream(source)
    models = [MeasuredModel(derive_row(stream.head, run), _shown_part(run)) for run in stream]
    result = msgspec.structs.replace(stream.head, runs=tuple(model.run for model in models))
    return result, [_Member(model, result, str(source)) for model in models]


def _shown_part(run: Run) -> Run:
    """The run without the samples that no chart or table shows: all but the time of each query."""
    times = msgspec.structs.replace(NO_QUERIES, total_ns=run.queries.total_ns)
    return msgspec.structs.replace(run, warmup=NO_QUERIES, queries=times, slices=())


def _key(result: ResultRecord, run: Run) -> _Key:
    examples = run.predictions.examples_sha256 if run.predictions else ""
    effective, bundle = result.effective, run.bundle
    return (
        result.device, result.runtime, run.runner,
        effective.threads, effective.quick, effective.cpus,
        bundle.task, bundle.data_sha256, bundle.labels, examples,
    )  # fmt: skip


def _data_of(bundle: BundleIdentity) -> tuple[str, str]:
    return bundle.task, bundle.data_sha256


def _group(members: Sequence[_Member], footprints: Sequence[MicroFootprint]) -> ModelGroup:
    paths: dict[str, str] = {}
    for member in members:
        name = member.model.row.bundle
        if name in paths:
            raise ResultError(
                f"{name} was measured twice under equal conditions",
                where=member.path or None,
                found=f"also in {paths[name]}" if paths[name] else None,
                fix="give one of the two, or use `edgeseq compare OLD NEW`",
            )
        paths[name] = member.path
    run, result = members[0].model.run, members[0].result
    sources = {
        id(member.result): (member.result, Path(member.path).name) for member in members
    }.values()
    return ModelGroup(
        device=result.device,
        runtime=result.runtime,
        runner=run.runner,
        effective=result.effective,
        task=run.bundle.task,
        data_name=run.bundle.data_name,
        data_sha256=run.bundle.data_sha256,
        models=tuple(member.model for member in members),
        results=tuple(result for result, _ in sources),
        files=tuple(name for _, name in sources),
        footprints=tuple(
            footprint
            for footprint in footprints
            if _data_of(footprint.bundle) == _data_of(run.bundle)
        ),
    )


def invalid_reasons_of(result: ResultRecord, run: Run) -> tuple[str, ...]:
    """Why a run is not valid: findings about it and about the whole result."""
    findings = (*run.findings, *result.findings)
    return tuple(finding.message for finding in findings if finding.severity == "invalid")


def derive_row(result: ResultRecord, run: Run) -> ReportRow:
    """The row of one run on the device and with the settings of its result."""
    bundle = run.bundle
    findings = (*run.findings, *result.findings)
    reasons = invalid_reasons_of(result, run)
    emulated = result.device.emulated
    query = latency_summary(() if emulated else run.queries.total_ns)
    inference_ns = () if emulated else run.queries.inference_ns
    cold_start_ns = [] if emulated else [start.total_ns for start in run.cold_starts]
    scores = split_scores(run)
    working = working_memory_of(run)
    return ReportRow(
        bundle=bundle.name,
        task=bundle.task,
        arch=bundle.arch,
        runner=run.runner,
        recipe=bundle.recipe,
        lowering=bundle.lowering,
        device=result.device.name,
        threads=result.effective.threads,
        parameters=bundle.parameters,
        size_bytes=bundle.size_bytes,
        metric=metric_of(bundle.task).name,
        score=scores.score if scores else None,
        score_ci95=scores.score_ci95 if scores else None,
        n_examples=len(run.predictions.sources) if run.predictions else 0,
        p50_ms=query.p50_ms,
        p95_ms=query.p95_ms,
        cold_start_ms=median(cold_start_ns) / 1e6 if cold_start_ns else None,
        peak_memory_bytes=peak_beyond_runtime(run.memory),
        peak_process_bytes=peak_of_process(run.memory),
        valid=not reasons,
        invalid_reasons=reasons,
        n_queries=len(run.queries.total_ns),
        p50_ms_ci95=query.p50_ci95,
        p95_ms_ci95=query.p95_ci95,
        inference_p50_ms=percentile_ms(inference_ns, 50),
        inference_p95_ms=percentile_ms(inference_ns, 95),
        macro_f1=scores.macro_f1 if scores else None,
        per_class=scores.per_class if scores else (),
        per_source=scores.per_source if scores else (),
        further_scores=scores.further if scores else (),
        findings=findings,
        n_answers=n_answers(run.predictions) if run.predictions else 0,
        scope=run.scope,
        memory_after_release_bytes=peak_after_weight_release(run.memory, run.after_weight_release),
        working_memory_bytes=working.limit_bytes,
        working_memory_bracket_bytes=working.bracket_bytes,
        working_memory_p95_ms=None if emulated else working.p95_ms,
        limits_tried=limits_tried(run, emulated=emulated),
        p50_at_most_ms=query.p50_at_most_ms,
        p95_at_most_ms=query.p95_at_most_ms,
    )


def peak_of_process(phases: Sequence[MemoryPhase]) -> int | None:
    """The highest resident set of the whole process, in bytes.

    None when a phase has no peak: the end of a phase is only a lower bound of it.
    """
    peaks = [phase.peak_bytes for phase in phases if phase.peak_bytes is not None]
    return max(peaks) if peaks and len(peaks) == len(phases) else None


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
    phases: Sequence[MemoryPhase], release: MemoryPhase | None
) -> int | None:
    """`peak_beyond_runtime`, in bytes, of a program that releases the model file's pages once it
    has answered: the phases up to the first answer, then `release`.

    None without that, or where `peak_beyond_runtime` would be.
    """
    if release is None:
        return None
    return peak_beyond_runtime([*(phase for phase in phases if phase.phase != "steady"), release])
