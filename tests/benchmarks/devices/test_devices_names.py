"""What a device may be called, and the devices that need no network."""

from __future__ import annotations

import time
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeseq.errors import DeviceError, InputError
from edgeseq.formats.devices import DeviceEntry, add_device
from edgeseq.subprocesses.command_runs import CommandOutput
from edgeseq_benchmarks.devices.base import DeviceLostError
from edgeseq_benchmarks.devices.local import LocalDevice
from edgeseq_benchmarks.devices.registry import open_device, parse_address, resolve_device

from .fake_device import FakeDevice


@pytest.mark.parametrize(
    ("text", "user", "host", "port"),
    [
        ("ssh://pi@kitchen.local", "pi", "kitchen.local", None),
        ("ssh://kitchen", None, "kitchen", None),
        ("ssh://pi@192.168.1.20:2222", "pi", "192.168.1.20", 2222),
        ("ssh://pi@[fe80::1%eth0]:22", "pi", "fe80::1%eth0", 22),
        ("ssh://kitchen/", None, "kitchen", None),
    ],
)
def test_ssh_names(text: str, user: str | None, host: str, port: int | None) -> None:
    parsed = parse_address(text)
    assert (parsed.kind, parsed.user, parsed.target, parsed.port) == ("ssh", user, host, port)
    assert parsed.text == text.rstrip("/")
    assert open_device(parsed).name == parsed.text


def test_other_kinds_of_names() -> None:
    assert parse_address("local").kind == "local"
    assert parse_address("adb:192.168.1.5:5555").target == "192.168.1.5:5555"
    assert parse_address("adb:emulator-5554").target == "emulator-5554"
    assert parse_address("emulated:pi4").target == "pi4"
    assert isinstance(open_device(parse_address("local")), LocalDevice)


HOSTILE = (
    "",
    "-oProxyCommand=touch x",
    "ssh://-oProxyCommand=x",
    "ssh://-l@host",
    "ssh://pi@host:0",
    "ssh://pi@host:70000",
    "ssh://pi@host:22;reboot",
    "ssh://pi@ho st",
    "ssh://pi@host\n",
    "ssh://pi@$(reboot)",
    "ssh://pi@`reboot`",
    "ssh://pi'@host",
    'ssh://"pi"@host',
    "ssh://pi@host/path",
    "ssh://",
    "adb:",
    "adb:-s",
    "adb:x;y",
    "emulated:",
    "emulated:../x",
    "kit chen",
    "kitchen\x00",
    "ssh://" + "a" * 400,
)


@pytest.mark.parametrize("text", HOSTILE)
def test_other_names_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(InputError, match="is not a device") as caught:
        resolve_device(text)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=30))
def test_no_name_holds_what_a_program_could_take_for_something_else(text: str) -> None:
    for start in ("", "ssh://", "adb:", "emulated:"):
        try:
            parsed = parse_address(start + text)
        except InputError:
            continue
        for part in (parsed.user, parsed.target):
            assert part is None or not part.startswith("-")
            assert part is None or not set(part) & set(" \t\n\r\0'\"\\;$`()<>|&*?#!{}")


def test_a_kept_name_stands_for_its_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    add_device("kitchen", DeviceEntry("ssh://pi@kitchen.local", python="~/env/bin/python"))
    parsed = resolve_device("kitchen")
    assert parsed.text == "ssh://pi@kitchen.local"
    assert parsed.python == "~/env/bin/python"
    with pytest.raises(InputError, match="kitchen") as caught:
        resolve_device("cellar")
    assert "edgeseq device add" in str(caught.value)
    add_device("garden", DeviceEntry("http://garden"))
    with pytest.raises(InputError, match="device 'garden': is not a device"):
        resolve_device("garden")


def test_this_machine_runs_commands_as_they_are(tmp_path: Path) -> None:
    device = LocalDevice()
    device.connect(timeout_s=5)
    said = device.run(["printf", "%s|", "a b", "$(x)", "-n", "'"], timeout_s=10)
    assert said == CommandOutput(0, b"a b|$(x)|-n|'|", b"")
    assert device.run(["cat"], timeout_s=10, stdin=b"x" * 300_000).stdout == b"x" * 300_000
    lines: list[bytes] = []
    device.run(["printf", "one\ntwo\nthree"], timeout_s=10, on_line=lines.append)
    assert lines == [b"one", b"two", b"three"]
    assert device.run(["/nowhere/at/all"], timeout_s=10).returncode == 127
    assert device.run([str(tmp_path)], timeout_s=10).returncode == 126
    (tmp_path / "a b").write_bytes(b"content")
    device.put(tmp_path / "a b", PurePosixPath(tmp_path / "-c"), timeout_s=10)
    device.get(PurePosixPath(tmp_path / "-c"), tmp_path / "d", timeout_s=10)
    assert (tmp_path / "d").read_bytes() == b"content"
    with pytest.raises(DeviceError, match="cannot be copied"):
        device.get(PurePosixPath(tmp_path / "nothing"), tmp_path / "e", timeout_s=10)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["-c", "a b", "d"]
    device.close()


def test_a_command_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    script = f"sh -c 'echo $$ > {tmp_path}/pid; exec sleep 60' & wait"
    with pytest.raises(DeviceLostError, match="did not end within 1 s"):
        LocalDevice().run(["sh", "-c", script], timeout_s=1)
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 10
    while _alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(pid)


def _alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has collected yet does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_the_fake_answers_and_fails_as_told(tmp_path: Path) -> None:
    device = FakeDevice(
        {
            "echo": CommandOutput(0, b"one\ntwo\n", b""),
            "echo loud": lambda command, stdin: CommandOutput(
                3, " ".join(command).encode() + stdin, b""
            ),
        },
        lost_at=(3, 4),
        hangs_at=(6,),
        room_bytes=10,
    )
    with pytest.raises(DeviceLostError):
        device.run(["echo"], timeout_s=1)  # 1: nobody has connected
    device.connect(timeout_s=1)  # 2
    for _ in range(2):
        with pytest.raises(DeviceLostError) as caught:
            device.connect(timeout_s=1)  # 3, 4
        assert caught.value.worth_retrying
        assert caught.value.exit_code == 4
    device.connect(timeout_s=1)  # 5
    with pytest.raises(DeviceLostError, match="did not answer within 7 s"):
        device.run(["echo"], timeout_s=7)  # 6
    assert device.run(["echo", "loud"], timeout_s=1, stdin=b"!").stdout == b"echo loud!"
    lines: list[bytes] = []
    assert device.run(["echo"], timeout_s=1, on_line=lines.append).stdout == b""
    assert lines == [b"one", b"two"]
    assert device.run(["other"], timeout_s=1).returncode == 127
    (tmp_path / "large").write_bytes(b"x" * 11)
    (tmp_path / "small").write_bytes(b"x" * 9)
    device.put(tmp_path / "small", PurePosixPath("/there"), timeout_s=1)
    with pytest.raises(DeviceError, match="disk is full"):
        device.put(tmp_path / "large", PurePosixPath("/also"), timeout_s=1)
    device.get(PurePosixPath("/there"), tmp_path / "back", timeout_s=1)
    assert (tmp_path / "back").read_bytes() == b"x" * 9
    device.close()
    device.close()
