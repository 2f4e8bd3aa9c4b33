"""Writes the measured part of docs/choosing.md: what each family reaches, and what it costs.

    python benchmarks/studies/choosing.py             prints it
    python benchmarks/studies/choosing.py --write     puts it between the page's markers

It is made of the newest session of each file in benchmarks/results/ (`evidence.py`), and shows of
each family the model that takes the least memory within a point of the family's best score.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgeseq.errors import EdgeseqError, InputError
from edgeseq.formats.storage import write_text
from edgeseq.reporting.boundary import boundary_sentence
from edgeseq.reporting.format import ABSENT, format_optional
from edgeseq.tasks.registry import task_of
from edgeseq.tasks.scoring import metric_of
from edgeseq.units import format_bytes, format_duration_ms, format_factor
from studies.evidence import (
    Evidence,
    EvidenceModel,
    MeasuringSession,
    read_stored,
    report_row,
)

ROOT = Path(__file__).resolve().parents[2]
MARKERS = ("<!-- measured -->\n", "<!-- /measured -->\n")
FAMILIES = ("bag", "lstm", "bert")
MARGIN_POINTS = 1.0


def representatives(evidence: Evidence) -> tuple[MeasuringSession, list[EvidenceModel]]:
    """The newest session, and a model of each family that was measured in it."""
    timed = [s for s in evidence.sessions if any(not model.invalid_reasons for model in s.models)]
    session = max(timed or evidence.sessions, key=lambda candidate: candidate.created_utc)
    metric = metric_of(evidence.task)
    models = [
        model
        for model in session.models
        if not model.invalid_reasons
        and model.score is not None
        # A model that was measured in both processes counts as the native one.
        and (model.runner == "native" or all(m.runner != "native" for m in session.models))
    ]
    chosen = []
    for family in FAMILIES:
        members = [model for model in models if model.arch == family]
        if members:
            best = max(metric.rank(model.score) for model in members)
            near = [m for m in members if 100 * (best - metric.rank(m.score)) <= MARGIN_POINTS]
            chosen.append(min(near, key=lambda model: _memory_bytes(model) or math.inf))
    return session, chosen


def lines(files: Sequence[Evidence]) -> Iterator[str]:
    """The table, then who ships under which limits, as Markdown."""
    yield "| data | family | score | file | p95 | memory |"
    yield "|---|---|---|---|---|---|"
    chosen = [(evidence, *representatives(evidence)) for evidence in files]
    chosen = [(evidence, session, models) for evidence, session, models in chosen if models]
    for evidence, _, models in chosen:
        metric = metric_of(evidence.task)
        for model in models:
            size, p95 = format_bytes(model.model_size_bytes), model.p95_ms
            yield (
                f"| {evidence.data_name} | {_name(evidence, model)} | "
                f"{metric.title} {metric.show(model.score or 0.0)} | {size} | "
                f"{format_optional(p95, format_duration_ms, ABSENT)} | "
                f"{format_optional(_memory_bytes(model), format_bytes, ABSENT)} |"
            )
    yield ""
    for evidence, session, models in chosen:
        if len(models) < 2:
            continue
        title = task_of(evidence.task).title or evidence.task
        title = f"{title[0].upper()}{title[1:]}"
        yield f"- **{title}** ({evidence.data_name}). {_costs(evidence, models)}"
        if session.winners is not None:
            rows = [report_row(evidence.task, session, model) for model in session.models]
            yield f"  {boundary_sentence(rows, session.winners)}"


def _memory_bytes(model: EvidenceModel) -> int | None:
    """Of the whole process: the working memory, else the peak."""
    return model.working_memory_bytes or model.peak_process_bytes


def _name(evidence: Evidence, model: EvidenceModel) -> str:
    """The family, as the task's reports call it."""
    bert_title = task_of(evidence.task).bert_title
    return {"bag": "bag", "lstm": "LSTM", "bert": bert_title}[model.arch]


def _costs(evidence: Evidence, models: Sequence[EvidenceModel]) -> str:
    """How many times as much as the smallest family each other one takes."""
    least, *others = models
    sentences = []
    for model in others:
        pairs = {
            "the file": (model.model_size_bytes, least.model_size_bytes),
            "the p95": (model.p95_ms, least.p95_ms),
            "the memory": (_memory_bytes(model), _memory_bytes(least)),
        }
        factors = {
            name: format_factor(value / of)
            for name, (value, of) in pairs.items()
            if value is not None and of is not None
        }
        texts = [f"{factor} times {name}" for name, factor in factors.items() if factor != "1"]
        family, cheapest = _name(evidence, model), _name(evidence, least)
        sentences.append(f"The {family} takes {', '.join(texts)} of the {cheapest}.")
    return " ".join(sentences)


def put_measured(page: str, text: str) -> str:
    """The page with `text` between the markers; raises `InputError` where they are missing."""
    first, last = MARKERS
    before, begin, rest = page.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise InputError("has no place for the figures", expected=" and ".join(MARKERS).strip())
    return f"{before}{first}\n{text}\n\n{last}{after}"


def main(arguments: list[str], *, root: Path = ROOT) -> int:
    """Prints the part; `--write` puts it into the page."""
    if arguments not in ([], ["--write"]):
        sys.stderr.write(__doc__ or "")
        return 2
    try:
        text = "\n".join(lines(read_stored(root / "benchmarks" / "results")))
        if not arguments:
            sys.stdout.write(text + "\n")
            return 0
        path = root / "docs" / "choosing.md"
        write_text(path, put_measured(path.read_text(encoding="utf-8"), text))
    except EdgeseqError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
