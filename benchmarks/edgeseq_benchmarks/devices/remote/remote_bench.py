"""A benchmark on another machine: sent there, started, followed, fetched, removed.

The measuring process on the board belongs to no connection (`remote.agent`). Every step here can
be repeated, so after a broken connection all steps run once more: what is there already is used,
and the benchmark continued meanwhile.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from edgeseq.errors import DeviceError, EdgeseqError, ResultError
from edgeseq.formats.bundle import BundleFiles
from edgeseq.formats.bundle_zip import open_bundle
from edgeseq.formats.codec import decode_json
from edgeseq.formats.devices import DEFAULT_PYTHON
from edgeseq.formats.drafts import temporary_folder
from edgeseq.formats.result import ResultRecord, Settings, read_result
from edgeseq.formats.storage import sha256_file
from edgeseq.progress import ProgressCallback, ProgressUpdate, no_progress
from edgeseq.subprocesses.child_process import last_line
from edgeseq.subprocesses.command_runs import pause
from edgeseq.subprocesses.job_processes import JobFailure
from edgeseq.units import format_bytes
from edgeseq_benchmarks.bench import validity
from edgeseq_benchmarks.bench.partial_result import CHECKPOINT_INTERVAL_S
from edgeseq_benchmarks.bench.runner import own_git_state, subjects_of
from edgeseq_benchmarks.devices.base import Device, DeviceLostError, connect_timeout_s
from edgeseq_benchmarks.devices.remote.archive import write_archive
from edgeseq_benchmarks.devices.remote.messages import LogLine, RunRequest
from edgeseq_benchmarks.devices.remote.requirements import RUN_FOLDER, check, run_script

_CALL_S = 60.0
# One call follows the log for so long, then the next begins: the board's sign of life.
_FOLLOW_S = 30.0
# The slowest link that is waited for: a phone's shared connection.
_SLOWEST_BYTES_PER_S = 50_000
# Unpacked beside the archive, a copy of a bundle for runs under a limit, and the result.
_ROOM_FACTOR, _ROOM_BYTES = 3, 16_000_000
_DELAYS_S = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
_ERRNO_FULL = (28, 122)  # ENOSPC and EDQUOT on Linux

_TAKEN_OVER, _DEAD = 4, 5
# Two small programs, one of which sleeps, so that it costs the measurement nothing. Ends with 3
# when the folder is gone, with 4 when another workstation has taken the run over, with 5 when the
# process is dead.
_FOLLOW = """\
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


class RemoteOptions(msgspec.Struct, frozen=True):
    """The Python on the device, and how both sides bear a lost connection.

    `python` may begin with `~/`; `base_dir` is the folder on the device for everything that is
    sent, chosen there when None. A lost device is called again for `reconnect_s`; it waits for this
    machine for `grace_s`. Signs of life are `follow_s` apart, fetches of the result so far
    `checkpoint_s`.
    """

    python: str = DEFAULT_PYTHON
    base_dir: PurePosixPath | None = None
    reconnect_s: float = 150.0
    grace_s: float = 600.0
    follow_s: float = _FOLLOW_S
    checkpoint_s: float = CHECKPOINT_INTERVAL_S


class _LogEndError(Exception):
    """The last line of the log has come."""


def bench_on(
    device: Device,
    bundles: Sequence[Path],
    *,
    settings: Settings,
    options: RemoteOptions | None = None,
    progress: ProgressCallback = no_progress,
    command: Sequence[str] = (),
) -> ResultRecord:
    """Benchmarks the bundles on `device` by the runner that measures on this machine.

    Raises what `bench` raises, `DeviceLostError` when the device stays away for longer than
    `options` allow (it continues to measure for a while: the same call again resumes it), and
    `DeviceError` when it lacks what a run needs. However the run ends, everything that was sent
    is removed, if the device can still be reached.
    """
    with ExitStack() as stack:
        opened = [stack.enter_context(open_bundle(path, verify_hashes=False)) for path in bundles]
        # The same refusals as on this machine, before anything is sent.
        subjects_of(opened, settings)
        scratch = stack.enter_context(temporary_folder())
        run = _RemoteRun(
            device,
            opened,
            settings,
            options=options or RemoteOptions(),
            progress=progress,
            scratch=scratch,
        )
        stack.callback(device.close)
        try:
            result = run.complete()
        except DeviceLostError as lost:
            if lost.result is not None:
                lost.result = label_result(lost.result, device, command)
            raise
        except BaseException:
            run.remove()
            raise
        run.remove()
    return label_result(result, device, command)


class _RemoteRun:
    """One run on one device, and how far it has come."""

    def __init__(
        self,
        device: Device,
        bundles: Sequence[BundleFiles],
        settings: Settings,
        *,
        options: RemoteOptions,
        progress: ProgressCallback,
        scratch: Path,
    ) -> None:
        self._device = device
        self._bundles = bundles
        self._options = options
        self._progress = progress
        self._scratch = scratch
        self._archive = scratch / "archive.tar.gz"
        request = RunRequest(len(bundles), settings, options.grace_s, options.checkpoint_s)
        size_bytes = write_archive(self._archive, bundles, request)
        self._needed_bytes = _ROOM_FACTOR * size_bytes + _ROOM_BYTES
        self._key = sha256_file(self._archive)[:24]
        self._owner = secrets.token_hex(8)
        self._is_checked = False
        self._remote_folder: PurePosixPath | None = None
        self._log_bytes = 0
        self._has_checkpoint = False
        self._checkpoint: ResultRecord | None = None
        self._last_line: LogLine | None = None
        # Counts the calls that succeeded: a loss after one is a new one.
        self._signs_of_life = 0

    def complete(self) -> ResultRecord:
        """Runs the steps, again after each loss, and returns the result."""
        self._device.connect(timeout_s=connect_timeout_s(self._device))
        lost_at, signs, tries = 0.0, -1, 0
        while True:
            try:
                if tries:
                    self._device.connect(timeout_s=connect_timeout_s(self._device))
                    self._progress(ProgressUpdate("connect", 1, 1, "reconnected"))
                return self._steps()
            except DeviceLostError as lost:
                if signs != self._signs_of_life:  # it had come back meanwhile
                    lost_at, signs, tries = time.monotonic(), self._signs_of_life, 0
                away_s = time.monotonic() - lost_at
                if not lost.worth_retrying or away_s > self._options.reconnect_s:
                    raise self._final_loss(lost) from lost
                self._progress(ProgressUpdate("connect", 0, 1, f"{lost.what}; trying again"))
                pause(_DELAYS_S[min(tries, len(_DELAYS_S) - 1)])
                tries += 1

    def _final_loss(self, lost: DeviceLostError) -> DeviceLostError:
        resume = ""
        if self._signs_of_life:
            minutes = self._options.grace_s / 60
            resume = f"the benchmark continues there for {minutes:.0f} minutes: the same "
            resume += "command resumes it"
        error = DeviceLostError(
            f"{lost.what}, and the device did not come back" if self._signs_of_life else lost.what,
            where=self._device.name,
            found=None if lost.found is None else str(lost.found),
            fix="; ".join(part for part in (lost.fix, resume) if part) or None,
        )
        error.result = self._checkpoint
        return error

    def _steps(self) -> ResultRecord:
        if not self._is_checked:
            check(self._device, self._options.python, timeout_s=_CALL_S)
            self._is_checked = True
        state = self._prepare()
        self._remote_folder = PurePosixPath(state["folder"])
        size = format_bytes(self._archive.stat().st_size)
        self._progress(ProgressUpdate("send", 0, 1, size))
        if not state["unpacked"]:
            self._send()
        self._progress(ProgressUpdate("send", 1, 1, size))
        if not state["finished"] and "pid" in self._call("start", str(self._folder)):
            self._log_bytes = 0  # a new log: the board itself was off, for example
        self._signs_of_life += 1
        while self._last_line is None:
            self._follow()
        if self._last_line.failure is not None:
            text = self._local_paths(msgspec.json.encode(self._last_line.failure).decode())
            raise decode_json(text, JobFailure).to_error(device=self._device.name)
        return self._fetch("result.json")

    @property
    def _folder(self) -> PurePosixPath:
        """The run's folder; only what `prepare` answered is ever written to or removed."""
        if self._remote_folder is None:
            raise DeviceError("no folder was made there", where=self._device.name)
        return self._remote_folder

    def _prepare(self) -> dict[str, Any]:
        base = "" if self._options.base_dir is None else str(self._options.base_dir)
        state = self._call("prepare", self._key, self._owner, str(self._needed_bytes), base)
        if "busy" in state:
            pids = [pid for pid in state["busy"] if pid]
            raise DeviceError(
                "another benchmark is running there",
                where=self._device.name,
                found=f"process {pids[0]}" if pids else "one that is being sent",
                fix="wait until it has ended" + (f", or end it: `kill {pids[0]}`" * bool(pids)),
            )
        if "folder" not in state:
            raise DeviceError(
                "the disk is full",
                where=self._device.name,
                found=f"{format_bytes(state['free_bytes'])} free in {state['base']}",
                expected=format_bytes(self._needed_bytes),
                fix="free some space there",
            )
        return state

    def _send(self) -> None:
        self._device.put(
            self._archive,
            self._folder / "archive.tar.gz",
            timeout_s=_CALL_S + self._archive.stat().st_size / _SLOWEST_BYTES_PER_S,
        )
        self._call("unpack", str(self._folder), timeout_s=10 * _CALL_S)

    def _call(self, *arguments: str, timeout_s: float = _CALL_S) -> dict[str, Any]:
        """The answer of a verb of `run_folder`."""
        answer = run_script(
            self._device, self._options.python, RUN_FOLDER, arguments, timeout_s=timeout_s
        )
        if "error" not in answer:
            return answer
        full = answer.get("errno") in _ERRNO_FULL
        raise DeviceError(
            "the disk is full" if full else f"cannot {arguments[0]} a run there",
            where=self._device.name,
            found=" ".join(str(answer[key]) for key in ("error", "file") if key in answer),
            fix="free some space there" if full else None,
        )

    def _follow(self) -> None:
        """Reads the log for a while; a sign of life for both."""
        with contextlib.suppress(_LogEndError):
            follow_s = self._options.follow_s
            output = self._device.run(
                (
                    *("sh", "-c", _FOLLOW, "sh", str(self._folder), self._owner),
                    *(str(self._log_bytes + 1), f"{follow_s:g}"),
                ),
                timeout_s=follow_s + _CALL_S,
                on_line=self._read_line,
            )
            if output.returncode:
                raise self._end_error(output.returncode)
        self._signs_of_life += 1
        if self._has_checkpoint and self._last_line is None:
            self._has_checkpoint = False
            with contextlib.suppress(ResultError):
                self._checkpoint = self._fetch("checkpoint.json")

    def _read_line(self, content: bytes) -> None:
        try:
            line = decode_json(content, LogLine)
        except msgspec.DecodeError:
            return  # cut off: it is read again as a whole
        self._log_bytes += len(content) + 1
        self._has_checkpoint = self._has_checkpoint or line.checkpoint
        if line.progress is not None:
            self._progress(line.progress)
        elif line.done or line.failure is not None:
            self._last_line = line
            raise _LogEndError

    def _end_error(self, returncode: int) -> EdgeseqError:
        """Why the board's side of the run has ended."""
        name = self._device.name
        if returncode == _TAKEN_OVER:
            return DeviceError("another edgeseq has taken this run over", where=name)
        if returncode == _DEAD:
            path = str(self._folder / "output")
            output = self._device.run(["tail", "-c", "2000", path], timeout_s=_CALL_S)
            return DeviceError(
                "the measuring process there was killed",
                where=name,
                found=last_line(output.stdout) or "no output",
                fix="look for the cause with `dmesg` there: out of memory?",
            )
        return DeviceError(
            "the run's folder there is gone", where=name, fix="run the command again"
        )

    def _fetch(self, name: str) -> ResultRecord:
        target = self._scratch / name
        self._device.get(self._folder / name, target, timeout_s=5 * _CALL_S)
        result = read_result(target)
        return decode_json(self._local_paths(msgspec.json.encode(result).decode()), ResultRecord)

    def _local_paths(self, text: str) -> str:
        """The JSON text with the bundles' folders on this machine instead of those there."""
        for number, bundle in enumerate(self._bundles):
            remote_path = f"{self._folder}/tree/bundles/{number}"
            text = text.replace(remote_path, json.dumps(str(bundle.path))[1:-1])
        return text

    def remove(self) -> None:
        """Ends the process there and removes what was sent, if the device can be reached."""
        if self._remote_folder is None:
            return
        with contextlib.suppress(DeviceError):
            try:
                self._call("stop", str(self._folder), self._owner)
            except DeviceLostError:
                self._device.connect(timeout_s=connect_timeout_s(self._device))
                self._call("stop", str(self._folder), self._owner)


def label_result(result: ResultRecord, device: Device, command: Sequence[str]) -> ResultRecord:
    """The result with what only this side knows: the device's address and the source's state."""
    info = msgspec.structs.replace(
        result.device,
        name=f"{result.device.name} ({device.name})",
        emulated=result.device.emulated or device.emulated,
    )
    findings = result.findings
    if info.emulated and not result.device.emulated:
        findings = (*validity.machine_findings((), info), *findings)
    return msgspec.structs.replace(
        result,
        device=info,
        findings=findings,
        command=tuple(command),
        git_state=own_git_state(),
    )
