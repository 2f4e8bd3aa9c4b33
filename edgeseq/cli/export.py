"""`edgeseq export`: from a bundle to files that an app runs as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import edgeseq as es
from edgeseq.cli.console import JsonOption, print_json, print_line, print_note
from edgeseq.errors import InputError, RefusedError
from edgeseq.units import format_bytes


def export(
    bundle: Annotated[Path | None, typer.Argument(help="Bundle: a folder or .zip.")] = None,
    *,
    target: Annotated[
        str | None,
        typer.Option(
            "--for",
            help="mediapipe: MediaPipe Tasks on Android, iOS, web and Python; web: a page "
            "that answers and measures; micro: TensorFlow Lite Micro; native: a C library for "
            "Linux.",
        ),
    ] = None,
    out_dir: Annotated[Path | None, typer.Option("--out", help="Folder to write.")] = None,
    check: Annotated[
        Path | None,
        typer.Option(
            "--check",
            help="Instead, run the golden texts of this export in the target's own runtime.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            help="For mediapipe and micro: data set whose validation texts the target's tokenizer "
            "reads too, besides the bundle's test texts, to count those that it reads differently.",
        ),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            "--data-dir", envvar="EDGESEQ_DATA", help="Folder with local copies of data sets."
        ),
    ] = None,
    length: Annotated[
        str | None,
        typer.Option(
            "--length",
            help="For web: lengths in tokens to fix, such as 16,32,64,128 (one signature each, "
            "weights shared); default: doubled from 16 to the bundle's longest input.",
        ),
    ] = None,
    system: Annotated[
        str | None,
        typer.Option(
            "--target",
            help="For native: linux-x86_64 or linux-aarch64; default: this machine's.",
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            help="For mediapipe: convert a sentence-embedding checkpoint, named instead of a "
            "bundle, with this recipe, for TextEmbedder.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Overwrite the output if it exists.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Export a bundle to files that an app runs as they are, or check an export.

    Example: edgeseq export bundles/minilm --for mediapipe --out app/model
    """
    if check is not None:
        if bundle is not None or target is not None or out_dir is not None:
            raise InputError("--check takes an export alone", fix="remove the bundle and the rest")
        _check(check, json=json)
        return
    if bundle is None or target is None or out_dir is None:
        raise InputError(
            "an export needs a bundle, --for and --out",
            fix="edgeseq export BUNDLE --for TARGET --out FOLDER",
        )
    exported = es.export(
        bundle,
        target,
        out=out_dir,
        data=data,
        data_dir=data_dir,
        lengths=_lengths(length),
        system=system,
        recipe=recipe,
        overwrite=overwrite,
    )
    if json:
        print_json(exported.manifest)
        return
    for name, entry in exported.manifest.files.items():
        print_line(f"{out_dir / name} ({format_bytes(entry.size_bytes)})")
    for note in exported.manifest.notes:
        print_note(note)


def _lengths(text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    parts = text.split(",")
    if not all(part.isascii() and part.isdigit() and len(part) < 8 for part in parts):
        raise InputError(
            "are not lengths", where="--length", found=text, expected="numbers such as 16,32,64,128"
        )
    return tuple(map(int, parts))


def _check(folder: Path, *, json: bool) -> None:
    checked = es.check_export(folder)
    if json:
        print_json(checked)
    else:
        print_line(
            f"{checked.target}: {checked.n_examples} golden texts in {checked.runtime}, largest "
            f"difference {checked.max_abs_difference:.2g} (allowed {checked.tolerance:.2g})"
        )
    if checked.findings:
        raise RefusedError(
            "does not do as its golden.json says",
            where=folder,
            found="; ".join(checked.findings),
            fix="export the bundle again",
        )
