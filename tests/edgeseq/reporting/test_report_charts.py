"""The charts of a report: labels, colours, captions, and which models are drawn."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from edgeseq.formats.bundle_manifest import RecipeName
from edgeseq.reporting.charts.label_placement import LabelPosition, place_labels
from edgeseq.reporting.charts.latency_charts import length_chart
from edgeseq.reporting.charts.theme import PALETTE, styles_of
from edgeseq.reporting.deployment_report import PICTURES
from edgeseq.reporting.rows import read_groups

from ...fake_results import Fake, make_result
from .written_reports import page_of


def test_each_section_has_its_picture_in_the_page_and_beside_markdown(report: Path) -> None:
    content, tags = page_of(report)
    names = {path.stem for path in (report / PICTURES).iterdir()}
    assert names == {
        "winners",
        "frontier-latency",
        "frontier-memory",
        "latency-distribution",
        "latency-lengths",
        "cold-start",
        "memory-cliff",
        "memory-ledger",
        "accuracy-classes",
        "accuracy-sources",
        "disagreement",
    }
    drawn = {attributes["data-spec"] for _, attributes in tags.tags if "data-spec" in attributes}
    assert drawn == {f"g1-{name}" for name in names}
    data = json.loads(tags.scripts[0])
    assert set(data["specs"]) == drawn
    markdown = (report / "report.md").read_text(encoding="utf-8")
    linked = re.findall(r"\]\((\S+\.png)\)", markdown)
    assert len(linked) == len(names)
    for path in linked:
        assert (report / path).read_bytes().startswith(b"\x89PNG")
    assert "bilstm-128-dynamic" in content
    assert "edgeseq report result.json" in content


def test_captions_say_what_the_numbers_say(report: Path) -> None:
    _, tags = page_of(report)
    text = " ".join(tags.text.split())
    assert re.search(r"7\.\d points of accuracy cost \S+ times the latency", text)
    assert "No crossover from 4 to 128 tokens" in text
    assert "keeps its speed down to a limit of" in text
    assert "exact McNemar p < 0.001" in text
    assert "Ship a BERT if you can spare" in text


def test_the_length_of_a_numeric_sequence_is_in_steps() -> None:
    (group,) = read_groups([make_result(Fake(n_queries=200, n_examples=100, limited=False))])
    sequences = msgspec.structs.replace(group, task="sequence-classification")
    styles = styles_of([(row.bundle, row.arch, row.recipe) for row in group.rows])
    figure = length_chart(sequences, styles)
    assert figure is not None
    assert "No crossover from 4 to 128 steps" in figure.caption


def test_labels_of_charts_do_not_collide() -> None:
    points = [(100.0, 100.0), (102.0, 101.0), (104.0, 99.0), (500.0, 20.0)]
    bars = [(x - 1, y - 30, x + 1, y + 30) for x, y in points]
    texts = [
        "minilm-l6 float32",
        "minilm-l6 float16",
        "bilstm-128 dynamic int8",
        "at the edge here",
    ]
    placed = place_labels(points, texts, bars=bars, width_px=520, height_px=300)
    assert len({(x + p.dx, y + p.dy) for (x, y), p in zip(points, placed, strict=True)}) == 4
    assert placed[3].align != "left"
    assert isinstance(placed[0], LabelPosition)


@given(st.lists(st.sampled_from(get_args(RecipeName)), min_size=1, max_size=30))
@example(["float32"] * 8)
@example([name for name in get_args(RecipeName) if name != get_args(RecipeName)[3]])
def test_models_of_one_family_stay_apart(recipes: list[str]) -> None:
    models = [(f"lstm-{n}-{recipe}", "lstm", recipe) for n, recipe in enumerate(recipes)]
    styles = styles_of(models)  # type: ignore[arg-type]
    assert len({(style.colour, style.shape) for style in styles.values()}) == len(models)
    assert len({(style.colour, style.dash) for style in styles.values()}) == len(models)
    if len(set(recipes)) == len(recipes) <= 5:  # then a shape stands for its recipe
        alone = {recipe: styles_of([("a", "lstm", recipe)])["a"].shape for recipe in recipes}
        assert [style.shape for style in styles.values()] == [alone[r] for r in recipes]


def test_each_colour_stands_for_one_variable() -> None:
    lights = [light for light, _ in PALETTE.values()]
    assert len(set(lights)) == len(lights)  # each stands for one CSS variable


def test_charts_of_many_models_draw_those_that_decide(many_models: Path) -> None:
    content, tags = page_of(many_models)
    assert len(content.encode()) < 3_000_000
    assert "10 of 60 models are drawn; the table has all." in tags.text
    summary = json.loads((many_models / "summary.json").read_text(encoding="utf-8"))
    specs = json.loads(tags.scripts[0])["specs"]
    lines = {
        record["model"]
        for records in specs["g1-latency-distribution"]["datasets"].values()
        for record in records
        if "model" in record
    }
    assert len(lines) == 10
    winner = summary["verdict"]["winner"]
    assert any(winner.split("-dynamic")[0] in label for label in lines), (winner, lines)
    # All models are points of the frontier and lines of the table.
    points = [
        record
        for records in specs["g1-frontier-latency"]["datasets"].values()
        for record in records
        if "bundle" in record
    ]
    assert len(points) == 60
    assert content.count("<tr data-row=") == 60
