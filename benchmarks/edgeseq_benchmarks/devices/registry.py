"""The kinds of devices: a new one is a module that declares a `DeviceKind`, and a line in `KINDS`.

    local                        this machine
    ssh://[user@]host[:port]     a board with an ssh server; `host` may be an alias of the user's
                                 ssh configuration, an IPv6 address is in brackets
    adb:SERIAL                   a phone or an Android emulator
    emulated:NAME                a board in QEMU, such as emulated:pi4
    web                          a browser that opens a page served here
    mediapipe                    MediaPipe's Python package on this machine
    NAME                         a device saved by `edgeseq device add`

An address is checked letter by letter before anything is done with it: what could be taken for an
option or for shell code by any program that gets to see it is refused.
"""

from __future__ import annotations

import re

from edgeseq.errors import InputError
from edgeseq.formats.devices import read_devices
from edgeseq_benchmarks.devices import adb, emulated, local, ssh
from edgeseq_benchmarks.devices.address import DeviceAddress, DeviceKind
from edgeseq_benchmarks.devices.base import Device
from edgeseq_benchmarks.devices.mediapipe import kind as mediapipe
from edgeseq_benchmarks.devices.web import kind as web

KINDS: dict[str, DeviceKind] = {
    "local": local.KIND,
    "ssh": ssh.KIND,
    "adb": adb.KIND,
    "emulated": emulated.KIND,
    "web": web.KIND,
    "mediapipe": mediapipe.KIND,
}
_EXAMPLES = ", ".join(kind.example for kind in KINDS.values())
_LONGEST_ADDRESS = 300
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def parse_address(text: str, *, where: str = "--on") -> DeviceAddress:
    """The parts of an address; raises `InputError` naming `where` (the option) for no address."""
    if len(text) > _LONGEST_ADDRESS:
        raise _refused(text[:40] + "…", where)
    for name, kind in KINDS.items():
        if match := kind.pattern.fullmatch(text):
            parts = match.groupdict()
            port = int(parts["port"]) if parts.get("port") else None
            if port is None or 0 < port < 65536:
                target = (parts.get("target") or "").strip("[]")
                return DeviceAddress(name, text.rstrip("/"), target, parts.get("user"), port)
    raise _refused(text, where)


def resolve_device(text: str, *, where: str = "--on") -> DeviceAddress:
    """The device of that address, or the one saved under that name, with its Python.

    Raises `InputError` naming `where` (the option) for anything else.
    """
    try:
        return parse_address(text, where=where)
    except InputError:
        if len(text) > _LONGEST_ADDRESS or not _NAME.fullmatch(text):
            raise
    devices = read_devices()
    if text not in devices:
        saved = f"one of {', '.join(devices)}, " if devices else ""
        raise InputError(
            "no device of that name",
            where=where,
            found=repr(text),
            expected=f"{saved}{_EXAMPLES}",
            fix=f"save it with `edgeseq device add {text} ADDRESS`",
        )
    address = parse_address(devices[text].address, where=f"device {text!r}")
    return address._replace(python=devices[text].python)


def open_device(address: DeviceAddress) -> Device:
    """The device of that address, not yet connected."""
    return KINDS[address.kind].open(address)


def _refused(text: str, where: str) -> InputError:
    return InputError(
        "is not a device",
        where=where,
        found=repr(text),
        expected=f"{_EXAMPLES}, or a name saved by `edgeseq device add`",
    )
