"""Which models of a large group are drawn: a chart of 200 lines shows nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec

from edgeseq.reporting.rows import ModelGroup, ReportRow
from edgeseq.reporting.summary import GroupDecision

MAX_MODELS = 20
"""Groups of at most as many models are drawn whole."""
MAX_DRAWN = 10


def drawn_group(decision: GroupDecision) -> ModelGroup:
    """The group, or of more than `MAX_MODELS` those that a decision is about: the winner, the best
    one, those that ship under most of the limits, and the frontiers of score against cost."""
    group = decision.group
    if len(group.models) <= MAX_MODELS:
        return group
    chosen = list(dict.fromkeys(_in_order_of_interest(decision)))[:MAX_DRAWN]
    models = tuple(model for model in group.models if model.row.bundle in chosen)
    return msgspec.structs.replace(group, models=models)


def _in_order_of_interest(decision: GroupDecision) -> Iterator[str]:
    verdict, rows = decision.summary.verdict, decision.group.rows
    yield from (name for name in (verdict.winner, verdict.best) if name is not None)
    cells = Counter(
        name for column in decision.summary.winner_map.winners for name in column if name
    )
    archs = {row.bundle: row.arch for row in rows}
    seen: Counter[str] = Counter()
    for name, _ in cells.most_common():
        # Half of the places at most for one architecture, so that both are seen.
        if seen[archs[name]] < MAX_DRAWN // 2:
            seen[archs[name]] += 1
            yield name
    yield from _frontier(rows, "p95_ms")
    yield from _frontier(rows, "required_memory_bytes")
    yield from (row.bundle for row in sorted(rows, key=lambda row: -row.rank))


def _frontier(rows: Sequence[ReportRow], field: str) -> Iterator[str]:
    best = float("-inf")
    measured = [row for row in rows if row.can_ship and getattr(row, field)]
    for row in sorted(measured, key=lambda row: (getattr(row, field), -row.rank)):
        if row.rank > best:
            best = row.rank
            yield row.bundle


def drawn_remark(group: ModelGroup, drawn: ModelGroup) -> str:
    """That not all models are drawn; empty where they are."""
    if len(drawn.models) == len(group.models):
        return ""
    return f" {len(drawn.models)} of {len(group.models)} models are drawn; the table has all."
