"""The machine, and its load while models are measured on it.

Sources: proc(5), the kernel's sysfs documentation, and for `get_throttled` the Raspberry Pi
documentation of `vcgencmd`. What a machine does not report is None, never a guess.
"""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from edgeseq.formats.result import DeviceInfo, MachineState
from edgeseq.subprocesses.command_runs import command_text

# Flags that decide which kernels XNNPACK and ruy choose; the rest of the list is noise here.
_DECIDING_FLAGS = frozenset(
    [
        *("sse4_1", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512_vnni"),
        *("avx_vnni", "amx_int8"),
        *("neon", "vfpv4", "asimd", "asimdhp", "fphp", "asimddp", "i8mm", "bf16"),
        *("sve", "sve2", "svei8mm"),
    ]
)
# `vcgencmd get_throttled`: bits 0-3 hold now, bits 16-19 have held since the start of the board.
_THROTTLED_BITS = {
    0: "undervoltage",
    1: "frequency capped",
    2: "throttled",
    3: "soft temperature limit",
    16: "undervoltage since boot",
    17: "frequency capped since boot",
    18: "throttled since boot",
    19: "soft temperature limit since boot",
}
_COMMAND_TIMEOUT_S = 2.0
# Processor time is counted in ticks of 10 ms: over less than this a load is mostly rounding.
_SHORTEST_WINDOW_S = 0.2


class SystemNames(NamedTuple):
    """What a machine's kernel calls it (uname(2)), and its processors."""

    machine: str
    node: str
    kernel: str
    cores: int


def _names_here() -> SystemNames:
    kernel = f"{platform.system()} {platform.release()}"
    cores = len(os.sched_getaffinity(0))
    return SystemNames(platform.machine(), platform.node(), kernel, cores)


def device_info(root: Path = Path("/"), names: SystemNames | None = None) -> DeviceInfo:
    """This machine; with `names`, another one whose /proc, /sys and /etc are below `root`."""
    names = names or _names_here()
    cpuinfo = _text(root / "proc/cpuinfo")
    model = _text(root / "proc/device-tree/model").strip("\0 \n")
    dmi = [
        _text(root / f"sys/class/dmi/id/{name}").strip() for name in ("sys_vendor", "product_name")
    ]
    return DeviceInfo(
        name=model or " ".join(part for part in dmi if part) or names.node or "unknown",
        machine=names.machine,
        cpu_model=cpu_model(cpuinfo) or model or "unknown",
        cpu_features=cpu_features(cpuinfo),
        cores=names.cores,
        memory_bytes=_meminfo(root).get("MemTotal", 0),
        kernel=names.kernel,
        os=_os_name(root),
        emulated=is_emulated(root, names.machine),
    )


def cpu_model(cpuinfo: str) -> str:
    """The processor's name in the text of `/proc/cpuinfo`, "" where there is none."""
    for key in ("model name", "Model", "Hardware"):
        if match := re.search(rf"^{key}\s*:\s*(.+)$", cpuinfo, re.MULTILINE):
            return match[1].strip()
    part = re.search(r"^CPU part\s*:\s*(\S+)$", cpuinfo, re.MULTILINE)
    # Part numbers of Arm's own cores (implementer 0x41) on the boards that people have.
    names = {
        "0xd03": "Cortex-A53",
        "0xd05": "Cortex-A55",
        "0xd07": "Cortex-A57",
        "0xd08": "Cortex-A72",
        "0xd0b": "Cortex-A76",
        "0xd0c": "Neoverse-N1",
    }
    return names.get(part[1], f"CPU part {part[1]}") if part else ""


def cpu_features(cpuinfo: str) -> tuple[str, ...]:
    """The flags in the text of `/proc/cpuinfo` that decide which kernels run."""
    match = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return tuple(sorted(_DECIDING_FLAGS & set(match[1].split()))) if match else ()


def _os_name(root: Path) -> str:
    match = re.search(r'^PRETTY_NAME="?([^"\n]+)', _text(root / "etc/os-release"), re.MULTILINE)
    return match[1] if match else "unknown"


def is_emulated(root: Path = Path("/"), machine: str | None = None) -> bool:
    """Whether the processor is QEMU's translator and not silicon: its times are not latencies.

    A virtual machine on KVM runs on silicon. On x86 it offers `kvm-clock`; on QEMU's ARM board
    (`linux,dummy-virt`) it offers KVM's clock device. User-mode QEMU shows an ARM `uname` beside
    the x86 host's `/proc/cpuinfo`.
    """
    machine = machine or platform.machine()
    cpuinfo = _text(root / "proc/cpuinfo")
    clocks = _text(root / "sys/devices/system/clocksource/clocksource0/available_clocksource")
    if "dummy-virt" in _text(root / "proc/device-tree/compatible"):
        ptp = (root / "sys/class/ptp").glob("*/clock_name")
        return not any("KVM" in _text(name) for name in ptp)
    if machine.startswith(("arm", "aarch64")) and "vendor_id" in cpuinfo:
        return True
    if "QEMU TCG" in cpuinfo:
        return True
    on_x86 = machine in ("x86_64", "i686")
    return on_x86 and "QEMU" in _dmi(root) and "kvm-clock" not in clocks


def _text(path: Path) -> str:
    """A file below /proc or /sys, "" when the machine has none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _dmi(root: Path) -> str:
    """Vendor and product of a PC or virtual machine, "" where it has none."""
    names = ("sys_vendor", "product_name")
    return " ".join(_text(root / f"sys/class/dmi/id/{name}").strip() for name in names).strip()


def parse_meminfo(text: str) -> dict[str, int]:
    """The sizes in `/proc/meminfo` by name, in bytes."""
    lines = re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)
    return {name: int(size_kb) * 1024 for name, size_kb in lines}


def _meminfo(root: Path) -> dict[str, int]:
    return parse_meminfo(_text(root / "proc/meminfo"))


def available_bytes(root: Path = Path("/")) -> int | None:
    """Memory that could be used without swapping (`MemAvailable`)."""
    return _meminfo(root).get("MemAvailable")


def throttled_reasons(root: Path = Path("/")) -> tuple[str, ...]:
    """Why a Raspberry Pi is or was slowed down; () when it is not, or on other machines."""
    for path in (root / "sys/devices/platform/soc").glob("*firmware/get_throttled"):
        return explain_throttled(_text(path))
    bits = command_text(["vcgencmd", "get_throttled"], timeout_s=_COMMAND_TIMEOUT_S)
    return explain_throttled(bits.partition("=")[2])


def explain_throttled(bits: str) -> tuple[str, ...]:
    """The reasons behind a hexadecimal word such as `0x50005` or `50005`."""
    try:
        word = int(bits.strip() or "0", 16)
    except ValueError:
        return ()
    return tuple(reason for bit, reason in _THROTTLED_BITS.items() if word >> bit & 1)


def _temperature_c(root: Path) -> float | None:
    zones = sorted((root / "sys/class/thermal").glob("thermal_zone*"))
    # The processor's own zone where it says so, else the first one.
    zones.sort(key=lambda zone: not re.search("cpu|x86_pkg|soc", _text(zone / "type")))
    for zone in zones:
        if re.fullmatch(r"-?\d+", text := _text(zone / "temp").strip()):
            return int(text) / 1000
    return None


class Loads(NamedTuple):
    """Seconds since some moment: of the clock, all processors' work, what a hypervisor took, and
    our own processes' work."""

    wall_s: float
    busy_s: float
    steal_s: float
    own_s: float


def cpu_totals_s(stat: str, ticks_per_s: int) -> tuple[float, float]:
    """Seconds that all processors were busy, and that a hypervisor took, by `/proc/stat`."""
    match = re.match(r"cpu +([\d ]+)", stat)
    if match is None:
        return 0.0, 0.0
    # proc(5): user nice system idle iowait irq softirq steal guest guest_nice; the guests' time is
    # already part of user and nice.
    ticks = [*(int(word) for word in match[1].split()), *[0] * 8][:8]
    user, nice, system, _idle, _iowait, irq, softirq, steal = ticks
    return (user + nice + system + irq + softirq) / ticks_per_s, steal / ticks_per_s


def process_s(stat: str, ticks_per_s: int) -> float:
    """Processor time of one process, in seconds, by its `/proc/PID/stat`; 0 for ""."""
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / ticks_per_s if fields else 0.0


class LoadWatch:
    """Turns readings of `Loads` into states of the machine below `root`."""

    def __init__(self, root: Path, first: Loads) -> None:
        self._root = root
        self._last = first

    def state(self, when: Literal["before", "during", "after"], now: Loads) -> MachineState:
        """The state, with loads since the last reading; None when less than 0.2 s have passed."""
        wall_s, busy_s, steal_s, own_s = (
            after - before for after, before in zip(now, self._last, strict=True)
        )
        long_enough = wall_s >= _SHORTEST_WINDOW_S
        if long_enough:
            self._last = now
        swap_used_bytes = None
        if "SwapTotal" in (meminfo := _meminfo(self._root)):
            swap_used_bytes = meminfo["SwapTotal"] - meminfo.get("SwapFree", 0)
        governor = _text(self._root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
        return MachineState(
            when=when,
            load_other_cores=max(0.0, (busy_s - own_s) / wall_s) if long_enough else None,
            steal_cores=steal_s / wall_s if long_enough else None,
            swap_used_bytes=swap_used_bytes,
            governor=governor.strip() or None,
            temperature_c=_temperature_c(self._root),
            throttled=throttled_reasons(self._root),
        )


class Watch:
    """What other processes did to the processors since the last reading."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._rate = os.sysconf("SC_CLK_TCK")
        self._loads = LoadWatch(root, self._now(()))

    def read(
        self, when: Literal["before", "during", "after"], children: Iterable[int] = ()
    ) -> MachineState:
        """The state now, with loads since the last reading.

        `children` are process ids whose time is ours, also at the last reading. Loads are None
        when less than 0.2 s have passed.
        """
        return self._loads.state(when, self._now(tuple(children)))

    def _now(self, pids: Sequence[int]) -> Loads:
        totals_s = cpu_totals_s(_text(self._root / "proc/stat"), self._rate)
        return Loads(time.monotonic(), *totals_s, self._own_s(pids))

    def _own_s(self, pids: Sequence[int]) -> float:
        """Seconds of this process, its ended children and the living ones in `pids`."""
        times = os.times()
        own_s = times.user + times.system + times.children_user + times.children_system
        stats = (_text(self._root / f"proc/{pid}/stat") for pid in pids)
        return own_s + sum(process_s(stat, self._rate) for stat in stats)
