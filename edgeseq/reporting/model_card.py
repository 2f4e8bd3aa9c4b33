"""The model card of a bundle: `README.md` with the metadata that the Hugging Face hub reads.

Every number is taken from the bundle or derived from a result of it, and shown with its interval.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from edgeseq.datasets.local_source import DatasetEntry
from edgeseq.errors import InputError
from edgeseq.formats.bundle import BundleFiles
from edgeseq.formats.listed_files import FileEntry
from edgeseq.formats.result import RUNNER_TITLES, ResultRecord, Run
from edgeseq.reporting.format import model_figures
from edgeseq.reporting.markdown import escape_markdown, markdown_table
from edgeseq.reporting.rows import ReportRow, derive_row
from edgeseq.tasks.head import Head, is_numeric
from edgeseq.tasks.scoring import metric_of
from edgeseq.units import format_bytes, format_share

UNKNOWN_LICENCE = "unknown"
"""The hub's identifier where its owner has not stated one."""
CARD, EXPORTS_FOLDER = "README.md", "exports"

_PIPELINE_TAGS: dict[Head, str] = {
    "text-classification": "text-classification",
    "multilabel-classification": "text-classification",
    "token-classification": "token-classification",
    "language-modeling": "text-generation",
    "sequence-regression": "time-series-forecasting",
}
_METRIC_TYPES = {
    "accuracy": "accuracy",
    "entity-f1": "f1",
    "gap-f1": "f1",
    "micro-f1": "f1",
    "macro-f1": "f1",
    "perplexity": "perplexity",
    "rmse": "rmse",
    "mae": "mae",
}


class CardSource(msgspec.Struct, frozen=True):
    """What a card is written from.

    `files` are those of the repository by path, without the card; `dataset` describes the built-in
    data set that the bundle was made with; `licence` is an identifier of the hub.
    """

    repository: str
    bundle: BundleFiles
    files: Mapping[str, FileEntry]
    results: tuple[ResultRecord, ...] = ()
    dataset: DatasetEntry | None = None
    licence: str = UNKNOWN_LICENCE


class MeasuredRow(msgspec.Struct, frozen=True):
    """A row with the result and run that it was derived from."""

    row: ReportRow
    run: Run
    result: ResultRecord


def render_card(source: CardSource) -> str:
    """The card as text; of an invalid measurement it has the reasons alone.

    Raises `InputError` for a result in which the bundle was not measured.
    """
    every = tuple(_measured_rows(source.bundle, source.results))
    measured = tuple(entry for entry in every if entry.row.valid)
    lines = ["---", *_front_matter(source, measured), "---", ""]
    for section in (_summary, _usage, _scores, _costs, _limits, _data, _files):
        lines += section(source, measured)
        lines.append("")
    for entry in every:
        lines += _invalid(entry)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def _invalid(entry: MeasuredRow) -> Iterator[str]:
    """Why a measurement is not in the card."""
    for reason in entry.row.invalid_reasons:
        process = RUNNER_TITLES[entry.row.runner]
        yield f"The measurement in a {process} is invalid and not shown: {escape_markdown(reason)}."
        yield ""


def _measured_rows(bundle: BundleFiles, results: Sequence[ResultRecord]) -> Iterator[MeasuredRow]:
    for result in results:
        runs = [run for run in result.runs if run.bundle.model_sha256 == bundle.model_sha256]
        if not runs:
            measured = ", ".join(sorted({run.bundle.name for run in result.runs}))
            raise InputError(
                "the result has no measurement of this bundle's model.tflite",
                where=bundle.path,
                found=measured or "no bundle",
                fix="run `edgeseq bench` on the bundle that you push",
            )
        yield from (MeasuredRow(derive_row(result, run), run, result) for run in runs)


def _front_matter(source: CardSource, measured: Sequence[MeasuredRow]) -> Iterator[str]:
    """One key per line; JSON is YAML in flow style."""
    manifest = source.bundle.manifest
    data_name = manifest.provenance.data_name
    tags = ["edgeseq", "tflite", "litert", manifest.arch, manifest.recipe]
    fields: dict[str, Any] = {
        "library_name": "edgeseq",
        "license": source.licence,
        "pipeline_tag": _PIPELINE_TAGS.get(source.bundle.head),
        "tags": tags,
        "datasets": [data_name.removeprefix("hf:").split(":")[0].split("@")[0]]
        if data_name.startswith("hf:")
        else None,
        "model-index": _model_index(source, measured[0]) if measured else None,
    }
    for key, value in fields.items():
        if value is not None:
            yield f"{key}: {msgspec.json.encode(value).decode()}"


def _model_index(source: CardSource, measured: MeasuredRow) -> list[dict[str, Any]] | None:
    """The scores as the hub reads them; `args` has the interval."""
    manifest, row = source.bundle.manifest, measured.row
    if row.score is None:
        return None
    scores = [(row.metric, row.metric_definition.title, row.score, row.score_ci95)]
    scores += [(f.metric, f.title, f.score, f.score_ci95) for f in row.further_scores]
    metrics = [
        {
            "type": _METRIC_TYPES.get(metric, metric),
            "name": title,
            "value": score,
            "args": {"confidence_interval_95": interval, "examples": row.n_examples},
        }
        for metric, title, score, interval in scores
    ]
    name = manifest.provenance.data_name
    dataset = {"name": name, "type": name.removeprefix("hf:"), "split": "test"}
    task_type = _PIPELINE_TAGS.get(source.bundle.head, source.bundle.head)
    result = {"task": {"type": task_type}, "dataset": dataset, "metrics": metrics}
    return [{"name": manifest.name, "results": [result]}]


def _summary(source: CardSource, _: Sequence[MeasuredRow]) -> Iterator[str]:
    manifest, escape = source.bundle.manifest, escape_markdown
    title = source.bundle.task.title or source.bundle.task.name.replace("-", " ")
    article = "An" if manifest.arch == "lstm" else "A"
    name = {"lstm": "LSTM", "bert": "BERT", "bag": "bag of embeddings"}[manifest.arch]
    yield from (f"# {escape(manifest.name)}", "")
    yield (
        f"{article} {name} for {escape(title)}, as a TFLite file of "
        f"{format_bytes(source.bundle.size_bytes)} with its tokenizer, "
        f"{manifest.parameters / 1e6:.3g} M parameters, recipe `{manifest.recipe}`, lowering "
        f"`{manifest.lowering}`. Made with edgeseq."
    )


def _usage(source: CardSource, _: Sequence[MeasuredRow]) -> Iterator[str]:
    folder = source.repository.split("/")[-1]
    head = source.bundle.head
    yield from ("## How to call it", "", "```sh")
    yield "pip install 'edgeseq[device,hub]'"
    yield f"edgeseq pull {source.repository} --out {folder}"
    yield f"edgeseq predict {folder} " + ("sequences.npy" if is_numeric(head) else '"a text"')
    yield from ("```", "", "```python", "import edgeseq as es", "")
    yield f'bundle = es.pull("{source.repository}", out="{folder}")'
    if head == "language-modeling":
        yield 'print(bundle.continue_texts(["a text"]))'
    elif is_numeric(head):
        yield 'print(bundle.predict_sequences("sequences.npy"))'
    else:
        yield 'print(bundle.predict(["a text"]))'
    yield from ("```", "")
    unsupported = source.bundle.manifest.native_unsupported
    if unsupported is None:
        yield "The native runner (`edgeseq native build`), a C program, runs it without Python."
    else:
        yield f"It runs in Python only: {escape_markdown(unsupported)}."


def _scores(source: CardSource, measured: Sequence[MeasuredRow]) -> Iterator[str]:
    manifest = source.bundle.manifest
    yield from ("## Scores", "")
    rows = [entry for entry in measured if entry.row.score is not None]
    if not rows:
        fidelity = manifest.fidelity
        metric = metric_of(manifest.task)
        yield "Not measured on the test split: this card was written without a valid result."
        if fidelity.score is not None:
            yield (
                f"On {fidelity.n_examples:,} development examples, on which settings may have been "
                f"chosen: {metric.title} {metric.show(fidelity.score)}."
            )
        return
    lines = []
    for entry in rows:
        row = entry.row
        figures = model_figures(row)[0]
        lines.append((figures.title, figures.value, figures.remark, entry))
        others = {metric.name: metric for metric in row.metric_definition.others}
        for further in row.further_scores:
            metric = others[further.metric]
            interval = metric.show_interval(*further.score_ci95)
            lines.append((further.title, metric.show(further.score), interval, entry))
    yield markdown_table(
        ("metric", "value", "95 % interval", "test examples", "run in"),
        [
            (
                *(title, value, interval),
                f"{entry.row.n_examples:,}",
                RUNNER_TITLES[entry.row.runner],
            )
            for title, value, interval, entry in lines
        ],
    )


def _costs(_: CardSource, measured: Sequence[MeasuredRow]) -> Iterator[str]:
    """Memory and times: each table with its machine."""
    yield from ("## Memory and latency", "")
    if not measured:
        yield "Not measured: this card was written without a valid result."
    for entry in measured:
        device, runtime = entry.result.device, entry.result.runtime
        escape = escape_markdown
        conditions = (
            f"{escape(device.cpu_model)} ({escape(device.machine)}, {device.cores} cores, "
            f"{format_bytes(device.memory_bytes)} of memory), {escape(device.os)}, "
            f"{runtime.package} {escape(runtime.version)}, {RUNNER_TITLES[entry.row.runner]}, "
            f"{entry.row.threads} thread{'s' * (entry.row.threads != 1)}"
        )
        emulated = ", emulated: no time is valid" if device.emulated else ""
        quick = ", a quick run" if entry.result.effective.quick else ""
        yield from (f"On {conditions}{emulated}{quick}:", "")
        figures = model_figures(entry.row)[1:]
        lines = [(figure.title, figure.value, figure.remark) for figure in figures]
        yield markdown_table(("quantity", "value", "95 % interval, or remark"), lines)
        for finding in entry.row.findings:
            yield f"- {finding.severity}: {escape(finding.message)}"
        yield ""


def _limits(source: CardSource, measured: Sequence[MeasuredRow]) -> Iterator[str]:
    manifest, escape = source.bundle.manifest, escape_markdown
    fidelity = manifest.fidelity
    yield from ("## Limits", "")
    unit = "steps" if is_numeric(source.bundle.head) else "tokens"
    yield f"- Longest input: {manifest.max_tokens:,} {unit}. Longer texts are truncated."
    if source.bundle.labels:
        yield f"- It knows these labels only: {escape(', '.join(source.bundle.labels))}."
    if fidelity.label_agreement is not None:
        count, share = fidelity.n_answers or fidelity.n_examples, fidelity.label_agreement
        yield f"- {format_share(share)} of {count:,} labels are those of the float model."
    if manifest.min_runtime_version:
        yield f"- TFLite runtime {escape(manifest.min_runtime_version)} or newer."
    yield "- The scores hold for texts like those of the data set, not for others."
    if not measured:
        yield "- Nothing is known here of its speed and memory."


def _data(source: CardSource, _: Sequence[MeasuredRow]) -> Iterator[str]:
    manifest, escape = source.bundle.manifest, escape_markdown
    provenance, dataset = manifest.provenance, source.dataset
    yield from ("## Licence and data", "")
    if source.licence == UNKNOWN_LICENCE:
        yield "The owner of this repository has not stated a licence of the model."
    else:
        yield f"Licence of the model: `{source.licence}`."
    yield ""
    yield f"Data: {escape(provenance.data_name)} (SHA-256 `{provenance.data_sha256}`)."
    if dataset is not None:
        yield f"From {escape(dataset.origin)}; licence: {escape(dataset.licence)}."
        yield f"Cite: {escape(dataset.citation)}"
    yield ""
    golden = len(source.bundle.golden.examples)
    kind = "sequences" if is_numeric(source.bundle.head) else "texts"
    yield (
        f"`eval.jsonl` holds the data's test {kind}, and `golden.json` {golden} {kind}, which its "
        "licence covers."
    )
    yield f"Converted from {escape(provenance.source)} (SHA-256 `{provenance.source_sha256}`)."


def _files(source: CardSource, _: Sequence[MeasuredRow]) -> Iterator[str]:
    yield from ("## Files", "")
    lines = [
        (path, format_bytes(entry.size_bytes), entry.sha256)
        for path, entry in sorted(source.files.items())
    ]
    yield markdown_table(("file", "size", "SHA-256"), lines)
    yield "`README.md` is this card."
