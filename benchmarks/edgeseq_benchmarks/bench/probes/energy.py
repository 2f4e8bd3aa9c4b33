"""Energy where a machine can measure it; elsewhere "not measured", never a guess.

    RaplReader        x86: counters of the processor package (sysfs powercap, energy_uj)
    HwmonReader       an INA219 or another power sensor of the kernel's hwmon (power1_input, µW)
    Ina219Reader      the same sensor without power1_input: volts and amperes (in1_input mV, …)
    PmicReader        Raspberry Pi 5: `vcgencmd pmic_read_adc`, volts times amperes of its rails
    BatteryReader     Android and laptops: /sys/class/power_supply, only while it discharges

A reading is of the whole machine (or of what the sensor sees of it): what a model takes is the
difference to the same machine doing nothing, over a minute of each. Counters are read
at both ends; where there is power alone, it is sampled twice a second and integrated.
"""

from __future__ import annotations

import itertools
import re
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Protocol

from edgeseq.formats.result import EnergyWindow
from edgeseq.subprocesses.command_runs import command_text

SAMPLE_INTERVAL_S = 0.5
_COMMAND_TIMEOUT_S = 2.0
# What the Pi 5's rails do not show (losses of the converters, 5 V): total = 1.1451 * rails +
# 0.5879 W, a fit by the makers of pi-top against a power meter. The USB ports' 5 V are not in it.
_PMIC_FACTOR, _PMIC_OFFSET_W = 1.1451, 0.5879

RunCommand = Callable[[Sequence[str]], str]


class EnergyReader(Protocol):
    """One way to read the energy or power of this machine."""

    name: str

    def joules(self) -> float | None:
        """A counter that only grows, in joules; None where there is only power."""

    def watts(self) -> float | None:
        """The power now, in watts; None where there is a counter, or nothing to be read now."""


def find_reader(root: Path = Path("/"), run: RunCommand | None = None) -> EnergyReader | None:
    """The reader that sees the most of this machine; None where it has none.

    A sensor in the supply line sees all of it, a processor's own counter only itself.
    """
    candidates: list[EnergyReader | None] = [
        HwmonReader.find(root),
        Ina219Reader.find(root),
        PmicReader.find(run or partial(command_text, timeout_s=_COMMAND_TIMEOUT_S)),
        BatteryReader.find(root),
        RaplReader.find(root),
    ]
    return next((reader for reader in candidates if reader is not None), None)


class RaplReader:
    """Counters of processor packages; each wraps around at `max_energy_range_uj`.

    Readable by root alone since Linux 5.10 (CVE-2020-8694). Source: the kernel's
    `power/powercap/powercap.rst`.
    """

    name = "RAPL, processor package only"

    def __init__(self, zones: Sequence[Path]) -> None:
        self._zones = tuple(zones)
        self._last_uj = [_number(zone / "energy_uj") or 0 for zone in zones]
        self._total_uj = 0

    @classmethod
    def find(cls, root: Path) -> RaplReader | None:
        zones = []
        for zone in sorted((root / "sys/class/powercap").glob("intel-rapl:*")):
            # Packages are intel-rapl:0; their parts, intel-rapl:0:1, are already in them.
            is_package = zone.name.count(":") == 1 and _text(zone / "name").startswith("package")
            if is_package and _number(zone / "energy_uj") is not None:
                zones.append(zone)
        return cls(zones) if zones else None

    def joules(self) -> float | None:
        for number, zone in enumerate(self._zones):
            now_uj = _number(zone / "energy_uj")
            if now_uj is None:
                return None
            grown_uj = now_uj - self._last_uj[number]
            if grown_uj < 0:
                grown_uj += _number(zone / "max_energy_range_uj") or 0
            self._total_uj += max(0, grown_uj)
            self._last_uj[number] = now_uj
        return self._total_uj / 1e6

    def watts(self) -> float | None:
        return None


class HwmonReader:
    """A power sensor of hwmon that gives µW (`Documentation/hwmon/sysfs-interface.rst`)."""

    def __init__(self, sensor: Path) -> None:
        self._path = sensor / "power1_input"
        self.name = f"power sensor {_text(sensor / 'name').strip()}"

    @classmethod
    def find(cls, root: Path) -> HwmonReader | None:
        for sensor in _sensors(root):
            if _number(sensor / "power1_input") is not None:
                return cls(sensor)
        return None

    def joules(self) -> float | None:
        return None

    def watts(self) -> float | None:
        power_uw = _number(self._path)
        return None if power_uw is None else power_uw / 1e6


class Ina219Reader:
    """An INA219 that gives the bus voltage in mV and the current in mA (`hwmon/ina2xx.rst`)."""

    def __init__(self, sensor: Path) -> None:
        self._sensor = sensor
        self.name = f"power sensor {_text(sensor / 'name').strip()}"

    @classmethod
    def find(cls, root: Path) -> Ina219Reader | None:
        for sensor in _sensors(root):
            known = [_number(sensor / name) for name in ("in1_input", "curr1_input")]
            if None not in known:
                return cls(sensor)
        return None

    def joules(self) -> float | None:
        return None

    def watts(self) -> float | None:
        volts_m, amperes_m = (_number(self._sensor / n) for n in ("in1_input", "curr1_input"))
        return None if volts_m is None or amperes_m is None else volts_m * amperes_m / 1e6


class PmicReader:
    """The power management chip of a Raspberry Pi 5, through the firmware's own command."""

    name = "Raspberry Pi 5 power management chip, without what hangs on 5 V"

    def __init__(self, run: RunCommand) -> None:
        self._run = run

    @classmethod
    def find(cls, run: RunCommand) -> PmicReader | None:
        reader = cls(run)
        return reader if reader.watts() is not None else None

    def joules(self) -> float | None:
        return None

    def watts(self) -> float | None:
        return pmic_watts(self._run(("vcgencmd", "pmic_read_adc")))


def pmic_watts(answer: str) -> float | None:
    """The power behind `vcgencmd pmic_read_adc`; None when it names no whole rail.

    A rail is two lines, `NAME_A current(7)=0.01A` and `NAME_V volt(15)=3.3V`; a lone voltage is no
    rail. The sum over rails goes through the fit that `_PMIC_FACTOR` stands for.
    """
    readings = re.findall(r"^\s*(\w+)_([AV])\s+\w+\(\d+\)=([0-9.]+)[AV]\s*$", answer, re.MULTILINE)
    values = {(rail, kind): float(value) for rail, kind, value in readings}
    rails = [rail for rail, kind in values if kind == "A" and (rail, "V") in values]
    if not rails:
        return None
    return _PMIC_FACTOR * sum(values[r, "A"] * values[r, "V"] for r in rails) + _PMIC_OFFSET_W


class BatteryReader:
    """A battery that discharges: µA times µV (`Documentation/ABI/testing/sysfs-class-power`)."""

    name = "battery, while it discharges"

    def __init__(self, supply: Path) -> None:
        self._supply = supply

    @classmethod
    def find(cls, root: Path) -> BatteryReader | None:
        for supply in sorted((root / "sys/class/power_supply").glob("*")):
            reader = cls(supply)
            if _text(supply / "type").strip() == "Battery" and reader.watts() is not None:
                return reader
        return None

    def joules(self) -> float | None:
        return None

    def watts(self) -> float | None:
        # On the charger, the current is the charger's.
        if _text(self._supply / "status").strip() != "Discharging":
            return None
        microamperes = _number(self._supply / "current_now")
        microvolts = _number(self._supply / "voltage_now")
        if microamperes is None or microvolts is None:
            return None
        # Android's makers disagree on the sign of a discharge.
        return abs(microamperes) * microvolts / 1e12


class Meter:
    """A window of energy: a context manager around what is measured, then `window`."""

    def __init__(self, reader: EnergyReader) -> None:
        self._reader = reader
        self._samples: list[tuple[float, float]] = []
        self._gaps = 0
        self._stop = threading.Event()
        self._begun_s = self._ended_s = 0.0
        self._begun_j: float | None = None
        self._ended_j: float | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Meter:
        self._begun_j, self._begun_s = self._reader.joules(), time.monotonic()
        if self._begun_j is None:
            self._thread = threading.Thread(target=self._sample, daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self._ended_j, self._ended_s = self._reader.joules(), time.monotonic()

    def _sample(self) -> None:
        while True:
            watts = self._reader.watts()
            if watts is None:
                self._gaps += 1
            else:
                self._samples.append((time.monotonic(), watts))
            if self._stop.wait(SAMPLE_INTERVAL_S):
                return

    def window(self, queries: int) -> EnergyWindow | None:
        """The energy; None when the reader stopped reporting (a charger was plugged in)."""
        duration_s = self._ended_s - self._begun_s
        if self._begun_j is not None:
            if self._ended_j is None:
                return None
            joules = self._ended_j - self._begun_j
            return EnergyWindow(self._reader.name, duration_s, joules, queries)
        if self._gaps or len(self._samples) < 2:
            return None
        mean_w = mean_power_w(self._samples)
        samples_w = tuple(watts for _, watts in self._samples)
        return EnergyWindow(self._reader.name, duration_s, mean_w * duration_s, queries, samples_w)


def mean_power_w(samples: Sequence[tuple[float, float]]) -> float:
    """The mean of (time in s, power in W) samples over time, by trapezoids; at least two."""
    joules = sum(
        (after - before) * (first + second) / 2
        for (before, first), (after, second) in itertools.pairwise(samples)
    )
    return joules / (samples[-1][0] - samples[0][0])


def _sensors(root: Path) -> list[Path]:
    """The hwmon sensors that measure a supply line: those of the INA family."""
    sensors = sorted((root / "sys/class/hwmon").glob("hwmon*"))
    return [sensor for sensor in sensors if _text(sensor / "name").startswith("ina")]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if re.fullmatch(r"-?\d+", text) else None
