"""All charts and tables of a report, by section; needs the extra `report`."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import vl_convert

from edgeseq.reporting.charts.accuracy_charts import (
    class_chart,
    confusion_chart,
    pair_to_compare,
    source_chart,
)
from edgeseq.reporting.charts.chart_parts import capitalize
from edgeseq.reporting.charts.frontier_charts import frontier_chart
from edgeseq.reporting.charts.latency_charts import (
    cold_start_chart,
    distribution_chart,
    length_chart,
)
from edgeseq.reporting.charts.memory_charts import cliff_chart, ledger_chart
from edgeseq.reporting.charts.theme import colour, styles_of, vega_config
from edgeseq.reporting.charts.winner_chart import winner_chart
from edgeseq.reporting.sections import (
    ReportFigure,
    ReportSection,
    disagreement_tables,
    table_sections,
)
from edgeseq.reporting.summary import GroupDecision
from edgeseq.tasks.examples import AnyExample
from edgeseq.tasks.scoring import metric_of

_PICTURE_SCALE = 2.0


def report_sections(
    decision: GroupDecision, examples: Sequence[AnyExample] | None
) -> tuple[ReportSection, ...]:
    """All sections that the measurements have something for."""
    group, verdict = decision.group, decision.summary.verdict
    budget = verdict.budget
    styles = styles_of([(row.bundle, row.arch, row.recipe) for row in group.rows])
    pair = pair_to_compare(group, verdict.winner)
    metric = metric_of(group.task)
    figures: tuple[tuple[str, list[ReportFigure | None]], ...] = (
        ("", [winner_chart(decision, styles)]),
        (
            f"What a point of {metric.title} costs",
            [
                frontier_chart(group, styles, cost="p95", limit=budget.p95_ms),
                frontier_chart(group, styles, cost="memory", limit=budget.memory_bytes),
            ],
        ),
        (
            "Latency",
            [
                distribution_chart(group, styles, limit_ms=budget.p95_ms),
                length_chart(group, styles),
                cold_start_chart(group, styles, limit_ms=budget.cold_start_ms),
            ],
        ),
        ("Memory", [cliff_chart(group, styles), ledger_chart(group, styles)]),
        (
            capitalize(metric.title),
            [
                class_chart(group, styles),
                source_chart(group, styles),
                confusion_chart(*pair, styles) if pair else None,
            ],
        ),
    )
    sections = [
        ReportSection(title, tuple(figure for figure in drawn if figure is not None))
        for title, drawn in figures
    ]
    if pair and examples is not None:
        tables = disagreement_tables(*pair, examples)
        sections[-1] = msgspec.structs.replace(sections[-1], tables=tables)
    sections += table_sections(group)
    return tuple(section for section in sections if section.figures or section.tables)


def draw_png(figure: ReportFigure) -> bytes:
    """The picture of a chart."""
    spec = {**figure.spec, "config": {**vega_config(), "background": colour("paper")}}
    return bytes(vl_convert.vegalite_to_png(spec, scale=_PICTURE_SCALE))
