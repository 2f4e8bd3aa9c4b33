"""This machine as a device: commands are run here, files are copied."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from edgeseq.errors import DeviceError
from edgeseq.subprocesses.command_runs import (
    CommandOutput,
    CommandTimeoutError,
    LineCallback,
    run_command,
)
from edgeseq_benchmarks.devices.address import DeviceKind
from edgeseq_benchmarks.devices.base import DeviceLostError


class LocalDevice:
    """`local`. It has no connection to lose; a command that takes too long is killed."""

    name = "local"
    emulated = False

    def connect(self, *, timeout_s: float) -> None:
        """Does nothing: this machine is here."""

    def run(
        self,
        command: Sequence[str],
        *,
        timeout_s: float,
        stdin: bytes = b"",
        on_line: LineCallback | None = None,
    ) -> CommandOutput:
        """See `Device.run`; a command that is not there ends with 127, as in a shell."""
        try:
            return run_command(command, timeout_s=timeout_s, stdin=stdin, on_line=on_line)
        except CommandTimeoutError as error:
            raise DeviceLostError(
                f"a command did not end within {timeout_s:g} s",
                where=self.name,
                found=command[0],
            ) from error
        except FileNotFoundError as error:
            return CommandOutput(127, b"", str(error).encode())
        except (PermissionError, OSError) as error:
            return CommandOutput(126, b"", str(error).encode())

    def put(self, source: Path, target: PurePosixPath, *, timeout_s: float) -> None:  # noqa: ARG002
        """Copies a file; a local copy takes the time that it takes."""
        _copy(source, Path(target), where=self.name)

    def get(self, source: PurePosixPath, target: Path, *, timeout_s: float) -> None:  # noqa: ARG002
        """Copies a file; a local copy takes the time that it takes."""
        _copy(Path(source), target, where=self.name)

    def close(self) -> None:
        """Does nothing."""


KIND = DeviceKind(re.compile("local"), "local", lambda _: LocalDevice(), "this process")


def _copy(source: Path, target: Path, *, where: str) -> None:
    draft = target.with_name(f".{target.name}.part")
    try:
        shutil.copyfile(source, draft)
        os.replace(draft, target)  # noqa: PTH105
    except OSError as error:
        raise DeviceError(
            "a file cannot be copied", where=where, found=f"{target}: {error.strerror}"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()
