"""A benchmark on another machine: brought there, started, followed, fetched, cleared away.

The measuring process on the board belongs to no connection (`remote.agent`). Every step here can
be repeated, so a connection that broke is made again and the steps are gone through once more:
what is there already is found, and the measuring went on meanwhile.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from edgeseq.errors import DeviceError, EdgeseqError, ResultError
from edgeseq.formats.bundle import Bundle
from edgeseq.formats.bundle_zip import open_bundle
from edgeseq.formats.codec import decode_json
from edgeseq.formats.devices import DEFAULT_PYTHON
from edgeseq.formats.result import Result, Settings, read_result
from edgeseq.formats.storage import sha256_file
from edgeseq.progress import ProgressCallback, ProgressUpdate, no_progress
from edgeseq.subprocesses import CommandOutput, last_line, pause
from edgeseq.units import format_bytes
from edgeseq_benchmarks.bench import validity
from edgeseq_benchmarks.bench.partial_result import CHECKPOINT_INTERVAL_S
from edgeseq_benchmarks.bench.runner import own_git_state, subjects_of
from edgeseq_benchmarks.devices.base import Device, DeviceLostError
from edgeseq_benchmarks.devices.remote.archive import write_archive
from edgeseq_benchmarks.devices.remote.messages import LogLine, RunFailure, RunRequest, error_of
from edgeseq_benchmarks.devices.remote.requirements import RUN_FOLDER, check, run_script

_CONNECT_S = 20.0
_CALL_S = 60.0
# One call listens for so long, then the next begins: that is the sign of life for the board.
_LISTEN_S = 30.0
# The slowest link that is waited for: a phone's shared connection.
_SLOWEST_BYTES_A_SECOND = 50_000
# Unpacked beside the archive, a copy of a bundle for runs under a limit, and the result.
_ROOM_FACTOR, _ROOM_BYTES = 3, 16_000_000
_DELAYS_S = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
_ERRNO_FULL = (28, 122)  # ENOSPC and EDQUOT on Linux

_START_S = 300.0  # an emulated board is started first
_TAKEN_OVER, _DEAD = 4, 5
# Nothing is measured by it: two small programs, one of which sleeps. Ends with 3 when the folder
# is gone, with 4 when another workstation has taken the run over, with 5 when the process is dead.
_LISTEN = """\
cd "$1" 2>/dev/null || exit 3
[ "$(cat owner)" = "$2" ] || exit 4
touch alive
pid=$(cat pid)
if kill -0 "$pid" 2>/dev/null; then
  tail -c "+$3" -f log.jsonl & t=$!
  sleep "$4"; kill "$t"; exit 0
fi
tail -c "+$3" log.jsonl; exit 5
"""


class RetryPolicy(msgspec.Struct, frozen=True):
    """How long a lost board is called again, and how long a board waits for a lost workstation.

    `listen_s` is between two signs of life, `keep_s` between two fetches of what was measured.
    """

    reconnect_s: float = 150.0
    grace_s: float = 600.0
    listen_s: float = _LISTEN_S
    keep_s: float = CHECKPOINT_INTERVAL_S


class _OverError(Exception):
    """The last line of the log has come: no more listening."""


def bench_on(
    device: Device,
    bundles: Sequence[Path],
    *,
    settings: Settings,
    python: str = DEFAULT_PYTHON,
    progress: ProgressCallback = no_progress,
    command: Sequence[str] = (),
    retry_policy: RetryPolicy | None = None,
    place: PurePosixPath | None = None,
) -> Result:
    """Measures the bundles on `device` by the runner that measures here.

    `python` is the interpreter there, `~/` its user's home folder; `place` a folder there to put
    everything in, instead of one that is chosen. Raises what `bench` raises, `DeviceLostError`
    when the device stays away for longer than `retry_policy` allows (it continues to measure for a
    while: the same call again resumes it), and `DeviceError` when it lacks what a run needs.
    Whatever ends the run, the device is left as it was found, if it can still be reached.
    """
    retry_policy = retry_policy or RetryPolicy()
    with ExitStack() as stack:
        opened = [stack.enter_context(open_bundle(path, verify_hashes=False)) for path in bundles]
        # The same refusals as here, before anything is sent.
        subjects_of(opened, settings)
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgeseq-")))
        run = _Run(
            device,
            opened,
            settings,
            retry_policy=retry_policy,
            progress=progress,
            scratch=scratch,
            python=python,
            place=place,
        )
        stack.callback(device.close)
        try:
            result = run.to_the_end()
        except DeviceLostError as lost:
            if lost.result is not None:
                lost.result = as_measured_there(lost.result, device, command)
            raise
        except BaseException:
            run.clear()
            raise
        run.clear()
    return as_measured_there(result, device, command)


class _Run:
    """One run on one device, and how far it has come."""

    def __init__(
        self,
        device: Device,
        bundles: Sequence[Bundle],
        settings: Settings,
        *,
        retry_policy: RetryPolicy,
        progress: ProgressCallback,
        scratch: Path,
        python: str,
        place: PurePosixPath | None,
    ) -> None:
        self._device = device
        self._bundles = bundles
        self._retry_policy = retry_policy
        self._report = progress
        self._scratch = scratch
        self._python = python
        self._place = "" if place is None else str(place)
        self._archive = scratch / "archive.tar.gz"
        request = RunRequest(len(bundles), settings, retry_policy.grace_s, retry_policy.keep_s)
        size_bytes = write_archive(self._archive, bundles, request)
        self._needed_bytes = _ROOM_FACTOR * size_bytes + _ROOM_BYTES
        self._key = sha256_file(self._archive)[:24]
        self._owner = secrets.token_hex(8)
        self._is_checked = False
        self._folder: PurePosixPath | None = None
        self._heard_bytes = 0
        self._kept = False
        self._so_far: Result | None = None
        self._last: LogLine | None = None
        # How often the board was heard of: a loss after that is a new one.
        self._signs = 0

    def to_the_end(self) -> Result:
        """Goes through the steps, again after each loss, and gives the result."""
        self._device.connect(timeout_s=self._connect_s())
        lost_at, signs, tries = 0.0, -1, 0
        while True:
            try:
                if tries:
                    self._device.connect(timeout_s=self._connect_s())
                    self._report(ProgressUpdate("connect", 1, 1, "it is back"))
                return self._steps()
            except DeviceLostError as lost:
                if signs != self._signs:  # it had come back meanwhile
                    lost_at, signs, tries = time.monotonic(), self._signs, 0
                away_s = time.monotonic() - lost_at
                if not lost.worth_retrying or away_s > self._retry_policy.reconnect_s:
                    raise self._given_up(lost) from lost
                self._report(ProgressUpdate("connect", 0, 1, f"{lost.what}; trying again"))
                pause(_DELAYS_S[min(tries, len(_DELAYS_S) - 1)])
                tries += 1

    def _connect_s(self) -> float:
        return _START_S if self._device.emulated else _CONNECT_S

    def _given_up(self, lost: DeviceLostError) -> DeviceLostError:
        goes_on = ""
        if self._signs:
            minutes = self._retry_policy.grace_s / 60
            goes_on = f"what it measures goes on there for {minutes:.0f} minutes: the same "
            goes_on += "command picks it up"
        error = DeviceLostError(
            lost.what if not self._signs else f"{lost.what}, and the device did not come back",
            where=self._device.name,
            found=None if lost.found is None else str(lost.found),
            fix="; ".join(part for part in (lost.fix, goes_on) if part) or None,
        )
        error.result = self._so_far
        return error

    def _steps(self) -> Result:
        if not self._is_checked:
            check(self._device, self._python, timeout_s=_CALL_S)
            self._is_checked = True
        state = self._prepare()
        self._folder = PurePosixPath(state["folder"])
        self._report(ProgressUpdate("send", 0, 1, format_bytes(self._archive.stat().st_size)))
        if not state["unpacked"]:
            self._send()
        self._report(ProgressUpdate("send", 1, 1, format_bytes(self._archive.stat().st_size)))
        if not state["finished"] and "pid" in self._verb("start", str(self._there)):
            self._heard_bytes = 0  # a log of its own: the board itself was off, say
        self._signs += 1
        while self._last is None:
            self._listen()
        if self._last.failure is not None:
            raise self._error(self._last.failure)
        return self._fetch("result.json")

    @property
    def _there(self) -> PurePosixPath:
        """The run's folder; only what `prepare` answered is ever written to or removed."""
        if self._folder is None:
            raise DeviceError("no folder was made there", where=self._device.name)
        return self._folder

    def _prepare(self) -> dict[str, Any]:
        found = self._verb("prepare", self._key, self._owner, str(self._needed_bytes), self._place)
        if "busy" in found:
            pids = [pid for pid in found["busy"] if pid]
            raise DeviceError(
                "another measurement goes on there",
                where=self._device.name,
                found=f"process {pids[0]}" if pids else "one that is being sent",
                fix="wait until it is over" + (f", or end it with `kill {pids[0]}`" * bool(pids)),
            )
        if "folder" not in found:
            free = format_bytes(found["free_bytes"])
            raise DeviceError(
                "the disk is full",
                where=self._device.name,
                found=f"{free} free in {found['place']}",
                expected=format_bytes(self._needed_bytes),
                fix="free some space there",
            )
        return found

    def _send(self) -> None:
        size_bytes = self._archive.stat().st_size
        self._device.put(
            self._archive,
            self._there / "archive.tar.gz",
            timeout_s=_CALL_S + size_bytes / _SLOWEST_BYTES_A_SECOND,
        )
        self._verb("unpack", str(self._there), timeout_s=10 * _CALL_S)

    def _verb(self, *arguments: str, timeout_s: float = _CALL_S) -> dict[str, Any]:
        answer = run_script(self._device, self._python, RUN_FOLDER, arguments, timeout_s=timeout_s)
        if "error" not in answer:
            return answer
        full = answer.get("errno") in _ERRNO_FULL
        raise DeviceError(
            "the disk is full" if full else f"cannot {arguments[0]} a run there",
            where=self._device.name,
            found=" ".join(str(answer[key]) for key in ("error", "file") if key in answer),
            fix="free some space there" if full else None,
        )

    def _listen(self) -> None:
        """Hears what the board has to say for a while; a sign of life for both."""
        with contextlib.suppress(_OverError):
            listen_s = self._retry_policy.listen_s
            finished = self._device.run(
                (
                    *("sh", "-c", _LISTEN, "sh", str(self._there), self._owner),
                    *(str(self._heard_bytes + 1), f"{listen_s:g}"),
                ),
                timeout_s=listen_s + _CALL_S,
                on_line=self._hear,
            )
            if finished.returncode:
                raise self._left(finished)
        self._signs += 1
        if self._kept and self._last is None:
            self._kept = False
            with contextlib.suppress(ResultError):
                self._so_far = self._fetch("so_far.json")

    def _hear(self, content: bytes) -> None:
        try:
            line = decode_json(content, LogLine)
        except msgspec.DecodeError:
            return  # cut off: it is heard again as a whole
        self._heard_bytes += len(content) + 1
        self._kept = self._kept or line.kept
        if line.progress is not None:
            self._report(line.progress)
        elif line.done or line.failure is not None:
            self._last = line
            raise _OverError

    def _left(self, finished: CommandOutput) -> EdgeseqError:
        """Why the board's side of the run is not there any more."""
        name = self._device.name
        if finished.returncode == _TAKEN_OVER:
            return DeviceError("another edgeseq has taken this run over", where=name)
        if finished.returncode == _DEAD:
            words = self._there / "words"
            said = self._device.run(["tail", "-c", "2000", str(words)], timeout_s=_CALL_S)
            return DeviceError(
                "the measuring process there was killed",
                where=name,
                found=last_line(said.stdout) or "no last words",
                fix="look for the cause with `dmesg` there: out of memory?",
            )
        return DeviceError(
            "the run's folder there is gone", where=name, fix="give the command again"
        )

    def _fetch(self, name: str) -> Result:
        target = self._scratch / name
        self._device.get(self._there / name, target, timeout_s=5 * _CALL_S)
        result = read_result(target)
        # Folders there mean nothing to who reads this here.
        text = self._at_home(msgspec.json.encode(result).decode())
        return decode_json(text, Result)

    def _at_home(self, text: str) -> str:
        """The bundles' folders there as the ones here."""
        for number, bundle in enumerate(self._bundles):
            there = f"{self._there}/tree/bundles/{number}"
            text = text.replace(there, json.dumps(str(bundle.path))[1:-1])
        return text

    def _error(self, failure: RunFailure) -> EdgeseqError:
        text = self._at_home(msgspec.json.encode(failure).decode())
        return error_of(decode_json(text, RunFailure), device=self._device.name)

    def clear(self) -> None:
        """Ends what runs there and removes what was brought there, if it can be reached."""
        if self._folder is not None:
            with contextlib.suppress(DeviceError):
                self._verb("stop", str(self._there), self._owner)


def as_measured_there(result: Result, device: Device, command: Sequence[str]) -> Result:
    """The result with what only this side knows: which device it was, and which source."""
    found = result.device
    info = msgspec.structs.replace(
        found,
        name=f"{found.name} ({device.name})",
        emulated=found.emulated or device.emulated,
    )
    findings = result.findings
    if info.emulated and not found.emulated:
        findings = (*validity.machine_findings((), info), *findings)
    return msgspec.structs.replace(
        result,
        device=info,
        findings=findings,
        command=tuple(command),
        git_state=own_git_state(),
    )
