"""The messages of OpenSSH's client when it cannot connect, and what to do about each."""

from __future__ import annotations

from typing import NamedTuple

from edgeseq.subprocesses.child_process import last_line
from edgeseq_benchmarks.devices.base import DeviceLostError


class _Cause(NamedTuple):
    """`words` are in ssh's message; in `fix`, {ssh} is the command that a person types, {where}
    the host and port as the file of known hosts has them."""

    words: tuple[str, ...]
    what: str
    fix: str
    worth_retrying: bool = False


# The first that fits counts: a changed host key also fails the verification.
_CAUSES = (
    _Cause(
        ("REMOTE HOST IDENTIFICATION HAS CHANGED",),
        "its host key is not the one that this machine knows: another machine answers, or the "
        "board was set up anew",
        "if it was set up anew, remove the old key with `ssh-keygen -R {where}`, then type "
        "`{ssh}` once and compare the new one; else find out who answers",
    ),
    _Cause(
        ("Host key verification failed",),
        "its host key is not known on this machine",
        "type `{ssh}` once, compare the fingerprint with what `ssh-keygen -lf "
        "/etc/ssh/ssh_host_ed25519_key.pub` prints on the board, and answer yes",
    ),
    _Cause(
        ("Permission denied", "Too many authentication failures"),
        "refused this user",
        "bring your key there with `{copy}`, or add it to your agent with `ssh-add` if it has a "
        "passphrase; `{ssh} true` must work without a question",
    ),
    _Cause(
        ("Could not resolve hostname",),
        "the host name is unknown",
        "check the name, or take the board's address",
    ),
    _Cause(
        ("Connection refused",),
        "no ssh server answers there",
        "check the port, and on the board `sudo systemctl enable --now ssh`",
        worth_retrying=True,
    ),
    _Cause(
        ("No route to host", "Network is unreachable", "Host is down"),
        "cannot be reached",
        "check that the board is on and in the same network",
        worth_retrying=True,
    ),
    _Cause(
        ("timed out", "Timeout, server"),
        "does not answer",
        "check the address, and that the board is on and in the same network",
        worth_retrying=True,
    ),
    _Cause(
        ("Bad owner or permissions", "Bad configuration option", "terminating,", "bad permissions"),
        "ssh rejects its configuration",
        "`{ssh}` must work",
    ),
)


def explain(
    stderr: bytes, name: str, ssh: str, timeout_s: float, *, was_connected: bool = False
) -> DeviceLostError:
    """The error of an ssh that could not connect, or whose connection broke.

    `ssh` is what a person types to connect, such as `ssh -p 2222 pi@kitchen`; `stderr` is empty
    when the client was still trying after `timeout_s`.
    """
    message = stderr.decode("utf-8", errors="replace")
    if was_connected:
        return DeviceLostError("the connection was lost", where=name, worth_retrying=True)
    for cause in _CAUSES:
        if any(words in message for words in cause.words):
            fix = cause.fix.format(ssh=ssh, copy=_copy_words(ssh), where=_known_as(ssh))
            return DeviceLostError(
                cause.what,
                where=name,
                found=None if cause.what.startswith("its host key") else last_line(stderr),
                fix=fix,
                worth_retrying=cause.worth_retrying,
            )
    if not message.strip():
        return DeviceLostError(
            f"did not answer within {timeout_s:g} s",
            where=name,
            fix="check the address, and that the board is on and in the same network",
            worth_retrying=True,
        )
    return DeviceLostError(
        "the connection cannot be made",
        where=name,
        found=last_line(stderr),
        fix=f"`{ssh}` must work",
        worth_retrying=True,
    )


def _copy_words(ssh: str) -> str:
    return ssh.replace("ssh", "ssh-copy-id", 1)


def _known_as(ssh: str) -> str:
    """The host as `ssh-keygen -R` takes it: `kitchen`, or `'[kitchen]:2222'` at another port."""
    words = ssh.split()
    host = words[-1].rpartition("@")[2]
    return f"'[{host}]:{words[2]}'" if words[1] == "-p" else host
