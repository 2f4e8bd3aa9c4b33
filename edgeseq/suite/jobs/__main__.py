"""The child process of a step: one job from stdin, its answer or error on stdout, then the end."""

from __future__ import annotations

import importlib
import os
import resource
import sys
import traceback
from pathlib import Path
from typing import Any

from edgeseq.errors import EdgeseqError, library_panic
from edgeseq.installation import missing_extra
from edgeseq.subprocesses.job_processes import JobChannel, JobFailure, JobMessage
from edgeseq.suite.outputs import write_journal


def main() -> int:
    """Runs the job and sends its answer with the peak memory; returns the exit code."""
    side = JobChannel()
    if side.job.name == "convert":
        # Read when NumPy is imported. OpenBLAS's threads spin while they wait: with a second
        # conversion at the same time, two of them were 6 times slower than one.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if side.job.journal:
        write_journal(Path(side.job.journal), Path(side.job.output))
    try:
        # One import per process: a benchmark must not share its memory with TensorFlow.
        module: Any = importlib.import_module(f"edgeseq.suite.jobs.{side.job.name}")
        answer = module.run(side.job.arguments, side.report)
    except EdgeseqError as error:
        side.send(JobMessage(failure=JobFailure.of(error)))
        return error.exit_code
    except ModuleNotFoundError as error:
        missing = missing_extra(error)
        if missing is None:
            raise
        side.send(JobMessage(failure=JobFailure.of(missing)))
        return missing.exit_code
    except KeyboardInterrupt:
        return 130
    except BaseException as error:  # noqa: BLE001 - the last stop of a process: see its log
        failure = library_panic(error)
        if failure is None:
            traceback.print_exc()
            return 1
        side.send(JobMessage(failure=JobFailure.of(failure)))
        return failure.exit_code
    side.send(JobMessage(answer=answer, peak_memory_bytes=_peak_memory_bytes()))
    return 0


def _peak_memory_bytes() -> int:
    """The highest resident set of this process or of one of its children, in bytes (Linux: KiB)."""
    processes = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(process).ru_maxrss for process in processes) * 1024


if __name__ == "__main__":
    sys.exit(main())
