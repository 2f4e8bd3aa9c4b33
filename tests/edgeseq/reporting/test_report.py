"""The written report: its files, its schema, hostile names, and what is missing."""

from __future__ import annotations

import builtins
import hashlib
import importlib.util
import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from edgeseq.cli.app import app
from edgeseq.errors import InputError, OutputError
from edgeseq.formats.result import Finding, OperatorProfile, OperatorShare, OperatorTime
from edgeseq.formats.storage import write_json
from edgeseq.reporting import deployment_report
from edgeseq.reporting.budgets import parse_budget
from edgeseq.reporting.charts import chart_sections
from edgeseq.reporting.deployment_report import PICTURES, make_report
from edgeseq.reporting.markdown import escape_markdown
from edgeseq.reporting.page import json_in_html
from edgeseq.reporting.sections import ReportFigure
from edgeseq.tasks.examples import TextExample, sample_positions

from ...fake_results import (
    DEVICE,
    LABELS,
    MODELS,
    make_result,
    save_report,
    verdict_run,
    with_native_runner,
    write_result,
)
from .written_reports import BUDGET, HOSTILE, SMALL, page_of

# Row fields that version 1 of the summary promises.
ROW_FIELDS = [
    *("bundle", "task", "arch", "recipe", "lowering", "device", "threads", "parameters"),
    *("size_bytes", "metric", "score", "score_ci95", "n_examples", "p50_ms", "p95_ms"),
    *("cold_start_ms", "peak_memory_bytes", "peak_process_bytes", "valid", "invalid_reasons"),
]

EXTRA = ("altair", "jinja2", "vl_convert", "markupsafe")


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


def test_after_an_interruption_no_further_picture_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = make_report([write_result(tmp_path / "r.json", SMALL)])
    drawn: list[str] = []

    def draw(figure: ReportFigure) -> bytes:
        drawn.append(figure.name)
        time.sleep(1)
        return b""

    def interrupt(_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(chart_sections, "draw_png", draw)
    monkeypatch.setattr(type(report), "to_markdown", interrupt)
    with pytest.raises(KeyboardInterrupt):
        report.save(tmp_path / "out")
    assert len(drawn) < sum(len(section.figures) for section in report.sections[0])


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
    result = CliRunner().invoke(app, ["report", str(path), "--out", str(tmp_path / "out")])
    monkeypatch.undo()
    assert result.exit_code == 0, result.output
    assert {one.name for one in (tmp_path / "out").iterdir()} == {"report.md", "summary.json"}
    assert "[report]'" in result.stderr
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
