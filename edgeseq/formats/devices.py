"""The saved devices of a user: `devices.toml` in the user's configuration folder.

    schema_version = 1

    [device."kitchen"]
    address = "ssh://pi@kitchen.local"
    python = "/home/pi/edgeseq-venv/bin/python"
    note = "Pi 4, 2 GB, with a fan"

`edgeseq device add` writes it; it may be edited by hand. `address` is what `--on` takes:
`ssh://USER@HOST[:PORT]`, `adb:SERIAL` or `emulated:BOARD`. `python` is the interpreter there, in
whose environment the runtime is installed: a command, or a path (`~/` is the home folder there).
It holds no secrets: keys belong to OpenSSH.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec
import platformdirs

from edgeseq.errors import InputError
from edgeseq.formats.codec import from_builtins
from edgeseq.formats.storage import read_bytes, write_text
from edgeseq.formats.toml_codec import decode_toml

DEFAULT_PYTHON = "python3"
# Which schemes there are is known to the device half.
_ADDRESS = re.compile(r"[a-z]+:.+", re.DOTALL)
_LIMIT_BYTES = 1 << 20
_LONGEST_VALUE = 500
# As a file name, without a leading dash; `local` is this machine.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_RESERVED = ("local",)
# A command name or a path, as one argument; blanks would be taken for arguments by
# people, so they are refused although no shell sees them.
_PYTHON = re.compile(r"(~/)?[A-Za-z0-9_/][A-Za-z0-9_./+@-]*")


class DeviceEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One device: its address, the Python that measures on it, and a note."""

    address: str
    python: str = DEFAULT_PYTHON
    note: str = ""


class DevicesFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file. Version history: 1, the first."""

    device: dict[str, DeviceEntry] = {}
    schema_version: Literal[1] = 1


def devices_path() -> Path:
    """Where the file is; it need not exist."""
    return platformdirs.user_config_path("edgeseq") / "devices.toml"


def read_devices(path: Path | None = None) -> dict[str, DeviceEntry]:
    """The boards by name, in the order of the file; none without a file.

    Raises `InputError` naming the file and the place in it that does not fit.
    """
    path = path or devices_path()
    if not path.exists():
        return {}
    content = read_bytes(path, limit_bytes=_LIMIT_BYTES)
    try:
        table = decode_toml(content)
    except msgspec.DecodeError as failure:
        raise InputError("is not TOML", where=path, found=str(failure)) from failure
    try:
        devices = from_builtins(table, DevicesFile).device
    except msgspec.ValidationError as failure:
        raise InputError("is not what was expected", where=path, found=str(failure)) from failure
    for name, entry in devices.items():
        _check(name, entry, where=str(path))
    return devices


def add_device(
    name: str, entry: DeviceEntry, path: Path | None = None, *, overwrite: bool = False
) -> None:
    """Keeps a board under a name.

    Raises `InputError` when the name or a field is not allowed, or the name is taken and not to
    be replaced; `OutputError` when the file cannot be written.
    """
    path = path or devices_path()
    _check(name, entry, where=f"device {name!r}")
    devices = read_devices(path)
    if name in devices and not overwrite:
        raise InputError(
            "there is a device of that name",
            where=name,
            found=devices[name].address,
            fix="choose another name, or add --overwrite",
        )
    write_text(path, _toml({**devices, name: entry}))


def remove_device(name: str, path: Path | None = None) -> None:
    """Forgets a board; raises `InputError` when there is none of that name."""
    path = path or devices_path()
    devices = read_devices(path)
    if name not in devices:
        known = ", ".join(devices) or "none"
        raise InputError("no device of that name", where=repr(name), expected=f"one of: {known}")
    write_text(path, _toml({key: entry for key, entry in devices.items() if key != name}))


def _check(name: str, entry: DeviceEntry, *, where: str) -> None:
    """Refuses what would not survive a command line or the file itself."""
    if not _NAME.fullmatch(name) or name in _RESERVED:
        raise InputError(
            "cannot be a device's name",
            where=where,
            found=repr(name),
            expected="letters, digits, dots, dashes and underscores (not `local`)",
        )
    if not _ADDRESS.fullmatch(entry.address):
        raise InputError(
            "is not a device's address",
            where=where,
            found=repr(entry.address),
            expected="ssh://USER@HOST[:PORT], adb:SERIAL or emulated:BOARD",
        )
    if not _PYTHON.fullmatch(entry.python):
        raise InputError(
            "is not a Python interpreter",
            where=where,
            found=repr(entry.python),
            expected="a command such as python3.11, or a path such as ~/edgeseq-venv/bin/python",
        )
    for value in (entry.address, entry.note):
        if len(value) > _LONGEST_VALUE or not all(map(str.isprintable, value)):
            raise InputError(
                "may hold printable characters only, 500 at most", where=where, found=repr(value)
            )


def _toml(devices: Mapping[str, DeviceEntry]) -> str:
    """The file's text. TOML's basic strings take JSON's escapes, and all values are printable."""
    lines = ["# Devices of edgeseq: `edgeseq device add`, `list`, `remove`.", "schema_version = 1"]
    for name, entry in devices.items():
        lines += ["", f"[device.{_quoted(name)}]"]
        lines += [
            f"{field} = {_quoted(value)}" for field, value in msgspec.to_builtins(entry).items()
        ]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()
