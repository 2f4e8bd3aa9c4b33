"""Runs the exported C tokenizer on texts, where this machine has a C compiler."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeseq.errors import DeviceError
from edgeseq.formats.drafts import temporary_folder
from edgeseq.subprocesses.c_compilers import (
    find_system_compiler,
    find_zig_compiler,
    run_compiler,
)
from edgeseq.subprocesses.child_process import format_exit, last_line
from edgeseq.subprocesses.command_runs import run_command

FLAGS = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
_SOURCES = ("tokenizer.c", "vocabulary.c", "tokenize_texts.c")
_TIMEOUT_S = 300.0


def find_c_compiler() -> tuple[str, ...] | None:
    """The command of the system's C compiler, else of PyPI's `ziglang`; None for none."""
    return find_system_compiler() or find_zig_compiler()


def tokenize_in_c(
    folder: Path, texts: Sequence[str], compiler: Sequence[str]
) -> list[list[int] | None]:
    """The ids of each text by the tokenizer in the export `folder`; None for one with a NUL.

    Raises `DeviceError` when the compiler refuses the sources, or the program dies.
    """
    readable = [text for text in texts if "\0" not in text]
    with temporary_folder() as build_dir:
        program = build_dir / "tokenize_texts"
        sources = [str((folder / name).absolute()) for name in _SOURCES]
        command = [*compiler, *FLAGS, *sources, "-o", str(program)]
        run_compiler(command, what="the exported tokenizer cannot be built")
        stdin = b"".join(text.encode() + b"\0" for text in readable)
        output = run_command([str(program)], stdin=stdin, timeout_s=_TIMEOUT_S)
    if output.returncode:
        raise DeviceError(
            "the exported tokenizer fails",
            where=folder,
            found=last_line(output.stderr) or format_exit(output.returncode),
            fix="export the bundle again",
        )
    lines = output.stdout.decode().splitlines()
    answers = iter([[int(number) for number in line.split()] for line in lines])
    return [None if "\0" in text else next(answers) for text in texts]
