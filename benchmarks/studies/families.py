"""For docs/evidence.md: under which limits each family wins, and what the next word costs.

Both follow from result files: the first needs every single answer, because "not worse" is a paired
test, and is therefore decided when a result is reduced to numbers; the words are made of these.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from edgeseq.formats.result import Run
from edgeseq.reporting.boundary import WinnerMap, boundary_sentence, winner_map
from edgeseq.reporting.budgets import DEFAULT_DROP_POINTS, Budget
from edgeseq.reporting.rows import ReportRow
from edgeseq.reporting.score_gaps import paired_gaps
from edgeseq.stats.latency import median


class ContextCost(msgspec.Struct, frozen=True):
    """The median inference of one more token behind `tokens` others."""

    tokens: int
    p50_ms: float


def winners_of(rows: Sequence[ReportRow], runs: Sequence[Run]) -> WinnerMap | None:
    """What ships under every memory limit and p95 limit, with the report's usual allowed drop;
    None where the valid rows are not of two families, or their answers are not of equal texts."""
    valid = [row for row in rows if row.valid and row.score is not None]
    example_hashes = {
        run.predictions.examples_sha256 for run in runs if run.predictions is not None
    }
    if len({row.arch for row in valid}) < 2 or len(example_hashes) != 1:
        return None
    return winner_map(valid, Budget(), paired_gaps(runs, allowed_points=DEFAULT_DROP_POINTS))


def limits_sentence(rows: Sequence[ReportRow], winners: WinnerMap | None) -> Iterator[str]:
    """The map of winners in the words of a report, as a paragraph; nothing without one."""
    if winners is not None:
        names = {name for column in winners.winners for name in column}
        measured = [row for row in rows if row.valid or row.bundle in names]
        yield ""
        yield f"**Which family wins.** {boundary_sentence(measured, winners)}"


def context_costs(run: Run) -> tuple[ContextCost, ...]:
    """The costs of a run that was timed behind texts of several lengths."""
    return tuple(
        ContextCost(point.tokens, median(point.inference_ns) / 1e6)
        for point in run.lengths
        if point.inference_ns
    )


def context_table(costs: Sequence[tuple[str, Sequence[ContextCost]]]) -> Iterator[str]:
    """A row for each model: what one more word costs, by the number of words before it."""
    lengths = sorted({cost.tokens for _, costs_of_model in costs for cost in costs_of_model})
    if not lengths:
        return
    yield ""
    yield "Milliseconds for one more word, by the words read before it (median inference):"
    yield ""
    yield f"| model | {' | '.join(f'{length:,}' for length in lengths)} |"
    yield "|---" * (1 + len(lengths)) + "|"
    for name, costs_of_model in costs:
        by_length = {cost.tokens: cost.p50_ms for cost in costs_of_model}
        cells = [f"{by_length[length]:.2f}" if length in by_length else "–" for length in lengths]
        yield f"| {name} | {' | '.join(cells)} |"
