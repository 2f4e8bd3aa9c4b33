"""What the child processes of `micro_runtime` share: a graph of one token, run over texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgeseq.progress import ProgressCallback, ProgressUpdate
from edgeseq.subprocesses.job_processes import answer_job
from edgeseq_converters.models.arrays import FloatArray

Arrays = list[npt.NDArray[Any]]


class Interpreter(Protocol):
    """One of the runtimes, with a model loaded."""

    def step(self, inputs: Arrays) -> Arrays:
        """The outputs of one call."""
        ...

    def finish(self) -> None:
        """Writes to the log what the runtime says at the end."""
        ...


def answer(load: Callable[[bytes], Interpreter]) -> int:
    """Runs the job that the parent process sent, in the runtime whose `load` takes a .tflite file's
    content; returns the exit code. The logits after each text's last token are written to the
    job's file, float32 behind each other."""

    def run(job: dict[str, Any], progress: ProgressCallback) -> dict[str, Any]:
        interpreter = load(Path(job["path"]).read_bytes())
        states = [np.full((1, size), first, dtype) for dtype, size, first in job["states"]]
        texts, outputs = job["token_ids"], []
        for number, ids in enumerate(texts):
            outputs.append(run_text(interpreter, ids, states))
            if number % 64 == 0:
                progress(ProgressUpdate("run token by token", number, len(texts)))
        interpreter.finish()
        stacked = np.stack(outputs)
        stacked.tofile(job["outputs_path"])
        return {"shape": stacked.shape}

    return answer_job(run)


def run_text(interpreter: Interpreter, ids: Sequence[int], states: Arrays) -> FloatArray:
    """The logits [labels] after the last token, from the first `states`."""
    logits: FloatArray = np.empty(0, np.float32)
    for token_id in ids:
        logits, *states = interpreter.step([np.array([token_id], np.int32), *states])
    return logits.reshape(-1)
