"""`edgeseq device` and `edgeseq doctor` as installed, and the file of devices behind them."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeseq.errors import InputError
from edgeseq.formats.devices import (
    DeviceEntry,
    add_device,
    devices_path,
    read_devices,
    remove_device,
)

EDGESEQ = Path(sysconfig.get_path("scripts")) / "edgeseq"
KITCHEN = DeviceEntry("ssh://pi@kitchen.local", "~/edgeseq-venv/bin/python", "Pi 4, [2 GB]")
HOSTILE = (
    *("", " ", "-rf", "--overwrite", "local", "a b", "a;b", "$(reboot)", "`id`", "a\nb", "a/b"),
    *("..", ".hidden", "ü", 'a"b', "a'b", "x" * 65, "a\0b"),
)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration folder of its own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "edgeseq" / "devices.toml"


def _edgeseq(*arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(EDGESEQ), *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert "Traceback" not in done.stderr
    return done


def test_kept_found_replaced_and_forgotten(config: Path) -> None:
    assert devices_path() == config
    assert read_devices() == {}
    add_device("kitchen", KITCHEN)
    add_device("phone", DeviceEntry("adb:R58M12ABCDE"))
    assert list(read_devices()) == ["kitchen", "phone"]
    assert read_devices()["kitchen"] == KITCHEN
    other = DeviceEntry("ssh://pi@garden.local")
    with pytest.raises(InputError, match="there is a device of that name"):
        add_device("kitchen", other)
    add_device("kitchen", other, overwrite=True)
    assert read_devices()["kitchen"] == other
    remove_device("kitchen")
    assert list(read_devices()) == ["phone"]
    with pytest.raises(InputError, match="no device of that name"):
        remove_device("kitchen")
    assert [path.name for path in config.parent.iterdir()] == ["devices.toml"]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_that_are_none(config: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot be a device's name") as caught:
        add_device(name, KITCHEN)
    assert "\n" not in str(caught.value)
    assert not config.exists()


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (DeviceEntry("kitchen.local"), "is not a device's address"),
        (DeviceEntry("local"), "is not a device's address"),
        (DeviceEntry("ssh://a\nb"), "printable"),
        (DeviceEntry("adb:1", python="python3; reboot"), "is not a Python interpreter"),
        (DeviceEntry("adb:1", python="-c"), "is not a Python interpreter"),
        (DeviceEntry("adb:1", python="$HOME/bin/python"), "is not a Python interpreter"),
        (DeviceEntry("adb:1", python=""), "is not a Python interpreter"),
        (DeviceEntry("adb:1", note="a\x1b[31mb"), "printable"),
        (DeviceEntry("adb:1", note="x" * 501), "500 at most"),
    ],
)
def test_entries_that_are_none(config: Path, entry: DeviceEntry, says: str) -> None:
    with pytest.raises(InputError, match=says):
        add_device("kitchen", entry)
    assert not config.exists()


@given(note=st.text(st.characters(exclude_categories=["C", "Z"]), max_size=40))
def test_any_note_comes_back(tmp_path_factory: pytest.TempPathFactory, note: str) -> None:
    path = tmp_path_factory.mktemp("config") / "devices.toml"
    entry = DeviceEntry("adb:1", note=note)
    add_device("phone", entry, path)
    assert read_devices(path) == {"phone": entry}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[device", "is not TOML"),
        ("schema_version = 2", "is not what was expected"),
        ('[device."a"]\naddress = 3', "is not what was expected"),
        ('[device."a"]\naddress = "adb:1"\ncolour = "red"', "unknown field `colour`"),
        ('[device."a b"]\naddress = "adb:1"', "cannot be a device's name"),
        ('[device."a"]\naddress = "kitchen"', "is not a device's address"),
    ],
)
def test_a_damaged_file_is_one_line_and_stays(config: Path, text: str, says: str) -> None:
    config.parent.mkdir(parents=True)
    config.write_text(text)
    for act in (read_devices, lambda: add_device("b", KITCHEN)):
        with pytest.raises(InputError, match=says) as caught:
            act()
        assert str(config) in str(caught.value)
    assert config.read_text() == text


def test_the_commands(config: Path) -> None:
    empty = _edgeseq("device", "list")
    assert (empty.returncode, empty.stdout) == (0, "")
    assert "no devices are saved" in empty.stderr
    added = _edgeseq(
        *("device", "add", "kitchen", KITCHEN.address),
        *("--python", KITCHEN.python, "--note", KITCHEN.note),
    )
    assert added.returncode == 0, added.stderr
    listed = _edgeseq("device", "list")
    assert all(word in listed.stdout for word in ("kitchen", KITCHEN.address, KITCHEN.note))
    assert json.loads(_edgeseq("device", "list", "--json").stdout)["devices"]["kitchen"] == {
        "address": KITCHEN.address,
        "python": KITCHEN.python,
        "note": KITCHEN.note,
    }
    again = _edgeseq("device", "add", "kitchen", "adb:1")
    assert again.returncode == 2
    assert "--overwrite" in again.stderr
    hostile = _edgeseq("device", "add", "x", "ssh://-oProxyCommand=reboot")
    assert hostile.returncode == 2
    assert "is not a device" in hostile.stderr
    unknown = _edgeseq("device", "doctor", "garden")
    assert unknown.returncode == 2
    assert "kitchen" in unknown.stderr
    assert _edgeseq("device", "remove", "kitchen").returncode == 0
    assert read_devices() == {}


def test_doctor_of_this_machine(config: Path) -> None:
    """The same by both names, and its exit code says what its answer says."""
    for words in (("doctor",), ("device", "doctor", "local")):
        done = _edgeseq(*words, "--json")
        answer = json.loads(done.stdout)
        assert answer["device"] == "local"
        assert done.returncode == (0 if answer["can_bench"] else 3)
        found = {one["subject"]: one["severity"] for one in answer["diagnoses"]}
        assert found["Python"] == found["runtime"] == found["modules"] == "ok"
        assert "facts" not in answer
    shown = _edgeseq("doctor", "--json", "--facts")
    assert json.loads(shown.stdout)["facts"]["python"]["version"][:2] == list(sys.version_info[:2])


def test_doctor_says_what_to_type(config: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True, timeout=60
    )
    done = _edgeseq("doctor", "--python", str(bare / "bin" / "python"))
    assert done.returncode == 3
    assert "no TFLite runtime is installed" in done.stdout
    assert f"  {bare}/bin/python -m pip install 'ai-edge-litert" in done.stdout
    assert "is not ready to benchmark" in done.stderr


def test_doctor_of_a_board_that_is_not_there(config: Path) -> None:
    if shutil.which("ssh") is None:
        pytest.skip("openssh-client is not installed here")
    with socket.socket() as held:
        # Bound and not listening: whoever connects is refused.
        held.bind(("127.0.0.1", 0))
        done = _edgeseq("device", "doctor", f"ssh://nobody@127.0.0.1:{held.getsockname()[1]}")
    assert done.returncode == 4
    assert done.stderr.startswith("error: ssh://nobody@127.0.0.1:")
    assert len(done.stderr.splitlines()) == 1
