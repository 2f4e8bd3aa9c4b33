"""Runs an exported graph token by token, in TensorFlow Lite Micro's interpreter or LiteRT's.

Each runs in a child process. An interpreter trusts its file: what it gets was checked before, and a
crash ends only the child.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from edgeseq.errors import ConversionError, DeviceError, StepError
from edgeseq.formats.drafts import temporary_folder
from edgeseq.progress import ProgressCallback, no_progress
from edgeseq.subprocesses.job_processes import JobRequest, run_job
from edgeseq_converters.convert.verify.interpreter_process import last_error
from edgeseq_converters.export.micro.step_states import read_states
from edgeseq_converters.models.arrays import FloatArray

PACKAGE = "tflite-micro"
Runtime = Literal["tflite-micro", "litert"]
_CHILDREN: dict[Runtime, str] = {"tflite-micro": "micro_child", "litert": "litert_child"}
_ARENA = re.compile(r"Arena allocation total (\d+) bytes")


class MicroRun(msgspec.Struct, frozen=True):
    """`outputs` [texts, labels] are the logits after the last token of each text; `arena_bytes` is
    what the interpreter allocated, on this machine of 64 bits."""

    outputs: FloatArray
    arena_bytes: int


def is_installed() -> bool:
    """Whether this Python has the interpreter."""
    return importlib.util.find_spec("tflite_micro") is not None


def runtime_name() -> str:
    """The runtime with its version; raises `DeviceError` when it is not installed."""
    if not is_installed():
        raise DeviceError(
            "TensorFlow Lite Micro's interpreter is not installed",
            where="this Python",
            expected=f"{PACKAGE}, which has wheels for Linux on x86-64",
            fix="pip install 'edgeseq[micro]'",
        )
    return f"{PACKAGE} {importlib.metadata.version(PACKAGE)}"


def run_micro(
    path: Path, token_ids: Sequence[Sequence[int]], *, progress: ProgressCallback = no_progress
) -> MicroRun:
    """Feeds each text token by token, from the first states.

    Raises `DeviceError` when the interpreter is not installed, and `ConversionError` when it
    refuses the file or dies on it.
    """
    runtime_name()
    outputs, log = _run(path, token_ids, "tflite-micro", progress)
    return MicroRun(outputs, read_arena_bytes(log))


def run_in_litert(
    path: Path, token_ids: Sequence[Sequence[int]], *, progress: ProgressCallback = no_progress
) -> FloatArray:
    """The logits [texts, labels] of the same file in LiteRT, from the same states.

    Raises `ConversionError` when it refuses the file or dies on it.
    """
    return _run(path, token_ids, "litert", progress)[0]


def _run(
    path: Path,
    token_ids: Sequence[Sequence[int]],
    runtime: Runtime,
    progress: ProgressCallback,
) -> tuple[FloatArray, str]:
    """The logits, and what the runtime wrote to the log."""
    with temporary_folder() as folder:
        log = folder / "log"
        arguments = {
            "path": str(path.absolute()),
            "states": [(it.dtype, it.size, it.first) for it in read_states(path)],
            "token_ids": [list(ids) for ids in token_ids],
            "outputs_path": str(folder / "outputs"),
        }
        child = f"edgeseq_converters.export.micro.{_CHILDREN[runtime]}"
        command = (sys.executable, "-m", child)
        job = JobRequest(f"run the model in {runtime}", arguments)
        try:
            answer, _ = run_job(job, log=log, cwd=folder, progress=progress, command=command)
        except StepError as failure:
            raise ConversionError(
                f"{runtime} does not run the model",
                where=path,
                found=last_error(log) or failure.what,
                fix="export the bundle again",
            ) from failure
        outputs = np.fromfile(folder / "outputs", np.float32).reshape(answer["shape"])
        return outputs, log.read_text(encoding="utf-8", errors="replace")


def read_arena_bytes(log: str) -> int:
    """What the interpreter says that it allocated; raises `DeviceError` where it says nothing."""
    allocated = _ARENA.findall(log)
    if not allocated:
        raise DeviceError(
            "TensorFlow Lite Micro's interpreter does not report its allocations",
            where=runtime_name(),
            expected=_ARENA.pattern.replace(r"(\d+)", "N"),
            fix="install the version that edgeseq[micro] names",
        )
    return int(allocated[-1])
