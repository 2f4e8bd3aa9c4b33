"""Runs a .tflite file in a child process, because a runtime can crash on a file."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

import edgeseq
from edgeseq.errors import BundleError, ConversionError, StepError
from edgeseq.formats.drafts import temporary_folder
from edgeseq.progress import ProgressCallback, no_progress
from edgeseq.subprocesses.job_processes import JobRequest, run_job
from edgeseq_converters.models.arrays import FloatArray, ModelInput

CHILD = (str(Path(__file__).with_name("interpreter_child.py")), str(Path(edgeseq.__file__).parent))


class ModelFile(msgspec.Struct, frozen=True):
    """A .tflite file and how it is run; `where` is what errors name.

    `output` is the output's name, `width` the size of its last axis, `per_token` whether it has
    one row per token; `features` are those of an input of numbers, whose name is `input`;
    `word_features` those of each token's word, None of a model of token ids alone. A
    language model has a `window`: how many tokens it sees at most. A classifier can be run with
    `builtin_kernels`, which are not XNNPACK's.
    """

    path: Path
    where: Path
    signature_key: str
    output: str
    width: int
    per_token: bool
    window: int | None = None
    builtin_kernels: bool = False
    input: str = "input_ids"
    features: int | None = None
    word_features: int | None = None


def run_model(
    file: ModelFile,
    inputs: Sequence[ModelInput],
    *,
    stage: str,
    python: str = sys.executable,
    progress: ProgressCallback = no_progress,
) -> list[FloatArray]:
    """The file's output for each input, one at a time at its real length: [width], or
    [tokens, width].

    The first one is run again at the end, after texts of other lengths. Raises `ConversionError`
    when its outputs differ (the model keeps state), and when the runtime that `python` has refuses
    the file or dies on it.
    """
    with temporary_folder() as folder:
        log, outputs_path = folder / "log", folder / "outputs"
        inputs = [*inputs, inputs[0]]
        arguments = {
            **msgspec.to_builtins(file, enc_hook=str),
            "path": str(file.path.absolute()),
            **_input_arguments(inputs, folder / "inputs", is_numeric=file.features is not None),
            "outputs_path": str(outputs_path),
            "stage": stage,
        }
        try:
            answer, _ = run_job(
                JobRequest("run the model", arguments),
                log=log,
                cwd=folder,
                progress=progress,
                command=(python, "-I", *CHILD),
            )
        except (BundleError, StepError) as failure:
            raise ConversionError(
                "the runtime does not run the model",
                where=file.where,
                found=last_error(log) or failure.what,
                fix="choose another --recipe or --lowering",
            ) from failure
        shapes = [tuple(shape) for shape in answer["shapes"]]
        values = np.memmap(outputs_path, np.float32, mode="r")  # outlives the file
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    outputs: list[FloatArray] = [
        part.reshape(shape) for part, shape in zip(np.split(values, ends[:-1]), shapes, strict=True)
    ]
    if not np.array_equal(outputs[0], outputs.pop(), equal_nan=True):
        raise ConversionError(
            "its output for a text depends on the texts before: it keeps state",
            where=file.where,
        )
    return outputs


def _input_arguments(
    inputs: Sequence[ModelInput], path: Path, *, is_numeric: bool
) -> dict[str, Any]:
    """The inputs as the child takes them; numbers are written to `path`."""
    if not is_numeric:
        return {"token_ids": inputs}
    np.concatenate([np.asarray(values, np.float32) for values in inputs]).tofile(path)
    return {"token_ids": [], "inputs_path": str(path), "lengths": list(map(len, inputs))}


def last_error(log: Path) -> str | None:
    """Why a process died, from what it wrote: the last error, else the last line."""
    if not log.is_file():
        return None
    text = log.read_text(encoding="utf-8", errors="replace")
    if errors := re.findall(r"^\w*(?:Error|Exception): (.+)$", text, re.MULTILINE):
        return str(errors[-1])[:300]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else None
