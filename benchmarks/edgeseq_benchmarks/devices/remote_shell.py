"""The one line that a board's login shell gets for a command, whatever the command holds.

sshd hands a line to the account's login shell, which may be any. So the line holds nothing that
shells read differently: `/bin/sh` with a fixed script, and the command as letters, digits and
octal escapes (`printf %b`, POSIX), which that script decodes and evaluates. What it evaluates is
quoted by `shlex` for a POSIX shell.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import PurePosixPath

from edgeseq.errors import InputError

# One argument may have 128 KiB on Linux (MAX_ARG_STRLEN, execve(2)).
LONGEST_LINE = 100_000
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 _./:,@%+=-")
# What the board's own clock adds to a limit, so that this machine's is the one that counts.
_SLACK_S = 5

# The command runs in the foreground of the session's process group. Beside it waits a reader of
# what is left of the input: it ends when the connection or the command does, or the time is over,
# and kills the group. (sshd makes a session and a group for every command; the reader holds
# neither stdout nor stderr, so the session ends with the command.)
_SCRIPT = """\
exec 3<&0
printf '%s\\n' {marker}
{{ {{ {feed}
exec >/dev/null 2>&1
if command -v timeout; then timeout {limit_s} cat; else cat; fi
kill -s KILL 0; }} <&3 3<&- & }} | exec {command} 3<&-
"""
# A program that reads the connection itself: it sees the end of its input when that is lost.
_STREAM_SCRIPT = """\
printf '%s\\n' {marker}
exec {command}
"""
_PUT = """\
LC_ALL=C; export LC_ALL; umask 077
if cat >"$1.part" && [ "$(wc -c <"$1.part")" -eq "$2" ] && mv -f -- "$1.part" "$1"; then exit 0; fi
rm -f -- "$1.part"; exit 1
"""


def shell_line(command: Sequence[str], *, stdin_bytes: int, limit_s: float, marker: str) -> str:
    """The line that runs `command` with the first `stdin_bytes` bytes of the input as its own.

    It prints `marker` on a separate line first. The command is killed when the input ends
    (after those bytes it must stay open) and after `limit_s`. Raises `InputError` for a command
    that cannot be one.
    """
    _check_command(command)
    script = _SCRIPT.format(
        marker=shlex.quote(marker),
        feed=f"head -c {stdin_bytes}" if stdin_bytes else ":",
        limit_s=round(limit_s) + _SLACK_S,
        command=shlex.join(command),
    )
    return _encoded_line(script)


def stream_line(command: Sequence[str], *, marker: str) -> str:
    """The line that runs `command` with the whole input as its own, after `marker` on a line.

    What it runs must end by itself when its input does. Raises `InputError` for a command that
    cannot be one.
    """
    _check_command(command)
    return _encoded_line(
        _STREAM_SCRIPT.format(marker=shlex.quote(marker), command=shlex.join(command))
    )


def _check_command(command: Sequence[str]) -> None:
    if not command or not command[0] or command[0].startswith("-"):
        raise InputError("is not a command", found=repr(list(command)[:1]))
    if any("\0" in word for word in command):
        raise InputError("may not hold a NUL", found=repr(next(w for w in command if "\0" in w)))


def _encoded_line(script: str) -> str:
    """The line for any login shell that evaluates `script` in `/bin/sh`."""
    encoded = "".join(
        chr(byte) if byte in _PLAIN else f"\\0{byte:03o}" for byte in os.fsencode(script)
    )
    line = f"""exec /bin/sh -c 'eval "$(printf %b "$1")"' edgeseq '{encoded}'"""
    if len(line) > LONGEST_LINE:
        raise InputError("is too long for a command", found=f"{len(line)} bytes")
    return line


def put_script(target: PurePosixPath, size_bytes: int) -> list[str]:
    """The command that writes its input to `target`, whole or not at all."""
    return ["sh", "-c", _PUT, "sh", str(target), str(size_bytes)]
