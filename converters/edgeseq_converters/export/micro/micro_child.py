"""The child process of `micro_runtime`: one .tflite file in TensorFlow Lite Micro, token by token.

It speaks the protocol of `edgeseq.subprocesses.job_processes`. The interpreter prints what it
allocated to the log.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tflite_micro.python.tflite_micro import runtime

from edgeseq.progress import ProgressCallback, ProgressUpdate
from edgeseq.subprocesses.job_processes import answer_job
from edgeseq_converters.models.arrays import FloatArray

ARENA_LIMIT_BYTES = 16 << 20
"""More than any microcontroller has."""


def run(job: dict[str, Any], progress: ProgressCallback) -> dict[str, Any]:
    """Writes the logits after each text's last token, float32 behind each other."""
    interpreter = runtime.Interpreter.from_bytes(
        Path(job["path"]).read_bytes(), arena_size=ARENA_LIMIT_BYTES
    )
    texts, outputs = job["token_ids"], []
    for number, ids in enumerate(texts):
        outputs.append(run_text(interpreter, ids))
        if number % 64 == 0:
            progress(ProgressUpdate("run TensorFlow Lite Micro", number, len(texts)))
    interpreter.print_allocations()
    stacked = np.stack(outputs)
    stacked.tofile(job["outputs_path"])
    return {"shape": stacked.shape}


def run_text(interpreter: Any, ids: Sequence[int]) -> FloatArray:
    """The logits [labels] after the last token, from a fresh state."""
    interpreter.reset()
    for token_id in ids:
        interpreter.set_input(np.array([[token_id]], np.int32), 0)
        interpreter.invoke()
    logits: FloatArray = interpreter.get_output(0).reshape(-1).copy()
    return logits


if __name__ == "__main__":
    sys.exit(answer_job(run))
