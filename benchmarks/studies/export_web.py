"""Runs a bundle's export for the web in Chromium over the whole test split, and prints figures.

    python benchmarks/studies/export_web.py BUNDLE [BUNDLE …]

Of each bundle: texts whose tokens are not ours, the largest difference of a logit from the
bundle's own file here, classes that differ, accuracy, times, the runtime's heap and file sizes.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import msgspec
import numpy as np

import edgeseq as es
from edgeseq.formats.browser_result import BrowserUpload, read_upload
from edgeseq.formats.bundle import read_bundle
from edgeseq.formats.drafts import temporary_folder
from edgeseq.formats.export_folder import ExportFolder
from edgeseq.formats.result import ResultRecord
from edgeseq.formats.storage import read_json
from edgeseq.runtime.browser.collect import serve_export, wait_for_result
from edgeseq.runtime.browser.headless import headless_browser
from edgeseq.runtime.interpreter import TfliteModel
from edgeseq.runtime.text_tokenizer import TextTokenizer
from edgeseq.stats.latency import nearest_rank


def measure(export: ExportFolder) -> tuple[BrowserUpload, float]:
    """What the page sends, and the seconds from the start of the browser to the end."""
    template = read_json(export.path / "measure" / "result.json", ResultRecord)
    golden_texts = len(export.golden.examples)
    begin = time.monotonic()
    with (
        serve_export(
            export.path,
            tuple(export.manifest.files),
            replaced={},
            read_result=lambda content: read_upload(content, template, golden_texts=golden_texts),
        ) as server,
        headless_browser(f"{server.address}?measure") as browser,
    ):
        upload = wait_for_result(server, browser=browser)
    return upload, time.monotonic() - begin


def figures(path: Path) -> dict[str, object]:
    """The figures of one bundle."""
    with temporary_folder() as folder:
        begin = time.monotonic()
        export = es.export(path, "web", out=folder / "page", lengths=())
        export_s = time.monotonic() - begin
        checked = es.check_export(export.path)
        upload, seconds = measure(export)
        model_bytes = (export.path / "model.tflite").stat().st_size
        folder_bytes = sum(entry.size_bytes for entry in export.manifest.files.values())
    bundle = read_bundle(path)
    tokenizer = TextTokenizer.of_bundle(bundle)
    model = TfliteModel(bundle.model_path)
    other_tokens, other_classes, worst, correct = 0, 0, 0.0, 0
    for example, answer in zip(bundle.read_examples(), upload.answers, strict=True):
        token_ids = tokenizer.token_ids(example.text)
        other_tokens += answer.token_ids != tuple(token_ids)
        logits = model.infer(token_ids)
        worst = max(worst, float(np.abs(logits - np.asarray(answer.logits)).max()))
        predicted = int(np.argmax(answer.logits))
        other_classes += predicted != int(np.argmax(logits))
        correct += bundle.labels[predicted] == example.label
    (run,) = upload.result.runs
    p50, p95 = (nearest_rank(run.queries.total_ns, percent) / 1e6 for percent in (50, 95))
    return {
        "bundle": bundle.manifest.name,
        "texts": len(upload.answers),
        "texts_with_other_tokens": other_tokens,
        "largest_logit_difference": worst,
        "golden_difference": checked.max_abs_difference,
        "golden_tolerance": checked.tolerance,
        "classes_that_differ": other_classes,
        "accuracy": correct / len(upload.answers),
        "p50_ms": p50,
        "p95_ms": p95,
        "queries": len(run.queries.total_ns),
        "clock_step_us": upload.clock_step_ns / 1000,
        "heap_bytes": upload.heap_bytes,
        "bundle_model_bytes": bundle.model_path.stat().st_size,
        "model_bytes": model_bytes,
        "folder_bytes": folder_bytes,
        "export_s": export_s,
        "browser_s": seconds,
        "device": upload.result.device.name,
    }


def main() -> None:
    """Prints a JSON object per bundle."""
    for name in sys.argv[1:]:
        sys.stdout.write(msgspec.json.encode(figures(Path(name))).decode() + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
