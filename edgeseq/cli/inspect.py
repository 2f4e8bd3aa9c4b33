"""`edgeseq inspect`: what is in a bundle, an export or a .tflite file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

import edgeseq as es
from edgeseq.api.inspection import Inspection
from edgeseq.cli.console import JsonOption, out, print_json, print_line
from edgeseq.cli.netron_view import open_in_netron
from edgeseq.cli.profile_table import profile_table
from edgeseq.errors import InputError
from edgeseq.formats.bundle_manifest import MODEL_FILE, BundleManifest
from edgeseq.formats.listed_files import FileEntry
from edgeseq.formats.padding import describe_scores
from edgeseq.formats.tflite_file import Sizes, TfliteFile
from edgeseq.formats.tflite_runtimes import RuntimeSupport
from edgeseq.tasks.head import is_numeric
from edgeseq.tasks.multilabel_classification import describe_thresholds
from edgeseq.tasks.registry import task_of
from edgeseq.tasks.word_features import FEATURES
from edgeseq.units import format_share


def inspect(
    path: Annotated[
        Path, typer.Argument(help="Bundle (a folder or .zip), export or .tflite file.")
    ],
    tensors: Annotated[bool, typer.Option("--tensors", help="Also list every tensor.")] = False,
    profile: Annotated[
        bool,
        typer.Option("--profile", help="Also run a bundle and show the time per operator."),
    ] = False,
    open_graph: Annotated[
        bool,
        typer.Option(
            "--open", help="Also open the graph in Netron (extra `netron`), until Ctrl-C."
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Show operators with versions, signatures, sizes by part, and which runtimes load a file.

    Example: edgeseq inspect bundles/lstm
    """
    if open_graph and json:
        raise InputError("--open prints an address between the JSON", fix="choose one of them")
    inspection = es.inspect(path, profile=profile)
    model = inspection.model
    if json:
        answer = {
            "path": str(path),
            "bundle": inspection.manifest,
            "export": inspection.export,
            "description": model.description,
            "metadata": model.metadata,
            "min_runtime_version": model.min_runtime_version,
            "size_bytes": inspection.size_bytes,
            "native_size_bytes": inspection.native_size_bytes,
            "sizes": model.sizes(),
            "signatures": model.signatures,
            "operators": model.operator_uses(),
            "runtimes": inspection.runtimes,
            "profile": inspection.profile,
        }
        print_json(answer | ({"subgraphs": model.subgraphs} if tensors else {}))
        return
    _print_bundle(inspection)
    _print_export(inspection)
    _print_metadata(model)
    _print_signatures(model)
    _print_operators(model)
    if tensors:
        _print_tensors(model)
    _print_sizes(model.sizes())
    _print_support(inspection.runtimes)
    if inspection.profile is not None and inspection.manifest is not None:
        out.print(profile_table(inspection.profile, inspection.manifest.name))
    if open_graph:
        is_folder = inspection.path.is_dir()
        open_in_netron(inspection.path / MODEL_FILE if is_folder else inspection.path)


def _print_bundle(inspection: Inspection) -> None:
    manifest = inspection.manifest
    if manifest is None:
        return
    fidelity = manifest.fidelity
    agreement = ""
    if fidelity.label_agreement is not None:
        agreement = f"{format_share(fidelity.label_agreement)} same label, "
    native = f"not possible: {manifest.native_unsupported}"
    if inspection.native_size_bytes is not None:
        native = f"{inspection.native_size_bytes:,} bytes to store"
    lines = (
        f"{manifest.name}: {manifest.task}, {manifest.arch} {manifest.lowering}, "
        f"{manifest.recipe}, {manifest.parameters:,} parameters, {inspection.size_bytes:,} bytes",
        _files_line(manifest.files),
        f"native runner: {native}",
        _inputs_line(inspection, manifest),
        *_thresholds(inspection.labels, manifest),
        *_transitions(manifest),
        *_padding_lines(manifest),
        *_word_feature_lines(manifest),
        f"against the float model on {fidelity.n_examples} examples: {agreement}largest error "
        f"{fidelity.max_abs_error:.2g}, smallest cosine {fidelity.cosine:.4f}",
    )
    for line in lines:
        print_line(line)


def _thresholds(labels: Sequence[str], manifest: BundleManifest) -> Sequence[str]:
    """From which probability on a text has a label, where it may have any number of them."""
    thresholds = manifest.thresholds
    return (f"thresholds: {describe_thresholds(labels, thresholds)}",) if thresholds else ()


def _transitions(manifest: BundleManifest) -> Sequence[str]:
    """Whether tags are decoded by a CRF's transitions."""
    if manifest.transitions is None:
        return ()
    return ("tags are decoded as the best path, by transitions that were trained (a CRF)",)


def _word_feature_lines(manifest: BundleManifest) -> Iterator[str]:
    """What the model sees of words beside their pieces."""
    words = manifest.word_features
    if words is not None:
        features = f"{', '.join(FEATURES[:-1])} and {FEATURES[-1]}"
        yield f"word features: {features}, {words.rows:,} rows of {words.size} numbers each"


def _padding_lines(manifest: BundleManifest) -> Iterator[str]:
    """How texts are padded, and why so where scores decided."""
    if is_numeric(task_of(manifest.task).head):
        return
    yield f"padding: {manifest.padding.describe(manifest.max_tokens)}"
    scores = manifest.provenance.padding_scores
    if scores:
        yield f"chosen by the score on development texts: {describe_scores(scores)}"


def _inputs_line(inspection: Inspection, manifest: BundleManifest) -> str:
    """The outputs by name, and what inputs may be."""
    head, names = task_of(manifest.task).head, ", ".join(inspection.labels)
    if not is_numeric(head):
        return f"labels: {names}; at most {manifest.max_tokens} tokens"
    _, steps, features = manifest.signature.inputs[0].shape
    length = f"{manifest.max_tokens} in the data" if steps == -1 else f"{steps}, fixed"
    title = "labels" if head == "sequence-classification" else "outputs"
    return f"{title}: {names}; features: {features}; steps: {length}"


def _print_export(inspection: Inspection) -> None:
    manifest = inspection.export
    if manifest is None:
        return
    lines = (
        f"export of {manifest.bundle} for {manifest.target}: {manifest.task}, {manifest.recipe}, "
        f"{manifest.lowering}",
        _files_line(manifest.files),
        *manifest.notes,
    )
    for line in lines:
        print_line(line)


def _files_line(files: Mapping[str, FileEntry]) -> str:
    sizes = (f"{name} {entry.size_bytes:,}" for name, entry in files.items())
    return f"files (bytes): {', '.join(sizes)}"


def _print_metadata(model: TfliteFile) -> None:
    metadata = model.metadata
    if metadata is None:
        return
    tokenizer = metadata.tokenizer
    lines = [
        f"TFLite metadata: {metadata.name}, {metadata.description}",
        f"inputs {', '.join(metadata.inputs)}; outputs {', '.join(metadata.outputs)}",
    ]
    if tokenizer is not None:
        pattern = "" if tokenizer.delimiter is None else f", splits at {tokenizer.delimiter}"
        lines.append(f"tokenizer {tokenizer.kind}, {tokenizer.vocabulary}{pattern}")
    for line in lines:
        print_line(line)


def _print_signatures(model: TfliteFile) -> None:
    for signature in model.signatures:
        table = Table(title=escape(f"signature {signature.key}"), title_justify="left")
        for title in ("", "name", "type", "shape"):
            table.add_column(title)
        for kind, named_tensors in (("input", signature.inputs), ("output", signature.outputs)):
            for name, tensor in named_tensors.items():
                table.add_row(kind, escape(name), tensor.dtype, escape(str(list(tensor.shape))))
        out.print(table)


def _print_operators(model: TfliteFile) -> None:
    table = Table(title="operators", title_justify="left")
    table.add_column("subgraph")
    table.add_column("operator")
    table.add_column("version", justify="right")
    table.add_column("count", justify="right")
    for use in model.operator_uses():
        table.add_row(escape(use.subgraph), escape(use.name), str(use.version), str(use.count))
    out.print(table)


def _print_tensors(model: TfliteFile) -> None:
    table = Table(title="tensors", title_justify="left")
    for title in ("subgraph", "tensor", "type", "shape"):
        table.add_column(title)
    table.add_column("bytes", justify="right")
    for subgraph in model.subgraphs:
        for tensor in subgraph.tensors:
            shape = escape(str(list(tensor.shape)))
            size = f"{tensor.size_bytes:,}" if tensor.size_bytes else ""
            table.add_row(escape(subgraph.name), escape(tensor.name), tensor.dtype, shape, size)
    out.print(table)


def _print_sizes(sizes: Sizes) -> None:
    table = Table(title="size by part", title_justify="left")
    table.add_column("part")
    table.add_column("bytes", justify="right")
    table.add_column("", justify="right")
    parts = [(f"embedding tables {dtype}", size) for dtype, size in sizes.embedding.items()]
    parts += [(f"weights {dtype}", size) for dtype, size in sizes.weights.items()]
    parts.sort(key=lambda part: -part[1])
    for name, size in [*parts, ("graph, scales, names", sizes.rest), ("total", sizes.total)]:
        table.add_row(name, f"{size:,}", format_share(size / sizes.total))
    out.print(table)


def _print_support(support: tuple[RuntimeSupport, ...]) -> None:
    table = Table(title="runtimes", title_justify="left")
    for title in ("runtime", "loads it", "unsupported operators"):
        table.add_column(title)
    for runtime in support:
        unsupported = escape(", ".join(runtime.missing_operators))
        table.add_row(runtime.runtime, "yes" if runtime.loads else "no", unsupported)
    out.print(table)
