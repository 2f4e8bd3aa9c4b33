"""Runs one .tflite file on inputs in the TFLite runtime of this environment, as a child process.

It speaks the protocol of `edgeseq.subprocesses.job_processes`. The job has `path`, `signature_key`,
`input`, `word_features`, `output`, `width` (the size of the output's last axis), `per_token`,
`window` (of a language model, else null), `builtin_kernels` (of a classifier), `token_ids` by text,
`stage` and `outputs_path`, where the outputs are written. Of numeric sequences it has `features`,
else null, and in place of token ids `inputs_path`, their float32 rows one behind the other, and
`lengths`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeseq.progress import ProgressCallback, ProgressUpdate
from edgeseq.runtime.interpreter import (
    SignatureNames,
    TfliteModel,
    find_runtime,
    without_xnnpack,
)
from edgeseq.runtime.stateful import StatefulModel
from edgeseq.subprocesses.job_processes import answer_job


def run(job: dict[str, Any], progress: ProgressCallback) -> dict[str, Any]:
    """Writes the model's output for each text, float32 behind each other; returns their shapes."""
    stage, total = job["stage"], len(job["token_ids"] or job["lengths"])
    run_texts = _run_classifier if job["window"] is None else _run_language_model
    shapes = []
    with Path(job["outputs_path"]).open("wb") as file:
        for number, output in enumerate(run_texts(job)):
            file.write(output.tobytes())
            shapes.append(output.shape)
            if number % 16 == 0:
                progress(ProgressUpdate(stage, number, total))
    progress(ProgressUpdate(stage, total, total))
    return {"shapes": shapes}


def _run_classifier(job: dict[str, Any]) -> Iterator[npt.NDArray[np.float32]]:
    """The output for each text at its real length, from a fresh state."""
    model = TfliteModel(
        job["path"],
        runtime=without_xnnpack(find_runtime()) if job["builtin_kernels"] else None,
        signature=SignatureNames(job["signature_key"], job["input"], job["output"]),
        num_labels=job["width"],
        by_token=job["per_token"],
        features=job["features"],
        word_features=job["word_features"],
    )
    inputs = job["token_ids"]
    if job["features"] is not None:
        rows = np.fromfile(job["inputs_path"], np.float32).reshape(-1, job["features"])
        inputs = np.split(rows, np.cumsum(job["lengths"])[:-1])
    for values in inputs:
        yield model.infer(values)


def _run_language_model(job: dict[str, Any]) -> Iterator[npt.NDArray[np.float32]]:
    """The logits behind each token of each text, which is read in two pieces from a fresh state:
    an error in carrying the state, or in what is seen of the window, shows."""
    model = StatefulModel(
        job["path"],
        max_tokens=job["window"],
        signature_key=job["signature_key"],
        vocabulary_size=job["width"],
    )
    for text in job["token_ids"]:
        model.reset()
        first = max(1, len(text) // 3)
        yield np.concatenate([model.feed(piece) for piece in (text[:first], text[first:]) if piece])


if __name__ == "__main__":
    sys.exit(answer_job(run))
