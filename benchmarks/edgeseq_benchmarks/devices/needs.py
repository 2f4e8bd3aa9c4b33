"""What has to be on a board before anything is measured there, and what to type if it is not."""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Sequence
from typing import Any

import msgspec

from edgeseq.errors import DeviceError
from edgeseq.formats.codec import from_builtins
from edgeseq_benchmarks.devices.base import Device
from edgeseq_benchmarks.devices.command import last_line

OLDEST_PYTHON = (3, 10)
# ai-edge-litert has wheels for these only; tflite-runtime's last ones are for Python 3.11 at most.
_LITERT_MACHINES = ("x86_64", "aarch64")
_LEGACY_MACHINES = ("x86_64", "aarch64", "armv7l")
_PACKAGES = {"numpy": "numpy", "msgspec": "msgspec", "tokenizers": "tokenizers"}
_NOT_FOUND = (126, 127)
_HOME = """\
p=$1; shift; case $p in "~/"*) p=$HOME/${p#"~/"};; esac; exec "$p" "$@"
"""


class Board(msgspec.Struct, frozen=True):
    """What `devices.board` says of a board: its Python, its processor, and what is missing.

    `executable` is the interpreter's path there, `environment` whether it is a virtual one.
    """

    python: tuple[int, int, int]
    executable: str
    environment: bool
    system: str
    machine: str
    bits: int
    missing: tuple[str, ...]
    runtimes: tuple[str, ...]


def ask_board(
    device: Device, python: str, arguments: Sequence[str], *, timeout_s: float
) -> dict[str, Any]:
    """The answer of a verb of `devices.board`, run by `python` there.

    Raises `DeviceError` when there is no such Python, or it is too old to understand the question.
    """
    script = importlib.resources.files(__package__).joinpath("board.py").read_bytes()
    finished = device.run(
        ["sh", "-c", _HOME, "sh", python, "-", *arguments], timeout_s=timeout_s, stdin=script
    )
    if finished.returncode in _NOT_FOUND:
        raise DeviceError(
            "has no such Python",
            where=device.name,
            found=repr(python),
            expected=f"Python {_dotted(OLDEST_PYTHON)} or newer",
            fix=f"name one with --python, or see `edgeseq device doctor {device.name}`",
        )
    try:
        answer: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    except (IndexError, ValueError) as failure:
        raise DeviceError(
            "its Python does not answer as one should",
            where=device.name,
            found=last_line(finished.stderr) or f"exit status {finished.returncode}",
            expected=f"Python {_dotted(OLDEST_PYTHON)} or newer",
            fix=f"name another with --python, or see `edgeseq device doctor {device.name}`",
        ) from failure
    return answer


def look(device: Device, python: str, *, timeout_s: float) -> Board:
    """What is there; raises `DeviceError` with what to type when something is missing."""
    board = from_builtins(ask_board(device, python, ("facts",), timeout_s=timeout_s), Board)
    problem, packages = _problem(board)
    if problem is None:
        return board
    doctor = f"`edgeseq device doctor {device.name}` says more"
    raise DeviceError(
        problem,
        where=device.name,
        found=f"{board.executable}, Python {_dotted(board.python)} on {board.machine}",
        fix=f"{_install_words(board, packages)}; {doctor}" if packages else doctor,
    )


def _install_words(board: Board, packages: Sequence[str]) -> str:
    """What to type on the board; a distribution's own Python takes no packages (PEP 668)."""
    what = " ".join(packages)
    if board.environment:
        return f"type there: {board.executable} -m pip install {what}"
    return (
        f"type there: {board.executable} -m venv ~/edgeseq && ~/edgeseq/bin/pip install {what}, "
        "and name --python '~/edgeseq/bin/python' here"
    )


def _problem(board: Board) -> tuple[str | None, list[str]]:
    """The first thing that is wrong, and the packages that mend it."""
    if board.system != "Linux":
        return f"is no Linux but {board.system}", []
    if board.python[:2] < OLDEST_PYTHON:
        return f"its Python is older than {_dotted(OLDEST_PYTHON)}", []
    packages = [_PACKAGES[name] for name in board.missing]
    if board.runtimes:
        return (f"lacks {', '.join(board.missing)}" if packages else None), packages
    runtime = _runtime_for(board)
    if runtime is None:
        return f"has no TFLite runtime, and none is made for Python on {board.machine}", []
    if runtime == "tflite-runtime":
        # Its last release was built against numpy 1.
        packages = [name for name in packages if name != "numpy"] + ["'numpy<2'"]
    lacking = ["a TFLite runtime", *board.missing]
    return f"lacks {', '.join(lacking)}", [*packages, runtime]


def _runtime_for(board: Board) -> str | None:
    """The package with a wheel for that Python and processor; None when there is none."""
    if board.machine in _LITERT_MACHINES and board.bits == 64:
        return "ai-edge-litert"
    # A 64-bit kernel often runs a 32-bit userland: Raspberry Pi OS says aarch64 then.
    machine = "armv7l" if (board.machine, board.bits) == ("aarch64", 32) else board.machine
    if machine in _LEGACY_MACHINES and board.python[:2] <= (3, 11):
        return "tflite-runtime"
    return None


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
