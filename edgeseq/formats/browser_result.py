"""What a web page measures: the result that it fills in, and what it sends.

    EXPORT/measure/result.json     `result_template`: a result without observations
    EXPORT/measure/order.json      the numbers of the test examples in the order of the rounds
    EXPORT/measure/examples.jsonl  the bundle's test examples
    the page → `edgeseq bench`     `BrowserUpload`

The page runs on a machine that is not ours, so what comes back is checked as any
file from outside is: it may hold observations, and everything else must be what was sent.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import msgspec

import edgeseq
from edgeseq.errors import BundleError, ResultError
from edgeseq.formats.bundle import BundleFiles
from edgeseq.formats.bundle_identity import bundle_identity
from edgeseq.formats.codec import decode_json
from edgeseq.formats.result import (
    NO_QUERIES,
    DeviceInfo,
    Queries,
    ResultRecord,
    Run,
    Runner,
    RuntimeInfo,
    Settings,
    check_run,
)
from edgeseq.formats.result_checks import check_head
from edgeseq.tasks.examples import gold_classes
from edgeseq.tasks.predictions import Predictions

UPLOAD_LIMIT_BYTES = 256 << 20
"""A million queries with their examples' logits are 100 MB."""
_NAME_LIMIT = 200
_NO_DEVICE = DeviceInfo("", "", "", (), 1, 0, "", "")


class TextAnswer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A text's token ids in the browser, and its logits."""

    token_ids: tuple[int, ...]
    logits: tuple[float, ...]


class BrowserUpload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a page sends.

    `golden` are the answers for the export's golden texts, `answers` those for the test examples;
    `clock_step_ns` is the step of the clock that the page may read, `heap_bytes` the size of the
    runtime's WebAssembly memory at the end; `varying` counts the test examples that got another
    class when they were repeated.
    """

    result: ResultRecord
    clock_step_ns: int
    heap_bytes: int
    cross_origin_isolated: bool
    varying: int
    golden: tuple[TextAnswer, ...]
    answers: tuple[TextAnswer, ...]


def browser_settings() -> Settings:
    """What a page measures that no `edgeseq bench` has served: half a minute."""
    return Settings(
        threads=1,
        quick=False,
        min_queries=1024,
        min_duration_s=30.0,
        rounds=20,
        cold_starts=0,
        runners=("browser",),
    )


def result_template(
    bundle: BundleFiles, settings: Settings, runtime: RuntimeInfo, *, runner: Runner = "browser"
) -> ResultRecord:
    """The result of a bundle that classifies texts, without its observations.

    Raises `BundleError` without test examples.
    """
    examples = bundle.read_examples()
    if not examples:
        raise BundleError(
            "has no test examples",
            where=bundle.path / "eval.jsonl",
            fix="convert the bundle again from a data set with a test part",
        )
    gold = [gold_classes(example, bundle.labels) for example in examples]
    predictions = Predictions(
        gold=tuple(number for classes in gold for number in classes),
        predicted=(),
        sources=tuple(example.source for example in examples),
        truncated=0,
        unknown_only=0,
        examples_sha256=bundle.manifest.files["eval.jsonl"].sha256,
        counts=tuple(map(len, gold)) if bundle.task.is_multilabel else (),
    )
    run = Run(
        bundle=bundle_identity(bundle),
        runner=runner,
        warmup=NO_QUERIES,
        queries=NO_QUERIES,
        lengths=(),
        memory=(),
        cold_starts=(),
        predictions=predictions,
        limited=(),
        findings=(),
    )
    return ResultRecord(
        created_utc="",
        edgeseq_version=edgeseq.__version__,
        command=(),
        device=_NO_DEVICE,
        runtime=runtime,
        requested=settings,
        effective=settings,
        machine=(),
        runs=(run,),
    )


def example_order(template: ResultRecord) -> list[int]:
    """The numbers of the test examples in the order that every device has."""
    (run,) = template.runs
    order = list(range(_n_examples(run)))
    random.Random(template.effective.seed).shuffle(order)  # noqa: S311
    return order


def _n_examples(run: Run) -> int:
    return len(run.predictions.sources) if run.predictions else 0


def read_upload(content: bytes, template: ResultRecord, *, golden_texts: int) -> BrowserUpload:
    """What a page sent, which may differ from `template` in the observations alone.

    Raises `ResultError` naming the place that does not fit.
    """
    where = Path("upload")
    if len(content) > UPLOAD_LIMIT_BYTES:
        raise ResultError("is too large", where=where, found=len(content))
    try:
        upload = decode_json(content, BrowserUpload)
    except (msgspec.DecodeError, UnicodeDecodeError) as failure:
        raise ResultError("is not what was expected", where=where, found=str(failure)) from failure
    check_head(where, upload.result)
    for run in upload.result.runs:
        check_run(where, run)
    _check_only_observed(upload.result, template)
    _check_device(upload.result.device)
    _check_queries(upload.result, template)
    (run,) = template.runs
    examples = _n_examples(run)
    _check_answers("golden", upload.golden, golden_texts, run)
    _check_answers("answers", upload.answers, examples, run)
    counts = {name: getattr(upload, name) for name in ("clock_step_ns", "heap_bytes", "varying")}
    for name, value in counts.items():
        if not 0 <= value <= 1 << 53:
            raise _error(f"$.{name}", value, "0 or more")
    return upload


def _check_only_observed(result: ResultRecord, template: ResultRecord) -> None:
    """Everything that the page does not observe must be what was sent to it."""
    if len(result.runs) != 1:
        raise _error("$.result.runs", len(result.runs), "1")
    if len(result.created_utc) > _NAME_LIMIT or not result.created_utc.isprintable():
        found = result.created_utc[:_NAME_LIMIT]
        raise _error("$.result.created_utc", found, "a date and a time")
    (run,), (expected,) = result.runs, template.runs
    predictions = run.predictions
    if predictions is None or expected.predictions is None:
        raise _error("$.result.runs[0].predictions", None, "predictions")
    blank = msgspec.structs.replace(
        result,
        created_utc="",
        device=_NO_DEVICE,
        runs=(
            msgspec.structs.replace(
                run,
                warmup=NO_QUERIES,
                queries=NO_QUERIES,
                predictions=msgspec.structs.replace(
                    predictions, predicted=(), truncated=0, unknown_only=0
                ),
            ),
        ),
    )
    for name in ResultRecord.__struct_fields__:
        if getattr(blank, name) != getattr(template, name):
            found = str(getattr(blank, name))[:_NAME_LIMIT]
            raise _error(f"$.result.{name}", found, "what was sent to the page")


def _check_device(device: DeviceInfo) -> None:
    texts = {
        name: getattr(device, name) for name in ("name", "machine", "cpu_model", "kernel", "os")
    }
    for name, text in texts.items():
        if len(text) > _NAME_LIMIT or not text.isprintable():
            raise _error(
                f"$.result.device.{name}", text[:_NAME_LIMIT], f"{_NAME_LIMIT} letters at most"
            )
    if device.cpu_features or device.emulated or device.cores > 1 << 16 or not device.name:
        raise _error("$.result.device", str(device)[:_NAME_LIMIT], "what a page knows")


def _check_queries(result: ResultRecord, template: ResultRecord) -> None:
    (run,), (expected,) = result.runs, template.runs
    settings = template.effective
    examples = _n_examples(expected)
    most = settings.max_queries + 2 * examples
    for name in ("warmup", "queries"):
        queries: Queries = getattr(run, name)
        place = f"$.result.runs[0].{name}"
        if not 0 < len(queries.example) <= most:
            raise _error(place, len(queries.example), f"1 to {most} queries")
        if max(queries.example) >= examples:
            raise _error(f"{place}.example", max(queries.example), f"0 to {examples - 1}")
        if max(queries.tokens) > expected.bundle.max_tokens:
            raise _error(f"{place}.tokens", max(queries.tokens), str(expected.bundle.max_tokens))
    if len(set(run.queries.example)) != examples:
        raise _error(
            "$.result.runs[0].queries.example", len(set(run.queries.example)), str(examples)
        )
    predictions = run.predictions
    for name in ("truncated", "unknown_only"):
        if getattr(predictions, name) > examples:
            place = f"$.result.runs[0].predictions.{name}"
            raise _error(place, getattr(predictions, name), f"0 to {examples}")


def _check_answers(name: str, answers: Sequence[TextAnswer], count: int, run: Run) -> None:
    if len(answers) != count:
        raise _error(f"$.{name}", len(answers), f"{count} texts")
    for number, answer in enumerate(answers):
        sizes = (len(answer.logits), len(answer.token_ids))
        if sizes[0] != len(run.bundle.labels) or not 0 < sizes[1] <= run.bundle.max_tokens:
            expected = f"{len(run.bundle.labels)} logits, 1 to {run.bundle.max_tokens} tokens"
            raise _error(f"$.{name}[{number}]", f"{sizes[0]} logits, {sizes[1]} tokens", expected)


def _error(place: str, found: object, expected: str) -> ResultError:
    return ResultError(
        f"{place} cannot be", where="upload", found=found, expected=expected, fix="measure again"
    )
