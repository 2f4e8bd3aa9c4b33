"""Which native runner a board needs, by what it says of itself."""

from __future__ import annotations

from edgeseq.errors import DeviceError
from edgeseq_benchmarks.devices.doctor.facts import SystemFacts
from edgeseq_benchmarks.native.targets import TARGETS, NativeTarget, target_of_machine

_OLDEST_GLIBC = (2, 28)


def board_target(name: str, system: SystemFacts) -> NativeTarget:
    """The target that the programs of the board `name` are built for.

    Raises `DeviceError` when there is none.
    """
    kernel = system.kernel.split(" ")[0]
    target = target_of_machine(kernel, system.machine, system.long_bit or 64)
    if target is None or system.libc not in ("glibc", "unknown"):
        bits = f", {system.long_bit}-bit programs" if system.long_bit else ""
        raise DeviceError(
            "there is no native runner for it",
            where=name,
            found=f"{kernel} on {system.machine}{bits}, {system.libc}",
            expected=f"{' or '.join(TARGETS)} with glibc, where LiteRT's library exists",
        )
    if system.libc_version is not None and system.libc_version < _OLDEST_GLIBC:
        raise DeviceError(
            "its C library is too old for the native runner",
            where=name,
            found="glibc " + ".".join(map(str, system.libc_version)),
            expected="glibc " + ".".join(map(str, _OLDEST_GLIBC)) + " or newer",
        )
    return target
