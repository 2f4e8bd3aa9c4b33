"""Runs the exported C tokenizer on texts, where this machine has a C compiler."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from edgeseq.errors import DeviceError
from edgeseq.formats.drafts import temporary_folder
from edgeseq.subprocesses.child_process import format_exit
from edgeseq.subprocesses.command_runs import run_command

FLAGS = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
_SOURCES = ("tokenizer.c", "vocabulary.c", "tokenize_texts.c")
_TIMEOUT_S = 300.0


def find_c_compiler() -> tuple[str, ...] | None:
    """The command of the system's C compiler, else of PyPI's `ziglang`; None for none."""
    path = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if path is not None:
        return (path,)
    if importlib.util.find_spec("ziglang") is not None:
        return (sys.executable, "-m", "ziglang", "cc")
    return None


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
        _run([*compiler, *FLAGS, *sources, "-o", str(program)], b"", folder)
        stdin = b"".join(text.encode() + b"\0" for text in readable)
        lines = _run([str(program)], stdin, folder).decode().splitlines()
    answers = iter([[int(number) for number in line.split()] for line in lines])
    return [None if "\0" in text else next(answers) for text in texts]


def _run(command: Sequence[str], stdin: bytes, where: Path) -> bytes:
    output = run_command(command, stdin=stdin, timeout_s=_TIMEOUT_S)
    if output.returncode:
        lines = output.stderr.decode("utf-8", errors="replace").splitlines()
        errors = [line for line in lines if "error" in line] or lines
        raise DeviceError(
            "the exported tokenizer cannot be built or run",
            where=where,
            found=errors[0] if errors else format_exit(output.returncode),
            fix="try another C compiler",
        )
    return output.stdout
