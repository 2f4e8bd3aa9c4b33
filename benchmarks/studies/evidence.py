"""Writes docs/evidence.md: how good each model of each task is on its test part, and what it costs.

    edgeseq run pos.toml --out pos
    python benchmarks/studies/evidence.py pos/result.json            prints the page
    python benchmarks/studies/evidence.py pos/result.json --write    keeps the numbers, writes it
    python benchmarks/studies/evidence.py pos/result.json --add      the same, beside what is kept
    python benchmarks/studies/evidence.py pos/models/* --write       how models were trained

What a result file says is reduced to numbers (no text of a data set, no single answer) and kept in
benchmarks/results/, one file for a task and data set; a new result of the same replaces it, or with
`--add` follows it. The page is made of these files alone: without a result file it is only
made anew. A folder of a trained model adds its training to the table of what was tried
(`trainings.py`).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean

import msgspec

from edgeseq.errors import EdgeseqError, ResultError
from edgeseq.formats.codec import from_builtins
from edgeseq.formats.result import ResultRecord, Run, Runner, read_result
from edgeseq.formats.storage import read_json, write_bytes, write_json
from edgeseq.formats.trained_model import read_model_folder
from edgeseq.reporting.boundary import WinnerMap
from edgeseq.reporting.format import ABSENT, format_optional
from edgeseq.reporting.rows import ReportRow, derive_row
from edgeseq.reporting.run_statistics import Ci95, OpenCi95, SourceScore
from edgeseq.reporting.seed_means import SEED
from edgeseq.tasks.gap_f1 import GENDERS, bias_of
from edgeseq.tasks.registry import TASKS, task_of
from edgeseq.tasks.scoring import metric_of
from edgeseq.units import format_bytes, format_duration_ms
from studies.families import ContextCost, context_costs, context_table, limits_sentence, winners_of
from studies.trainings import (
    TaskTrainings,
    merged,
    read_trainings,
    table,
    trained,
    write_trainings,
)

ROOT = Path(__file__).resolve().parents[2]
LIMIT_BYTES = 200_000
"""A file of numbers that is larger holds something else."""


TIMES_ONLY = frozenset(
    {"processor-shared", "background-load", "stolen-time", "throttled", "emulated"}
)
"""Findings that make times worthless and leave the answers as they are."""


class EvidenceTarget(msgspec.Struct, frozen=True):
    """What was aimed at: a value of the task's metric, and the largest .tflite file allowed."""

    task: str
    data_name: str
    arch: str
    bound: float
    max_size_bytes: int | None = None


TARGETS = (
    EvidenceTarget("sentiment", "customer-feedback", "bert", 0.80),
    EvidenceTarget("sentiment", "customer-feedback", "lstm", 0.76, 3_000_000),
    EvidenceTarget("sentiment", "sst3", "bert", 0.75),
    EvidenceTarget("sentiment", "sst3", "lstm", 0.71),
    EvidenceTarget("ner", "e-ner", "bert", 0.73),
    EvidenceTarget("ner", "e-ner", "lstm", 0.64),
    EvidenceTarget("ner", "sec-fin", "lstm", 0.81),
    EvidenceTarget("pos", "ud-ewt", "bert", 0.97),
    EvidenceTarget("pos", "ud-ewt", "lstm", 0.953),
    EvidenceTarget("lm", "wikitext2", "lstm", 90.0, 12_000_000),
    EvidenceTarget("coref", "gap", "bert", 0.76),
    EvidenceTarget("coref", "gap", "lstm", 0.68),
)


class EvidenceModel(msgspec.Struct, frozen=True):
    """One model on one device. Scores are values of the task's metric; times are of whole
    queries; `peak_memory_bytes` is beyond the bare runtime. None is "not measured"."""

    bundle: str
    arch: str
    recipe: str
    lowering: str
    parameters: int
    model_size_bytes: int
    model_sha256: str
    seed: str | None
    score: float | None
    score_ci95: Ci95 | None
    per_source: tuple[SourceScore, ...]
    n_examples: int
    n_answers: int
    p50_ms: float | None
    p95_ms: float | None
    p50_ms_ci95: OpenCi95 | None
    p95_ms_ci95: OpenCi95 | None
    n_queries: int
    peak_memory_bytes: int | None
    peak_process_bytes: int | None
    invalid_reasons: tuple[str, ...]
    invalid_codes: tuple[str, ...] = ()
    context_costs: tuple[ContextCost, ...] = ()
    runner: Runner = "python"
    working_memory_bytes: int | None = None
    working_memory_bracket_bytes: tuple[int, int] | None = None
    working_memory_p95_ms: float | None = None

    @property
    def answers_hold(self) -> bool:
        """Whether nothing but the times is invalid."""
        codes = self.invalid_codes
        return not self.invalid_reasons or (bool(codes) and TIMES_ONLY.issuperset(codes))


class MeasuringSession(msgspec.Struct, frozen=True):
    """One result file: when, where and with what its models were measured."""

    created_utc: str
    edgeseq_version: str
    device: str
    cpu_model: str
    machine: str
    emulated: bool
    runtime: str
    threads: int
    quick: bool
    models: tuple[EvidenceModel, ...]
    winners: WinnerMap | None = None


class Evidence(msgspec.Struct, frozen=True):
    """A file below benchmarks/results/."""

    task: str
    data_name: str
    data_sha256: str
    sessions: tuple[MeasuringSession, ...]
    schema_version: int = 1


def reduce(results: Sequence[ResultRecord]) -> list[Evidence]:
    """The numbers of result files, by task and data set in the order in which they come.

    Raises `ResultError` when two of them used different data under one name.
    """
    evidence: dict[tuple[str, str], Evidence] = {}
    for result in results:
        for first in result.runs:
            key = (first.bundle.task, first.bundle.data_name)
            known = evidence.get(key) or Evidence(*key, first.bundle.data_sha256, ())
            if first.bundle.data_sha256 != known.data_sha256:
                raise ResultError(
                    f"other examples of {key[1]} than in another result",
                    where=first.bundle.name,
                    found=first.bundle.data_sha256,
                    expected=known.data_sha256,
                )
            if any(session.created_utc == result.created_utc for session in known.sessions):
                continue
            runs = tuple(run for run in result.runs if _key(run) == key)
            sessions = (*known.sessions, _session(result, runs))
            evidence[key] = msgspec.structs.replace(known, sessions=sessions)
    return list(evidence.values())


def _key(run: Run) -> tuple[str, str]:
    return run.bundle.task, run.bundle.data_name


def _session(result: ResultRecord, runs: Sequence[Run]) -> MeasuringSession:
    rows = [derive_row(result, run) for run in runs]
    shipped = [run for run in runs if run.runner == "native"] or runs
    return MeasuringSession(
        created_utc=result.created_utc,
        edgeseq_version=result.edgeseq_version,
        device=result.device.name,
        cpu_model=result.device.cpu_model,
        machine=result.device.machine,
        emulated=result.device.emulated,
        runtime=f"{result.runtime.package} {result.runtime.version}",
        threads=result.effective.threads,
        quick=result.effective.quick,
        models=tuple(_measured(run, row) for run, row in zip(runs, rows, strict=True)),
        winners=winners_of([row for row in rows if row.runner == shipped[0].runner], shipped),
    )


def _measured(run: Run, row: ReportRow) -> EvidenceModel:
    bundle = run.bundle
    copied = {
        name: getattr(row, name) for name in EvidenceModel.__struct_fields__ if hasattr(row, name)
    }
    derived = {
        "model_size_bytes": bundle.model_size_bytes,
        "model_sha256": bundle.model_sha256,
        "seed": bundle.provenance.get("seed"),
        "invalid_codes": tuple(
            finding.code for finding in row.findings if finding.severity == "invalid"
        ),
    }
    if task_of(row.task).is_streaming:
        derived["context_costs"] = context_costs(run)
    return EvidenceModel(**(copied | derived))


def page(files: Sequence[Evidence], task_trainings: Sequence[TaskTrainings] = ()) -> str:
    """The whole page, Markdown; tasks in the order of `edgeseq.tasks.registry`."""
    lines = [
        "<!-- Written by benchmarks/studies/evidence.py from benchmarks/results/; do not edit. -->",
        "",
        "# Evidence",
        "",
        "Each score is on the test split, through the TFLite file, with a 95 % interval.",
        "Latencies are of whole queries on the named machine, tokenizing included. Working memory",
        "is the smallest hard limit on the whole process under which it keeps its speed; peak is",
        "the whole native process's, peak memory a Python process's beyond the bare runtime.",
        "Where there is a working memory, times and memory are the native process's unless the",
        "column says Python. A latency that is not valid (other programs, throttling, emulation)",
        "is shown as –. Targets were set beforehand. An interval covers the draw of the test",
        "split; the same training on a different processor rounds differently and scores up to 3",
        "points away where there are few examples to learn from (`coref`, decision 83).",
        "",
    ]
    for task in TASKS.values():
        if task.title is None:
            continue  # a user's own data
        lines += [f"## {task.name}: {task.title}", "", *_verdicts(task.name, files), ""]
        for evidence in files:
            if evidence.task == task.name:
                lines += [*_table(evidence), ""]
        for trainings in task_trainings:
            if trainings.task == task.name:
                lines += [*table(trainings), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _verdicts(task: str, files: Sequence[Evidence]) -> Iterator[str]:
    yield "| target | result | |"
    yield "|---|---|---|"
    for target in TARGETS:
        if target.task == task:
            score_text, verdict = judge(target, files)
            yield f"| {_aim(target)} | {score_text} | {verdict} |"


def _aim(target: EvidenceTarget) -> str:
    metric = metric_of(target.task)
    sign = "≥" if metric.higher_is_better else "≤"
    aim = f"{target.arch}, {target.data_name}: {metric.title} {sign} {metric.show(target.bound)}"
    if target.max_size_bytes is not None:
        aim += f" at ≤ {format_bytes(target.max_size_bytes)}"
    return aim


def judge(target: EvidenceTarget, files: Sequence[Evidence]) -> tuple[str, str]:
    """Two cells: the best model that the target speaks of and whose answers hold, and whether it
    is good enough. Of models that differ in the training's seed alone the mean counts."""
    metric = metric_of(target.task)
    measured = [
        (evidence.data_sha256, session.created_utc, model)
        for evidence in files
        if (evidence.task, evidence.data_name) == (target.task, target.data_name)
        for session in evidence.sessions
        for model in session.models
        if model.arch == target.arch and model.score is not None and model.answers_hold
    ]
    limit = target.max_size_bytes
    alike: dict[tuple[str, ...], list[EvidenceModel]] = {}
    for *when, model in measured:
        if limit is None or model.model_size_bytes <= limit:
            key = (*when, SEED.sub("", model.bundle), model.runner)
            alike.setdefault(key, []).append(model)
    if not alike:
        return ("no model is small enough" if measured else ABSENT), "not measured"
    means = {key: fmean(model.score or 0.0 for model in models) for key, models in alike.items()}
    # A mean over seeds says more than one training that happened to score higher.
    best = max(means, key=lambda key: (len(alike[key]), metric.rank(means[key])))
    score, models = means[best], alike[best]
    size = format_bytes(max(model.model_size_bytes for model in models))
    trainings = f", mean of {len(models)} seeds" if len(models) > 1 else ""
    score_text = f"{metric.show(score)} ({best[-2]}, {size}{trainings})"
    missing = metric.rank(target.bound) - metric.rank(score)
    if missing <= 0:
        return score_text, "met"
    if metric.unit == "%":
        return score_text, f"**missed** by {metric.points(target.bound, score):.1f} points"
    return score_text, f"**missed** by {metric.show(abs(target.bound - score))}"


def _table(evidence: Evidence) -> Iterator[str]:
    metric = metric_of(evidence.task)
    yield f"### {evidence.data_name} (examples' SHA-256 {evidence.data_sha256[:16]}…)"
    for session in evidence.sessions:
        yield ""
        yield (
            f"Measured {session.created_utc} on {session.cpu_model} ({session.device}, "
            f"{session.machine}{', emulated' if session.emulated else ''}) with {session.runtime}, "
            f"{session.threads} thread{'s' * (session.threads != 1)}, edgeseq "
            f"{session.edgeseq_version}{', quick run' if session.quick else ''}."
        )
        yield ""
        sources = list(dict.fromkeys(s.source for m in session.models for s in m.per_source))
        head = ["model", "file", f"{metric.title} (95 %)", *sources, *_ratio_title(sources)]
        head += ["p50", "p95", "peak memory", "n", "seed"]
        shipped = [model for model in session.models if model.runner == "native"]
        if shipped:  # measured since there is a native runner
            head[-3:-2] = ["working memory", "Python: p95", "working memory in Python", "peak"]
        yield f"| {' | '.join(head)} |"
        yield "|---" * len(head) + "|"
        in_python = {model.bundle: model for model in session.models if model.runner == "python"}
        for model in shipped or session.models:
            other = in_python.get(model.bundle) if shipped else None
            yield f"| {' | '.join(_cells(evidence.task, model, other, sources))} |"
        rows = [report_row(evidence.task, session, model) for model in shipped or session.models]
        yield from limits_sentence(rows, session.winners)
        timed = [model for model in shipped or session.models if not model.invalid_reasons]
        yield from context_table([(model.bundle, model.context_costs) for model in timed])


def report_row(task: str, session: MeasuringSession, model: EvidenceModel) -> ReportRow:
    """A row of a report again, of what is kept of one."""
    copied = {
        name: getattr(model, name) for name in ReportRow.__struct_fields__ if hasattr(model, name)
    }
    derived = {
        "task": task,
        "device": session.device,
        "threads": session.threads,
        "size_bytes": model.model_size_bytes,
        "metric": metric_of(task).name,
        "cold_start_ms": None,
        "valid": not model.invalid_reasons,
    }
    return from_builtins(copied | derived, ReportRow)


def _cells(
    task: str, model: EvidenceModel, in_python: EvidenceModel | None, sources: Sequence[str]
) -> Iterator[str]:
    """The cells of one model; `in_python` is the same model in the Python process, beside the
    native one."""
    metric = metric_of(task)
    yield model.bundle + ("" if model.answers_hold else " (not valid)")
    yield format_bytes(model.model_size_bytes)
    if model.score is None or model.score_ci95 is None:
        yield "not measured"
    else:
        yield f"{metric.show(model.score)} ({metric.show_interval(*model.score_ci95)})"
    by_source = {source_score.source: source_score.score for source_score in model.per_source}
    for source in sources:
        yield metric.show(by_source[source]) if source in by_source else ABSENT
    if _ratio_title(sources):
        ratio = bias_of(by_source)
        yield ABSENT if ratio is None else f"{ratio:.2f}"
    yield _time_cell(model, model.p50_ms)
    yield _time_cell(model, model.p95_ms)
    if model.runner == "native":
        yield format_optional(model.working_memory_bytes, format_bytes, ABSENT)
        python_memory = None if in_python is None else in_python.working_memory_bytes
        yield ABSENT if in_python is None else _time_cell(in_python, in_python.p95_ms)
        yield format_optional(python_memory, format_bytes, ABSENT)
        yield format_optional(model.peak_process_bytes, format_bytes, ABSENT)
    else:
        yield format_optional(model.peak_memory_bytes, format_bytes, ABSENT)
    yield f"{model.n_answers or model.n_examples:,}"
    yield model.seed or ABSENT


def _time_cell(model: EvidenceModel, time_ms: float | None) -> str:
    return format_optional(None if model.invalid_reasons else time_ms, format_duration_ms, ABSENT)


def _ratio_title(sources: Sequence[str]) -> list[str]:
    """GAP's bias (Webster et al. 2018): F1 of feminine over that of masculine pronouns."""
    return ["feminine / masculine"] if set(sources) == set(GENDERS) else []


def read_stored(folder: Path) -> list[Evidence]:
    """The files of numbers in `folder`, by name; raises `ResultError` for one that does not fit."""
    stored = []
    for path in sorted(folder.glob("*.json")):
        evidence = read_json(path, Evidence, error=ResultError)
        if evidence.task not in TASKS:
            raise ResultError("unknown task", where=path, found=evidence.task)
        stored.append(evidence)
    return stored


def file_name(evidence: Evidence) -> str:
    """`TASK-DATA.json`, without characters that mean something to a shell or a file system."""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", f"{evidence.task}-{evidence.data_name}") + ".json"


def _behind(stored: Evidence | None, new: Evidence) -> Evidence:
    """The sessions of both; raises `ResultError` when they used different data."""
    if stored is None:
        return new
    if stored.data_sha256 != new.data_sha256:
        raise ResultError(
            "has different examples from those kept",
            where=new.data_name,
            found=new.data_sha256,
            expected=stored.data_sha256,
            fix="replace it with --write",
        )
    begun = {session.created_utc for session in new.sessions}
    kept = tuple(session for session in stored.sessions if session.created_utc not in begun)
    return msgspec.structs.replace(new, sessions=(*kept, *new.sessions))


def main(arguments: list[str], *, root: Path = ROOT) -> int:
    """Prints the page with the results named; `--write` keeps their numbers and writes it."""
    folder = root / "benchmarks" / "results"
    options = {"--write", "--add"}.intersection(arguments)
    paths = [Path(argument) for argument in arguments if argument not in options]
    if any(str(path).startswith("--") for path in paths):
        sys.stderr.write(__doc__ or "")
        return 2
    try:
        models = [read_model_folder(path) for path in paths if path.is_dir()]
        trainings = merged(
            read_trainings(folder / "trained"), [trained(model_path) for model_path in models]
        )
        results = [read_result(path) for path in paths if not path.is_dir()]
        new = {file_name(model_path): model_path for model_path in reduce(results)}
        stored = {file_name(model_path): model_path for model_path in read_stored(folder)}
        if "--add" in options:
            new = {name: _behind(stored.get(name), evidence) for name, evidence in new.items()}
        files = [(stored | new)[name] for name in sorted(stored | new)]
        text = page(files, trainings)
        if not options:
            sys.stdout.write(text)
            return 0
        folder.mkdir(parents=True, exist_ok=True)
        for name, evidence in new.items():
            size = len(msgspec.json.encode(evidence))
            if size > LIMIT_BYTES:
                raise ResultError(
                    "too much to keep", where=name, found=size, expected=f"<= {LIMIT_BYTES} bytes"
                )
            write_json(folder / name, evidence)
        write_trainings(folder / "trained", trainings)
        write_bytes(root / "docs" / "evidence.md", text.encode())
    except EdgeseqError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
