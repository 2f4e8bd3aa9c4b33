"""The process in which one conversion or comparison runs (`-m edgeseq_converters.convert.worker`).

A runtime can die on a model, and a conversion's memory goes back to the system when its process
ends, so each has a process of its own; its death becomes an error that says why.
The child speaks the protocol of `edgeseq.subprocesses`: one job on stdin, messages on stdout.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from edgeseq.errors import ConversionError, EdgeseqError
from edgeseq.formats.codec import from_builtins
from edgeseq.formats.storage import read_json, write_bytes
from edgeseq.formats.trained_model import read_model_folder
from edgeseq.progress import ProgressCallback, ProgressUpdate
from edgeseq.subprocesses import JobChannel, JobFailure, JobMessage
from edgeseq_converters.convert.recipes import get_recipe

Answer = dict[str, Any]


def convert(
    *,
    model_dir: str,
    out: str,
    recipe: str,
    target: Answer,
    sample: str,
    progress: ProgressCallback,
) -> Answer:
    """Writes the .tflite file of a trained-model folder to `out`; `sample` holds the texts that a
    static recipe is calibrated on."""
    from edgeseq_converters.convert.lower.dispatch import Target, lower
    from edgeseq_converters.convert.verify.fidelity import Sample

    begin = time.monotonic()
    texts = read_json(Path(sample), Sample, error=ConversionError).token_ids
    model = read_model_folder(Path(model_dir))
    progress(ProgressUpdate("write the operators", 0, 1))
    content = lower(model, get_recipe(recipe), from_builtins(target, Target), texts)
    progress(ProgressUpdate("write the operators", 1, 1))
    write_bytes(Path(out), content)
    return {"seconds": time.monotonic() - begin, "size_bytes": len(content)}


def compare(
    *, model_dir: str, tflite: str, sample: str, stage: str, progress: ProgressCallback
) -> Answer:
    """Logits of the float reference and of the converted model over a sample of texts."""
    from edgeseq_converters.convert.verify.fidelity import Comparison, Sample, converted_logits
    from edgeseq_converters.models.reference import reference_answers

    texts = read_json(Path(sample), Sample, error=ConversionError).token_ids
    converted = converted_logits(Path(tflite), texts, stage=stage, progress=progress)
    reference = reference_answers(read_model_folder(Path(model_dir)), texts)
    comparison = Comparison(
        reference=tuple(tuple(one.ravel().tolist()) for one in reference),
        converted=tuple(tuple(one.ravel().tolist()) for one in converted),
    )
    answer: Answer = msgspec.to_builtins(comparison)
    return answer


def compare_stream(
    *,
    model_dir: str,
    tflite: str,
    sample: str,
    golden: int,
    golden_tokens: int,
    progress: ProgressCallback,
) -> Answer:
    """The comparison of a stream with the float model over a sample of texts."""
    from edgeseq_converters.convert.verify.fidelity import Sample
    from edgeseq_converters.convert.verify.stream_fidelity import compare as compare_texts

    texts = read_json(Path(sample), Sample, error=ConversionError).token_ids
    compared = compare_texts(
        read_model_folder(Path(model_dir)),
        Path(tflite),
        texts,
        golden=golden,
        golden_tokens=golden_tokens,
        progress=progress,
    )
    answer: Answer = msgspec.to_builtins(compared)
    return answer


JOBS: dict[str, Callable[..., Answer]] = {
    "convert": convert,
    "compare": compare,
    "compare_stream": compare_stream,
}


def main() -> int:
    """The child's whole life: one job, its answer or its error, and its peak memory."""
    # One thread: OpenBLAS's threads spin while they wait, and on a machine with other work (a
    # second conversion) two of them were 6 times slower than one. Read when NumPy is imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    side = JobChannel()
    try:
        answer = JOBS[side.job.name](progress=side.report, **side.job.arguments)
    except EdgeseqError as error:
        side.send(JobMessage(failure=JobFailure(type(error).__name__, str(error))))
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except Exception:  # noqa: BLE001 - the last stop of a process: the parent reads the log's end
        traceback.print_exc()
        return 1
    side.send(JobMessage(answer=answer, peak_memory_bytes=peak_memory_bytes()))
    return 0


def peak_memory_bytes() -> int | None:
    """Highest resident set of this process so far; None where the kernel does not say.

    `VmHWM` and not `ru_maxrss`: the latter is inherited from the process that started this one.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None


if __name__ == "__main__":
    sys.exit(main())
