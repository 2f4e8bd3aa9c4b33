"""The folder of a run on a board: prepare, unpack, start, stop, by the board's Python alone.

The workstation sends this file over the connection (`python3 - VERB …`), so it needs nothing but
the standard library of Python 3.7; older ones fail at its first line. Each verb prints one JSON
object. A run's folder there:

    BASE/edgeseq-UID/KEY/        private; KEY is a hash of everything that was sent
        archive.tar.gz           until it is unpacked
        tree/                    the code (`edgeseq`, …), `bundles/0/`, …, `request.json`
        pid, owner, alive        the measuring process; who follows it; the last sign of life
        log.jsonl, result.json   its progress, and in the end its result
        checkpoint.json          the result so far
        output                   what the process printed
        spare                    room for the last line on a full disk
"""

from __future__ import annotations

import sys

# The working folder is the user's own; a `json.py` in it is none of the standard library.
sys.path[:] = [path for path in sys.path if path]

import contextlib  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import re  # noqa: E402
import shutil  # noqa: E402
import signal  # noqa: E402
import stat  # noqa: E402
import subprocess  # noqa: E402
import tarfile  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402

MEMORY_FILE_SYSTEMS = ("tmpfs", "ramfs", "rootfs", "devtmpfs")
# A run ends its children and its control groups within this when it is asked to.
END_S = 15.0
# A new folder without a process may still be receiving its content.
SENDING_S = 30.0
SPARE_BYTES = 65536
KEY = re.compile("[0-9a-f]{24}")


def prepare(key: str, owner: str, needed_bytes: str, base_dir: str = "") -> dict[str, object]:
    """The folder for the run, created if it is missing, and what is in it.

    An abandoned run is removed; one that is still measuring is named in `busy` (0: it is being
    sent). Without a `folder` in the answer there is no room for one.
    """
    if not KEY.fullmatch(key):
        raise OSError("is not the key of a run")
    choices = [Path(base_dir)] if base_dir else _choices()
    for base in choices:
        if os.path.lexists(_user_folder(base) / key):
            _check_private(_user_folder(base))
            return _state(_user_folder(base) / key, owner)
    busy = [pid for base in choices for pid in _clear(base)]
    if busy:
        return {"busy": busy}
    free = {base: shutil.disk_usage(base).free for base in choices}
    roomy = [base for base in choices if free[base] >= int(needed_bytes)]
    if not roomy:
        best = max(free, key=lambda base: free[base], default=Path())
        return {"free_bytes": free.get(best, 0), "base": str(best)}
    # On a disk where there is one: pages of a memory file system are memory themselves.
    user_folder = _user_folder(min(roomy, key=_in_memory))
    with contextlib.suppress(FileExistsError):
        user_folder.mkdir(0o700)
    _check_private(user_folder)
    (user_folder / key).mkdir(0o700)
    return _state(user_folder / key, owner)


def _choices() -> list[Path]:
    """Existing folders that this user may write to."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    choices = [cache, Path("/var/tmp"), Path.home(), Path("/tmp")]  # noqa: S108
    return [path for path in choices if path.is_dir() and os.access(path, os.W_OK | os.X_OK)]


def _user_folder(base: Path) -> Path:
    return base / f"edgeseq-{os.getuid()}"


def _check_private(folder: Path) -> None:
    """Where others may write, there may be a folder of another user, or a link."""
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise OSError(f"{folder} is not a private folder of this user")


def _in_memory(path: Path) -> bool:
    best, kind = "", ""
    real = os.path.realpath(path)
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        fields = line.split()
        point = fields[1].replace("\\040", " ")
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, fields[2]
    return kind in MEMORY_FILE_SYSTEMS


def _clear(base: Path) -> list[int]:
    """Removes abandoned runs below `base`; returns the processes of those that still measure."""
    user_folder = _user_folder(base)
    if not user_folder.is_dir() or user_folder.is_symlink():
        return []
    _check_private(user_folder)
    busy = []
    for folder in list(user_folder.iterdir()):
        pid = _running(folder)
        if pid:
            busy.append(pid)
        elif _touched_ago_s(folder) < SENDING_S:
            busy.append(0)
        elif KEY.fullmatch(folder.name):
            remove(folder)
    return busy


def _check_is_run(folder: Path) -> None:
    """Whatever is removed here is a run's folder by its whole path, and private."""
    is_plain = folder.is_absolute() and ".." not in folder.parts
    is_below = folder.parent == _user_folder(folder.parent.parent)
    if not (is_plain and is_below and KEY.fullmatch(folder.name)):
        raise OSError(f"{folder} is not the folder of a run")
    if os.path.lexists(str(folder)):
        _check_private(folder.parent)
        _check_private(folder)


def _touched_ago_s(folder: Path) -> float:
    try:
        return abs(time.time() - (folder / "alive").stat().st_mtime)
    except OSError:
        return float("inf")


def _state(folder: Path, owner: str) -> dict[str, object]:
    """Takes the run over; returns what is in its folder."""
    (folder / "owner").write_text(owner, encoding="ascii")
    (folder / "alive").touch()
    return {
        "folder": str(folder),
        "unpacked": (folder / "tree").is_dir(),
        "finished": (folder / "result.json").exists(),
    }


def _running(folder: Path) -> int | None:
    """The process that measures in `folder`, None when there is none (any more)."""
    try:
        pid = int((folder / "pid").read_text(encoding="ascii"))
        # A number may have been given to another process since.
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        return pid if os.fsencode(str(folder)) in command else None
    except (OSError, ValueError):
        return None


def _ended(pid: int) -> bool:
    """Whether a process has ended (a zombie has)."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True
    return words.rpartition(")")[2].split()[:1] == ["Z"]


def unpack(path: str) -> dict[str, object]:
    """Unpacks the archive to `tree`, whole or not at all, and removes it."""
    folder = Path(path)
    draft = folder / "draft"
    shutil.rmtree(str(draft), ignore_errors=True)
    with tarfile.open(str(folder / "archive.tar.gz")) as tar:
        if hasattr(tarfile, "data_filter"):
            tar.extractall(str(draft), filter="data")
        else:  # before Python 3.12 and the security releases of 3.8 to 3.11
            tar.extractall(str(draft), members=_plain_members(tar))  # noqa: S202 - checked
    draft.rename(folder / "tree")
    (folder / "archive.tar.gz").unlink()
    return {}


def _plain_members(tar: tarfile.TarFile) -> list[tarfile.TarInfo]:
    """The members of an archive, files and folders below its root; raises for any other."""
    members = tar.getmembers()
    for member in members:
        parts = member.name.split("/")
        if not (member.isreg() or member.isdir()) or member.name.startswith("/") or ".." in parts:
            raise tarfile.TarError(f"{member.name[:100]} is not a plain file")
        member.mode = 0o755 if member.isdir() else 0o644
    return members


def start(path: str) -> dict[str, object]:
    """Starts the measuring process, of which no connection is the parent."""
    folder = Path(path)
    if _running(folder):
        return {}
    tree = folder / "tree"
    for name in ("log.jsonl", "result.json", "checkpoint.json"):
        with contextlib.suppress(FileNotFoundError):
            (folder / name).unlink()
    (folder / "tmp").mkdir(exist_ok=True)
    (folder / "spare").write_bytes(b"\0" * SPARE_BYTES)
    (folder / "log.jsonl").touch()
    environment = dict(os.environ, TMPDIR=str(folder / "tmp"))
    before = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = str(tree) + (os.pathsep + before if before else "")
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "edgeseq_benchmarks.devices.remote.agent", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=str(tree),
            env=environment,
            start_new_session=True,
        )
    (folder / "pid").write_text(str(process.pid), encoding="ascii")
    # It outlives this process, which is not to warn about that.
    process.returncode = 0
    return {"pid": process.pid}


def stop(path: str, owner: str) -> dict[str, object]:
    """Ends the measuring process and removes everything that was sent.

    A run that another workstation has taken over is left alone.
    """
    folder = Path(path)
    _check_is_run(folder)
    with contextlib.suppress(FileNotFoundError):
        if (folder / "owner").read_text(encoding="ascii") != owner:
            return {"removed": False}
    pid = _running(folder)
    if pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + END_S
        while not _ended(pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        if not _ended(pid):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
    remove(folder)
    return {"removed": not folder.exists()}


def remove(folder: Path) -> None:
    """Removes a run's folder, and the one above it if that was the last.

    Raises `OSError`, and removes nothing, for what cannot be a folder that `prepare` created.
    """
    _check_is_run(folder)
    shutil.rmtree(str(folder), ignore_errors=True)
    with contextlib.suppress(OSError):
        folder.parent.rmdir()


VERBS = {"prepare": prepare, "unpack": unpack, "start": start, "stop": stop}


def main() -> None:
    """Runs the verb of the command line; an error of the system is an answer too."""
    try:
        answer = VERBS[sys.argv[1]](*sys.argv[2:])  # type: ignore[operator]
    except OSError as error:
        answer = {"error": error.strerror or str(error), "errno": error.errno or 0}
        if error.filename:
            answer["file"] = str(error.filename)
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
