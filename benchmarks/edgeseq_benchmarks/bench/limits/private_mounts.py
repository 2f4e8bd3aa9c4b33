"""A process that sees private copies in place of some files: a mount namespace of its own.

A library that other programs have mapped stays in the page cache, so a limit on a new process would
not count its pages, and what is measured would depend on what else runs. With the right to mount
(mount_namespaces(7)), the process gets copies at the same paths.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence

_UNSHARE = ("unshare", "--mount", "--propagation", "private")
# A copy that cannot be mounted leaves the file itself, which is counted as shared.
_SCRIPT = 'while [ "$1" != -- ]; do mount -o bind "$1" "$2"; shift 2; done; shift; exec "$@"'
_TIMEOUT_S = 10.0


@functools.cache
def can_mount() -> bool:
    """Whether this user may mount a file over another one, in a namespace."""
    if shutil.which("unshare") is None or shutil.which("mount") is None:
        return False
    script = 'mount -o bind "$1" "$1"'
    command = [*_UNSHARE, "/bin/sh", "-c", script, "sh", sys.executable]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def with_mounts(copies: Iterable[tuple[str, str]], command: Sequence[str]) -> list[str]:
    """The command that starts `command` where each (copy, original) shows the copy.

    The shell's script is a constant; the parts come as arguments. The process keeps its id.
    """
    pairs = [path for pair in copies for path in pair]
    if not pairs:
        return list(command)
    return [*_UNSHARE, "/bin/sh", "-c", _SCRIPT, "sh", *pairs, "--", *command]
