"""The benchmark in MediaPipe Tasks: how long its TextClassifier takes for a call, and its answers.

A call tokenizes, infers and sorts the categories, and MediaPipe does not say how long each part
takes: all of it counts as inference. Memory is not measured, because its Python package holds much
that an app does not have.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import msgspec

import edgeseq
from edgeseq.formats.browser_result import example_order, result_template
from edgeseq.formats.bundle import BundleFiles
from edgeseq.formats.bundle_zip import open_bundle
from edgeseq.formats.export_folder import MODEL, ExportFolder, read_export
from edgeseq.formats.result import (
    Finding,
    Queries,
    ResultRecord,
    Run,
    RuntimeInfo,
    Settings,
)
from edgeseq.progress import ProgressCallback, ProgressUpdate, no_progress
from edgeseq.runtime.mediapipe.classify import MediaPipeAnswer, Repetition, classify_texts
from edgeseq.runtime.text_tokenizer import TextTokenizer
from edgeseq_benchmarks.bench import validity
from edgeseq_benchmarks.bench.probes.machine_state import Watch, device_info
from edgeseq_benchmarks.bench.runner import own_git_state
from edgeseq_benchmarks.devices.option_checks import check_times_alone

_WARMUP_CALLS = 64


def bench_in_mediapipe(
    exports: Sequence[Path],
    bundles: Sequence[Path],
    *,
    settings: Settings,
    progress: ProgressCallback = no_progress,
    command: Sequence[str] = (),
) -> ResultRecord:
    """Measures each bundle by its export for MediaPipe, one after the other.

    Raises `InputError` for settings that it does not have, `DeviceError` where MediaPipe is not
    installed, and `RefusedError` where it refuses a model.
    """
    check_mediapipe_settings(settings)
    effective = msgspec.structs.replace(
        settings, runners=("mediapipe",), working_memory=False, cold_starts=0
    )
    runs, answers, watch = [], [], Watch()
    for number, (folder, path) in enumerate(zip(exports, bundles, strict=True)):
        progress(ProgressUpdate("measure in MediaPipe", number, len(bundles), path.name))
        with open_bundle(path, verify_hashes=True) as bundle:
            run, answer = _measure(read_export(folder), bundle, effective)
        runs.append(run)
        answers.append(answer)
    progress(ProgressUpdate("measure in MediaPipe", len(bundles), len(bundles)))
    device = device_info()
    machine = (watch.read("during"),)
    return ResultRecord(
        created_utc=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        edgeseq_version=edgeseq.__version__,
        command=tuple(command),
        device=device,
        runtime=_runtime(answers[0].version),
        requested=settings,
        effective=effective,
        machine=machine,
        runs=tuple(runs),
        findings=(
            *_NOTES,
            *validity.machine_findings(machine, device),
            *validity.settings_findings(settings, ()),
        ),
        git_state=own_git_state(),
    )


_NOTES = (
    Finding(
        "mediapipe-calls",
        "note",
        "a time is that of one call of MediaPipe's TextClassifier in Python, tokenizing included",
    ),
    Finding("mediapipe-memory", "note", "memory is not measured in MediaPipe's Python package"),
)


def check_mediapipe_settings(settings: Settings) -> None:
    """Raises `InputError` for what MediaPipe's benchmark does not have."""
    check_times_alone(settings, "is not possible in MediaPipe")


def _runtime(version: str) -> RuntimeInfo:
    return RuntimeInfo("mediapipe", version, platform.python_version())


def _measure(
    export: ExportFolder, bundle: BundleFiles, settings: Settings
) -> tuple[Run, MediaPipeAnswer]:
    template = result_template(bundle, settings, _runtime(""), runner="mediapipe")
    (run,) = template.runs
    texts = [example.text for example in bundle.read_examples()]
    calls = {
        name: max(getattr(settings, name), len(texts)) + _WARMUP_CALLS
        for name in ("min_queries", "max_queries")
    }
    order = tuple(example_order(template))
    repetition = Repetition(order, min_duration_s=settings.min_duration_s, **calls)
    answer = classify_texts(export.path / MODEL, texts, repetition)
    tokenizer = TextTokenizer.of_bundle(bundle)
    encoded = [tokenizer.encode(text) for text in texts]
    if run.predictions is None:
        raise ValueError("a template has predictions")
    predictions = msgspec.structs.replace(
        run.predictions,
        predicted=tuple(scores.index(max(scores)) for scores in answer.scores),
        truncated=sum(text.truncated for text in encoded),
        unknown_only=sum(text.unknown_only for text in encoded),
    )
    tokens = [len(text.token_ids) for text in encoded]
    queries = _queries(answer, tokens, slice(_WARMUP_CALLS, None), rounds=settings.rounds)
    timing = validity.timing_findings(queries, (), settings)
    findings = [
        *(finding for finding in timing if finding.code != "query-cap"),
        *_token_findings(export),
        *validity.prediction_findings(
            len(texts),
            inconsistent=answer.varying,
            truncated=predictions.truncated,
            unknown_only=predictions.unknown_only,
        ),
    ]
    measured = msgspec.structs.replace(
        run,
        warmup=_queries(answer, tokens, slice(_WARMUP_CALLS), rounds=1),
        queries=queries,
        predictions=predictions,
        findings=tuple(findings),
    )
    return measured, answer


def _queries(
    answer: MediaPipeAnswer, tokens: Sequence[int], part: slice, *, rounds: int
) -> Queries:
    """The calls of `part`; `rounds` of equal length are numbered, to see whether times drift."""
    example, latency_ns = answer.example[part], answer.latency_ns[part]
    zeros = (0,) * len(example)
    return Queries(
        example=example,
        round=tuple(rounds * index // len(example) for index in range(len(example))),
        tokens=tuple(tokens[number] for number in example),
        tokenize_ns=zeros,
        inference_ns=latency_ns,
        decode_ns=zeros,
        total_ns=latency_ns,
    )


def _token_findings(export: ExportFolder) -> list[Finding]:
    """That MediaPipe's tokenizer reads some texts differently, which the export has counted."""
    settings = export.manifest.settings
    different = settings["num_texts_tokenized_differently"]
    if not different:
        return []
    words = f"{different} of {settings['num_texts']} test texts have other tokens in MediaPipe"
    return [Finding("tokenizer-differs", "warning", words)]
