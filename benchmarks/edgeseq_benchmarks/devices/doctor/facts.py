"""The facts about a device. What it does not report is None, never a guess."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from edgeseq.errors import DeviceError
from edgeseq_benchmarks.bench.probes.machine_state import parse_meminfo
from edgeseq_benchmarks.devices.wheels import (
    OLDEST_PYTHON,
    RuntimeWheels,
    processor_of,
    runtime_for,
)

PYTHON_PROBE = Path(__file__).with_name("python_probe.py")
SYSTEM_PROBE = Path(__file__).with_name("system_probe.sh")
Libc = Literal["glibc", "musl", "bionic", "unknown"]
Sections = Mapping[str, tuple[str, ...]]

# `CPU part` of Arm's own cores (implementer 0x41) that know 64-bit code although a 32-bit kernel
# speaks of ARMv7 only: Cortex-A53, A35, A55, A57, A72, A73, A75, A76.
_ARM_64BIT_PARTS = frozenset(
    ("0xd03", "0xd04", "0xd05", "0xd07", "0xd08", "0xd09", "0xd0a", "0xd0b")
)


class SwapArea(msgspec.Struct, frozen=True):
    """One line of /proc/swaps."""

    path: str
    size_bytes: int
    used_bytes: int


class SystemFacts(msgspec.Struct, frozen=True):
    """The machine and its system. `machine` (`uname -m`) is the kernel's processor, also where the
    programs are 32-bit (`long_bit`)."""

    kernel: str
    machine: str
    os_id: str
    os_like: tuple[str, ...]
    os_name: str
    os_version: str
    libc: Libc
    libc_version: tuple[int, int] | None
    long_bit: int | None
    termux: bool
    board: str | None
    cpu_64bit: bool
    cores: int | None
    memory_total_bytes: int | None
    memory_available_bytes: int | None
    swaps: tuple[SwapArea, ...]
    memory_controller: bool
    """Whether the kernel can limit a group's memory."""
    user_may_limit: bool
    """Whether this user may have such a group: root, or a systemd that hands the controller on."""
    kernel_words: tuple[str, ...]
    cmdline_file: str | None
    cmdline_words: tuple[str, ...]
    """A Raspberry Pi's file of kernel options, and its content, which the next start uses."""
    has_grub: bool
    governors: tuple[str, ...]
    throttled_bits: str
    temperature_c: float | None
    load_1min: float | None
    disk_free_bytes: int | None
    tools: tuple[str, ...]
    pythons: tuple[str, ...]
    home: str

    @property
    def is_raspberry_pi(self) -> bool:
        return "Raspberry Pi" in (self.board or "")

    @property
    def is_debian_like(self) -> bool:
        """Whether packages come with apt."""
        return "apt-get" in self.tools and not self.termux


class PythonFacts(msgspec.Struct, frozen=True):
    """The Python that is to measure. `modules`: version by name, "" where it is unknown."""

    path: str
    version: tuple[int, int, int]
    system: str
    machine: str
    implementation: str
    pointer_bits: int
    in_venv: bool
    externally_managed: bool
    has_ensurepip: bool
    has_pip: bool
    modules: dict[str, str]


class DeviceFacts(msgspec.Struct, frozen=True):
    """The system, and the Python or why there is none.

    `runtime` is the module of the installed runtime, `runtime_error` why it cannot be imported.
    """

    device: str
    emulated: bool
    system: SystemFacts
    python_command: str
    python: PythonFacts | None
    python_error: str | None = None
    runtime: str | None = None
    runtime_error: str | None = None

    @property
    def processor(self) -> str:
        """The processor that the device's programs are built for."""
        bits = self.python.pointer_bits if self.python else self.system.long_bit
        return processor_of(self.system.machine, bits)

    @property
    def wheels(self) -> RuntimeWheels | None:
        """The runtime with wheels for that processor."""
        return runtime_for(self.processor)

    @property
    def has_wheels(self) -> bool:
        """Whether that runtime has a wheel for the Python that would measure."""
        if self.python is None or self.wheels is None or self.python.implementation != "CPython":
            return False
        return OLDEST_PYTHON <= self.python.version[:2] <= self.wheels.newest_python


def sections_of(output: str) -> Sections:
    """The lines below each `==name` of what `system_probe.sh` wrote, without empty ones."""
    sections: dict[str, list[str]] = {}
    name = ""
    for line in output.splitlines():
        if head := re.fullmatch(r"==([a-z_]+)", line):
            name = head[1]
            sections[name] = []
        elif name and line.strip():
            sections[name].append(line.strip())
    return {name: tuple(lines) for name, lines in sections.items()}


def read_system(output: str, *, where: str) -> SystemFacts:
    """The facts in the output of `system_probe.sh`; raises `DeviceError` when it is cut off."""
    parts = sections_of(output)
    if "end" not in parts:
        raise DeviceError(
            "did not describe itself",
            where=where,
            found=repr(output[:80]),
            expected="the answers of a POSIX shell",
            fix="check that `sh` works there and that the login prints nothing",
        )
    release = {
        key: value.strip("\"'")
        for key, _, value in (line.partition("=") for line in parts["os_release"])
    }
    uname = (*parts["uname"], "", "", "")
    file, *words = parts.get("cmdline_file", ()) or (None,)
    memory = parse_meminfo("\n".join(parts["meminfo"]))
    return SystemFacts(
        kernel=f"{uname[0]} {uname[1]}",
        machine=uname[2],
        os_id=release.get("ID", ""),
        os_like=tuple(release.get("ID_LIKE", "").split()),
        os_name=release.get("PRETTY_NAME") or release.get("NAME") or uname[0] or "unknown",
        os_version=release.get("VERSION_ID", ""),
        libc=_libc(parts["libc"]),
        libc_version=_version(parts["libc"]),
        long_bit=_int(parts["long_bit"]),
        termux=bool(parts["termux"]),
        board=_first(parts["model"]),
        cpu_64bit=_cpu_64bit(uname[2], parts["cpuinfo"]),
        cores=_int(parts["cores"]),
        memory_total_bytes=memory.get("MemTotal"),
        memory_available_bytes=memory.get("MemAvailable"),
        swaps=_swaps(parts["swaps"]),
        memory_controller=_memory_controller(parts),
        user_may_limit=parts["user"] == ("0",) or _names(parts["user_controllers"], "memory"),
        kernel_words=tuple(" ".join(parts["cmdline"]).split()),
        cmdline_file=file,
        cmdline_words=tuple(" ".join(words).split()),
        has_grub=bool(parts["grub"]),
        governors=parts["governors"],
        throttled_bits=(_first(parts["throttled"]) or "").rpartition("=")[2],
        temperature_c=_temperature_c(parts["thermal"]),
        load_1min=_float((_first(parts["loadavg"]) or "").split(" ")[0]),
        disk_free_bytes=_disk_free(parts["disk"]),
        tools=parts["tools"],
        pythons=parts["pythons"],
        home=_first(parts["home"]) or "",
    )


def _first(lines: tuple[str, ...]) -> str | None:
    return lines[0] if lines else None


def _int(lines: tuple[str, ...]) -> int | None:
    return int(lines[0]) if lines and lines[0].isdecimal() else None


def _float(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else None


def _names(lines: tuple[str, ...], word: str) -> bool:
    return word in " ".join(lines).split()


def _libc(lines: tuple[str, ...]) -> Libc:
    text = " ".join(lines)
    if "glibc" in text:
        return "glibc"
    if "ld-musl" in text:
        return "musl"
    return "bionic" if "/system/bin/linker" in text else "unknown"


def _version(lines: tuple[str, ...]) -> tuple[int, int] | None:
    match = re.search(r"glibc (\d+)\.(\d+)", " ".join(lines))
    return (int(match[1]), int(match[2])) if match else None


def _cpu_64bit(machine: str, cpuinfo: tuple[str, ...]) -> bool:
    """Whether the processor knows 64-bit code, whatever the system that runs on it."""
    if machine in ("aarch64", "arm64", "x86_64", "armv8l"):
        return True
    for line in cpuinfo:
        key, _, value = line.partition(":")
        words = value.split()
        if key.strip() == "CPU part" and words and words[0] in _ARM_64BIT_PARTS:
            return True
        if key.strip() == "flags" and "lm" in words:  # "long mode"
            return True
    return False


def _swaps(lines: tuple[str, ...]) -> tuple[SwapArea, ...]:
    matches = (re.fullmatch(r"(\S+)\s+\S+\s+(\d+)\s+(\d+)\s+-?\d+", line) for line in lines)
    return tuple(SwapArea(m[1], int(m[2]) * 1024, int(m[3]) * 1024) for m in matches if m)


def _memory_controller(parts: Sections) -> bool:
    """Version 2: named in the root's list; version 1: on in /proc/cgroups and in a hierarchy."""
    if _names(parts["controllers"], "memory"):
        return True
    for line in parts["cgroups"]:
        words = line.split()
        if words[0] == "memory" and len(words) == 4:
            return words[3] == "1" and words[1] != "0"
    return False


def _temperature_c(lines: tuple[str, ...]) -> float | None:
    """The processor's zone if one has that name, else the first; the kernel counts thousandths."""
    zones = [match for line in lines if (match := re.fullmatch(r"(.*) (-?\d+)", line))]
    zones.sort(key=lambda zone: not re.search("cpu|x86_pkg|soc", zone[1]))
    return int(zones[0][2]) / 1000 if zones else None


def _disk_free(lines: tuple[str, ...]) -> int | None:
    match = re.search(r"\s(\d+)\s+(\d+)\s+(\d+)\s+\d+%", lines[-1]) if len(lines) > 1 else None
    return int(match[3]) * 1024 if match else None
