"""Devices: those saved under a name, and whether one is ready to benchmark."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import dataclass

from edgeseq.formats.devices import (
    DeviceEntry,
    devices_path,
    read_devices,
    remove_device,
)
from edgeseq.formats.devices import add_device as save_device
from edgeseq_benchmarks.devices.doctor import (
    DeviceFacts,
    Diagnosis,
    can_bench,
    collect_facts,
    diagnose,
)
from edgeseq_benchmarks.devices.registry import open_device, parse_address, resolve_device

__all__ = ["add_device", "check_device", "devices_path", "list_devices", "remove_device"]


def add_device(
    name: str, address: str, *, python: str = "python3", note: str = "", overwrite: bool = False
) -> DeviceEntry:
    """Save a device under a short name, for `bench(device=NAME)`.

    Args:
        name: Such as "kitchen".
        address: `ssh://USER@HOST[:PORT]`, `adb:SERIAL` or `emulated:BOARD`.
        python: The Python there that has the runtime: a command or a path.
        note: Anything to remember about it.
        overwrite: Overwrite a saved device of that name.

    Raises:
        InputError: The name or the address has an error, or the name is in use.

    Examples:
        >>> es.devices.add_device("kitchen", "ssh://pi@kitchen.local")
    """

    parse_address(address, where="ADDRESS")
    entry = DeviceEntry(address=address, python=python, note=note)
    save_device(name, entry, overwrite=overwrite)
    return entry


def list_devices() -> dict[str, DeviceEntry]:
    """List the saved devices by name.

    Raises:
        InputError: The file of saved devices is damaged.
    """
    return read_devices()


@dataclass(frozen=True)
class DeviceCheck:
    """Whether a device is ready to benchmark.

    Attributes:
        device: Its name or address.
        ready: Whether it can benchmark.
        diagnoses: Findings, with the commands that fix problems.
        facts: What was read from it.
    """

    device: str
    ready: bool
    diagnoses: tuple[Diagnosis, ...]
    facts: DeviceFacts


def check_device(device: str = "local", *, python: str | None = None) -> DeviceCheck:
    """Check whether a device is ready to benchmark; nothing is changed on it.

    Args:
        device: `local`, an address, or the name of a saved device.
        python: Another Python there: a command or a path.

    Raises:
        DeviceError: The device cannot be reached.
        InputError: The device is unknown.

    Examples:
        >>> es.devices.check_device("local").ready
        True
    """

    address = resolve_device(device, where="DEVICE")
    # On this machine, the Python that runs this would run the benchmark.
    default_python = sys.executable if address.kind == "local" else address.python
    with closing(open_device(address)) as opened:
        facts = collect_facts(opened, python=python or default_python)
    diagnoses = diagnose(facts)
    return DeviceCheck(facts.device, can_bench(diagnoses), diagnoses, facts)
