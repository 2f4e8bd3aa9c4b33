"""All charts and tables of a report, by section; needs the extra `report`."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import vl_convert

from edgeseq.formats.result import RUNNER_TITLES
from edgeseq.formats.search_record import SearchRecord
from edgeseq.reporting.charts.accuracy_charts import (
    class_chart,
    confusion_chart,
    pair_to_compare,
    source_chart,
)
from edgeseq.reporting.charts.chart_parts import capitalize
from edgeseq.reporting.charts.drawn_models import drawn_group, drawn_remark
from edgeseq.reporting.charts.frontier_charts import frontier_chart
from edgeseq.reporting.charts.latency_charts import (
    cold_start_chart,
    distribution_chart,
    length_chart,
)
from edgeseq.reporting.charts.memory_charts import cliff_chart, ledger_chart
from edgeseq.reporting.charts.search_charts import search_charts
from edgeseq.reporting.charts.theme import ModelStyle, colour, styles_of, vega_config
from edgeseq.reporting.charts.winner_chart import winner_chart
from edgeseq.reporting.rows import MeasuredModel, ModelGroup
from edgeseq.reporting.runner_views import RunnerView, runner_sections
from edgeseq.reporting.search_section import search_sections
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
    view: RunnerView,
    examples: Sequence[AnyExample] | None,
    search: SearchRecord | None = None,
) -> tuple[ReportSection, ...]:
    """All sections that the measurements have something for; then other runners, and the search
    that found the models."""
    decision = view.decision
    whole, verdict = decision.group, decision.summary.verdict
    group = drawn_group(decision)
    budget = verdict.budget
    styles = _styles(group)
    pair = pair_to_compare(whole, verdict.winner)
    metric = metric_of(whole.task)
    figures: tuple[tuple[str, list[ReportFigure | None]], ...] = (
        ("", [winner_chart(decision, styles)]),
        (
            f"What a point of {metric.title} costs",
            [
                frontier_chart(whole, styles, cost="p95", limit=budget.p95_ms),
                frontier_chart(whole, styles, cost="memory", limit=budget.memory_bytes),
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
                confusion_chart(*pair, _pair_styles(pair)) if pair else None,
            ],
        ),
    )
    remark = drawn_remark(whole, group)
    sections = [
        ReportSection(title, tuple(_with_remark(f, remark) for f in drawn if f is not None))
        for title, drawn in figures
    ]
    if pair and examples is not None:
        tables = disagreement_tables(*pair, examples)
        sections[-1] = msgspec.structs.replace(sections[-1], tables=tables)
    sections += table_sections(whole)
    sections += [
        msgspec.structs.replace(section, figures=_runner_figures(other))
        for section, other in zip(runner_sections(view), view.others, strict=True)
    ]
    sections += search_sections(search, search_charts(search) if search else ())
    return tuple(section for section in sections if section.figures or section.tables)


def _styles(group: ModelGroup) -> dict[str, ModelStyle]:
    return styles_of([(row.bundle, row.arch, row.recipe) for row in group.rows])


def _pair_styles(pair: Sequence[MeasuredModel]) -> dict[str, ModelStyle]:
    return styles_of([(m.row.bundle, m.row.arch, m.row.recipe) for m in pair])


def _runner_figures(decision: GroupDecision) -> tuple[ReportFigure, ...]:
    """Cold start and memory in another runner."""
    group = drawn_group(decision)
    styles, budget = _styles(group), decision.summary.verdict.budget
    drawn = (
        cold_start_chart(group, styles, limit_ms=budget.cold_start_ms),
        ledger_chart(group, styles),
        cliff_chart(group, styles),
    )
    process, remark = RUNNER_TITLES[group.runner], drawn_remark(decision.group, group)
    return tuple(
        msgspec.structs.replace(
            _with_remark(figure, remark),
            name=f"{figure.name}-{group.runner.replace('_', '-')}",
            title=f"{figure.title}, {process}",
        )
        for figure in drawn
        if figure is not None
    )


def _with_remark(figure: ReportFigure, remark: str) -> ReportFigure:
    return msgspec.structs.replace(figure, caption=figure.caption + remark)


def draw_png(figure: ReportFigure) -> bytes:
    """The picture of a chart."""
    spec = {**figure.spec, "config": {**vega_config(), "background": colour("paper")}}
    return bytes(vl_convert.vegalite_to_png(spec, scale=_PICTURE_SCALE))
