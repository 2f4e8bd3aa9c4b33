"""What is being written is never mistaken for what is finished, and what is there is never lost."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from edgeseq.errors import InputError, OutputError
from edgeseq.formats import replacement
from edgeseq.formats.drafts import is_draft
from edgeseq.formats.storage import new_folder, read_bytes, replace_folder, write_bytes

KILLED_WRITER = """
import os, signal, sys
from pathlib import Path
from edgeseq.formats import replacement
from edgeseq.formats.storage import new_folder, write_bytes
out, moment = Path(sys.argv[1]), sys.argv[2]
die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
if moment == "moved aside":
    replacement.exchange = lambda *_: False
    rename = Path.rename
    Path.rename = lambda self, target: (rename(self, target), die())
if moment == "exchanged":
    exchange = replacement.exchange
    replacement.exchange = lambda *names: (exchange(*names), die())
with new_folder(out, overwrite=True) as draft:
    write_bytes(draft / "content", b"new")
    if moment == "half written":
        die()
"""


def _drafts(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def _killed(out: Path, moment: str) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED_WRITER, str(out), moment], check=False)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize("moment", ["half written", "exchanged", "moved aside"])
def test_a_kill_leaves_the_old_or_the_new_folder_and_the_next_write_removes_the_draft(
    tmp_path: Path, moment: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "content").write_bytes(b"old")
    _killed(out, moment)
    assert _drafts(tmp_path)
    write_bytes(tmp_path / "other", b"")
    assert (out / "content").read_bytes() == (b"new" if moment == "exchanged" else b"old")
    assert not _drafts(tmp_path)


def test_the_draft_of_a_process_that_nobody_waited_for_is_removed(tmp_path: Path) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", KILLED_WRITER, tmp_path / "out", "half written"]
    )
    os.waitid(os.P_PID, writer.pid, os.WEXITED | os.WNOWAIT)
    assert _drafts(tmp_path)
    write_bytes(tmp_path / "other", b"")
    assert not _drafts(tmp_path)
    writer.wait()


def test_a_draft_is_removed_although_its_removal_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rmtree = shutil.rmtree

    def interrupted(path: Path, **options: Any) -> None:
        monkeypatch.setattr("shutil.rmtree", rmtree)
        raise KeyboardInterrupt

    monkeypatch.setattr("shutil.rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "out"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_another_hosts_draft_is_removed_after_a_week_of_the_file_systems_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh, old = (tmp_path / f".edgeseq-{'0' * 8}-{'0' * 8}-1-1-0000000{n}" for n in range(2))
    now_s = time.time()
    for folder, age_days in ((fresh, 6), (old, 8)):
        folder.mkdir()
        os.utime(folder, (now_s, now_s - age_days * 24 * 3600))
    year_s = 365 * 24 * 3600
    monkeypatch.setattr("time.time", lambda: now_s + year_s)
    write_bytes(tmp_path / "other", b"")
    assert _drafts(tmp_path) == [fresh.name]


def test_the_draft_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    code = KILLED_WRITER.replace("die()", "(print('begun', flush=True), sys.stdin.read())")
    command = [sys.executable, "-c", code, str(tmp_path / "out"), "half written"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as writer:  # type: ignore[call-overload]
        assert writer.stdout.readline()
        write_bytes(tmp_path / "other", b"")
        assert len(_drafts(tmp_path)) == 1
        writer.communicate(b"")
    assert writer.returncode == 0
    assert (tmp_path / "out" / "content").read_bytes() == b"new"
    assert not _drafts(tmp_path)


@pytest.mark.parametrize("has_exchange", [True, False])
def test_a_folder_is_replaced(
    tmp_path: Path, has_exchange: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_exchange:
        monkeypatch.setattr(replacement, "exchange", lambda *_: False)
    out, finished = tmp_path / "out", tmp_path / "finished"
    for folder in (out, finished):
        folder.mkdir()
        (folder / folder.name).touch()
    replace_folder(finished, out)
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "finished"]


def test_the_kernel_exchanges_two_names(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    if replacement.exchange(tmp_path / "a", tmp_path / "b"):
        assert (tmp_path / "a").read_text() == "b"
        assert (tmp_path / "b").read_text() == "a"


def test_a_rename_that_fails_puts_the_old_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replacement, "exchange", lambda *_: False)
    out = tmp_path / "out"
    out.mkdir()
    (out / "content").write_bytes(b"old")
    rename = Path.rename

    def fail_once(path: Path, target: Path) -> Path:
        if target == out and not path.parent.name.endswith(".old"):
            raise OSError(5, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail_once)
    with pytest.raises(OutputError, match="Input/output error"), new_folder(out, overwrite=True):
        pass
    assert (out / "content").read_bytes() == b"old"
    assert not _drafts(tmp_path)


def test_a_folder_of_the_users_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "one.txt").write_text("dear")
    with (
        pytest.raises(OutputError, match="did not write it"),
        new_folder(tmp_path / "letters", overwrite=True, marker="model.json"),
    ):
        pytest.fail("was not refused")
    assert (tmp_path / "letters" / "one.txt").read_text() == "dear"


def test_names_of_255_bytes_are_written(tmp_path: Path) -> None:
    write_bytes(tmp_path / ("n" * 255), b"content")
    with pytest.raises(OutputError, match="File name too long"):
        write_bytes(tmp_path / ("n" * 256), b"content")


def test_a_pipe_is_neither_read_nor_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(InputError, match="found a pipe"):
        read_bytes(pipe)
    with pytest.raises(OutputError, match="found a pipe"):
        write_bytes(pipe, b"")
    with pytest.raises(InputError, match="found a device"):
        read_bytes(Path("/dev/zero"))


@pytest.mark.parametrize("path", ["n" * 256, "nul\0"])
def test_a_path_that_the_system_does_not_take_is_an_error_line(tmp_path: Path, path: str) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_bytes(tmp_path / path)
    with pytest.raises(OutputError, match="cannot be written"):
        write_bytes(tmp_path / path, b"")


def test_sigterm_removes_the_draft_of_a_step(tmp_path: Path) -> None:
    code = f"""
import time
from pathlib import Path
from edgeseq.formats.storage import new_folder
from edgeseq.subprocesses.job_processes import JobChannel
JobChannel()
with new_folder(Path({str(tmp_path / "out")!r})):
    print("begun", file=__import__("sys").stderr, flush=True)
    time.sleep(60)
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as step:  # type: ignore[call-overload]
        step.stdin.write(b'{"name": "", "arguments": {}}\n')
        step.stdin.flush()
        assert step.stderr.readline() == b"begun\n"
        assert any(is_draft(path.name) for path in tmp_path.iterdir())
        step.send_signal(signal.SIGTERM)
        _, errors = step.communicate()
    assert b"Error" not in errors, errors.decode()
    assert not list(tmp_path.iterdir())
