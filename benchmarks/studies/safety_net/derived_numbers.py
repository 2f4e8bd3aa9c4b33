"""Numbers that report, recommend and compare derive from results and from the stored evidence."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from edgeseq.errors import ResultError
from edgeseq.formats.codec import from_builtins
from edgeseq.formats.storage import read_json, write_json
from edgeseq.reporting.boundary import WinnerMap, winner_map
from edgeseq.reporting.budgets import budget_text, parse_budget
from edgeseq.reporting.comparison import compare_results
from edgeseq.reporting.format import format_score, format_score_interval
from edgeseq.reporting.rows import MeasuredModel, ReportRow
from edgeseq.reporting.run_statistics import (
    disagreement,
    joules_per_query,
    percentile_ms,
    top_k_shares,
    working_memory_of,
)
from edgeseq.reporting.score_gaps import ScoreGap, paired_gaps
from edgeseq.reporting.summary import GroupDecision, read_and_decide
from edgeseq.reporting.verdict import Verdict, by_cost, decide
from edgeseq.stats.latency import median
from edgeseq.tasks.scoring import metric_of

from .entries import Entries, numbers
from .synthetic_results import LABELS, Scenario, make_result

RESULTS_DIR = Path(__file__).resolve().parents[2] / "results"
BUDGETS = (
    "",
    "memory=90MB",
    "memory=64MB p95=1ms drop=8",
    "p95=7ms size=30MB",
    "size=6MB drop=0",
    "p50=100us",
    "model_memory=20MB cold_start=1s drop=10",
)
SPECIAL_SCENARIOS = {
    "few-samples": Scenario("sentiment", queries=100, examples=40),
    "emulated": Scenario("sentiment", queries=140, emulated=True),
}
THRESHOLDS = "p50>10% p95>10% cold_start>50% memory>5MB model_memory>10% size>1% score>1pt"


def derived_numbers() -> Entries:
    """All of them; result files are written to a temporary folder and read again."""
    entries: Entries = {}
    with tempfile.TemporaryDirectory(prefix="safety-net-") as folder:
        for task in LABELS:
            first = Scenario(task, examples=240 if task == "sentiment" else 100)
            second = first._replace(seed="second", slowdown=1.15, extra_errors=0.03)
            old, new = (_write(Path(folder), scenario) for scenario in (first, second))
            budgets = BUDGETS if task in ("sentiment", "coref") else BUDGETS[:3]
            entries |= report_numbers(task, old, budgets) | compare_numbers(task, old, new)
        for name, scenario in SPECIAL_SCENARIOS.items():
            entries |= report_numbers(name, _write(Path(folder), scenario), BUDGETS)
    return entries | evidence_numbers()


def _write(folder: Path, scenario: Scenario) -> Path:
    path = folder / f"{'-'.join(map(str, scenario))}.json"
    write_json(path, make_result(scenario))
    return path


def report_numbers(name: str, path: Path, budgets: Sequence[str]) -> Entries:
    """Rows, verdicts under every budget, the map of winners and what charts are made of."""
    (decided,) = read_and_decide([path], parse_budget(""))
    entries = _group_numbers(f"report/{name}", decided)
    gaps = {1.0: decided.gaps}
    for text in budgets:
        budget = parse_budget(text)
        if budget.drop_points not in gaps:
            runs = [entry.run for entry in decided.group.models]
            gaps[budget.drop_points] = paired_gaps(runs, allowed_points=budget.drop_points)
        verdict = decide(decided.group.rows, budget, gaps[budget.drop_points])
        values = _verdict(verdict) | {"budget": budget_text(budget)}
        entries |= numbers(f"recommend/{name}/{text or 'no limits'}", values)
    return entries


def _group_numbers(prefix: str, decided: GroupDecision) -> Entries:
    entries: Entries = {}
    for entry in decided.group.models:
        entries |= numbers(f"{prefix}/{entry.row.bundle}", _row(entry.row) | _run(entry))
    entries |= numbers(f"{prefix}/winners", _winners(decided.summary.winner_map))
    entries |= numbers(f"{prefix}/cost-order", {"bundles": by_cost(decided.group.rows)})
    for choice in decided.summary.lowerings:
        for candidate in choice.candidates:
            entries |= numbers(
                f"{prefix}/lowerings/{candidate.bundle}",
                {
                    "fastest": choice.lowering,
                    "p50_ms": candidate.p50_ms,
                    "ratio": candidate.ratio,
                    "ratio_ci95": candidate.ratio_ci95,
                },
            )
    first, *runners_up = decided.group.models
    idle = decided.group.results[0].energy_idle
    for entry in runners_up:
        gap = decided.gaps(first.row.bundle, entry.row.bundle)
        pair = disagreement(first.run, entry.run)
        values: dict[str, object] = {
            "points": gap.points,
            "worst_points": gap.worst_points,
            "not_worse": gap.not_worse,
            "joules_per_query": joules_per_query(entry.run.energy, idle),
        }
        if pair is not None:
            values |= {
                "only_first_right": pair.only_first,
                "only_second_right": pair.only_second,
                "p_value": pair.p_value,
            }
        entries |= numbers(f"{prefix}/against-first/{entry.row.bundle}", values)
    return entries


def _row(row: ReportRow) -> dict[str, object]:
    """The numbers of a row, under separate names."""
    return {
        "counts": [row.n_examples, row.n_answers, row.n_queries],
        "score": [row.score, row.score_ci95, row.rank, row.macro_f1],
        "score_text": [format_score(row), format_score_interval(row)],
        "p50_ms": [row.p50_ms, row.p50_ms_ci95],
        "p95_ms": [row.p95_ms, row.p95_ms_ci95],
        "inference_ms": [row.inference_p50_ms, row.inference_p95_ms],
        "cold_start_ms": row.cold_start_ms,
        "peak_bytes": [row.peak_process_bytes, row.peak_memory_bytes],
        "after_release_bytes": row.memory_after_release_bytes,
        "size_bytes": row.size_bytes,
        "is_valid": row.valid,
        "per_class": [
            [item.label, item.n_examples, item.precision, item.recall, item.recall_ci95, item.f1]
            for item in row.per_class
        ],
        "per_source": [
            [item.source, item.n_examples, item.score, item.score_ci95] for item in row.per_source
        ],
    }


def _run(entry: MeasuredModel) -> dict[str, object]:
    """Numbers of charts and tables beside the row."""
    predictions = entry.run.predictions
    values: dict[str, object] = {
        "working_memory": list(working_memory_of(entry.run)),
        "limits": [
            [run.limit_bytes, *(percentile_ms(run.total_ns, percent) for percent in (50, 90, 95))]
            for run in entry.run.under_limits
        ],
        "lengths": [[point.tokens, median(point.inference_ns)] for point in entry.run.lengths],
    }
    if predictions is not None and predictions.top1_correct:
        values["top_1_and_3"] = top_k_shares(predictions)
    return values


def _verdict(verdict: Verdict) -> dict[str, object]:
    """Winner, best model, and the number of reasons against each of the others."""
    return {
        "winner": verdict.winner,
        "best": verdict.best,
        "nearest_miss": verdict.nearest_miss.split()[0] if verdict.nearest_miss else None,
        "number_of_reasons": {refusal.bundle: len(refusal.reasons) for refusal in verdict.refused},
    }


def _winners(winners: WinnerMap) -> dict[str, object]:
    return {
        "memory_bytes": winners.memory_bytes,
        "p95_ms": winners.p95_ms,
        "map": winners.winners,
    }


def compare_numbers(task: str, old: Path, new: Path) -> Entries:
    """Changes with their intervals, and what thresholds make of them."""
    comparison = compare_results(old, new)
    entries: Entries = {}
    for change in comparison.changes:
        values = [
            [change.old, change.new],
            [change.worse_by, change.worse_by_ci95],
            [change.ratio, change.ratio_ci95],
            not change.problem,
        ]
        entries |= numbers(f"compare/{task}/{change.bundle}", {change.metric: values})
    for check in comparison.check(THRESHOLDS):
        entries |= numbers(f"compare/{task}/{check.bundle}", {check.threshold: check.status})
    return entries


def evidence_numbers() -> Entries:
    """Decisions over the numbers stored in `benchmarks/results/`, with gaps as observed."""
    entries: Entries = {}
    for path in sorted(RESULTS_DIR.glob("*.json")):
        stored = read_json(path, StoredEvidence, error=ResultError)
        for index, session in enumerate(stored.sessions):
            rows = [_stored_row(stored.task, model) for model in session.models]
            key = f"evidence/{path.stem}/{index}"
            for row in rows:
                values = [row.rank, format_score(row), format_score_interval(row)]
                entries |= numbers(f"{key}/{row.bundle}", {"score": values})
            entries |= numbers(key, {"cost_order": by_cost(rows)})
            for text in BUDGETS[:4]:
                budget = parse_budget(text)
                gaps = _observed_gaps(rows, budget.drop_points)
                label = f"{key}/{text or 'no limits'}"
                entries |= numbers(label, _verdict(decide(rows, budget, gaps)))
            gaps = _observed_gaps(rows, 1.0)
            entries |= numbers(f"{key}/winners", _winners(winner_map(rows, parse_budget(""), gaps)))
    return entries


class StoredSession(msgspec.Struct):
    """One session of stored evidence."""

    models: tuple[dict[str, object], ...]


class StoredEvidence(msgspec.Struct):
    """One file of stored evidence."""

    task: str
    sessions: tuple[StoredSession, ...]


def _stored_row(task: str, model: dict[str, object]) -> ReportRow:
    fields = {name: model[name] for name in ReportRow.__struct_fields__ if name in model}
    # What was stored before there was another runner is of Python processes.
    fields.setdefault("runner", "python")
    extra_fields = {
        "task": task,
        "device": "stored",
        "threads": 1,
        "size_bytes": model["model_size_bytes"],
        "metric": metric_of(task).name,
        "cold_start_ms": None,
        "valid": not model["invalid_reasons"],
    }
    return from_builtins(fields | extra_fields, ReportRow)


def _observed_gaps(rows: Sequence[ReportRow], drop_points: float) -> Callable[[str, str], ScoreGap]:
    """Gaps as observed: the answers themselves are not stored."""
    ranks = {row.bundle: row.rank for row in rows}

    def gap(best: str, compared: str) -> ScoreGap:
        points = 100 * (ranks[best] - ranks[compared])
        return ScoreGap(points, None, not_worse=points <= drop_points)

    return gap
