"""A phone's identity, temperature, throttling and battery."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from edgeseq.errors import DeviceError
from edgeseq.formats.result import DeviceInfo, Finding, MachineState
from edgeseq_benchmarks.bench.probes.machine_state import cpu_features, cpu_model, parse_meminfo
from edgeseq_benchmarks.devices.base import Device

_TIMEOUT_S = 30.0
_IDENTITY = """
echo @properties; getprop
echo @uname; uname -m; uname -sr
echo @cpuinfo; cat /proc/cpuinfo
echo @meminfo; cat /proc/meminfo
"""
_STATE = """
echo @thermal; dumpsys thermalservice
echo @battery; dumpsys battery
echo @saver; settings get global low_power
echo @meminfo; cat /proc/meminfo
echo @governor; cat /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor
"""
# android.os.PowerManager.THERMAL_STATUS_*: from LIGHT on the system slows things down.
_THERMAL = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
_LOW_BATTERY_PERCENT = 20


class PhoneState(NamedTuple):
    """The state as results store it, and of the battery what they have no column for."""

    machine: MachineState
    battery_percent: int | None
    battery_celsius: float | None
    powered: bool
    saver: bool


def read_identity(device: Device) -> tuple[DeviceInfo, tuple[str, ...]]:
    """The phone as results name it, and its ABIs, the preferred one first.

    Raises `DeviceError` when it gives none.
    """
    parts = _run_script(device, _IDENTITY)
    properties = {
        match[1]: match[2]
        for line in parts["properties"]
        if (match := re.fullmatch(r"\[(.+?)\]: \[(.*)\]", line))
    }
    abis = tuple(properties.get("ro.product.cpu.abilist", "").split(","))
    if abis == ("",):
        abis = tuple(abi for abi in (properties.get("ro.product.cpu.abi", ""),) if abi)
    if not abis:
        raise DeviceError(
            "does not report its processor",
            where=device.name,
            found="no ro.product.cpu.abilist",
            expected="an Android phone",
        )
    cpuinfo = "\n".join(parts["cpuinfo"])
    machine, kernel = [*parts["uname"], "unknown", "unknown"][:2]
    maker, model = (properties.get(f"ro.product.{name}", "") for name in ("manufacturer", "model"))
    name = model if model.lower().startswith(maker.lower()) else f"{maker} {model}".strip()
    soc = " ".join(properties.get(f"ro.soc.{key}", "") for key in ("manufacturer", "model"))
    board = properties.get("ro.board.platform", "")
    release = properties.get("ro.build.version.release", "unknown")
    level = properties.get("ro.build.version.sdk", "unknown")
    info = DeviceInfo(
        name=name or device.name,
        machine=machine,
        cpu_model=soc.strip() or cpu_model(cpuinfo) or board or "unknown",
        cpu_features=cpu_features(cpuinfo),
        cores=max(1, len(re.findall(r"^processor\s*:", cpuinfo, re.MULTILINE))),
        memory_bytes=parse_meminfo("\n".join(parts["meminfo"])).get("MemTotal", 0),
        kernel=kernel,
        os=f"Android {release} (API {level})",
        emulated=device.emulated,
    )
    return info, abis


def read_state(device: Device, when: Literal["before", "during", "after"]) -> PhoneState:
    """The phone's state now; None where an Android of this age gives no value."""
    parts = _run_script(device, _STATE)
    battery = {
        key.strip(): value.strip()
        for key, match, value in (line.partition(":") for line in parts["battery"])
        if match
    }
    memory = parse_meminfo("\n".join(parts["meminfo"]))
    total, free = memory.get("SwapTotal"), memory.get("SwapFree")
    level, tenths = (battery.get(name, "") for name in ("level", "temperature"))
    governors = sorted({line for line in parts["governor"] if line})
    return PhoneState(
        machine=MachineState(
            when=when,
            swap_used_bytes=None if total is None or free is None else total - free,
            governor=", ".join(governors) or None,
            temperature_c=_processor_celsius(parts["thermal"]),
            throttled=_thermal_status(parts["thermal"]),
        ),
        battery_percent=int(level) if level.isdigit() else None,
        battery_celsius=int(tenths) / 10 if tenths.lstrip("-").isdigit() else None,
        powered=any(battery.get(f"{kind} powered") == "true" for kind in ("AC", "USB", "Wireless")),
        saver=parts["saver"][:1] == ["1"],
    )


def phone_findings(states: Sequence[PhoneState]) -> list[Finding]:
    """Findings from the battery's state; temperature and throttling are in `validity`."""
    findings = []
    if any(state.saver for state in states):
        words = "the battery saver is on, which slows the processor: turn it off, measure again"
        findings.append(Finding("battery-saver", "invalid", words))
    known = [state.battery_percent for state in states if state.battery_percent is not None]
    if not known:
        return findings
    warmest = max(
        (state.battery_celsius for state in states if state.battery_celsius), default=None
    )
    words = f"the battery was at {known[-1]} % at the end"
    words += "" if warmest is None else f" and {warmest:.1f} °C at most"
    words += ", on a charger" if states[-1].powered else ", not on a charger"
    low = min(known) < _LOW_BATTERY_PERCENT
    if low:
        words += f": below {_LOW_BATTERY_PERCENT} % many phones slow down, charge it"
    return [*findings, Finding("battery", "warning" if low else "note", words)]


def _run_script(device: Device, script: str) -> dict[str, list[str]]:
    """Runs a script that heads each part of its output with `@name`: the lines by part."""
    answer = device.run(("sh", "-c", script), timeout_s=_TIMEOUT_S)
    parts: dict[str, list[str]] = {name: [] for name in re.findall(r"echo @(\w+)", script)}
    lines: list[str] = []
    for line in answer.stdout.decode("utf-8", errors="replace").splitlines():
        if line.startswith("@") and line[1:] in parts:
            lines = parts[line[1:]]
        else:
            lines.append(line.strip())
    return parts


def _processor_celsius(lines: Sequence[str]) -> float | None:
    """The warmest of the processor's sensors (`mType=0`) as they are now."""
    current, values = False, []
    for line in lines:
        if line.endswith(":"):
            current = line.startswith("Current temperatures")
        elif current and (match := re.search(r"mValue=(-?[\d.]+),.*mType=0\b", line)):
            values.append(float(match[1]))
    return max(values, default=None)


def _thermal_status(lines: Sequence[str]) -> tuple[str, ...]:
    for line in lines:
        if match := re.fullmatch(r"Thermal Status: (\d+)", line):
            status = min(int(match[1]), len(_THERMAL) - 1)
            return (f"thermal status {_THERMAL[status]}",) if status else ()
    return ()
