"""The measuring process on a board: `python -m edgeseq_benchmarks.devices.remote.agent FOLDER`.

It belongs to no connection. It writes what it does to `log.jsonl` and its result to `result.json`
in `FOLDER` (see `run_folder`), and waits until that was fetched. When nobody has listened for
long (`alive` was not touched), it ends its measurement and removes `FOLDER`.
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
from edgeseq.formats.result import Result
from edgeseq.formats.storage import read_json, write_json
from edgeseq.progress import ProgressUpdate
from edgeseq_benchmarks.bench.partial_result import Checkpoints
from edgeseq_benchmarks.bench.runner import bench
from edgeseq_benchmarks.devices.remote import run_folder
from edgeseq_benchmarks.devices.remote.messages import LogLine, RunRequest, failure_of

# Rarely, because it happens beside what is measured.
_LOOK_S = 5.0


class RunLog:
    """`log.jsonl`; a full disk costs lines of progress, not the last line."""

    def __init__(self, folder: Path) -> None:
        self._spare = folder / "spare"
        self._file = (folder / "log.jsonl").open("ab", buffering=0)

    def progress(self, update: ProgressUpdate, /) -> None:
        """A `ProgressCallback`."""
        with contextlib.suppress(OSError):
            self._write(LogLine(progress=update))

    def kept(self) -> None:
        """There is something to fetch already."""
        self._write(LogLine(kept=True))

    def last(self, line: LogLine) -> None:
        """The line that ends the log: done, or why not."""
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


def listen_for_listeners(folder: Path, grace_s: float) -> None:
    """Interrupts this process once `alive` has not been touched for `grace_s`, or is gone.

    The board's clock may be set meanwhile (many have no clock of their own), so what counts is
    that the time on the file changes.
    """
    seen, changed = 0, time.monotonic()
    while True:
        try:
            now = (folder / "alive").stat().st_mtime_ns
        except OSError:
            break
        if now != seen:
            seen, changed = now, time.monotonic()
        if time.monotonic() - changed > grace_s:
            break
        time.sleep(min(_LOOK_S, grace_s / 4))
    os.kill(os.getpid(), signal.SIGTERM)


def measure(folder: Path, log: RunLog) -> None:
    """Measures what was asked for and writes the result; an error becomes the last line."""
    request = read_json(folder / "tree" / "request.json", RunRequest)
    watch = threading.Thread(
        target=listen_for_listeners, args=(folder, request.grace_s), daemon=True
    )
    watch.start()
    paths = [folder / "tree" / "bundles" / str(number) for number in range(request.bundles)]
    try:
        result = bench(
            paths,
            settings=request.settings,
            progress=log.progress,
            checkpoints=Checkpoints(lambda result: _save(result, folder, log), request.keep_s),
        )
        write_json(folder / "result.json", result)
    except EdgeseqError as error:
        log.last(LogLine(failure=failure_of(error)))
    except Exception as error:  # noqa: BLE001 - nobody else is there to hear of it
        traceback.print_exc()
        bug = DeviceError("the run on the board failed", found=f"{type(error).__name__}: {error}")
        log.last(LogLine(failure=failure_of(bug)))
    else:
        log.last(LogLine(done=True))


def _save(unfinished: Result, folder: Path, log: RunLog) -> None:
    """Saves an unfinished result to be fetched, and logs it; a full disk is no reason to stop."""
    with contextlib.suppress(OutputError, OSError):
        write_json(folder / "so_far.json", unfinished)
        log.kept()


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Measures, then waits to be ended by who fetched the result, or by nobody's coming."""
    folder = Path(sys.argv[1])
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        measure(folder, RunLog(folder))
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        # Fetched, or left by everybody: nothing here is needed any more.
        run_folder.remove(folder)
        return 130


if __name__ == "__main__":
    sys.exit(main())
