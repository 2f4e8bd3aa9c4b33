"""The page in a browser: sliders, clicks, tables, widths, contrast and hostile names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeseq.reporting.budgets import Budget

from ...fake_results import (
    MODELS,
)
from .browser import Browser
from .written_reports import WORKING_BUDGET

MOVE = """(() => {
  const section = document.querySelector("section.group");
  const limits = JSON.parse(document.getElementById("report-data").textContent).groups.g1.limits;
  for (const [key, wanted] of Object.entries(WANTED)) {
    const input = section.querySelector(`input[data-limit="${key}"]`);
    const stops = limits[key].stops;
    const at = wanted === null ? stops.length - 1 : stops.indexOf(wanted);
    if (at < 0) throw new Error(`no stop ${wanted}`);
    input.value = at;
    input.dispatchEvent(new Event("input"));
  }
  const reasons = {};
  for (const line of section.querySelectorAll("table.models tbody tr")) {
    const name = line.querySelector("th").firstElementChild.nextSibling.textContent;
    reasons[name] = [...line.querySelectorAll(".reasons li")].map((one) => one.textContent);
  }
  return {
    headline: section.querySelector(".headline").textContent,
    why: section.querySelector(".why").textContent,
    proof: section.querySelector(".proof").textContent,
    tiles: section.querySelectorAll(".tile").length,
    ships: [...section.querySelectorAll("tr.ships")].length,
    reasons,
  };
})()"""


@pytest.mark.browser
def test_the_page_opens_and_its_sliders_decide_as_the_verdict_does(
    report: Path, chromium: Browser
) -> None:
    from edgeseq.reporting.summary import read_and_decide
    from edgeseq.reporting.verdict import decide

    chromium.open(report / "report.html")
    assert chromium.problems == []
    assert [url for url in chromium.requests if not url.startswith("file:")] == []
    assert chromium.evaluate("document.querySelectorAll('.chart svg').length") == 11
    (decided,) = read_and_decide([report.parent / "result.json"], WORKING_BUDGET)
    winners, doubtful = set(), []
    for memory, p95 in (
        (40e6, 20),
        (90e6, 20),
        (90e6, 5),
        (20e6, 20),
        (None, None),
        (30e6, 0.3),
        (30e6, 0.45),
    ):
        wanted = json.dumps({"memory": memory, "p95": p95})
        shown = chromium.evaluate(MOVE.replace("WANTED", wanted))
        budget = Budget(memory_bytes=None if memory is None else int(memory), p95_ms=p95)
        found = decide(decided.group.rows, budget, decided.gaps)
        assert shown["why"] == found.reason, (memory, p95)
        assert shown["proof"] == found.proof, (memory, p95)
        assert shown["headline"] == found.headline
        assert shown["ships"] == (found.winner is not None)
        assert (shown["tiles"] > 0) == (found.winner is not None)
        for refusal in found.refused:
            assert shown["reasons"][refusal.bundle] == list(refusal.reasons)
        winners.add(found.winner)
        doubtful.append(bool(found.doubts))
    assert len(winners) == 3
    assert doubtful == [False] * 6 + [True]
    assert chromium.problems == []


@pytest.mark.browser
def test_a_click_into_the_map_sets_both_limits(report: Path, chromium: Browser) -> None:
    chromium.open(report / "report.html")
    before = chromium.evaluate("document.querySelector('.headline').textContent")
    chromium.evaluate("""(() => {
      const svg = document.querySelector(".chart.map svg");
      const box = svg.getBoundingClientRect();
      const at = {clientX: box.right - 40, clientY: box.top + 60, bubbles: true};
      for (const kind of ["pointerdown", "mousedown", "pointerup", "mouseup", "click"])
        svg.dispatchEvent(new MouseEvent(kind, at));
    })()""")
    after = chromium.evaluate("document.querySelector('.headline').textContent")
    assert before != after
    assert "minilm" in after
    assert chromium.problems == []


@pytest.mark.browser
@pytest.mark.parametrize("width_px", [360, 768, 1141, 1280])
def test_nothing_is_wider_than_the_screen(report: Path, chromium: Browser, width_px: int) -> None:
    chromium.open(report / "report.html", width_px=width_px)
    assert chromium.evaluate("document.documentElement.scrollWidth") <= width_px
    cut = chromium.evaluate("""[...document.querySelectorAll(".chart svg")].filter((svg) =>
      svg.getBoundingClientRect().right > svg.closest(".chart").getBoundingClientRect().right + 1
    ).length""")
    assert cut == 0
    hidden = chromium.evaluate("""[...document.querySelectorAll(".table-card, .card")].filter(
      (card) => card.scrollWidth > card.clientWidth + 1).length""")
    assert hidden == 0
    assert chromium.problems == []


SHOWN = """(() => [...document.querySelectorAll("table.models tbody tr")]
  .filter((line) => !line.hidden).map((line) => line.classList.contains("heading")
    ? line.textContent : line.querySelector("th").firstElementChild.nextSibling.textContent))()"""


@pytest.mark.browser
def test_a_long_table_is_searched_sorted_and_grouped(many_models: Path, chromium: Browser) -> None:
    chromium.open(many_models / "report.html")
    first = chromium.evaluate(SHOWN)
    assert 20 <= len(first) <= 21
    chromium.evaluate("document.querySelector('.tools .all').click()")
    assert len(chromium.evaluate(SHOWN)) == 60
    search = """(() => { const input = document.querySelector(".tools .search");
      input.value = TEXT; input.dispatchEvent(new Event("input")); })()"""
    chromium.evaluate(search.replace("TEXT", '"M03-bilstm"'))
    assert sorted(chromium.evaluate(SHOWN)) == sorted(
        f"m03-{model.name}" for model in MODELS if model.arch == "lstm"
    )
    assert "3 of 60 shown" in chromium.evaluate("document.querySelector('.tools').textContent")
    chromium.evaluate(search.replace("TEXT", '""'))
    head = "document.querySelectorAll('table.models th[data-sort]')[3]"
    for sort, expected in (("ascending", False), ("descending", True)):
        chromium.evaluate(f"{head}.querySelector('button').click()")
        assert chromium.evaluate(f"{head}.ariaSort") == sort
        p95 = chromium.evaluate(
            "[...document.querySelectorAll('tr[data-row]')].map((r) => +r.cells[3].dataset.amount)"
        )
        assert p95 == sorted(p95, reverse=expected)
    chromium.evaluate("""(() => { const select = document.querySelector(".tools .grouping");
      select.value = "arch"; select.dispatchEvent(new Event("change")); })()""")
    grouped = chromium.evaluate(SHOWN)
    assert [line for line in grouped if "(" in line] == ["bert (30)", "lstm (30)"]
    assert len(grouped) == 62
    assert chromium.problems == []


@pytest.mark.browser
def test_hostile_names_do_nothing_in_a_browser(hostile: Path, chromium: Browser) -> None:
    chromium.open(hostile / "report.html")
    assert chromium.problems == []
    assert chromium.evaluate("document.querySelectorAll('img, iframe, object').length") == 0
    assert chromium.evaluate("document.querySelectorAll('script').length") == 3
    shown = chromium.evaluate("document.querySelector('.headline').textContent")
    assert "<img src=x onerror=alert(2)>" in shown


LOW_CONTRAST = """(() => {
  const parse = (text) => {
    const numbers = text.match(/[\\d.]+/g).map(Number);
    const scale = text.startsWith("color(") ? 1 : 255;
    return [...numbers.slice(0, 3).map((n) => n / scale), numbers.length > 3 ? numbers[3] : 1];
  };
  const luminance = ([r, g, b]) => {
    const linear = [r, g, b].map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color[3] === 1) return color;
    }
    return [1, 1, 1, 1];
  };
  const low = [];
  for (const node of document.querySelectorAll("main *, header *, footer *")) {
    const text = [...node.childNodes].filter((child) => child.nodeType === 3)
      .map((child) => child.textContent.trim()).join("");
    const style = getComputedStyle(node);
    const isShown = node.getClientRects().length && style.visibility !== "hidden";
    if (!text || !isShown || node.closest("svg")) continue;
    const [a, b] = [luminance(parse(style.color)), luminance(behind(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const size = parseFloat(style.fontSize), isBold = Number(style.fontWeight) >= 700;
    const needed = size >= 24 || (isBold && size >= 18.66) ? 3 : 4.5;
    if (ratio < needed) low.push(`${ratio.toFixed(2)} ${node.tagName} ${text.slice(0, 40)}`);
  }
  return low;
})()"""
"""Texts below WCAG 2.1's contrast (success criterion 1.4.3, level AA)."""

OVERLAPS = """(() => {
  const overlaps = [];
  for (const svg of document.querySelectorAll(".chart svg")) {
    const texts = [...svg.querySelectorAll("text")].filter((text) =>
      text.textContent.trim() && text.getAttribute("opacity") !== "0");
    const boxes = texts.map((text) => [text.textContent, text.getBoundingClientRect()]);
    boxes.forEach(([a, p], i) => boxes.slice(i + 1).forEach(([b, q]) => {
      // A label and its halo are the same text at the same place.
      if (a === b && Math.abs(p.left - q.left) < 1) return;
      const width = Math.min(p.right, q.right) - Math.max(p.left, q.left);
      const height = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
      if (width > 1 && height > 2)
        overlaps.push(`${svg.closest(".chart").dataset.spec}: ${a} / ${b}`);
    }));
  }
  return overlaps;
})()"""


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_enough_contrast(both_runners: Path, chromium: Browser, scheme: str) -> None:
    with chromium.color_scheme(scheme):
        for width_px in (1280, 360):
            chromium.open(both_runners / "report.html", width_px=width_px)
            assert chromium.evaluate(LOW_CONTRAST) == []


@pytest.mark.browser
def test_every_picture_has_a_name(both_runners: Path, chromium: Browser) -> None:
    chromium.open(both_runners / "report.html")
    nameless = chromium.evaluate("""[...document.querySelectorAll("svg")].filter((svg) =>
      svg.getAttribute("role") !== "img" || !(svg.getAttribute("aria-label") || "").trim()
    ).length""")
    assert nameless == 0
    # Nothing in a picture claims to be an object: it would need a name, too.
    assert chromium.evaluate("document.querySelectorAll('svg [role]').length") == 0


@pytest.mark.browser
@pytest.mark.parametrize("width_px", [360, 768, 1280])
def test_no_text_of_a_chart_covers_another(
    both_runners: Path, chromium: Browser, width_px: int
) -> None:
    chromium.open(both_runners / "report.html", width_px=width_px)
    assert chromium.evaluate(OVERLAPS) == []
    cut = chromium.evaluate("""[...document.querySelectorAll(".chart svg text")].filter((text) => {
      const box = text.getBoundingClientRect(), room = text.closest("svg").getBoundingClientRect();
      return box.width && (box.right > room.right + 1 || box.left < room.left - 1);
    }).map((text) => text.textContent)""")
    assert cut == []
