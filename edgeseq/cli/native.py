"""`edgeseq native`: builds the native runner, for this machine or for a board."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeseq.cli.console import JsonOption, print_json, print_line, print_note
from edgeseq.errors import DeviceError
from edgeseq_benchmarks.devices.native.native_files import copy_native_files, native_files
from edgeseq_benchmarks.native.targets import find_target, host_target

app = typer.Typer(
    name="native",
    help="Build the native runner, a C program that needs no Python.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
)


@app.callback()
def native() -> None:
    """Build the native runner, a C program that needs no Python."""


@app.command("build")
def build(
    *,
    target: Annotated[
        str | None,
        typer.Option(help="linux-x86_64 or linux-aarch64; default: this machine's."),
    ] = None,
    out_dir: Annotated[
        Path | None,
        typer.Option("--out", help="Folder to copy the runner and LiteRT's library into."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Build edgeseq-runner and find LiteRT's library for it, both once.

    `edgeseq bench` does this by itself. The two files and a bundle are all that a program on a
    board needs: edgeseq-runner predict BUNDLE --library libLiteRt.so TEXT.

    Example: edgeseq native build --target linux-aarch64 --out board
    """
    chosen = host_target() if target is None else find_target(target)
    if chosen is None:
        raise DeviceError(
            "the native runner does not run on this machine",
            fix="name a --target: linux-x86_64 or linux-aarch64",
        )
    files = native_files(chosen)
    runner, library = (files.runner, files.library)
    if out_dir is not None:
        runner, library = copy_native_files(files, out_dir)
    if json:
        print_json(
            {
                "target": chosen.name,
                "runner": str(runner),
                "library": str(library),
                "litert": files.version,
            }
        )
        return
    for path in (runner, library):
        print_line(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
    print_note(f"for {chosen.name}, with LiteRT {files.version}")
