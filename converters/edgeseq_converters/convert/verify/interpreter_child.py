"""Runs one .tflite file in the TFLite runtime of this environment.

`python -I interpreter_child.py EDGESEQ_DIR` speaks the protocol of `edgeseq.subprocesses`. The
environment may be that of an older runtime, which has NumPy and msgspec but not edgeseq: the
package is loaded from the folder EDGESEQ_DIR.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edgeseq.progress import ProgressCallback


def load_edgeseq(folder: str) -> None:
    """Makes the package in `folder` importable, and nothing that lies beside it."""
    spec = importlib.util.spec_from_file_location(
        "edgeseq", f"{folder}/__init__.py", submodule_search_locations=[folder]
    )
    if spec is None or spec.loader is None:
        raise ImportError(folder)
    sys.modules["edgeseq"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


def run(job: dict[str, Any], progress: ProgressCallback) -> dict[str, Any]:
    """Writes the model's output for each text to the job's `outputs_path`, float32 behind each
    other, and gives their shapes."""
    from edgeseq.progress import ProgressUpdate

    stage, token_ids = job["stage"], job["token_ids"]
    run_texts = run_classifier if job["window"] is None else run_stream
    shapes = []
    with Path(job["outputs_path"]).open("wb") as file:
        for number, output in enumerate(run_texts(job)):
            file.write(output.tobytes())
            shapes.append(output.shape)
            if number % 16 == 0:
                progress(ProgressUpdate(stage, number, len(token_ids)))
    progress(ProgressUpdate(stage, len(token_ids), len(token_ids)))
    return {"shapes": shapes}


def run_classifier(job: dict[str, Any]) -> Iterator[npt.NDArray[np.float32]]:
    """The output for each text at its real length, from a fresh state."""
    from edgeseq.runtime.interpreter import SignatureNames, TfliteModel

    model = TfliteModel(
        job["path"],
        signature=SignatureNames(job["signature_key"], output=job["output"]),
        num_labels=job["width"],
        by_token=job["per_token"],
    )
    for text in job["token_ids"]:
        yield model.infer(text)


def run_stream(job: dict[str, Any]) -> Iterator[npt.NDArray[np.float32]]:
    """The logits behind each token of each text, which is read in two pieces from a fresh state:
    an error in carrying the state, or in what is seen of the window, shows."""
    import numpy as np

    from edgeseq.runtime.stateful import StatefulModel

    model = StatefulModel(
        job["path"],
        max_tokens=job["window"],
        signature_key=job["signature_key"],
        vocabulary_size=job["width"],
    )
    for text in job["token_ids"]:
        model.reset()
        first = max(1, len(text) // 3)
        yield np.concatenate([model.feed(part) for part in (text[:first], text[first:]) if part])


def main() -> int:
    """Runs the one job on stdin and sends its answer or its error."""
    load_edgeseq(sys.argv[1])
    from edgeseq.errors import EdgeseqError
    from edgeseq.subprocesses import JobChannel, JobFailure, JobMessage

    channel = JobChannel()
    try:
        answer = run(channel.job.arguments, channel.report)
    except EdgeseqError as error:
        channel.send(JobMessage(failure=JobFailure(type(error).__name__, str(error))))
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except Exception:  # noqa: BLE001 - the last stop of a process: the parent reads the log's end
        traceback.print_exc()
        return 1
    channel.send(JobMessage(answer=answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
