"""The bench of a phone, through the real adb client, with a native tool that really runs models."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from edgeseq.errors import DeviceError, InputError
from edgeseq.formats.bundle import read_bundle
from edgeseq.formats.result import ResultRecord, Settings
from edgeseq.reporting.format import format_delegation
from edgeseq.reporting.rows import derive_row
from edgeseq_benchmarks.bench.runner import bench
from edgeseq_benchmarks.devices.adb import AdbDevice
from edgeseq_benchmarks.devices.android.phone_bench import bench_on_phone
from edgeseq_benchmarks.devices.android.tool_runs import ToolOptions
from edgeseq_benchmarks.devices.base import DeviceLostError

from .adb_stand_in.client import private_adb
from .adb_stand_in.phone import Phone
from .adb_stand_in.tool import program

MakeBundle = Callable[..., Path]
pytestmark = pytest.mark.adb
TOOL = Path(__file__).with_name("adb_stand_in") / "tool.py"


@pytest.fixture(scope="module")
def adb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with private_adb(tmp_path_factory.mktemp("adb")) as programs:
        yield str(programs / "adb")


@pytest.fixture(scope="module")
def tool_socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the stand-in tool finds a process that has loaded the runtime already."""
    path = tmp_path_factory.mktemp("tool") / "socket"
    server = subprocess.Popen(
        [sys.executable, str(TOOL), "serve", str(path)], stdout=subprocess.PIPE
    )
    try:
        assert server.stdout is not None
        server.stdout.readline()
        yield path
    finally:
        server.kill()
        server.communicate()


@pytest.fixture
def native(tmp_path: Path) -> Path:
    """The stand-in `benchmark_model`."""
    path = tmp_path / "benchmark_model"
    path.write_text(program(sys.executable))
    return path


@pytest.fixture
def settings(brief: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr("edgeseq_benchmarks.devices.android.phone_stages.MEMORY_S", 0.2)
    return msgspec.structs.replace(
        brief, min_queries=10, rounds=2, cold_starts=2, length_tokens=(8,), length_samples=2
    )


class Bench:
    """A phone, and how it is measured here."""

    job_s = 20.0

    def __init__(self, phone: Phone, device: AdbDevice, native: Path, settings: Settings) -> None:
        self.phone, self.device, self.native, self.settings = phone, device, native, settings

    def run(self, *bundles: Path, **changes: object) -> ResultRecord:
        return bench_on_phone(
            self.device,
            bundles,
            settings=msgspec.structs.replace(self.settings, **changes),
            native=self.native,
            options=ToolOptions(run_s=self.job_s, call_s=20, warmup_s=0.0),
        )

    @property
    def left(self) -> list[str]:
        """What there is on the phone where programs may write."""
        return [path.name for path in self.phone.scratch.iterdir()]


MakeBench = Callable[..., Bench]


@pytest.fixture
def make_bench(
    adb: str, tool_socket: Path, native: Path, settings: Settings, tmp_path: Path
) -> Iterator[MakeBench]:
    made: list[Bench] = []

    def make(**about: object) -> Bench:
        phone = Phone(tmp_path / "phone", tool_socket=tool_socket, **about)  # type: ignore[arg-type]
        device = AdbDevice(phone.serial, adb=(adb,))
        made.append(Bench(phone, device, native, settings))
        return made[-1]

    yield make
    for one in made:
        one.device.close()
        one.phone.close()


def codes(result: ResultRecord, place: int = 0) -> dict[str, str]:
    """Findings of a run and of the result: code to message."""
    findings = (*result.runs[place].findings, *result.findings)
    return {finding.code: finding.message for finding in findings}


def test_a_bench_from_end_to_end(
    make_bench: MakeBench, make_bundle: MakeBundle, settings: Settings
) -> None:
    one = make_bench()
    (one.phone.root / "watched").touch()
    bundle = make_bundle("bag", examples=12)
    result = one.run(bundle, profile=True)
    run = result.runs[0]
    here = bench([bundle], settings=settings)
    assert run.predictions == here.runs[0].predictions
    assert run.scope == derive_row(result, run).scope == "inference"
    assert len(run.queries.total_ns) == 24
    assert sorted(set(run.queries.example)) == list(range(12))
    assert set(run.queries.tokenize_ns) == {0}
    assert run.queries.total_ns == run.queries.inference_ns
    assert all(time_ns > 0 for time_ns in run.queries.total_ns)
    assert [point.tokens for point in run.lengths] == [8]
    assert len(run.lengths[0].inference_ns) == 2
    assert len(run.cold_starts) == 2
    assert [phase.phase for phase in run.memory] == ["runtime_imported", "steady"]
    assert all(phase.anonymous_bytes > 1_000_000 for phase in run.memory)
    assert run.profile is not None
    assert {operator.name for operator in run.profile.operators} >= {"GATHER"}
    assert format_delegation(run.profile) == "It is not known which operators XNNPACK runs"
    assert {"inference-only", "battery"} <= codes(result).keys()
    assert not [one for one in (*run.findings, *result.findings) if one.severity == "invalid"]
    assert result.runtime.package == "benchmark_model"
    assert result.runtime.delegate == "xnnpack"
    device = result.device
    assert (device.name, device.cpu_model, device.cores) == (
        "Example Stand-In 1",
        "Invented SoC 7",
        2,
    )
    assert (device.os, device.machine) == ("Android 14 (API 34)", "aarch64")
    assert device.cpu_features == ("asimd", "asimddp")
    assert result.machine[0].temperature_c == 41.5
    assert one.left == []


def test_the_state_of_a_fused_model_leaks_into_no_answer(
    make_bench: MakeBench, make_bundle: MakeBundle
) -> None:
    """The model adds how often it was called in its process: 1, when it is asked as it should be.

    As a loop, which promises to keep nothing, it is asked as often as it is timed, and the check
    of the golden examples still asks it once.
    """
    one = make_bench()
    golden = read_bundle(make_bundle("bag")).golden
    once = tuple(
        msgspec.structs.replace(example, logits=tuple(logit + 1 for logit in example.logits))
        for example in golden.examples
    )
    golden = msgspec.structs.replace(golden, examples=once)
    fused, loop = (
        make_bundle(name, model="counting", examples=5, golden=golden, lowering=name)
        for name in ("fused", "loop")
    )
    result = one.run(fused, loop)
    assert "golden-differs" not in codes(result)
    assert len(result.runs[0].queries.total_ns) == len(result.runs[1].queries.total_ns) == 10
    assert result.runs[0].predictions is not None


def test_a_phone_unplugged_goes_on_where_it_was(
    make_bench: MakeBench, make_bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = make_bench()
    monkeypatch.setattr("edgeseq_benchmarks.devices.android.tool_runs._RECONNECT_PAUSE_S", 0.0)
    phone = one.phone
    phone.unplug_at = b"@end 3"
    unplug = phone.unplug
    monkeypatch.setattr(phone, "unplug", lambda: (unplug(), phone.plug_in()))
    result = one.run(make_bundle("bag", examples=8))
    assert phone.unplug_at is None
    assert result.runs[0].predictions is not None
    assert len(result.runs[0].queries.total_ns) == 16
    places = [
        int(found[1]) for line in phone.commands if (found := re.search(r" jobs (\d+) ", line))
    ]
    # Golden examples, cold starts, two rounds, lengths; and what was left of the first round.
    assert len(places) == 6
    assert 1 < places[3] <= 4
    assert one.left == []


def test_a_phone_lost_for_good_keeps_what_was_measured(
    make_bench: MakeBench, make_bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = make_bench()
    monkeypatch.setattr("edgeseq_benchmarks.devices.android.tool_runs._RECONNECT_PAUSE_S", 0.0)
    monkeypatch.setattr("edgeseq_benchmarks.devices.android.tool_runs._CONNECT_S", 1.0)
    one.phone.unplug_at = b"@end 3"
    with pytest.raises(DeviceLostError) as caught:
        one.run(make_bundle("bag", examples=8))
    assert caught.value.exit_code == 4
    result = caught.value.result
    assert result is not None
    assert len(result.runs[0].cold_starts) == 2
    assert len(result.runs[0].memory) == 2
    assert 0 < len(result.runs[0].queries.total_ns) <= 2 * 3
    assert "the phone was lost" in codes(result)["process-lost"]


def test_models_that_fail_take_no_other_with_them(
    make_bench: MakeBench, make_bundle: MakeBundle
) -> None:
    one = make_bench()
    one.job_s = 4.0
    (one.phone.root / "hang").write_text("model.0.tflite")
    (one.phone.root / "crash").write_text("model.2.tflite")
    bundles = [make_bundle(name, examples=4) for name in ("hangs", "good", "crashes")]
    result = one.run(*bundles)
    assert "no answer within 4 s" in codes(result, 0)["process-lost"]
    assert result.runs[1].predictions is not None
    assert (
        "ended with status 134 and printed 'ERROR: told to crash'"
        in codes(result, 2)["process-lost"]
    )
    assert result.runs[0].predictions is result.runs[2].predictions is None
    assert one.left == []


def test_a_phone_that_cannot_run_the_tool_says_why(
    make_bench: MakeBench, make_bundle: MakeBundle
) -> None:
    one = make_bench()
    one.native.write_text("#!/no/such/interpreter\n")
    with pytest.raises(DeviceError, match=r"cannot run any of the bundles.*status 12[67]"):
        one.run(make_bundle("bag", examples=4))
    assert one.left == []


def test_a_full_phone(make_bench: MakeBench, make_bundle: MakeBundle) -> None:
    one = make_bench(disk_bytes=4000)
    with pytest.raises(DeviceError, match="its storage is full"):
        one.run(make_bundle("bag", examples=4))
    assert one.left == []


def test_a_tool_for_another_processor_is_not_even_copied(
    make_bench: MakeBench, make_bundle: MakeBundle, tmp_path: Path
) -> None:
    one = make_bench()
    one.native = Path("/bin/sh")
    with pytest.raises(DeviceError, match=r"wrong processor.*x86_64.*arm64-v8a"):
        one.run(make_bundle("bag", examples=4))
    one.native = tmp_path / "notes.txt"
    with pytest.raises(InputError, match="no such file"):
        one.run(make_bundle("bag2", examples=4))
    one.native.write_text("no program")
    with pytest.raises(InputError, match="is not a program for Android"):
        one.run(make_bundle("bag3", examples=4))
    assert one.left == []


def test_throttling_and_battery_saver_are_seen(
    make_bench: MakeBench, make_bundle: MakeBundle
) -> None:
    one = make_bench(thermal_status=2)
    (one.phone.root / "battery").write_text("level: 9\ntemperature: 391\nUSB powered: false\n")
    (one.phone.root / "system/bin/settings").write_text("#!/bin/sh\necho 1\n")
    found = codes(one.run(make_bundle("bag", examples=4)))
    assert "thermal status moderate" in found["throttled"]
    assert "battery saver" in found["battery-saver"]
    assert "at 9 % at the end and 39.1 °C at most, not on a charger" in found["battery"]


def test_limits_are_refused_before_anything_is_done(
    make_bench: MakeBench, make_bundle: MakeBundle
) -> None:
    one = make_bench()
    with pytest.raises(InputError, match=r"--memory: is not possible on a phone"):
        one.run(make_bundle("bag", examples=4), memory_limits_bytes=(64_000_000,))
    with pytest.raises(InputError, match=r"--runner native: is not possible on a phone"):
        one.run(make_bundle("bag2", examples=4), runners=("native",))
    assert one.phone.commands == []


def test_ctrl_c_leaves_nothing_on_the_phone(make_bench: MakeBench, make_bundle: MakeBundle) -> None:
    one = make_bench()

    def interrupt(update: object) -> None:
        if getattr(update, "stage", "") == "rounds":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench_on_phone(
            one.device,
            [make_bundle("bag", examples=12)],
            settings=one.settings,
            native=one.native,
            progress=interrupt,
        )
    assert one.left == []


def test_an_old_phone_and_a_bundle_of_any_name(
    make_bench: MakeBench, make_bundle: MakeBundle
) -> None:
    one = make_bench(features=())
    result = one.run(make_bundle("it is+ -y", examples=4))
    assert result.runs[0].predictions is not None
    assert one.left == []


def test_callers_that_are_killed_do_not_end_the_stand_in(
    tool_socket: Path, make_bench: MakeBench, make_bundle: MakeBundle
) -> None:
    """What an interrupted bench leaves must not fail the test after it."""
    for said in (b"", (50).to_bytes(4, "big"), (50).to_bytes(4, "big") + b"{"):
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(str(tool_socket))
            caller.sendall(said)
    assert make_bench().run(make_bundle("bag", examples=4)).runs[0].predictions is not None
