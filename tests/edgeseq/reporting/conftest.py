"""Written reports, each made once for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from edgeseq.formats.result import Finding
from edgeseq.formats.storage import write_json
from edgeseq.reporting.budgets import parse_budget
from edgeseq.reporting.charts import chart_sections
from edgeseq.tasks.examples import TextExample

from ...fake_results import (
    DEVICE,
    MODELS,
    Fake,
    make_result,
    save_report,
    verdict_run,
    with_native_runner,
    write_result,
)
from .browser import CHROMIUM, Browser, browser
from .written_reports import BUDGET, HOSTILE, SMALL, WORKING_BUDGET


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole report over six models."""
    folder = tmp_path_factory.mktemp("report")
    save_report([write_result(folder / "result.json")], folder / "out", budget=WORKING_BUDGET)
    return folder / "out"


@pytest.fixture
def no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures cost most of a report's time; where they don't matter they are empty."""
    monkeypatch.setattr(chart_sections, "draw_png", lambda _: b"")


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium (Debian: apt-get install chromium)")
    with browser() as opened:
        yield opened


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
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
