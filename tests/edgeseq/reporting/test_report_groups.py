"""Reports over several devices and runners, and what `edgeseq recommend` says of them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from edgeseq.cli.app import app
from edgeseq.errors import InputError, RefusedError, ResultError
from edgeseq.formats.storage import write_json
from edgeseq.reporting.deployment_report import PICTURES

from ...fake_results import (
    DEVICE,
    MODELS,
    make_result,
    save_report,
    write_result,
)
from .written_reports import BUDGET, SMALL, page_of


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


def test_recommend_says_why_and_exits_with_3_when_nothing_fits(tmp_path: Path) -> None:
    path = str(write_result(tmp_path / "r.json", replace(SMALL, limited=False)))
    run = CliRunner().invoke
    result = run(app, ["recommend", path, "--memory", "64 MB", "--p95", "20ms"])
    assert result.exit_code == 0, result.output
    assert "Ship bilstm-128-dynamic_wi8_afp32 in a Python process." in result.stdout
    assert "verdict rests on its peak memory of 54.8 MB" in " ".join(result.stdout.split())
    assert "minilm-l6-float32: peak memory 143 MB > 64 MB" in result.stdout
    result = run(app, ["recommend", path, "--memory", "64MB", "--json"])
    assert json.loads(result.stdout)["verdict"]["winner"] == "bilstm-128-dynamic_wi8_afp32"
    result = run(app, ["recommend", path, "--memory", "20MB"])
    assert isinstance(result.exception, RefusedError)
    assert result.exception.exit_code == 3
    assert "no model fits memory ≤ 20 MB" in str(result.exception)
    assert "nearest miss is bilstm-128-dynamic_wi8_afp32" in " ".join(result.stdout.split())
    result = run(app, ["recommend", str(tmp_path / "none.json")])
    assert isinstance(result.exception, ResultError)
    result = run(app, ["recommend", path, "--memory", "64"])
    assert isinstance(result.exception, InputError)


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
    native = run(app, ["recommend", path, "--memory", "16MB", "--json"])
    assert json.loads(native.stdout)["verdict"]["runner"] == "native"
    python = run(app, ["recommend", path, "--memory", "16MB", "--runner", "python"])
    assert isinstance(python.exception, RefusedError)
    text = " ".join(python.stdout.split())
    # 22 MB is the smallest working memory in Python.
    assert (
        "nearest miss is bilstm-128-dynamic_wi8_afp32 at 1.4 times the limit (working memory"
        in text
    )
    nearest = run(app, ["recommend", path, "--memory", "23MB", "--runner", "python"])
    assert "It answered under 22 MB with a p95 of" in " ".join(nearest.stdout.split())
    wrong = run(app, ["recommend", path, "--runner", "benchmark_model"])
    assert isinstance(wrong.exception, InputError)
    assert "found native, python" in str(wrong.exception)
