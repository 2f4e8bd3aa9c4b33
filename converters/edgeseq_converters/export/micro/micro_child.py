"""The child process of `micro_runtime`: one .tflite file, token by token, in one of two runtimes.

It speaks the protocol of `edgeseq.subprocesses.job_processes`. TensorFlow Lite Micro's interpreter
prints what it allocated to the log.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgeseq.progress import ProgressCallback, ProgressUpdate
from edgeseq.subprocesses.job_processes import answer_job
from edgeseq_converters.models.arrays import FloatArray

ARENA_LIMIT_BYTES = 16 << 20
"""More than any microcontroller has."""
Arrays = list[npt.NDArray[Any]]


class Interpreter(Protocol):
    """One of the runtimes."""

    def step(self, inputs: Arrays) -> Arrays:
        """The outputs of one call."""
        ...

    def finish(self) -> None:
        """Writes to the log what the runtime says at the end."""
        ...


class MicroInterpreter:
    """TensorFlow Lite Micro's."""

    def __init__(self, content: bytes) -> None:
        from tflite_micro.python.tflite_micro import runtime  # noqa: PLC0415 - optional

        self._interpreter = runtime.Interpreter.from_bytes(content, arena_size=ARENA_LIMIT_BYTES)

    def step(self, inputs: Arrays) -> Arrays:
        for number, values in enumerate(inputs):
            self._interpreter.set_input(values, number)
        self._interpreter.invoke()
        # As many outputs as inputs: the logits come for the token id.
        return [self._interpreter.get_output(number).copy() for number in range(len(inputs))]

    def finish(self) -> None:
        self._interpreter.print_allocations()


class LiteRtInterpreter:
    """LiteRT's, as an app has it: with XNNPACK."""

    def __init__(self, content: bytes) -> None:
        from ai_edge_litert.interpreter import Interpreter as LiteRt  # noqa: PLC0415 - or the other

        self._interpreter = LiteRt(model_content=content, num_threads=1)
        self._interpreter.allocate_tensors()
        self._inputs = [entry["index"] for entry in self._interpreter.get_input_details()]
        self._outputs = [entry["index"] for entry in self._interpreter.get_output_details()]

    def step(self, inputs: Arrays) -> Arrays:
        for index, values in zip(self._inputs, inputs, strict=True):
            self._interpreter.set_tensor(index, values)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]

    def finish(self) -> None:
        """LiteRT says nothing."""


INTERPRETERS = {"tflite-micro": MicroInterpreter, "litert": LiteRtInterpreter}


def run(job: dict[str, Any], progress: ProgressCallback) -> dict[str, Any]:
    """Writes the logits after each text's last token, float32 behind each other."""
    interpreter = INTERPRETERS[job["runtime"]](Path(job["path"]).read_bytes())
    states = [np.full((1, size), first, dtype) for dtype, size, first in job["states"]]
    texts, outputs = job["token_ids"], []
    for number, ids in enumerate(texts):
        outputs.append(run_text(interpreter, ids, states))
        if number % 64 == 0:
            progress(ProgressUpdate(f"run {job['runtime']}", number, len(texts)))
    interpreter.finish()
    stacked = np.stack(outputs)
    stacked.tofile(job["outputs_path"])
    return {"shape": stacked.shape}


def run_text(interpreter: Interpreter, ids: Sequence[int], states: Arrays) -> FloatArray:
    """The logits [labels] after the last token, from the first `states`."""
    logits: FloatArray = np.empty(0, np.float32)
    for token_id in ids:
        logits, *states = interpreter.step([np.array([token_id], np.int32), *states])
    return logits.reshape(-1)


if __name__ == "__main__":
    sys.exit(answer_job(run))
