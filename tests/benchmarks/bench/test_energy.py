"""Energy readers on recorded readings, and a run with and without one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from edgeseq.formats.result import EnergyWindow, Settings
from edgeseq.formats.storage import write_json
from edgeseq.progress import ProgressUpdate
from edgeseq.reporting.deployment_report import make_report
from edgeseq.reporting.format import format_energy
from edgeseq.reporting.run_statistics import joules_per_query
from edgeseq_benchmarks.bench.probes import energy
from edgeseq_benchmarks.bench.probes.energy import (
    BatteryReader,
    HwmonReader,
    Ina219Reader,
    Meter,
    PmicReader,
    RaplReader,
    find_reader,
    mean_power_w,
    pmic_watts,
)
from edgeseq_benchmarks.bench.runner import bench

MakeBundle = Callable[..., Path]

# Rails as the firmware of a Pi 5 prints them; three of its twelve, and voltages without a current.
PMIC = """     3V7_WL_SW_A current(0)=0.00390372A
   3V3_SYS_A current(1)=0.12000000A
  VDD_CORE_A current(7)=0.80000000A
     3V7_WL_SW_V volt(8)=3.75000000V
   3V3_SYS_V volt(9)=3.30000000V
  VDD_CORE_V volt(15)=0.75000000V
   EXT5V_V volt(24)=5.15000000V
     BATT_V volt(25)=0.00000000V
"""


def write(path: Path, **files: object) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (path / name).write_text(f"{content}\n")
    return path


def silent(command: object) -> str:
    return ""


def test_the_pi_5_adds_up_its_rails() -> None:
    rails_w = 0.00390372 * 3.75 + 0.12 * 3.3 + 0.8 * 0.75
    assert pmic_watts(PMIC) == pytest.approx(1.1451 * rails_w + 0.5879)
    asked: list[object] = []

    def answer(command: object) -> str:
        asked.append(command)
        return PMIC

    reader = PmicReader.find(answer)
    assert reader is not None
    assert reader.watts() == pmic_watts(PMIC)
    assert asked[0] == ("vcgencmd", "pmic_read_adc")
    for other in ("", 'error=1 error_msg="Command not registered"', "EXT5V_V volt(24)=5.1V"):
        assert pmic_watts(other) is None
        assert PmicReader.find(lambda command, other=other: other) is None


def test_an_ina219_gives_power_or_its_parts(tmp_path: Path) -> None:
    write(tmp_path / "sys/class/hwmon/hwmon0", name="cpu_thermal", power1_input=1)
    sensor = write(tmp_path / "sys/class/hwmon/hwmon3", name="ina219", in1_input=5_020)
    assert find_reader(tmp_path, silent) is None, "no current, no power"
    write(sensor, curr1_input=640)
    reader = find_reader(tmp_path, silent)
    assert isinstance(reader, Ina219Reader)
    assert reader.watts() == pytest.approx(5.02 * 0.64)
    write(sensor, power1_input=3_220_000)
    reader = find_reader(tmp_path, silent)
    assert isinstance(reader, HwmonReader)
    assert (reader.watts(), reader.joules()) == (3.22, None)
    assert "ina219" in reader.name


def test_a_run_takes_its_energy_from_the_files_of_an_ina219(
    make_bundle: MakeBundle, brief: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Files and units as of the kernel's driver (`Documentation/hwmon/ina2xx.rst`)."""
    sensor = write(tmp_path / "sys/class/hwmon/hwmon3", name="ina219", in0_input=64,
                   in1_input=5_020, curr1_input=640, power1_input=3_212_800,
                   shunt_resistor=100_000)  # fmt: skip
    monkeypatch.setattr(energy, "SAMPLE_INTERVAL_S", 0.02)
    monkeypatch.setattr(
        "edgeseq_benchmarks.bench.this_machine.find_reader", lambda: find_reader(tmp_path, silent)
    )

    def follow(update: ProgressUpdate) -> None:
        if update.stage == "energy" and update.note != "idle":  # 1 W more while a model answers
            write(sensor, curr1_input=839, power1_input=4_212_800)

    settings = msgspec.structs.replace(brief, energy=True, energy_duration_s=0.3)
    result = bench([make_bundle("kettle")], settings=settings, progress=follow)
    idle, busy = result.energy_idle, result.runs[0].energy
    assert idle is not None
    assert busy is not None
    assert idle.joules == pytest.approx(3.2128 * idle.duration_s)
    assert set(busy.samples_w) == {4.2128}
    joules = joules_per_query(busy, idle)
    assert joules == pytest.approx(1.0 * busy.duration_s / busy.queries)
    assert f"{1e3 * busy.duration_s / busy.queries:.3g} mJ" in format_energy(busy, idle)
    assert "(power sensor ina219, " in format_energy(busy, idle)


def test_rapl_counts_packages_once_and_wraps_around(tmp_path: Path) -> None:
    powercap = tmp_path / "sys/class/powercap"
    zone = write(powercap / "intel-rapl:0", name="package-0", energy_uj=9_000_000,
                 max_energy_range_uj=10_000_000)  # fmt: skip
    write(powercap / "intel-rapl:0:0", name="core", energy_uj=5)
    write(powercap / "intel-rapl:1", name="psys", energy_uj=5)
    reader = find_reader(tmp_path, silent)
    assert isinstance(reader, RaplReader)
    assert reader.watts() is None
    assert reader.joules() == 0
    write(zone, energy_uj=9_500_000)
    assert reader.joules() == 0.5
    write(zone, energy_uj=250_000)
    assert reader.joules() == pytest.approx(0.5 + 0.75)
    write(zone, energy_uj="")
    assert reader.joules() is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_counter_that_may_not_be_read_is_no_reader(tmp_path: Path) -> None:
    zone = write(tmp_path / "sys/class/powercap/intel-rapl:0", name="package-0", energy_uj=1)
    (zone / "energy_uj").chmod(0)
    assert RaplReader.find(tmp_path) is None


def test_a_battery_counts_only_while_it_discharges(tmp_path: Path) -> None:
    supplies = tmp_path / "sys/class/power_supply"
    write(supplies / "usb", type="USB", current_now=500_000, voltage_now=5_000_000)
    battery = write(supplies / "battery", type="Battery", status="Charging",
                    current_now=-300_000, voltage_now=4_000_000)  # fmt: skip
    assert find_reader(tmp_path, silent) is None
    write(battery, status="Discharging")
    reader = find_reader(tmp_path, silent)
    assert isinstance(reader, BatteryReader)
    assert reader.watts() == pytest.approx(1.2)


def test_a_machine_without_any_has_none(tmp_path: Path) -> None:
    assert find_reader(tmp_path, silent) is None


class Steps:
    """A reader whose power follows a list, then stays at the last."""

    name = "steps"

    def __init__(self, *watts: float | None) -> None:
        self._watts = list(watts)

    def joules(self) -> float | None:
        return None

    def watts(self) -> float | None:
        return self._watts.pop(0) if len(self._watts) > 1 else self._watts[0]


def test_power_is_integrated_over_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert mean_power_w([(0, 1.0), (1, 3.0), (3, 3.0)]) == pytest.approx(8 / 3)
    monkeypatch.setattr(energy, "SAMPLE_INTERVAL_S", 0.02)
    with Meter(Steps(2.0)) as meter:
        time.sleep(0.2)
    window = meter.window(7)
    assert window is not None
    assert window.queries == 7
    assert window.duration_s >= 0.2
    assert window.joules == pytest.approx(2.0 * window.duration_s)
    assert set(window.samples_w) == {2.0}
    with Meter(Steps(2.0, None, 2.0)) as meter:
        time.sleep(0.1)
    assert meter.window(7) is None, "plugged in meanwhile"


def test_idle_is_subtracted() -> None:
    idle = EnergyWindow("r", 60.0, 120.0, 0)
    busy = EnergyWindow("r", 61.0, 244.0, 1_000)
    assert joules_per_query(busy, idle) == pytest.approx((244 - 2 * 61) / 1_000)
    assert format_energy(busy, idle) == "122 mJ per query above idle (r, 61 s)"
    assert format_energy(msgspec.structs.replace(busy, joules=100.0), idle).startswith("not above")
    for other in (None, msgspec.structs.replace(idle, reader="s")):
        assert joules_per_query(busy, other) is None
        assert format_energy(busy, other) == "not measured"
    assert joules_per_query(msgspec.structs.replace(busy, queries=0), idle) is None


def test_a_run_measures_energy_or_says_that_it_was_not(
    make_bundle: MakeBundle, brief: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(energy, "SAMPLE_INTERVAL_S", 0.02)
    asked = msgspec.structs.replace(brief, energy=True, energy_duration_s=0.3)
    path = make_bundle("kettle")
    # First the idle machine at 2 W, then 3 W for as long as the model answers.
    monkeypatch.setattr(
        "edgeseq_benchmarks.bench.this_machine.find_reader", lambda: Steps(*[2.0] * 10, 3.0)
    )
    result = bench([path], settings=asked)
    assert result.energy_idle is not None
    assert result.energy_idle.joules / result.energy_idle.duration_s < 2.9
    window = result.runs[0].energy
    assert window is not None
    assert window.queries > 0
    assert window.joules == pytest.approx(3.0 * window.duration_s, rel=0.2)
    assert "energy-short" in {finding.code for finding in result.findings}
    write_json(tmp_path / "result.json", result)
    make_report([tmp_path / "result.json"]).save(tmp_path / "report")
    for page in ("report.md", "report.html"):
        assert "mJ per query above idle (steps" in (tmp_path / "report" / page).read_text()
    monkeypatch.setattr("edgeseq_benchmarks.bench.this_machine.find_reader", lambda: None)
    result = bench([path], settings=asked)
    assert (result.energy_idle, result.runs[0].energy) == (None, None)
    assert "energy-not-measured" in {finding.code for finding in result.findings}
