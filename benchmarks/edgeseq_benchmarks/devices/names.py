"""What a user may call a device, and what is opened for it.

    local                        this machine
    ssh://[user@]host[:port]     a board with an ssh server; `host` may be an alias of the user's
                                 ssh configuration, an IPv6 address stands in brackets
    adb:SERIAL                   a phone or an Android emulator
    emulated:NAME                a board in QEMU, such as emulated:pi4
    NAME                         a device kept by `edgeseq device add`

A name is checked letter by letter before anything is done with it: what could be taken for an
option or for shell code by any program that gets to see it is refused.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from edgeseq.errors import InputError
from edgeseq.formats.devices import DEFAULT_PYTHON, read_devices
from edgeseq_benchmarks.devices.base import Device

Kind = Literal["local", "ssh", "adb", "emulated"]

_SSH = re.compile(
    r"ssh://(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9._-]*)@)?"
    r"(?P<host>[A-Za-z0-9_][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?\])"
    r"(?::(?P<port>[0-9]{1,5}))?/?"
)
_ADB = re.compile(r"adb:(?P<serial>[A-Za-z0-9][A-Za-z0-9._:-]*)")
_EMULATED = re.compile(r"emulated:(?P<board>[a-z0-9][a-z0-9-]*)")
_SHORT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LONGEST_NAME = 300


class DeviceName(NamedTuple):
    """A device's name in its parts; `text` is the name as results show it.

    `host` is set for `ssh`, with an IPv6 address out of its brackets; `serial` for `adb`; `board`
    for `emulated`. `python` is the interpreter on the device that measures.
    """

    kind: Kind
    text: str
    user: str | None = None
    host: str | None = None
    port: int | None = None
    serial: str | None = None
    board: str | None = None
    python: str = DEFAULT_PYTHON


def parse_device(text: str, *, where: str = "--on") -> DeviceName:
    """The parts of a device's name; a short name is looked up among the devices kept.

    Raises `InputError` naming `where` (the option) for everything else.
    """
    if len(text) > _LONGEST_NAME:
        raise _refused(text[:40] + "…", where)
    parsed = _parse_address(text)
    if parsed is not None:
        return parsed
    if not _SHORT.fullmatch(text):
        raise _refused(text, where)
    devices = read_devices()
    if text not in devices:
        known = f"one of {', '.join(devices)}, " if devices else ""
        raise InputError(
            "no device of that name",
            where=where,
            found=repr(text),
            expected=f"{known}local, ssh://user@host, adb:SERIAL or emulated:NAME",
            fix=f"keep it with `edgeseq device add {text} ADDRESS`",
        )
    entry = devices[text]
    parsed = _parse_address(entry.address)
    if parsed is None:
        raise _refused(entry.address, f"device {text!r}")
    return parsed._replace(python=entry.python)


def _parse_address(text: str) -> DeviceName | None:
    if text == "local":
        return DeviceName("local", text)
    if match := _SSH.fullmatch(text):
        port = int(match["port"]) if match["port"] else None
        if port is not None and not 0 < port < 65536:
            return None
        text, host = text.rstrip("/"), match["host"].strip("[]")
        return DeviceName("ssh", text, user=match["user"], host=host, port=port)
    if match := _ADB.fullmatch(text):
        return DeviceName("adb", text, serial=match["serial"])
    if match := _EMULATED.fullmatch(text):
        return DeviceName("emulated", text, board=match["board"])
    return None


def _refused(text: str, where: str) -> InputError:
    return InputError(
        "is not a device",
        where=where,
        found=repr(text),
        expected="local, ssh://user@host[:port], adb:SERIAL, emulated:NAME, "
        "or a name kept by `edgeseq device add`",
    )


def open_device(name: str | DeviceName) -> Device:
    """The device of that name, not yet connected.

    Raises `InputError` for a name that is none. What a kind of device needs is imported here.
    """
    parsed = parse_device(name) if isinstance(name, str) else name
    if parsed.kind == "local":
        from edgeseq_benchmarks.devices.local import LocalDevice

        return LocalDevice()
    if parsed.kind == "ssh":
        from edgeseq_benchmarks.devices.ssh import SshDevice

        return SshDevice.named(parsed)
    if parsed.kind == "adb":
        from edgeseq_benchmarks.devices.adb import AdbDevice

        return AdbDevice(str(parsed.serial))
    from edgeseq_benchmarks.devices.emulated import EmulatedDevice

    return EmulatedDevice(str(parsed.board))
