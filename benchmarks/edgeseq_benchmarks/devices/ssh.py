"""A board over ssh: OpenSSH's own client, so the user's configuration, keys and jump hosts hold.

One connection is made and stays open (a master of OpenSSH's connection sharing, as a child of this
process); every command and file goes through it. Its input stays open for as long as this process
lives, so that it ends with this process, however that ends.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import IO

from edgeseq.errors import DeviceError
from edgeseq.formats.storage import write_bytes
from edgeseq.subprocesses.child_process import DEVNULL, ChildProcess, last_line
from edgeseq.subprocesses.command_runs import (
    CommandOutput,
    CommandTimeoutError,
    LineCallback,
    pause,
    run_command,
)
from edgeseq_benchmarks.devices.address import DeviceAddress, DeviceKind
from edgeseq_benchmarks.devices.base import DeviceLostError
from edgeseq_benchmarks.devices.remote_shell import put_script, shell_line, stream_line
from edgeseq_benchmarks.devices.ssh_errors import explain

# A link that is silent for three of these is dead (ssh_config(5), ServerAliveCountMax).
_ALIVE_INTERVAL_S = 5
_POLL_S = 0.02
_CONTROL_TIMEOUT_S = 10.0
# sun_path is 108 bytes with its end (unix(7)); ssh adds 17 while it makes the socket.
_LONGEST_FOLDER = 80
_PLAIN_PATH = re.compile("[A-Za-z0-9/._-]+")


class SshDevice:
    """A Linux board with an ssh server; what it runs ends there when the connection does."""

    def __init__(
        self,
        host: str,
        *,
        user: str | None = None,
        port: int | None = None,
        name: str | None = None,
        emulated: bool = False,
        config_file: Path | None = None,
        options: Sequence[str] = (),
    ) -> None:
        """`config_file` replaces the user's own; `options` are further `-o` settings, such as
        `UserKnownHostsFile=…`, and go before all others."""
        self._name = name or _address(host, user, port)
        self._emulated = emulated
        self._host = host
        self.configure(user, port, config_file, options)
        # Some accounts print on every login: the output begins after this marker.
        self._marker = secrets.token_hex(8)
        self._folder: Path | None = None
        self._master: ChildProcess | None = None

    def configure(
        self, user: str | None, port: int | None, config_file: Path | None, options: Sequence[str]
    ) -> None:
        """Sets how the next connection logs in."""
        self._login = [] if user is None else ["-l", user]
        self._login += [] if port is None else ["-p", str(port)]
        self._hint = _command_words(self._host, user, port)
        self._settings = [] if config_file is None else ["-F", str(config_file)]
        for option in options:
            self._settings += ["-o", option]

    @classmethod
    def at(cls, address: DeviceAddress) -> SshDevice:
        """The device of an `ssh://` address."""
        return cls(address.target, user=address.user, port=address.port, name=address.text)

    @property
    def name(self) -> str:
        return self._name

    @property
    def emulated(self) -> bool:
        return self._emulated

    def connect(self, *, timeout_s: float) -> None:
        """Makes the connection, anew where there was one before.

        Raises `DeviceLostError` with what to do; only a broken or refused connection is worth
        another try.
        """
        self._hang_up()
        socket = self._new_folder() / "s"
        with tempfile.TemporaryFile() as stderr:
            self._master = self._start_master(socket, timeout_s, stderr)
            deadline = time.monotonic() + timeout_s
            while not socket.exists():
                if self._master.returncode is not None or time.monotonic() > deadline:
                    self._hang_up()
                    stderr.seek(0)
                    raise explain(stderr.read(), self.name, self._hint, timeout_s)
                pause(_POLL_S)

    def _start_master(self, socket: Path, timeout_s: float, stderr: IO[bytes]) -> ChildProcess:
        settings = [
            *(*self._settings, "-o", "BatchMode=yes"),
            *("-o", f"ConnectTimeout={max(1, round(timeout_s))}"),
            *("-o", f"ServerAliveInterval={_ALIVE_INTERVAL_S}", "-o", "ServerAliveCountMax=3"),
            *("-o", "ControlMaster=yes", "-o", f"ControlPath={socket}", "-o", "ControlPersist=no"),
            *("-o", "RemoteCommand=none", "-o", "PermitLocalCommand=no"),
            *("-o", "ClearAllForwardings=yes", "-o", "LogLevel=ERROR", "-T"),
            *self._login,
        ]
        try:
            if self._accepts_any_key():  # of one setting given twice, the first counts
                settings = ["-o", "StrictHostKeyChecking=accept-new", *settings]
            # `cat` ends when its input does, which is when this process does.
            command = ["ssh", *settings, "--", self._host, "exec cat >/dev/null"]
            return ChildProcess(command, stdout=DEVNULL, stderr=stderr, env=_environment())
        except FileNotFoundError as error:
            raise DeviceError(
                "the ssh client is not installed",
                where=self.name,
                fix="install OpenSSH's client, such as `sudo apt install openssh-client`",
            ) from error

    def _accepts_any_key(self) -> bool:
        """Whether the user's configuration accepts a host key that has changed."""
        command = ["ssh", *self._settings, *self._login, "-G", "--", self._host]
        try:
            output = run_command(command, timeout_s=_CONTROL_TIMEOUT_S, env=_environment()).stdout
        except CommandTimeoutError:
            return False
        words = [line.split() for line in output.lower().splitlines()]
        return any(
            word[0] == b"stricthostkeychecking" and word[1] in (b"no", b"off", b"false")
            for word in words
            if len(word) == 2
        )

    def run(
        self,
        command: Sequence[str],
        *,
        timeout_s: float,
        stdin: bytes = b"",
        on_line: LineCallback | None = None,
    ) -> CommandOutput:
        """See `Device.run`. On the board the command belongs to a process group that is killed
        when the connection ends, and after `timeout_s` there."""
        return self._run(command, timeout_s, stdin, len(stdin), on_line=on_line)

    def _run(
        self,
        command: Sequence[str],
        timeout_s: float,
        stdin: bytes | IO[bytes],
        stdin_bytes: int,
        *,
        on_line: LineCallback | None = None,
        output: IO[bytes] | None = None,
    ) -> CommandOutput:
        socket = self._socket()
        line = shell_line(command, stdin_bytes=stdin_bytes, limit_s=timeout_s, marker=self._marker)
        after_marker = _AfterMarker(self._marker.encode(), on_line) if on_line else None
        try:
            finished = run_command(
                self._client_command(socket, line),
                timeout_s=timeout_s,
                stdin=stdin,
                on_line=after_marker,
                output=output,
                keep_stdin_open=True,
                env=_environment(),
            )
        except CommandTimeoutError as error:
            raise DeviceLostError(
                f"did not answer within {timeout_s:g} s",
                where=self.name,
                found=last_line(error.stderr) or f"`{command[0]}` still runs",
                worth_retrying=True,
            ) from error
        # 255 is ssh's own status, but a command may end with it too.
        if finished.returncode == 255 and not self.answers():
            raise explain(finished.stderr, self.name, self._hint, timeout_s, was_connected=True)
        if on_line is not None or output is not None:
            return finished
        _, _, stdout = finished.stdout.partition(self._marker.encode() + b"\n")
        return CommandOutput(finished.returncode, stdout, finished.stderr)

    @property
    def marker(self) -> bytes:
        """See `StreamingDevice.marker`."""
        return self._marker.encode()

    def stream_command(self, command: Sequence[str]) -> list[str]:
        """See `StreamingDevice.stream_command`."""
        return self._client_command(self._socket(), stream_line(command, marker=self._marker))

    def _client_command(self, socket: Path, line: str) -> list[str]:
        """The client that runs a line through the connection."""
        return [
            # Without the master it must not connect by itself, hence the failing proxy.
            *("ssh", *self._settings, "-o", "BatchMode=yes", "-o", "ProxyCommand=false"),
            *("-o", "ControlMaster=no", "-o", f"ControlPath={socket}"),
            *("-o", "RemoteCommand=none", "-o", "LogLevel=ERROR", "-T"),
            *(*self._login, "--", self._host, line),
        ]

    def put(self, source: Path, target: PurePosixPath, *, timeout_s: float) -> None:
        """See `Device.put`: written to a temporary file, and renamed once it is complete."""
        size_bytes = source.stat().st_size
        with source.open("rb") as file:
            command = put_script(target, size_bytes)
            finished = self._run(command, timeout_s, file, size_bytes)
        if finished.returncode:
            raise _file_error(finished, target, self.name)

    def get(self, source: PurePosixPath, target: Path, *, timeout_s: float) -> None:
        """See `Device.get`."""
        with tempfile.TemporaryFile(dir=target.parent) as file:
            # Relative paths that begin with a dash are none of cat's options.
            finished = self._run(["cat", "--", str(source)], timeout_s, b"", 0, output=file)
            if finished.returncode:
                raise _file_error(finished, source, self.name)
            file.seek(0)
            for line in file:
                if line.endswith(self._marker.encode() + b"\n"):
                    break
            write_bytes(target, file.read())

    def close(self) -> None:
        """See `Device.close`."""
        self._hang_up()

    def _socket(self) -> Path:
        if self._folder is None or self._master is None:
            raise DeviceLostError("is not connected", where=self.name, worth_retrying=True)
        return self._folder / "s"

    def answers(self) -> bool:
        """See `StreamingDevice.answers`."""
        if self._master is None or self._master.returncode is not None:
            return False
        command = ["ssh", *self._settings, "-o", f"ControlPath={self._socket()}"]
        try:
            check = run_command(
                [*command, "-O", "check", *self._login, "--", self._host],
                timeout_s=_CONTROL_TIMEOUT_S,
                env=_environment(),
            )
        except CommandTimeoutError:
            return False
        return check.returncode == 0 and self._master.returncode is None

    def _new_folder(self) -> Path:
        """A private folder for the connection's socket, whose path must be short."""
        choice = tempfile.gettempdir()
        # ssh expands % in a socket's path, and takes a blank for its end.
        if len(choice) > _LONGEST_FOLDER or not _PLAIN_PATH.fullmatch(choice):
            choice = "/tmp"  # noqa: S108
        self._folder = Path(tempfile.mkdtemp(prefix="edgeseq-ssh-", dir=choice))
        return self._folder

    def _hang_up(self) -> None:
        master, self._master = self._master, None
        if master is not None:
            master.signal(signal.SIGTERM)
            master.end(_ALIVE_INTERVAL_S)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


KIND = DeviceKind(
    re.compile(
        r"ssh://(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9._-]*)@)?"
        r"(?P<target>[A-Za-z0-9_][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?\])"
        r"(?::(?P<port>[0-9]{1,5}))?/?"
    ),
    "ssh://user@host[:port]",
    SshDevice.at,
)


class _AfterMarker:
    """Passes on the lines that come after the marker's."""

    def __init__(self, marker: bytes, on_line: LineCallback) -> None:
        self._marker = marker
        self._on_line = on_line
        self._begun = False

    def __call__(self, line: bytes) -> None:
        if self._begun:
            self._on_line(line)
        # Noise without a line end comes before the marker.
        self._begun = self._begun or line.endswith(self._marker)


def _file_error(finished: CommandOutput, path: PurePosixPath, name: str) -> DeviceError:
    output = last_line(finished.stderr)
    if "No space left" in output or "Disk quota exceeded" in output:
        return DeviceError(
            "the disk is full", where=name, found=f"no room for {path}", fix="free some space there"
        )
    return DeviceError("a file cannot be copied", where=name, found=output or str(path))


def _address(host: str, user: str | None, port: int | None) -> str:
    bracketed = f"[{host}]" if ":" in host else host
    return f"ssh://{user + '@' if user else ''}{bracketed}{f':{port}' if port else ''}"


def _command_words(host: str, user: str | None, port: int | None) -> str:
    """What a person types to connect to that board: `ssh -p 2222 pi@kitchen`."""
    return f"ssh {f'-p {port} ' if port else ''}{user + '@' if user else ''}{host}"


def _environment() -> dict[str, str]:
    """The user's, with messages in the language that `ssh_errors` reads."""
    return {**os.environ, "LC_ALL": "C"}
