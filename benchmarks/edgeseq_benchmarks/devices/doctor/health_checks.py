"""Whether results would be valid: memory limits, clock, heat, swap, space, load.

Sources: the Raspberry Pi documentation of `vcgencmd get_throttled`, of `cmdline.txt` and of the
temperature at which its firmware slows down (80 °C; a Pi 3 B+ from 60 °C); the kernel's
documentation of cpufreq and of control groups.
"""

from __future__ import annotations

from collections.abc import Iterator

from edgeseq.units import format_bytes
from edgeseq_benchmarks.bench.probes.machine_state import explain_throttled
from edgeseq_benchmarks.devices.doctor.diagnosis import Diagnosis
from edgeseq_benchmarks.devices.doctor.facts import DeviceFacts, SystemFacts

MB = 1_000_000
# The demo's models answer in processes of 65 MB (LSTM) to 104 MB (BERT, int8), and the process
# that watches them needs memory too. Its bundles have 3 to 90 MB.
MEMORY_PROBLEM_BYTES, MEMORY_WARNING_BYTES = 60 * MB, 200 * MB
DISK_PROBLEM_BYTES, DISK_WARNING_BYTES = 50 * MB, 500 * MB
HOT_C, TOO_HOT_C = 70.0, 80.0
# Half a core, from which on a result is called invalid (see `validity.LOAD_INVALID_CORES`).
LOAD_WARNING = 0.5
MEMORY_WORDS = "cgroup_enable=memory cgroup_memory=1"


def check_health(facts: DeviceFacts) -> Iterator[Diagnosis]:
    """What does not keep a run from starting, but decides whether its results are valid."""
    system = facts.system
    if facts.emulated:
        words = "emulated: predictions and memory are valid, latencies are not"
        yield Diagnosis("warning", "device", words)
    yield _controller(system)
    yield from _governor(system)
    yield from _throttled(system)
    yield from _temperature(system)
    yield from _memory(system)
    yield from _swap(system)
    yield from _disk(system)
    yield from _load(system)


def _controller(system: SystemFacts) -> Diagnosis:
    """Whether `--memory` can be a hard limit. It needs the kernel, and leave for this user."""
    if not system.memory_controller:
        return _switch_on(system)
    if not system.user_may_limit:
        return Diagnosis(
            "warning",
            "memory limits",
            "this user may make no control group: `--memory` then limits private memory only; "
            "as root, or with a systemd of the user's own that may limit memory, it is exact",
            ("sudo loginctl enable-linger $USER", "log out and in again"),
        )
    return Diagnosis("ok", "memory limits", "the kernel's memory controller is on")


def _switch_on(system: SystemFacts) -> Diagnosis:
    words = "the kernel's memory controller is off, so `--memory` is not exact here"
    reboot = "sudo reboot"
    option = "cgroup_enable=memory"
    if option in system.kernel_words:
        words += f"; it was started with {option}, so this kernel was built without it"
        return Diagnosis("warning", "memory limits", words)
    if system.cmdline_file is not None and option in system.cmdline_words:
        words += f"; {system.cmdline_file} has it from the next start on"
        return Diagnosis("warning", "memory limits", words, (reboot,))
    if system.cmdline_file is not None:
        edit = f"sudo sed -i '1 s/$/ {MEMORY_WORDS}/' {system.cmdline_file}"
        return Diagnosis("warning", "memory limits", words, (edit, reboot))
    if system.has_grub:
        edit = f"""sudo sed -i 's/^GRUB_CMDLINE_LINUX="/&{MEMORY_WORDS} /' /etc/default/grub"""
        return Diagnosis("warning", "memory limits", words, (edit, "sudo update-grub", reboot))
    return Diagnosis("warning", "memory limits", f"{words}: start its kernel with {MEMORY_WORDS}")


def _governor(system: SystemFacts) -> Iterator[Diagnosis]:
    unstable = [name for name in system.governors if name != "performance"]
    if unstable:
        yield Diagnosis(
            "warning",
            "clock",
            f"the governor is {' and '.join(unstable)}, so the clock moves while it is measured",
            ("echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",),
        )
    elif system.governors:
        yield Diagnosis("ok", "clock", "the governor is performance")


def _throttled(system: SystemFacts) -> Iterator[Diagnosis]:
    reasons = explain_throttled(system.throttled_bits)
    before = [reason for reason in reasons if reason.endswith("since boot")]
    now = [reason for reason in reasons if reason not in before]
    if now:
        yield Diagnosis(
            "problem",
            "power and heat",
            f"slowed down now: {', '.join(now)} ({_advice(now)})",
        )
    elif before:
        yield Diagnosis(
            "warning",
            "power and heat",
            f"was slowed down: {', '.join(before)} ({_advice(before)}); a restart of the board "
            "clears it",
            ("sudo reboot",),
        )
    elif system.throttled_bits:
        yield Diagnosis("ok", "power and heat", "not slowed down since it was started")


def _advice(reasons: list[str]) -> str:
    words = []
    if any("undervoltage" in reason for reason in reasons):
        words.append("use the board's own power supply and a short cable")
    if any("undervoltage" not in reason for reason in reasons):
        words.append("cool it: a heat sink, a fan, no closed case")
    return "; ".join(words)


def _temperature(system: SystemFacts) -> Iterator[Diagnosis]:
    if system.temperature_c is None:
        return
    value = f"{system.temperature_c:.0f} °C"
    if system.temperature_c >= TOO_HOT_C:
        words = f"{value}: boards slow down from {TOO_HOT_C:.0f} °C on; let it cool, then add a fan"
        yield Diagnosis("problem", "temperature", words)
    elif system.temperature_c >= HOT_C:
        words = f"{value} before the benchmark: add a heat sink or a fan"
        yield Diagnosis("warning", "temperature", words)
    else:
        yield Diagnosis("ok", "temperature", value)


def _memory(system: SystemFacts) -> Iterator[Diagnosis]:
    free = system.memory_available_bytes
    if free is None:
        return
    value = f"{format_bytes(free)} free"
    if system.memory_total_bytes is not None:
        value += f" of {format_bytes(system.memory_total_bytes)}"
    if free < MEMORY_PROBLEM_BYTES:
        words = f"{value}: not even a small model runs in that; end other programs"
        yield Diagnosis("problem", "memory", words)
    elif free < MEMORY_WARNING_BYTES:
        words = f"{value}: small models only; end other programs, such as the desktop"
        fix = ("sudo systemctl set-default multi-user.target", "sudo reboot")
        yield Diagnosis("warning", "memory", words, fix if system.is_raspberry_pi else ())
    else:
        yield Diagnosis("ok", "memory", value)


def _swap(system: SystemFacts) -> Iterator[Diagnosis]:
    if not system.swaps:
        return
    used = sum(swap.used_bytes for swap in system.swaps)
    paths = ", ".join(swap.path for swap in system.swaps)
    kind = "compressed memory" if "zram" in paths else "a disk or card"
    words = f"there is swap on {kind} ({paths}, {format_bytes(used)} used): what does not fit is "
    words += "slow instead of refused, and measures that"
    yield Diagnosis("warning", "swap", words, ("sudo swapoff -a",))


def _disk(system: SystemFacts) -> Iterator[Diagnosis]:
    free = system.disk_free_bytes
    if free is None:
        return
    value = f"{format_bytes(free)} free for bundles and results"
    if free < DISK_PROBLEM_BYTES:
        yield Diagnosis("problem", "disk", f"only {value}", ("df -h", "sudo apt-get clean")
                        if system.is_debian_like else ("df -h",))  # fmt: skip
    elif free < DISK_WARNING_BYTES:
        yield Diagnosis("warning", "disk", f"only {value}: a few small bundles")
    else:
        yield Diagnosis("ok", "disk", value)


def _load(system: SystemFacts) -> Iterator[Diagnosis]:
    if system.load_1min is None:
        return
    value = f"{system.load_1min:.2f} tasks were running or waiting over the last minute"
    if system.load_1min >= LOAD_WARNING:
        words = f"{value}: end other programs, or wait until the system has settled after its start"
        yield Diagnosis("warning", "load", words)
    else:
        yield Diagnosis("ok", "load", value)
