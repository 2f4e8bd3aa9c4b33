"""The benchmark in a browser: serves the page of an export, and records what it sends.

Tokenizing, inference and decoding run in the page and are in the times. What a page cannot see is
left out: memory of the process, cold starts, the machine's load.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import msgspec

from edgeseq.errors import ResultError
from edgeseq.formats.browser_result import BrowserUpload, read_upload
from edgeseq.formats.bundle import BundleFiles
from edgeseq.formats.bundle_zip import open_bundle
from edgeseq.formats.export_folder import ExportFolder, read_export
from edgeseq.formats.result import Finding, ResultRecord, Run, Settings
from edgeseq.formats.storage import read_json
from edgeseq.progress import ProgressCallback, ProgressUpdate, no_progress
from edgeseq.runtime.browser.collect import PageProgress, serve_export, wait_for_result
from edgeseq.runtime.text_tokenizer import TextTokenizer
from edgeseq.units import format_bytes, format_count
from edgeseq_benchmarks.bench import validity
from edgeseq_benchmarks.bench.runner import own_git_state
from edgeseq_benchmarks.devices.web.page import WebPage, check_settings

_TEMPLATE = "measure/result.json"


def bench_in_browser(
    page: WebPage,
    bundles: Sequence[Path],
    *,
    settings: Settings,
    progress: ProgressCallback = no_progress,
    command: Sequence[str] = (),
) -> ResultRecord:
    """Serves the page until a browser has measured the one bundle; returns its result.

    Raises `InputError` for settings that a page cannot do, more than one bundle, or an address that
    this machine does not have, and `DeviceError` when no browser comes or the page fails.
    """
    check_settings(settings, bundles)
    export = read_export(page.folder)
    template = _template(export, settings)
    golden_texts = len(export.golden.examples)
    progress(ProgressUpdate("measure in a browser"))

    def tell(told: PageProgress) -> None:
        note = f"{format_count(told.count)} queries"
        progress(ProgressUpdate("measure in a browser", told.share, 1, note))

    with (
        open_bundle(bundles[0], verify_hashes=True) as bundle,
        serve_export(
            export.path,
            tuple(export.manifest.files),
            replaced={_TEMPLATE: msgspec.json.encode(template)},
            read_result=lambda content: read_upload(content, template, golden_texts=golden_texts),
            bind=page.bind,
        ) as server,
    ):
        if page.on_address is not None:
            page.on_address(f"{server.address}?measure")
        upload = wait_for_result(server, on_progress=tell)
        progress(ProgressUpdate("measure in a browser", 1, 1))
        return _record(bundle, upload, template, tuple(command))


def _template(export: ExportFolder, settings: Settings) -> ResultRecord:
    template = read_json(export.path / _TEMPLATE, ResultRecord, error=ResultError)
    effective = msgspec.structs.replace(
        settings, runners=("browser",), working_memory=False, cold_starts=0
    )
    return msgspec.structs.replace(template, requested=settings, effective=effective)


def _record(
    bundle: BundleFiles, upload: BrowserUpload, template: ResultRecord, command: tuple[str, ...]
) -> ResultRecord:
    (run,) = upload.result.runs
    findings = (*_run_findings(bundle, upload, run, template.effective),)
    device = upload.result.device
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return msgspec.structs.replace(
        upload.result,
        created_utc=now,
        command=command,
        runs=(msgspec.structs.replace(run, findings=findings),),
        findings=(
            *_page_findings(upload),
            *validity.machine_findings((), device),
            *validity.settings_findings(template.requested, ()),
        ),
        git_state=own_git_state(),
    )


def _run_findings(
    bundle: BundleFiles, upload: BrowserUpload, run: Run, settings: Settings
) -> list[Finding]:
    timing = validity.timing_findings(run.queries, (), settings)
    predictions = run.predictions
    if predictions is None:
        raise ValueError("an upload has predictions")
    return [
        *(finding for finding in timing if finding.code != "query-cap"),
        *validity.clock_findings(run.queries, upload.clock_step_ns),
        *validity.golden_findings(bundle, [answer.logits for answer in upload.golden]),
        *_token_findings(bundle, upload),
        *validity.prediction_findings(
            len(predictions.sources),
            inconsistent=upload.varying,
            truncated=predictions.truncated,
            unknown_only=predictions.unknown_only,
        ),
    ]


def _token_findings(bundle: BundleFiles, upload: BrowserUpload) -> list[Finding]:
    """Whether the page's tokenizer gives every test text the ids that ours gives."""
    tokenizer = TextTokenizer.of_bundle(bundle)
    texts = [item.text for item in bundle.read_examples()]
    wrong = sum(
        tuple(tokenizer.token_ids(text)) != answer.token_ids
        for text, answer in zip(texts, upload.answers, strict=True)
    )
    if not wrong:
        return []
    words = f"{wrong} of {len(texts)} test texts get other token ids in the browser than here"
    return [Finding("tokenizer-differs", "warning", words)]


def _page_findings(upload: BrowserUpload) -> tuple[Finding, ...]:
    step_us = upload.clock_step_ns / 1000
    clock = f"times are read from a browser's clock with steps of {step_us:g} µs"
    if not upload.cross_origin_isolated:
        clock += " (finer in a secure context: on this machine, or by https)"
    memory = (
        "a page cannot read its process's memory; the runtime's WebAssembly heap grew to "
        f"{format_bytes(upload.heap_bytes)}"
    )
    return (Finding("browser-clock", "note", clock), Finding("browser-memory", "note", memory))
