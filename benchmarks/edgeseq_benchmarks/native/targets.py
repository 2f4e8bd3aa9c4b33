"""The systems that the native process is built for."""

from __future__ import annotations

import platform
import sys
from typing import NamedTuple

from edgeseq.errors import InputError


class NativeTarget(NamedTuple):
    """A system by its name, and what compilers and wheels call it.

    `machine` is what `uname -m` prints there, `zig` is the target of `zig cc` with the oldest C
    library that LiteRT's wheel accepts (glibc 2.27; zig has 2.28's symbols for both), `gcc` is the
    GNU cross-compiler of Debian and its relatives, `wheel_platform` is pip's name.
    """

    name: str
    machine: str
    zig: str
    gcc: str
    wheel_platform: str


TARGETS = {
    target.name: target
    for target in (
        NativeTarget(
            "linux-x86_64",
            "x86_64",
            "x86_64-linux-gnu.2.28",
            "x86_64-linux-gnu-gcc",
            "manylinux_2_27_x86_64",
        ),
        NativeTarget(
            "linux-aarch64",
            "aarch64",
            "aarch64-linux-gnu.2.28",
            "aarch64-linux-gnu-gcc",
            "manylinux_2_27_aarch64",
        ),
    )
}


def find_target(name: str, *, where: str = "--target") -> NativeTarget:
    """The target of that name; raises `InputError` that lists the names."""
    if name not in TARGETS:
        raise InputError(
            "is no system that the native runner is built for",
            where=where,
            found=repr(name),
            expected=" or ".join(TARGETS),
        )
    return TARGETS[name]


def target_of_machine(system: str, machine: str, pointer_bits: int = 64) -> NativeTarget | None:
    """The target of a machine by `uname -s`, `uname -m` and the width of its programs' pointers.

    None where LiteRT's library does not exist: 32-bit systems, other processors.
    """
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(machine.lower(), machine)
    if system != "Linux" or pointer_bits != 64:
        return None
    return next((target for target in TARGETS.values() if target.machine == machine), None)


def host_target() -> NativeTarget | None:
    """The target of this machine, None where the native runner cannot run."""
    bits = 64 if sys.maxsize > 1 << 32 else 32
    return target_of_machine(platform.system(), platform.machine(), bits)
