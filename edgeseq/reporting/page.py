"""The report as one HTML page that loads nothing: scripts, styles and charts are inside.

Three lines of defence against hostile names and texts: the template escapes everything; the data
for the script is JSON without a character that HTML could take as markup; and a content security
policy lets only the two scripts of this module run, by their hashes, and nothing be fetched.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jinja2
import msgspec
from markupsafe import Markup

import edgeseq
from edgeseq.reporting.budgets import Budget, describe_budget, limits_of
from edgeseq.reporting.charts.theme import vega_config, with_css_variables
from edgeseq.reporting.format import format_points
from edgeseq.reporting.group_view import GroupView
from edgeseq.reporting.page_data import decision_data, fixed_limits
from edgeseq.reporting.page_parts import content_policy, palette_css, template_text
from edgeseq.reporting.sections import ReportSection
from edgeseq.reporting.summary import GroupDecision
from edgeseq.reporting.vega_bundle import vega_bundle


class PageGroup(NamedTuple):
    """A group of the page."""

    decision: GroupDecision
    view: GroupView
    sections: Sequence[ReportSection]


def render_page(title: str, overall: str, groups: Sequence[PageGroup], budget: Budget) -> str:
    """The page; `overall` is the sentence over several groups."""
    by_id = {f"g{number}": group for number, group in enumerate(groups, start=1)}
    decisions = {
        group_id: decision_data(group.decision.group.rows, budget, group.decision.gaps)
        for group_id, group in by_id.items()
    }
    specs = {
        f"{group_id}-{figure.name}": with_css_variables(figure.spec)
        for group_id, group in by_id.items()
        for section in group.sections
        for figure in section.figures
    }
    script, bundle = template_text("report.js"), vega_bundle()
    config = with_css_variables(vega_config())
    fixed = fixed_limits(budget)
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=False
    )
    template = environment.from_string(template_text("report.html.jinja"))
    return template.render(
        title=title,
        overall=overall,
        version=edgeseq.__version__,
        groups=[
            {
                "id": group_id,
                "view": group.view,
                "sections": group.sections,
                "limits": decisions[group_id]["limits"],
                "index": {row["bundle"]: i for i, row in enumerate(decisions[group_id]["rows"])},
            }
            for group_id, group in by_id.items()
        ],
        fixed=describe_budget(fixed) if limits_of(fixed) else "",
        margin=format_points(budget.drop_points),
        policy=content_policy(bundle, script),
        palette=Markup(palette_css()),  # noqa: S704 - made of constants
        css=Markup(template_text("report.css")),  # noqa: S704 - a file of this package
        data=json_in_html({"groups": decisions, "specs": specs, "config": config}),
        bundle=Markup(bundle),  # noqa: S704 - Vega, from vl-convert
        script=Markup(script),  # noqa: S704 - a file of this package
    )


def json_in_html(value: Any) -> Markup:
    """JSON for a `<script type="application/json">`: no text in it can end the element."""
    text = msgspec.json.encode(value).decode()
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - nothing in it can be markup any more
