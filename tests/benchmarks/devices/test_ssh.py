"""A board over ssh: a real sshd on loopback; connections, commands, files, and what goes wrong."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from edgeseq.errors import DeviceError, InputError
from edgeseq.subprocesses.command_runs import run_command
from edgeseq_benchmarks.devices.base import DeviceLostError
from edgeseq_benchmarks.devices.remote_shell import shell_line
from edgeseq_benchmarks.devices.ssh import SshDevice

from .ssh_server import Sshd, free_port, make_key, missing, naming, wait_until

pytestmark = pytest.mark.sshd
AWKWARD = ("a b", "it's", '"', ";id", "$(id)", "`id`", "-n", "\n", "a\nb\n", "*", "\\0101", "", "é")


@pytest.fixture
def device(sshd: Sshd) -> Iterator[SshDevice]:
    found = sshd.device()
    found.connect(timeout_s=10)
    yield found
    found.close()


def test_commands_files_and_input_arrive_as_they_are(device: SshDevice, tmp_path: Path) -> None:
    said = device.run(["printf", "%s|", *AWKWARD], timeout_s=20)
    assert said.stdout == "".join(f"{word}|" for word in AWKWARD).encode()
    content = bytes(range(256)) * 4000
    assert device.run(["cat"], timeout_s=20, stdin=content).stdout == content
    assert device.run(["sh", "-c", "exit 255"], timeout_s=20).returncode == 255
    assert device.run(["nothing-of-that-name"], timeout_s=20).returncode == 127
    assert device.run(["A=b"], timeout_s=20).returncode == 127
    lines: list[bytes] = []
    said = device.run(["printf", "one\ntwo\nthree"], timeout_s=20, on_line=lines.append)
    assert (lines, said.stdout) == ([b"one", b"two", b"three"], b"")
    (tmp_path / "source").write_bytes(content)
    for number, name in enumerate(("-x y;'$(id)\nz\"", "plain")):
        there = tmp_path / "there" / name
        there.parent.mkdir(exist_ok=True)
        device.put(tmp_path / "source", PurePosixPath(there), timeout_s=20)
        device.get(PurePosixPath(there), tmp_path / str(number), timeout_s=20)
        assert (tmp_path / str(number)).read_bytes() == there.read_bytes() == content
    assert len(list((tmp_path / "there").iterdir())) == 2
    with pytest.raises(DeviceError, match="No such file"):
        device.get(PurePosixPath("/nowhere/at all"), tmp_path / "none", timeout_s=20)
    assert not (tmp_path / "none").exists()
    for command in ([], [""], ["-x"], ["a\0b"], ["echo", "x" * 200_000]):
        with pytest.raises(InputError):
            device.run(command, timeout_s=20)


words = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(words, max_size=4), st.binary(max_size=50))
@example(list(AWKWARD), b"x")
@example(["'; touch /tmp/never; '", "$(touch /tmp/never)", "\n-rf\n"], b"\0\n")
def test_no_word_is_run_by_any_shell(arguments: list[str], stdin: bytes) -> None:
    line = shell_line(
        ["printf", "%s\\0", "begin", *arguments], stdin_bytes=len(stdin), limit_s=9, marker="here"
    )
    for shell in ("sh", "bash"):
        said = run_command(
            [shell, "-c", line], timeout_s=20, stdin=stdin, keep_stdin_open=True
        ).stdout
        begin, *rest = said.removeprefix(b"here\n").split(b"\0")[:-1]
        assert begin == b"begin"
        assert [word.decode() for word in rest] == arguments


def test_a_noisy_login_is_not_part_of_an_answer(tmp_path: Path) -> None:
    if reason := missing():
        pytest.skip(reason)
    noisy = tmp_path / "noisy"
    noisy.write_text(
        '#!/bin/sh\necho "Welcome!"\nprintf "no end of line"\neval "$SSH_ORIGINAL_COMMAND"\n'
    )
    noisy.chmod(0o755)
    server = Sshd(tmp_path / "sshd", f"ForceCommand {noisy}")
    device = server.device()
    try:
        device.connect(timeout_s=10)
        assert device.run(["echo", "answer"], timeout_s=20).stdout == b"answer\n"
        lines: list[bytes] = []
        device.run(["echo", "line"], timeout_s=20, on_line=lines.append)
        assert lines == [b"line"]
        (tmp_path / "there").write_bytes(b"content")
        device.get(PurePosixPath(tmp_path / "there"), tmp_path / "here", timeout_s=20)
        assert (tmp_path / "here").read_bytes() == b"content"
    finally:
        device.close()
        server.stop()


def test_a_hanging_command_ends_in_time_and_is_killed_there(
    device: SshDevice, tmp_path: Path
) -> None:
    script = f"trap '' TERM HUP; : {tmp_path}; sleep 100 & sleep 100"
    with pytest.raises(DeviceLostError, match="did not answer within 1 s") as caught:
        device.run(["sh", "-c", script], timeout_s=1)
    assert caught.value.exit_code == 4
    assert wait_until(lambda: not naming(str(tmp_path)))
    assert device.run(["echo", "still here"], timeout_s=20).stdout == b"still here\n"


def test_a_command_does_not_outlive_its_connection(
    sshd: Sshd, device: SshDevice, tmp_path: Path
) -> None:
    threading.Timer(0.5, sshd.drop).start()
    with pytest.raises(DeviceLostError, match="connection was lost") as caught:
        device.run(["sh", "-c", f": {tmp_path}; sleep 100; true"], timeout_s=20)
    assert caught.value.worth_retrying
    assert wait_until(lambda: not naming(str(tmp_path)))
    with pytest.raises(DeviceLostError):
        device.run(["true"], timeout_s=20)
    device.connect(timeout_s=10)
    assert device.run(["true"], timeout_s=20).returncode == 0


def test_a_full_disk_leaves_nothing_half_written(
    device: SshDevice, small_disk: Path, tmp_path: Path
) -> None:
    (tmp_path / "large").write_bytes(b"x" * 3_000_000)
    with pytest.raises(DeviceError, match="the disk is full"):
        device.put(tmp_path / "large", PurePosixPath(small_disk / "there"), timeout_s=20)
    assert not list(small_disk.iterdir())


def _refused(device: SshDevice) -> DeviceLostError:
    with pytest.raises(DeviceLostError) as caught:
        device.connect(timeout_s=2)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 4
    device.close()
    return caught.value


def test_who_cannot_come_in_is_told_what_to_do(sshd: Sshd, tmp_path: Path) -> None:
    known = (sshd.folder / "known").read_text()
    try:
        sshd.know("")
        error = _refused(sshd.device())
        assert "host key is not known" in str(error)
        assert f"`ssh -p {sshd.port} root@127.0.0.1`" in str(error)
        sshd.know(make_key(tmp_path / "other").with_suffix(".pub").read_text())
        error = _refused(sshd.device())
        assert "not the one that this machine knows" in str(error)
        assert f"ssh-keygen -R '[127.0.0.1]:{sshd.port}'" in str(error)
        assert not error.worth_retrying
        # Not even where the user's configuration would go on.
        careless = sshd.device(options=("StrictHostKeyChecking=no",))
        assert "not the one that this machine knows" in str(_refused(careless))
    finally:
        (sshd.folder / "known").write_text(known)
    (tmp_path / "config").write_text(
        f"Host *\n IdentityFile {tmp_path}/other\n IdentitiesOnly yes\n"
        f" UserKnownHostsFile {sshd.folder}/known\n"
    )
    stranger = sshd.device(config_file=tmp_path / "config")
    error = _refused(stranger)
    assert "refused this user" in str(error)
    assert f"`ssh-copy-id -p {sshd.port} root@127.0.0.1`" in str(error)
    assert "no ssh server answers" in str(_refused(sshd.device(port=free_port())))
    assert "the host name is unknown" in str(_refused(SshDevice("no-such-host.invalid")))


def test_a_board_that_says_nothing_is_given_up(sshd: Sshd) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        begun = time.monotonic()
        error = _refused(sshd.device(port=silent.getsockname()[1]))
        assert "answer" in str(error)
        assert error.worth_retrying
        assert time.monotonic() - begun < 60


def test_the_connection_ends_with_its_process(sshd: Sshd, tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; "
        "from edgeseq_benchmarks.devices.ssh import SshDevice; "
        f"d = SshDevice('127.0.0.1', user='root', port={sshd.port}, "
        f"config_file=Path({str(sshd.config)!r})); d.connect(timeout_s=10); "
        "print('there', flush=True); "
        f"d.run(['sh', '-c', ': {tmp_path}; sleep 100; true'], timeout_s=100)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        assert wait_until(lambda: len(naming(f"{tmp_path}; sleep")) > 1)
        process.kill()
    assert wait_until(lambda: not naming(f"{tmp_path}; sleep"))
