"""The written report: its files, its schema, hostile names, and what is missing."""

from __future__ import annotations

import builtins
import hashlib
import importlib.util
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from typer.testing import CliRunner

from edgeseq.errors import InputError, OutputError, RefusedError, ResultError
from edgeseq.formats.bundle import RecipeName
from edgeseq.formats.result import Finding, OperatorProfile, OperatorShare, OperatorTime
from edgeseq.formats.storage import write_json
from edgeseq.reporting import deployment_report
from edgeseq.reporting.budgets import Budget, parse_budget
from edgeseq.reporting.charts import chart_sections
from edgeseq.reporting.charts.label_placement import LabelPosition, place_labels
from edgeseq.reporting.charts.theme import PALETTE, styles_of
from edgeseq.reporting.deployment_report import PICTURES, make_report
from edgeseq.reporting.markdown import escape_markdown
from edgeseq.reporting.page import json_in_html
from edgeseq.tasks.examples import TextExample, sample_positions

from ...fake_results import (
    DEVICE,
    LABELS,
    MODELS,
    Fake,
    make_result,
    save_report,
    verdict_run,
    with_native_runner,
    write_result,
)
from .browser import CHROMIUM, Browser, browser

BUDGET = parse_budget("memory=64MB p95=20ms")
WORKING_BUDGET = parse_budget("memory=40MB p95=20ms")
"""Where working memory was measured, what a limit of 64 MB is by the peak is one of 40 MB."""
SMALL = Fake(n_queries=300, models=(MODELS[0], MODELS[2], MODELS[5]))
# Row fields that version 1 of the summary promises.
ROW_FIELDS = [
    *("bundle", "task", "arch", "recipe", "lowering", "device", "threads", "parameters"),
    *("size_bytes", "metric", "score", "score_ci95", "n_examples", "p50_ms", "p95_ms"),
    *("cold_start_ms", "peak_memory_bytes", "peak_process_bytes", "valid", "invalid_reasons"),
]
HOSTILE = (
    "</script><script>alert(1)</script>\"'`&<img src=x onerror=alert(2)>{{7*7}}\u2028ü|*_[a](b)"
)

EXTRA = ("altair", "jinja2", "vl_convert", "markupsafe")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole report over six models."""
    folder = tmp_path_factory.mktemp("report")
    save_report([write_result(folder / "result.json")], folder / "out", budget=WORKING_BUDGET)
    return folder / "out"


@pytest.fixture
def no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures cost most of a report's time; where they don't matter they are empty."""
    monkeypatch.setattr(chart_sections, "draw_png", lambda _: b"")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report in which every name and text is an attack."""
    folder = tmp_path_factory.mktemp("hostile")
    finding = Finding(HOSTILE, "warning", HOSTILE)
    models = tuple(
        replace(model, name=f"{HOSTILE}{n}", findings=(finding,))
        for n, model in enumerate((MODELS[2], MODELS[5]))
    )
    labels = tuple(f"{HOSTILE}{n}" for n in range(3))
    fake = replace(
        SMALL,
        models=models,
        labels=labels,
        sources=(f"{HOSTILE}a", f"{HOSTILE}b"),
        device=msgspec.structs.replace(DEVICE, name=HOSTILE, cpu_model=HOSTILE),
    )
    path = write_result(folder / "result.json", fake)
    found = make_result(fake).runs[0].predictions
    assert found is not None
    examples = [
        TextExample(id=str(n), text=f"{HOSTILE} {n}", label=labels[gold])
        for n, gold in enumerate(found.gold)
    ]
    save_report([path], folder / "out", budget=BUDGET, examples=examples)
    return folder / "out"


class _Tags(HTMLParser):
    """Every start tag with its attributes, and the text that is not in a script or style."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._inside = ""
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside != "style":
            self.text += data


def page_of(folder: Path) -> tuple[str, _Tags]:
    content = (folder / "report.html").read_text(encoding="utf-8")
    return content, _Tags(content)


def test_the_summary_is_version_2(report: Path) -> None:
    summary = json.loads((report / "summary.json").read_text(encoding="utf-8"))
    assert summary["version"] == 2
    assert len(summary["rows"]) == 6
    for row in summary["rows"]:
        assert list(row)[: len(ROW_FIELDS)] == ROW_FIELDS
        assert row["arch"] in ("lstm", "bert")
        assert 0 <= row["score_ci95"][0] <= row["score"] <= row["score_ci95"][1] <= 1
        assert 0 < row["p50_ms"] <= row["p95_ms"]
        assert 0 < row["peak_memory_bytes"] < row["peak_process_bytes"]
        assert 0 < row["memory_after_release_bytes"] <= row["peak_memory_bytes"]
    verdict = summary["verdict"]
    assert verdict["winner"] == "bilstm-128-dynamic_wi8_afp32"
    assert "40 MB" in verdict["why"]
    assert verdict["runner"] == summary["groups"][0]["runner"] == "python"
    assert verdict["proof"] == "It answered under 36 MB with a p95 of 0.341 ms."
    assert verdict["budget"]["memory_bytes"] == 40_000_000
    assert {refusal["bundle"] for refusal in verdict["refused"]} == {
        row["bundle"] for row in summary["rows"]
    } - {verdict["winner"]}
    assert all(refusal["reasons"] for refusal in verdict["refused"])
    assert "BERT" in summary["groups"][0]["boundary"]


def test_the_page_is_small_and_loads_nothing(report: Path) -> None:
    content, tags = page_of(report)
    assert len(content.encode()) < 3_000_000
    for tag, attributes in tags.tags:
        for name, value in attributes.items():
            assert name not in ("src", "srcset", "action", "poster", "data", "background"), tag
            if name == "href":
                assert (value or "").startswith("#"), (tag, value)
            assert not name.startswith("on"), (tag, name)
    outside_scripts = re.sub(r"<script.*?</script>", "", content, flags=re.DOTALL)
    for word in ("@import", "url(", "http://", "https://", "<link", "<iframe", "<object"):
        assert word not in outside_scripts, word
    own = tags.scripts[-1]
    for word in ("fetch(", "import(", "XMLHttpRequest", "innerHTML", "eval(", "http"):
        assert word not in own, word
    policy = next(
        attributes["content"]
        for tag, attributes in tags.tags
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy
    assert "http" not in policy


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


def test_hostile_names_stay_text(hostile: Path) -> None:
    content, tags = page_of(hostile)
    markup = re.sub(r"<script.*?</script>", "", content, flags=re.DOTALL)
    assert "<img" not in markup
    assert "alert(1)<" not in content
    assert len([tag for tag, _ in tags.tags if tag == "script"]) == 3
    assert "49" not in re.findall(r"\{\{7\*7\}\}|\b49ü", content)
    assert HOSTILE.split("\u2028", maxsplit=1)[0] in tags.text
    data = json.loads(tags.scripts[0])
    assert data["groups"]["g1"]["rows"][0]["bundle"] == f"{HOSTILE}0"
    markdown = (hostile / "report.md").read_text(encoding="utf-8")
    # An indented line is code: nothing in it is markup.
    outside_code = re.sub(r"^    .*$", "", markdown, flags=re.MULTILINE)
    assert "<script>" not in outside_code
    assert "<img" not in outside_code
    for line in markdown.splitlines():
        if line.startswith("| "):
            cells = re.sub(r"\\.", "", line).count("|")
            assert cells >= 3, line
    summary = json.loads((hostile / "summary.json").read_text(encoding="utf-8"))
    assert summary["rows"][0]["bundle"] == f"{HOSTILE}0"


def test_data_in_a_page_cannot_end_its_script() -> None:
    made = json_in_html({HOSTILE: [HOSTILE]})
    assert not set("<>&\u2028\u2029") & set(made)
    assert json.loads(made) == {HOSTILE: [HOSTILE]}


def test_markdown_escapes() -> None:
    assert escape_markdown("a|b\n# c") == r"a\|b \# c"
    assert escape_markdown("<b>*x*_y_`z`[q](r)&amp;") == r"&lt;b>\*x\*\_y\_\`z\`\[q\](r)&amp;amp;"
    assert escape_markdown("dynamic_wi8_afp32 _a") == r"dynamic_wi8_afp32 \_a"


@pytest.mark.usefixtures("no_drawing")
@pytest.mark.parametrize(
    ("change", "absent", "present"),
    [
        ({"limited": False}, {"memory-cliff"}, {"memory-ledger", "winners"}),
        ({"lengths": False}, {"latency-lengths"}, {"winners"}),
        (
            {"accuracy": False},
            {"winners", "frontier-latency", "accuracy-classes", "disagreement"},
            {"memory-ledger", "latency-distribution"},
        ),
        (
            {"n_queries": 0, "cold_starts": 0, "lengths": False, "limited": False},
            {"winners", "frontier-latency", "latency-distribution", "cold-start"},
            {"frontier-memory", "accuracy-classes"},
        ),
        (
            {"peaks": False, "limited": False},
            {"winners", "frontier-memory"},
            {"memory-ledger", "frontier-latency"},
        ),
        ({"peaks": False}, set(), {"winners", "frontier-memory", "memory-ledger"}),
        ({"models": MODELS[5:]}, {"disagreement"}, {"winners", "accuracy-classes"}),
        ({"models": MODELS[4:], "sources": ("",)}, {"accuracy-sources"}, {"disagreement"}),
    ],
)
def test_what_was_not_measured_leaves_no_empty_picture(
    tmp_path: Path, change: dict[str, Any], absent: set[str], present: set[str]
) -> None:
    fake = replace(SMALL, **change)
    save_report([write_result(tmp_path / "r.json", fake)], tmp_path / "out", budget=BUDGET)
    names = {path.stem for path in (tmp_path / "out" / PICTURES).iterdir()}
    assert not names & absent
    assert present <= names
    _, tags = page_of(tmp_path / "out")
    for spec in json.loads(tags.scripts[0])["specs"].values():
        assert "NaN" not in json.dumps(spec)


@pytest.mark.usefixtures("no_drawing")
def test_no_run_at_all_is_a_report_that_says_so(tmp_path: Path) -> None:
    path = write_result(tmp_path / "r.json", replace(SMALL, models=()))
    summary = save_report([path], tmp_path / "out")
    assert summary.verdict.winner is None
    assert summary.verdict.reason == "Nothing was measured."
    assert "Nothing was measured" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "Nothing was measured" in page_of(tmp_path / "out")[1].text


@pytest.mark.usefixtures("no_drawing")
def test_an_invalid_run_is_shown_and_never_ships(tmp_path: Path) -> None:
    finding = Finding("load", "invalid", "other programs had the processor; end them")
    path = write_result(tmp_path / "r.json", replace(SMALL, findings=(finding,)))
    summary = save_report([path], tmp_path / "out", budget=BUDGET)
    assert summary.verdict.winner is None
    text = page_of(tmp_path / "out")[1].text
    assert "Nothing to ship" in text
    assert "other programs had the processor; end them" in text
    assert "No measurement is valid. If all were, the answer would be: Ship a BERT" in text


@pytest.mark.usefixtures("no_drawing")
def test_of_an_emulated_device_no_time_is_shown(tmp_path: Path) -> None:
    board = msgspec.structs.replace(DEVICE, emulated=True)
    result = with_native_runner(make_result(replace(SMALL, models=MODELS[4:], device=board)))
    profile = OperatorProfile(
        tokens=24, runs=5, plain_ns=(900_000,) * 5, invoke_us=5_000,
        operators=(OperatorTime("FULLY_CONNECTED", "xnnpack", 10, 4_000),),
        shares=(OperatorShare("main", "FULLY_CONNECTED", 4, 4),),
    )  # fmt: skip
    runs = tuple(
        msgspec.structs.replace(
            run,
            profile=profile,
            limited=(
                msgspec.structs.replace(run.limited[0], purpose="limit"),
                verdict_run(run, 64, "memory=64MB"),
            ),
        )
        for run in result.runs
    )
    write_json(tmp_path / "r.json", msgspec.structs.replace(result, runs=runs))
    save_report([tmp_path / "r.json"], tmp_path / "out", budget=parse_budget("memory=64MB"))
    text = page_of(tmp_path / "out")[1].text + (tmp_path / "out" / "report.md").read_text("utf-8")
    assert "Latencies are not valid under emulation, so none is shown." in text
    assert "Run under 64 MB: answered." in text
    assert "XNNPACK runs 4 of 4 operators" in text
    shown = re.findall(r"\d[\d.,]* (?:ms|µs|ns|s)\b", text)
    assert shown == []


@pytest.mark.usefixtures("no_drawing")
def test_two_devices_are_two_groups_with_their_own_verdicts(tmp_path: Path) -> None:
    phone = msgspec.structs.replace(DEVICE, name="phone")
    fake = replace(SMALL, limited=False, lengths=False)
    paths = [
        write_result(tmp_path / "pi.json", fake),
        write_result(tmp_path / "phone.json", replace(fake, device=phone, models=MODELS[:2])),
    ]
    summary = save_report(paths, tmp_path / "out", budget=BUDGET)
    assert [group.device for group in summary.groups] == ["kitchen-pi", "phone"]
    assert summary.groups[0].verdict.winner == "bilstm-128-dynamic_wi8_afp32"
    assert summary.groups[1].verdict.winner is None
    assert summary.verdict.winner is None
    assert "Verdicts differ" in summary.verdict.reason
    assert "phone, Python process, 1 thread, feedback: nothing fits" in summary.verdict.reason
    assert len(summary.rows) == 5
    _, tags = page_of(tmp_path / "out")
    assert [a["id"] for t, a in tags.tags if t == "section"] == ["g1", "g2"]
    assert (tmp_path / "out" / PICTURES / "2-frontier-memory.png").exists()


@pytest.mark.usefixtures("no_drawing")
def test_an_earlier_report_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    fake = replace(SMALL, models=MODELS[5:], limited=False, lengths=False)
    path = write_result(tmp_path / "r.json", fake)
    out = tmp_path / "out"
    save_report([path], out)
    (out / PICTURES / "old.png").write_bytes(b"")
    save_report([path], out, budget=BUDGET)
    assert not (out / PICTURES / "old.png").exists()
    (out / "diary.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(OutputError, match=r"holds more than a report: found diary\.txt"):
        save_report([path], out)
    with pytest.raises(OutputError, match="is not a folder"):
        save_report([path], path)


@pytest.mark.usefixtures("no_drawing")
def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_result(tmp_path / "r.json", replace(SMALL, models=MODELS[5:]))

    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(deployment_report, "write_json", fail)
    with pytest.raises(KeyboardInterrupt):
        save_report([path], tmp_path / "out")
    assert [one.name for one in tmp_path.iterdir()] == ["r.json"]


def test_without_the_extra_there_is_markdown_and_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_result(tmp_path / "r.json", replace(SMALL, models=MODELS[4:]))
    real_find, real_import = importlib.util.find_spec, builtins.__import__

    def find(name: str, *rest: Any) -> Any:
        return None if name in EXTRA else real_find(name, *rest)

    def refuse(name: str, *rest: Any) -> Any:
        assert name.split(".", maxsplit=1)[0] not in (
            "altair",
            "jinja2",
            "vl_convert",
            "markupsafe",
        ), name
        return real_import(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", find)
    monkeypatch.setattr(builtins, "__import__", refuse)
    result = CliRunner().invoke(_app(), ["report", str(path), "--out", str(tmp_path / "out")])
    monkeypatch.undo()
    assert result.exit_code == 0, result.output
    assert {one.name for one in (tmp_path / "out").iterdir()} == {"report.md", "summary.json"}
    assert "edgeseq[report]" in result.stderr
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "**Ship bilstm" in text
    assert ".png" not in text


@pytest.mark.usefixtures("no_drawing")
def test_examples_must_be_those_that_were_answered(tmp_path: Path) -> None:
    fake = replace(SMALL, models=MODELS[4:], n_examples=20)
    path = write_result(tmp_path / "r.json", fake)
    found = make_result(fake).runs[0].predictions
    assert found is not None
    examples = [TextExample(id=str(n), text="t", label=LABELS[g]) for n, g in enumerate(found.gold)]
    with pytest.raises(InputError, match=r"found 19 examples, expected 20"):
        save_report([path], tmp_path / "out", examples=examples[:-1])
    wrong = LABELS[(found.gold[0] + 1) % 3]
    examples[0] = msgspec.structs.replace(examples[0], label=wrong)
    with pytest.raises(InputError, match="number 1: these are not the examples"):
        save_report([path], tmp_path / "out", examples=examples)


def test_other_texts_with_the_same_labels_are_not_those_measured(tmp_path: Path) -> None:
    result = make_result(replace(SMALL, models=MODELS[4:], n_examples=20))
    path = tmp_path / "r.json"
    write_json(path, result)
    found = result.runs[0].predictions
    assert found is not None
    examples = [TextExample(id=str(n), text="t", label=LABELS[g]) for n, g in enumerate(found.gold)]
    make_report([path], examples=examples, examples_sha256=found.examples_sha256)
    with pytest.raises(InputError, match=r"found texts with the hash 0{12}…, expected e{12}…"):
        make_report([path], examples=examples, examples_sha256="0" * 64)
    # Of a sample the hash is that of all examples and the count.
    sha256 = hashlib.sha256(b"a 20").hexdigest()
    settings = msgspec.structs.replace(result.effective, examples=20)
    runs = tuple(
        msgspec.structs.replace(
            run,
            predictions=run.predictions
            and msgspec.structs.replace(run.predictions, examples_sha256=sha256),
        )
        for run in result.runs
    )
    write_json(path, msgspec.structs.replace(result, effective=settings, runs=runs))
    whole = dict(zip(sample_positions(50, 20), found.gold, strict=True))
    more = [TextExample(id=str(n), text="t", label=LABELS[whole.get(n, 0)]) for n in range(50)]
    make_report([path], examples=more, examples_sha256="a")
    with pytest.raises(InputError, match="not the examples"):
        make_report([path], examples=more, examples_sha256="b")


@pytest.mark.usefixtures("no_drawing")
def test_of_all_examples_those_are_taken_that_the_run_asked(tmp_path: Path) -> None:
    result = make_result(replace(SMALL, models=MODELS[4:], n_examples=20))
    asked = msgspec.structs.replace(result.effective, examples=20)
    write_json(tmp_path / "r.json", msgspec.structs.replace(result, effective=asked))
    found = result.runs[0].predictions
    assert found is not None
    labels = dict(zip(sample_positions(50, 20), found.gold, strict=True))
    examples = [
        TextExample(id=str(n), text="t", label=LABELS[labels.get(n, (n + 1) % 3)])
        for n in range(50)
    ]
    save_report([tmp_path / "r.json"], tmp_path / "out", examples=examples)
    assert sample_positions(5, None) == sample_positions(5, 9) == (0, 1, 2, 3, 4)
    with pytest.raises(InputError, match="not the examples"):
        save_report([tmp_path / "r.json"], tmp_path / "other", examples=examples[::-1])


def _app() -> Any:
    from edgeseq.cli.app import app

    return app


def test_recommend_says_why_and_exits_with_3_when_nothing_fits(tmp_path: Path) -> None:
    path = str(write_result(tmp_path / "r.json", replace(SMALL, limited=False)))
    run = CliRunner().invoke
    result = run(_app(), ["recommend", path, "--memory", "64 MB", "--p95", "20ms"])
    assert result.exit_code == 0, result.output
    assert "Ship bilstm-128-dynamic_wi8_afp32 in a Python process." in result.stdout
    assert "verdict rests on its peak memory of 54.8 MB" in " ".join(result.stdout.split())
    assert "minilm-l6-float32: peak memory 143 MB > 64 MB" in result.stdout
    result = run(_app(), ["recommend", path, "--memory", "64MB", "--json"])
    assert json.loads(result.stdout)["verdict"]["winner"] == "bilstm-128-dynamic_wi8_afp32"
    result = run(_app(), ["recommend", path, "--memory", "20MB"])
    assert isinstance(result.exception, RefusedError)
    assert result.exception.exit_code == 3
    assert "no model fits memory ≤ 20 MB" in str(result.exception)
    assert "nearest miss is bilstm-128-dynamic_wi8_afp32" in " ".join(result.stdout.split())
    result = run(_app(), ["recommend", str(tmp_path / "none.json")])
    assert isinstance(result.exception, ResultError)
    result = run(_app(), ["recommend", path, "--memory", "64"])
    assert isinstance(result.exception, InputError)


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


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium (Debian: apt-get install chromium)")
    with browser() as opened:
        yield opened


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
    winners = set()
    for memory, p95 in ((40e6, 20), (90e6, 20), (90e6, 5), (20e6, 20), (None, None), (30e6, 0.3)):
        wanted = json.dumps({"memory": memory, "p95": p95})
        shown = chromium.evaluate(MOVE.replace("WANTED", wanted))
        budget = Budget(memory_bytes=None if memory is None else int(memory), p95_ms=p95)
        found = decide(decided.group.rows, budget, decided.gaps)
        assert shown["why"] == found.reason, (memory, p95)
        assert shown["proof"] == found.proof, (memory, p95)
        headline = f"Ship {found.winner}" if found.winner else "Nothing to ship"
        assert shown["headline"] == headline
        assert shown["ships"] == (found.winner is not None)
        assert (shown["tiles"] > 0) == (found.winner is not None)
        for refusal in found.refused:
            assert shown["reasons"][refusal.bundle] == list(refusal.reasons)
        winners.add(found.winner)
    assert len(winners) == 3
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


@pytest.fixture(scope="module")
def many_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report over 60 models."""
    folder = tmp_path_factory.mktemp("many")
    models = tuple(
        replace(
            model,
            name=f"m{number:02d}-{model.name}",
            family=f"{model.family}{number}",
            inference_ms=model.inference_ms * 1.02**number,
            accuracy=model.accuracy - 0.002 * number,
        )
        for number in range(10)
        for model in MODELS
    )
    fake = Fake(models=models, n_queries=200, n_examples=400)
    save_report([write_result(folder / "result.json", fake)], folder / "out", budget=WORKING_BUDGET)
    return folder / "out"


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


@pytest.fixture(scope="module")
def both_runners(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report over six models in two runners, with a verdict that was run and a warning."""
    folder = tmp_path_factory.mktemp("runners")
    finding = Finding("load", "warning", "another program had the processor for a while")
    result = with_native_runner(make_result(Fake(n_queries=300, findings=(finding,))))
    index = [run.bundle.name for run in result.runs].index("bilstm-128-dynamic_wi8_afp32")
    run = result.runs[index]
    runs = list(result.runs)
    runs[index] = msgspec.structs.replace(
        run, limited=(*run.limited, verdict_run(run, 20, "memory=20MB p95=20ms"))
    )
    path = folder / "result.json"
    write_json(path, msgspec.structs.replace(result, runs=tuple(runs)))
    save_report([path], folder / "out", budget=parse_budget("memory=20MB p95=20ms"))
    return folder / "out"


def test_native_comes_first_and_python_is_a_second_view(both_runners: Path) -> None:
    summary = json.loads((both_runners / "summary.json").read_text(encoding="utf-8"))
    assert [group["runner"] for group in summary["groups"]] == ["native", "python"]
    assert len(summary["rows"]) == 12
    verdict = summary["verdict"]
    assert (verdict["winner"], verdict["runner"]) == ("bilstm-128-dynamic_wi8_afp32", "native")
    assert re.fullmatch(r"Run under 20 MB: p95 \S+ ms\.", verdict["proof"])
    assert summary["groups"][1]["verdict"]["winner"] is None
    _, tags = page_of(both_runners)
    assert [a["id"] for t, a in tags.tags if t == "section"] == ["g1"]
    text = " ".join(tags.text.split())
    assert "Verdict for a native process Ship bilstm-128-dynamic_wi8_afp32" in text
    cost = re.search(
        r"In a Python process, bilstm-128-dynamic_wi8_afp32 takes \S+ times the working memory "
        r"\(22\.0 MB instead of 8\.00 MB\), \S+ times the cold start \(\d+ ms instead of \S+ ms\) "
        r"and 1\.00 times the median of a whole answer \(0\.\d\d to 1\.\d\d\)\.",
        text,
    )
    assert cost, text[:4000]
    drawn = {attributes["data-spec"] for _, attributes in tags.tags if "data-spec" in attributes}
    assert {"g1-cold-start", "g1-cold-start-python", "g1-memory-ledger-python"} <= drawn
    markdown = (both_runners / "report.md").read_text(encoding="utf-8")
    assert "**Ship bilstm-128-dynamic_wi8_afp32 in a native process.**" in markdown
    assert "## In a Python process" in markdown


@pytest.mark.usefixtures("no_drawing")
def test_a_board_s_limits_stand_beside_what_the_model_needs(tmp_path: Path) -> None:
    result = make_result(replace(SMALL, models=MODELS[5:]))
    [run] = result.runs
    board = msgspec.structs.replace(
        run.limited[0], limit_bytes=512_000_000, purpose="board", board="pi-zero-2", cpus=4.0
    )
    changed = msgspec.structs.replace(run, limited=(board, *run.limited))
    write_json(tmp_path / "r.json", msgspec.structs.replace(result, runs=(changed,)))
    save_report([tmp_path / "r.json"], tmp_path / "out")
    text = page_of(tmp_path / "out")[1].text
    assert "pi-zero-2 (512 MB, 4 processors)" in text
    assert "working memory 22.0 MB; the limits of the board, not its speed" in text
    # Limits of the memory curve are in the chart alone.
    assert "96.0 MB" not in text


def test_recommend_decides_for_one_runner(both_runners: Path) -> None:
    path, run = str(both_runners.parent / "result.json"), CliRunner().invoke
    native = run(_app(), ["recommend", path, "--memory", "16MB", "--json"])
    assert json.loads(native.stdout)["verdict"]["runner"] == "native"
    python = run(_app(), ["recommend", path, "--memory", "16MB", "--runner", "python"])
    assert isinstance(python.exception, RefusedError)
    text = " ".join(python.stdout.split())
    # 22 MB is the smallest working memory in Python.
    assert (
        "nearest miss is bilstm-128-dynamic_wi8_afp32 at 1.4 times the limit (working memory"
        in text
    )
    nearest = run(_app(), ["recommend", path, "--memory", "23MB", "--runner", "python"])
    assert "It answered under 22 MB with a p95 of" in " ".join(nearest.stdout.split())
    wrong = run(_app(), ["recommend", path, "--runner", "benchmark_model"])
    assert isinstance(wrong.exception, InputError)
    assert "found native, python" in str(wrong.exception)


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
