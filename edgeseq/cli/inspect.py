"""`edgeseq inspect`: what is in a bundle or a .tflite file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from edgeseq.cli.console import JsonOption, out, print_json

if TYPE_CHECKING:
    from edgeseq.formats.bundle import Bundle
    from edgeseq.formats.result import OperatorProfile
    from edgeseq.formats.tflite_file import Sizes, TfliteFile
    from edgeseq.formats.tflite_runtimes import RuntimeSupport


def inspect(
    path: Annotated[Path, typer.Argument(help="Bundle (a folder or .zip) or .tflite file.")],
    tensors: Annotated[bool, typer.Option("--tensors", help="Also list every tensor.")] = False,
    profile: Annotated[
        bool,
        typer.Option("--profile", help="Also run a bundle: which operators take the time here."),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Show operators with versions, signatures, sizes by part, and which runtimes can load it.

    Example: edgeseq inspect bundles/lstm
    """
    from edgeseq.errors import InputError
    from edgeseq.formats.bundle import check_model
    from edgeseq.formats.bundle_zip import open_bundle
    from edgeseq.formats.tflite_file import read_tflite

    if not (path.is_dir() or path.suffix.lower() == ".zip"):
        if profile:
            raise InputError("only a bundle can be run", where=path, fix="name its bundle folder")
        _show(path, None, read_tflite(path), None, tensors=tensors, json=json)
        return
    with open_bundle(path) as bundle:
        check_model(bundle)
        found = _profile(bundle) if profile else None
        _show(path, bundle, read_tflite(bundle.model_path), found, tensors=tensors, json=json)


def _profile(bundle: Bundle) -> OperatorProfile:
    from edgeseq_benchmarks.bench.probes.operator_profile import profile_bundle

    texts = [example.text for example in bundle.golden.examples]
    return profile_bundle(bundle, texts)


def _show(
    path: Path,
    bundle: Bundle | None,
    model: TfliteFile,
    profile: OperatorProfile | None,
    *,
    tensors: bool,
    json: bool,
) -> None:
    from edgeseq.cli.profile_table import profile_table
    from edgeseq.formats.tflite_runtimes import runtime_support

    support = runtime_support(model)
    if json:
        answer = {
            "path": str(path),
            "bundle": bundle.manifest if bundle else None,
            "description": model.description,
            "min_runtime_version": model.min_runtime_version,
            "sizes": model.sizes(),
            "signatures": model.signatures,
            "operators": model.operator_uses(),
            "runtimes": support,
            "profile": profile,
        }
        print_json(answer | ({"subgraphs": model.subgraphs} if tensors else {}))
        return
    if bundle:
        _print_bundle(bundle)
    _print_signatures(model)
    _print_operators(model)
    if tensors:
        _print_tensors(model)
    _print_sizes(model.sizes())
    _print_support(support)
    if profile is not None and bundle is not None:
        out.print(profile_table(profile, bundle.manifest.name))


def _print_bundle(bundle: Bundle) -> None:
    manifest = bundle.manifest
    measured = manifest.fidelity
    lines = (
        f"{manifest.name}: {manifest.task}, {manifest.arch} {manifest.lowering}, "
        f"{manifest.recipe}, {manifest.parameters:,} parameters, {bundle.size_bytes:,} bytes",
        f"labels: {', '.join(bundle.labels)}; at most {manifest.max_tokens} tokens",
        f"against the float model on {measured.n_examples} texts: "
        f"{measured.label_agreement:.1%} same label, largest error "
        f"{measured.max_abs_error:.2g}, smallest cosine {measured.cosine:.4f}",
    )
    for line in lines:
        out.print(line, markup=False, soft_wrap=True)


def _print_signatures(model: TfliteFile) -> None:
    for signature in model.signatures:
        table = Table(title=escape(f"signature {signature.key}"), title_justify="left")
        for title in ("", "name", "type", "shape"):
            table.add_column(title)
        for kind, named in (("input", signature.inputs), ("output", signature.outputs)):
            for name, tensor in named.items():
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
    table.add_column("bytes held", justify="right")
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
        table.add_row(name, f"{size:,}", f"{size / sizes.total:.1%}")
    out.print(table)


def _print_support(support: tuple[RuntimeSupport, ...]) -> None:
    table = Table(title="runtimes", title_justify="left")
    for title in ("runtime", "loads it", "lacking"):
        table.add_column(title)
    for one in support:
        table.add_row(one.runtime, "yes" if one.loads else "no", escape(", ".join(one.lacking)))
    out.print(table)
