"""The measuring process on a board: `python -m edgeseq_benchmarks.devices.remote.agent FOLDER`.

It belongs to no connection. It writes its progress to `log.jsonl` and its result to `result.json`
in `FOLDER` (see `run_folder`), and waits until that was fetched. Without a sign of life for long
(`alive` was not touched), it ends its measurement and removes `FOLDER`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

import msgspec

from edgeseq.errors import DeviceError, EdgeseqError, OutputError
from edgeseq.formats.result import ResultRecord
from edgeseq.formats.storage import read_json, write_json
from edgeseq.progress import ProgressUpdate
from edgeseq.subprocesses.job_processes import JobFailure
from edgeseq_benchmarks.bench.partial_result import Checkpoints
from edgeseq_benchmarks.bench.runner import bench
from edgeseq_benchmarks.devices.remote import run_folder
from edgeseq_benchmarks.devices.remote.messages import LogLine, RunRequest

# Rarely, because it happens beside what is measured.
_POLL_S = 5.0


class RunLog:
    """`log.jsonl`; a full disk costs lines of progress, not the last line."""

    def __init__(self, folder: Path) -> None:
        self._spare = folder / "spare"
        self._file = (folder / "log.jsonl").open("ab", buffering=0)

    def progress(self, update: ProgressUpdate, /) -> None:
        """A `ProgressCallback`."""
        with contextlib.suppress(OSError):
            self._write(LogLine(progress=update))

    def checkpoint(self) -> None:
        """A result so far can be fetched."""
        self._write(LogLine(checkpoint=True))

    def finish(self, line: LogLine) -> None:
        """The line that ends the log: done, or a failure."""
        self._spare.unlink(missing_ok=True)
        self._write(line)

    def _write(self, line: LogLine) -> None:
        content = msgspec.json.encode(line) + b"\n"
        # Not `tell`, which a line that was taken back leaves too large.
        size_bytes = os.fstat(self._file.fileno()).st_size
        try:
            written = self._file.write(content)
            if written != len(content):
                raise OSError("the line did not fit")
        except OSError:
            os.ftruncate(self._file.fileno(), size_bytes)
            raise


def watch_signs_of_life(folder: Path, grace_s: float) -> None:
    """Interrupts this process once `alive` has not been touched for `grace_s`, or is gone.

    The board's clock may be set meanwhile (many have none that runs when they are off), so what
    counts is that the time of the file changes.
    """
    last_ns, changed_s = 0, time.monotonic()
    while True:
        try:
            time_ns = (folder / "alive").stat().st_mtime_ns
        except OSError:
            break
        if time_ns != last_ns:
            last_ns, changed_s = time_ns, time.monotonic()
        if time.monotonic() - changed_s > grace_s:
            break
        time.sleep(min(_POLL_S, grace_s / 4))
    os.kill(os.getpid(), signal.SIGTERM)


def measure(folder: Path, log: RunLog) -> None:
    """Runs the requested benchmark and writes the result; an error becomes the last line."""
    request = read_json(folder / "tree" / "request.json", RunRequest)
    watch = threading.Thread(
        target=watch_signs_of_life, args=(folder, request.grace_s), daemon=True
    )
    watch.start()
    paths = [folder / "tree" / "bundles" / str(number) for number in range(request.bundles)]
    try:
        result = bench(
            paths,
            settings=request.settings,
            progress=log.progress,
            checkpoints=Checkpoints(
                lambda result: _write_checkpoint(result, folder, log), request.checkpoint_s
            ),
        )
        write_json(folder / "result.json", result)
    except EdgeseqError as error:
        log.finish(LogLine(failure=JobFailure.of(error)))
    except Exception as error:  # noqa: BLE001 - it must reach the log
        traceback.print_exc()
        bug = DeviceError("the run on the board failed", found=f"{type(error).__name__}: {error}")
        log.finish(LogLine(failure=JobFailure.of(bug)))
    else:
        log.finish(LogLine(done=True))


def _write_checkpoint(result: ResultRecord, folder: Path, log: RunLog) -> None:
    """Writes an unfinished result and logs it; a full disk does not end the run."""
    with contextlib.suppress(OutputError, OSError):
        write_json(folder / "checkpoint.json", result)
        log.checkpoint()


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Measures, then waits until the result was fetched, or signs of life end."""
    folder = Path(sys.argv[1])
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        measure(folder, RunLog(folder))
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        run_folder.remove(folder)
        return 130


if __name__ == "__main__":
    sys.exit(main())
