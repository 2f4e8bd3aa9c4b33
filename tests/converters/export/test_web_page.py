"""The page of an export in Chromium: it answers as the bundle does, and measures, offline."""

from __future__ import annotations

import json
import shutil
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest

import edgeseq as es
from edgeseq.formats.browser_result import BrowserUpload, read_upload
from edgeseq.formats.bundle import read_bundle
from edgeseq.formats.export_folder import read_export
from edgeseq.formats.result import ResultRecord, RuntimeInfo, read_result
from edgeseq.formats.storage import read_json, write_json
from edgeseq.runtime.browser.collect import serve_export
from edgeseq.runtime.browser.headless import headless_browser
from edgeseq.runtime.interpreter import TfliteModel
from edgeseq.runtime.text_tokenizer import TextTokenizer
from edgeseq.tasks.label_thresholds import sigmoid
from edgeseq_benchmarks.bench.predictor import Prediction

from ...edgeseq.reporting.browser import CHROMIUM, Browser, browser

pytestmark = [
    pytest.mark.browser,
    pytest.mark.index,
    pytest.mark.skipif(
        CHROMIUM is None or shutil.which("npm") is None,
        reason="needs Chromium and npm (Debian: apt install chromium npm)",
    ),
]
FLOAT_TOLERANCE = 1e-5
TEXT = "The battery, ÜBER-heavy and noisy, died after a week."


class MeasuredPage(NamedTuple):
    """What a page answers to `TEXT`, what it sends, and the result that it saves."""

    typed: Any
    upload: BrowserUpload
    saved: str


def measure_page(page: Path) -> MeasuredPage:
    """Measures for a moment in Chromium, without another server's help."""
    export, uploads = read_export(page), []
    template = read_json(export.path / "measure" / "result.json", ResultRecord)
    short = msgspec.structs.replace(template.effective, min_queries=30, min_duration_s=0.0)
    template = msgspec.structs.replace(template, requested=short, effective=short)
    golden_texts = len(export.golden.examples)
    served = {"measure/result.json": msgspec.json.encode(template)}

    def read_upload_of_page(content: bytes) -> None:
        uploads.append(read_upload(content, template, golden_texts=golden_texts))

    with (
        serve_export(
            export.path,
            tuple(export.manifest.files),
            replaced=served,
            read_result=read_upload_of_page,
        ) as server,
        browser() as chromium,
    ):
        chromium.navigate(server.address)
        wait_for_state(chromium, "ready")
        typed = chromium.evaluate(f"edgeseqClassifier.classify({json.dumps(TEXT)})")
        chromium.evaluate("document.getElementById('measure').click()")
        wait_for_state(chromium, "measured")
        saved = chromium.evaluate("edgeseqResult")
        requested = [url for url in chromium.requests if not url.startswith(("data:", "blob:"))]
    assert requested
    assert all(url.startswith(server.address) for url in requested)
    return MeasuredPage(typed, uploads[0], saved)


@pytest.mark.parametrize("name", ["lstm", "bert"])
def test_the_check_runs_the_golden_texts_in_the_browser(name: str, pages: dict[str, Path]) -> None:
    checked = es.check_export(pages[name])
    assert checked.findings == ()
    assert checked.runtime == "@litertjs/core 2.5.3"
    assert checked.n_examples > 0
    if name == "bert":
        assert checked.max_abs_difference <= FLOAT_TOLERANCE


@pytest.mark.parametrize("name", ["lstm", "bert"])
def test_every_test_text_gets_our_tokens_and_answer(
    name: str, pages: dict[str, Path], web_bundles: dict[str, Path], tmp_path: Path
) -> None:
    measured = measure_page(pages[name])
    tolerance = read_bundle(web_bundles[name]).golden.tolerance
    compare_with_bundle(
        web_bundles[name], measured.upload, FLOAT_TOLERANCE if name == "bert" else tolerance
    )
    predicted = es.load_bundle(web_bundles[name]).predict([TEXT])[0]
    assert isinstance(predicted, Prediction)
    assert measured.typed["label"] == predicted.label
    # The file that the page saves is one that a report takes.
    path = tmp_path / "saved.json"
    path.write_text(measured.saved, encoding="utf-8")
    (run,) = read_result(path).runs
    assert run.runner == "browser"


def test_a_page_applies_the_thresholds_of_labels(
    pages: dict[str, Path], web_bundles: dict[str, Path], tmp_path: Path
) -> None:
    measured, bundle = measure_page(pages["labels"]), read_bundle(web_bundles["labels"])
    typed = measured.typed
    path = tmp_path / "saved.json"
    path.write_text(measured.saved, encoding="utf-8")
    (run,) = read_result(path).runs
    texts = [example.text for example in bundle.read_examples()]
    expected = es.load_bundle(bundle.path).predict(texts)
    for answer, prediction in zip(measured.upload.answers, expected, strict=True):
        shares = sigmoid(np.array(answer.logits))
        np.testing.assert_allclose(shares, list(prediction.scores.values()), atol=FLOAT_TOLERANCE)
    thresholds = zip(bundle.labels, bundle.manifest.thresholds, typed["probabilities"], strict=True)
    assert typed["labels"] == [label for label, least, share in thresholds if share >= least]
    decisions = [label in one.labels for one in expected for label in bundle.labels]
    assert run.predictions is not None
    assert run.predictions.predicted == tuple(map(int, decisions))
    assert 0 < sum(decisions) < len(decisions)
    assert es.report([path]).rows[0].score is not None


def wait_for_state(chromium: Browser, state: str) -> None:
    """Waits for the page; LiteRT.js logs to the console's errors, which are no problems here."""
    for _ in range(600):
        found = chromium.evaluate("document.documentElement?.dataset.state")
        assert found != "failed"
        if found == state:
            return
        time.sleep(0.1)
    raise AssertionError(f"the page is {found}, not {state}")


def compare_with_bundle(folder: Path, upload: BrowserUpload, tolerance: float) -> None:
    """The page's tokens and logits of the test texts against those of the bundle's own file."""
    bundle = read_bundle(folder)
    tokenizer = TextTokenizer.from_file(str(bundle.tokenizer_path), bundle.manifest.max_tokens)
    model = TfliteModel(bundle.model_path)
    examples = bundle.read_examples()
    assert len(upload.answers) == len(examples)
    for example, answer in zip(examples, upload.answers, strict=True):
        token_ids = tokenizer.token_ids(example.text)
        assert answer.token_ids == tuple(token_ids)
        np.testing.assert_allclose(answer.logits, model.infer(token_ids), atol=tolerance)


def test_bench_measures_in_the_browser_and_a_report_shows_it(
    web_bundles: dict[str, Path], tmp_path: Path
) -> None:
    with ExitStack() as stack:
        result = es.bench(
            [web_bundles["lstm"]],
            device="web",
            quick=True,
            on_address=lambda address: stack.enter_context(headless_browser(address)),
            progress=None,
        )
    path = result.save(tmp_path / "web.json")
    record = read_result(path)
    (run,) = record.runs
    assert (record.runtime.package, run.runner) == ("@litertjs/core", "browser")
    assert len(run.queries.total_ns) >= record.effective.min_queries
    assert not [finding for finding in run.findings if finding.severity == "invalid"]
    assert "tokenizer-differs" not in {finding.code for finding in run.findings}
    # Its times are not compared with those of another runtime on the same device.
    native = msgspec.structs.replace(
        record,
        runtime=RuntimeInfo("ai-edge-litert", "2.3.0", "none"),
        runs=(msgspec.structs.replace(run, runner="native"),),
    )
    write_json(tmp_path / "native.json", native)
    report = es.report([path, tmp_path / "native.json"])
    assert [row.runner for row in report.rows] == ["native", "browser"]
    assert len(report.summary.groups) == 2
    assert "browser" in report.to_markdown()
