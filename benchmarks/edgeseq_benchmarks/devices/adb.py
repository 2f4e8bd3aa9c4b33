"""A phone or an Android emulator, through the user's own `adb` client.

`adb -s SERIAL shell` takes one string for the phone's shell; it is made of quoted arguments, never
of parts as they come. The exit status is sent back by our own line at the end of the output: old
phones send none, and the client ends with 0 when the connection breaks in the middle. Every
command carries a mark in its environment, by which what it has started is found and ended.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import shlex
import time
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from edgeseq.errors import DeviceError, InputError
from edgeseq.formats.drafts import draft_folder
from edgeseq.subprocesses.child_process import last_line
from edgeseq.subprocesses.command_runs import (
    CommandOutput,
    CommandTimeoutError,
    LineCallback,
    pause,
    run_command,
)
from edgeseq_benchmarks.devices.address import DeviceKind
from edgeseq_benchmarks.devices.base import DeviceLostError

SCRATCH = PurePosixPath("/data/local/tmp")
"""The one folder in which the user `shell` may write and run programs on every Android."""

_SERIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,199}")
_SHORT_CALL_S = 10.0
_STATE_POLL_S = 0.2
# For the commands of this machine's own client that talk to no phone.
_START_SERVER_S = 30.0
# Looks for the mark in the environment of every process of the user; twice, for a process that
# was being started while the list was read.
_END_MARKED = (
    "for again in 1 2; do for folder in /proc/[0-9]*; do "
    'if grep -q "$1" "$folder/environ" 2>/dev/null; then kill -9 "${folder#/proc/}"; fi; '
    "done; done 2>/dev/null; true"
)
# The states in which adb sees a phone but cannot use it, and what to do about each.
_STATES = {
    "unauthorized": (
        "has not allowed this computer to use it",
        "unlock the phone and accept its question about USB debugging; if it asks nothing, turn "
        "USB debugging off and on again in its developer options",
    ),
    "authorizing": (
        "is still deciding whether this computer may use it",
        "unlock the phone and accept its question about USB debugging",
    ),
    "offline": ("does not answer", "plug it in again, or run `adb reconnect offline`"),
    "connecting": ("does not answer", "plug it in again, or run `adb reconnect offline`"),
    "no permissions": (
        "may not be opened by this user",
        "install your system's udev rules for Android (Debian: android-sdk-platform-tools-common), "
        "join the group plugdev, log in again and plug the phone in again",
    ),
    "recovery": ("runs its recovery system", "start Android on it"),
    "sideload": ("waits for an update", "start Android on it"),
    "bootloader": ("runs its boot loader", "start Android on it"),
}


class AdbDevice:
    """`adb:SERIAL`: see `Device`. On a phone older than Android 7, stderr comes within stdout."""

    def __init__(self, serial: str, *, adb: Sequence[str] = ("adb",)) -> None:
        """`adb` is the client with its options. Raises `InputError` for a malformed serial."""
        if not _SERIAL.fullmatch(serial):
            raise InputError(
                "is not the serial number of a phone",
                where="--on",
                found=repr(f"adb:{serial}"),
                expected="adb:SERIAL as `adb devices` lists it, or adb:HOST:PORT",
            )
        self._serial = serial
        self._adb = tuple(adb)
        self._shell_v2 = True
        self._emulated = serial.startswith("emulator-")
        self._connected_by_us = False
        self._left_behind: list[str] = []

    @property
    def name(self) -> str:
        """`adb:SERIAL`."""
        return f"adb:{self._serial}"

    @property
    def emulated(self) -> bool:
        """Whether it is an Android emulator; known for certain once connected."""
        return self._emulated

    def connect(self, *, timeout_s: float) -> None:
        """Makes sure that the phone is there, allows this computer, and answers a command."""
        deadline = time.monotonic() + timeout_s
        self._client("start-server", timeout_s=max(timeout_s, _START_SERVER_S), any_device=True)
        if ":" in self._serial and self._states().get(self._serial) != "device":
            self._client("connect", self._serial, timeout_s=timeout_s, any_device=True)
            self._connected_by_us = True
        while True:
            states = self._states()
            state = states.get(self._serial)
            is_starting = state in ("offline", "authorizing", "connecting")
            if not is_starting or time.monotonic() > deadline:
                break
            pause(_STATE_POLL_S)
        if state != "device":
            raise self._unusable(state, states)
        features = self._client("features", timeout_s=_SHORT_CALL_S)
        self._shell_v2 = b"shell_v2" in features.stdout.split()
        left_behind, self._left_behind = self._left_behind, []
        for mark in left_behind:
            self._end_marked(mark)
        left_s = max(1.0, deadline - time.monotonic())
        script = "getprop ro.kernel.qemu; getprop ro.boot.qemu"
        output = self.run(("sh", "-c", script), timeout_s=left_s).stdout
        self._emulated = self._emulated or b"1" in output.split()

    def run(
        self,
        command: Sequence[str],
        *,
        timeout_s: float,
        stdin: bytes = b"",
        on_line: LineCallback | None = None,
    ) -> CommandOutput:
        """See `Device.run`."""
        mark = f"edgeseq-{secrets.token_hex(8)}"
        line = f"EDGESEQ_RUN={mark} {shlex.join(command)}; echo {mark} $?"
        if any("\0" in word for word in command):
            raise InputError("no command can hold a NUL character", where=self.name)
        if self._shell_v2:
            arguments = ["shell", "-T", *([] if stdin else ["-n"]), line]
        elif stdin:
            raise DeviceError("an Android this old takes no input for a command", where=self.name)
        else:
            arguments = ["exec-out", line]
        end = _End(mark, on_line)
        try:
            finished = self._client(
                *arguments,
                timeout_s=timeout_s,
                stdin=stdin,
                on_line=None if on_line is None else end.pass_on,
                what_runs=command[0],
            )
        except BaseException:
            self._end_marked(mark)
            raise
        stdout, status = (b"", end.status) if on_line else end.split(finished.stdout)
        if status is None:
            self._end_marked(mark)
            raise self._lost(f"the connection broke while {command[0]!r} ran", finished.stderr)
        return CommandOutput(status, stdout, finished.stderr)

    def put(self, source: Path, target: PurePosixPath, *, timeout_s: float) -> None:
        """See `Device.put`."""
        if not source.is_file():
            raise InputError("no such file", where=source, fix="check the path")
        _check_remote(target, self.name)
        draft = target.with_name(f".edgeseq-{secrets.token_hex(8)}.part")
        try:
            pushed = self._client("push", str(source.absolute()), str(draft), timeout_s=timeout_s)
            if pushed.returncode != 0:
                raise self._refused("a file cannot be copied to it", target, pushed)
            script = 'test ! -d "$2" && mv -f "$1" "$2"'
            moving = ("sh", "-c", script, "sh", str(draft), str(target))
            moved = self.run(moving, timeout_s=timeout_s)
            if moved.returncode != 0:
                raise self._refused("a file cannot be copied to it", target, moved)
        except BaseException:
            with contextlib.suppress(DeviceError):
                self.run(("rm", "-f", str(draft)), timeout_s=_SHORT_CALL_S)
            raise

    def get(self, source: PurePosixPath, target: Path, *, timeout_s: float) -> None:
        """See `Device.get`."""
        _check_remote(source, self.name)
        with draft_folder(target.parent) as folder:
            draft = folder / "pulled"
            pulled = self._client("pull", str(source), str(draft.absolute()), timeout_s=timeout_s)
            if pulled.returncode != 0 or not draft.is_file():
                raise self._refused("a file cannot be copied from it", source, pulled)
            draft.replace(target)

    def close(self) -> None:
        """Leaves adb as it was before: a phone connected by `connect` is disconnected."""
        if self._connected_by_us:
            self._connected_by_us = False
            with contextlib.suppress(DeviceError):
                self._client("disconnect", self._serial, timeout_s=_SHORT_CALL_S, any_device=True)

    def _client(
        self,
        *arguments: str,
        timeout_s: float,
        stdin: bytes = b"",
        on_line: LineCallback | None = None,
        any_device: bool = False,
        what_runs: str = "",
    ) -> CommandOutput:
        """Runs the client; `what_runs` names the command in messages."""
        serial = () if any_device else ("-s", self._serial)
        try:
            return run_command(
                [*self._adb, *serial, *arguments], timeout_s=timeout_s, stdin=stdin, on_line=on_line
            )
        except CommandTimeoutError as error:
            raise DeviceLostError(
                f"{what_runs or 'adb ' + arguments[0]} did not end within {timeout_s:g} s",
                where=self.name,
                found=last_line(error.stderr) or None,
                fix="look at the phone, or plug it in again",
                worth_retrying=True,
            ) from error
        except FileNotFoundError as error:
            raise DeviceError(
                "adb is not installed",
                where=self.name,
                fix="apt install adb, or unpack Google's platform-tools and put them on the PATH",
            ) from error
        except OSError as error:
            raise DeviceError(
                "adb cannot be started", where=self.name, found=error.strerror
            ) from error

    def _states(self) -> dict[str, str]:
        """What adb sees: serial to state, such as `device`, `offline`, `unauthorized`."""
        answer = self._client("devices", timeout_s=_SHORT_CALL_S, any_device=True)
        if answer.returncode != 0:
            raise DeviceError(
                "adb does not work", where=self.name, found=last_line(answer.stderr),
                fix="run `adb kill-server` and try again",
            )  # fmt: skip
        lines = answer.stdout.decode("utf-8", errors="replace").splitlines()
        pairs = [line.split("\t", 1) for line in lines if "\t" in line]
        return {serial: state.strip() for serial, state in pairs}

    def _unusable(self, state: str | None, states: dict[str, str]) -> DeviceLostError:
        if state is None:
            known = ", ".join(f"{name} ({what})" for name, what in states.items() if what)
            return DeviceLostError(
                "no such phone or emulator is connected",
                where=self.name,
                found=known or "none at all",
                fix="name one of those: --on adb:SERIAL"
                if known
                else "plug it in with USB debugging turned on in its developer options, and see "
                "`adb devices`",
                worth_retrying=True,
            )
        for name, (what, fix) in _STATES.items():
            if state.startswith(name):
                again = name in ("offline", "connecting")
                return DeviceLostError(what, where=self.name, fix=fix, worth_retrying=again)
        return DeviceLostError("cannot be used", where=self.name, found=state)

    def _lost(self, what: str, stderr: bytes) -> DeviceLostError:
        return DeviceLostError(
            what,
            where=self.name,
            found=last_line(stderr) or "no more answer",
            fix="plug it in again; the same command resumes",
            worth_retrying=True,
        )

    def _refused(self, what: str, path: PurePosixPath, answer: CommandOutput) -> DeviceError:
        """Why a file was not copied: the phone is gone, or it is full, or it refuses."""
        # `adb push` prints the error on stdout, and then its speed.
        lines = (answer.stderr + b"\n" + answer.stdout).splitlines()
        output = last_line(b"\n".join(line for line in lines if b"error:" in line))
        output = output or last_line(answer.stderr) or last_line(answer.stdout)
        if self._states().get(self._serial) != "device":
            return self._lost(f"lost while {path.name!r} was copied", answer.stderr)
        if "No space left" in output:
            return DeviceError("its storage is full", where=self.name, found=output,
                               fix="free some space on it")  # fmt: skip
        return DeviceError(what, where=self.name, found=output or str(path))

    def _end_marked(self, mark: str) -> None:
        """Ends on the phone what a command has started; when it is gone, as soon as it is back."""
        command = shlex.join(("sh", "-c", _END_MARKED, "sh", f"EDGESEQ_RUN={mark}"))
        service = ("shell", "-T", "-n") if self._shell_v2 else ("exec-out",)
        answer = CommandOutput(1, b"", b"")
        with contextlib.suppress(DeviceError):
            answer = self._client(*service, f"{command}; echo {mark}", timeout_s=_SHORT_CALL_S)
        if mark.encode() not in answer.stdout:
            self._left_behind.append(mark)


KIND = DeviceKind(
    re.compile(r"adb:(?P<target>[A-Za-z0-9][A-Za-z0-9._:-]*)"),
    "adb:SERIAL",
    lambda address: AdbDevice(address.target),
    "benchmark_model",
)


class _End:
    """Finds the line that ends a command's output: its mark and the exit status."""

    def __init__(self, mark: str, on_line: LineCallback | None) -> None:
        self._mark = mark.encode() + b" "
        self._on_line = on_line
        self.status: int | None = None

    def split(self, stdout: bytes) -> tuple[bytes, int | None]:
        """The command's output and its status; None when the last line is missing."""
        output, mark, rest = stdout.rpartition(self._mark)
        if not mark or not rest.strip().isdigit():
            return stdout, None
        return output, int(rest)

    def pass_on(self, line: bytes) -> None:
        """Passes on a line of the command's output."""
        content, self.status = self.split(line) if self._mark in line else (line, self.status)
        if self._on_line is not None and (content or self._mark not in line):
            self._on_line(content)


def _check_remote(path: PurePosixPath, where: str) -> None:
    if not path.is_absolute() or "\0" in str(path):
        raise InputError(
            "is not a path on a phone", where=where, found=repr(str(path)), expected="/…"
        )
