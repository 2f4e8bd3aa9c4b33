"""What the machine says of itself, and what that means for the numbers."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import msgspec
import pytest

from edgeseq.formats.result import DeviceInfo, MachineState, Queries, Slice
from edgeseq_benchmarks.bench import validity
from edgeseq_benchmarks.bench.probes.machine_state import (
    Loads,
    Watch,
    device_info,
    explain_throttled,
    is_emulated,
    throttled_reasons,
)
from edgeseq_benchmarks.bench.runner import default_settings


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def test_this_machine_is_described() -> None:
    device = device_info()
    assert device.cores == len(os.sched_getaffinity(0))
    assert device.memory_bytes > 0
    assert device.machine == platform.machine()
    assert device.cpu_model


def test_a_raspberry_pi_is_described(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd evtstrm crc32 cpuid\n"
            "CPU implementer\t: 0x41\nCPU part\t: 0xd08\n\nModel\t\t: Raspberry Pi 4 Model B\n",
            "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
            "proc/meminfo": "MemTotal:        3884360 kB\n",
            "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
            "sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n",
        },
    )
    device = device_info(root)
    assert device.name == "Raspberry Pi 4 Model B Rev 1.4"
    assert device.cpu_features == ("asimd",)
    assert device.memory_bytes == 3884360 * 1024
    assert device.os == "Debian GNU/Linux 12 (bookworm)"
    assert not device.emulated
    assert "undervoltage" in throttled_reasons(root)


@pytest.mark.parametrize(
    ("files", "emulated"),
    [
        ({}, False),
        ({"proc/device-tree/compatible": "linux,dummy-virt\0"}, True),
        (
            {
                "proc/device-tree/compatible": "linux,dummy-virt\0",
                "sys/class/ptp/ptp0/clock_name": "KVM virtual PTP\n",
            },
            False,
        ),
        ({"proc/cpuinfo": "model name : QEMU TCG CPU version 2.5+\n"}, True),
    ],
)
def test_emulation_is_told_from_virtualization(
    tmp_path: Path, files: dict[str, str], emulated: bool
) -> None:
    assert is_emulated(tree(tmp_path, files)) is emulated


def test_throttling_bits_are_explained() -> None:
    assert explain_throttled("0x0") == ()
    assert explain_throttled("50005") == (
        "undervoltage",
        "throttled",
        "undervoltage since boot",
        "throttled since boot",
    )
    assert explain_throttled("nonsense") == ()


def test_load_of_others_is_what_is_left_of_all(tmp_path: Path) -> None:
    rate = os.sysconf("SC_CLK_TCK")
    root = tree(
        tmp_path,
        {"proc/stat": "cpu  0 0 0 0 0 0 0 0 0 0\n", "proc/7/stat": f"7 (a b) S {'0 ' * 30}"},
    )
    watch = Watch(root)
    started_s, _, _, own_s = watch._loads._last
    watch._loads._last = Loads(started_s - 10.0, 0.0, 0.0, own_s)  # as if it had begun 10 s ago
    tree(root, {"proc/stat": f"cpu  {12 * rate} 0 0 0 0 0 0 {2 * rate} 0 0\n"})
    fields = ["S", *["0"] * 10, str(7 * rate), *["0"] * 20]
    tree(root, {"proc/7/stat": f"7 (a b) {' '.join(fields)}"})
    state = watch.read("during", [7])
    # 12 s of work in 10 s, 7 s of it in our child.
    assert state.load_other_cores == pytest.approx(0.5, abs=0.05)
    assert state.steal_cores == pytest.approx(0.2, abs=0.02)
    assert watch.read("during", [7]).load_other_cores is None


DEVICE = DeviceInfo(
    name="a",
    machine="aarch64",
    cpu_model="b",
    cpu_features=(),
    cores=4,
    memory_bytes=1,
    kernel="c",
    os="d",
)


def found(*states: MachineState, device: DeviceInfo = DEVICE) -> dict[str, str]:
    findings = validity.machine_findings(states, device)
    return {finding.code: finding.severity for finding in findings}


def test_machine_states_become_findings() -> None:
    before, during = MachineState(when="before"), MachineState(when="during")

    def change(state: MachineState, **changes: object) -> MachineState:
        return msgspec.structs.replace(state, **changes)

    assert found(before, during) == {}
    assert found(change(before, load_other_cores=2.0), during) == {}
    small, large = change(during, load_other_cores=0.3), change(during, load_other_cores=0.9)
    assert found(small) == {"background-load": "warning"}
    assert found(large) == {"background-load": "invalid"}
    # One busy round among quiet ones does not spoil the run.
    assert found(large, *[change(during, load_other_cores=0.0)] * 19) == {}
    assert found(change(during, steal_cores=0.2)) == {"stolen-time": "warning"}
    history = change(before, throttled=("undervoltage since boot",))
    assert found(history, history) == {"throttled-before": "note"}
    assert found(before, history) == {"throttled": "invalid"}
    assert found(change(before, throttled=("throttled",)), during) == {"throttled": "invalid"}
    swapping = change(before, swap_used_bytes=1)
    assert found(swapping, change(during, swap_used_bytes=2)) == {"swap-grew": "warning"}
    assert found(swapping, swapping) == {}
    assert found(change(before, governor="ondemand")) == {"governor": "note"}
    assert found(before, device=msgspec.structs.replace(DEVICE, emulated=True)) == {
        "emulated": "invalid"
    }


def queries(times_ns: list[int]) -> Queries:
    count = len(times_ns)
    rounds = tuple(number * 20 // count for number in range(count))
    column = tuple(times_ns)
    return Queries(
        example=tuple(range(count)),
        round=rounds,
        tokens=(8,) * count,
        tokenize_ns=column,
        inference_ns=column,
        decode_ns=column,
        total_ns=column,
    )


def slices(*, waiting_ns: int | None = 0, last_rss_bytes: int = 40_000_000) -> list[Slice]:
    def one(number: int, rss_bytes: int) -> Slice:
        return Slice(number, 10**9, 10**9, waiting_ns, 0, 0, rss_bytes)

    return [*(one(number, 40_000_000) for number in range(19)), one(19, last_rss_bytes)]


@pytest.mark.parametrize(
    ("times_ns", "observed", "expected"),
    [
        ([1000] * 1024, {}, {}),
        ([1000] * 1024, {"waiting_ns": None}, {}),
        ([1000] * 20, {}, {"few-samples": "warning"}),
        ([1000] * 500, {}, {"few-samples": "note"}),
        ([1000] * 512 + [1300] * 512, {}, {"unstable": "warning"}),
        ([1000] * 512 + [1040] * 512, {}, {}),
        # The halves agree, but the median lies in a gap: another run may find it at 1200.
        ([1000, 1200] * 512, {}, {"unstable": "warning"}),
        ([1000] * 60 + [1200] * 4, {}, {"few-samples": "warning"}),
        ([1000] * 1024, {"waiting_ns": 50_000_000}, {"processor-shared": "warning"}),
        ([1000] * 1024, {"waiting_ns": 200_000_000}, {"processor-shared": "invalid"}),
        ([1000] * 1024, {"last_rss_bytes": 50_000_000}, {"memory-grows": "warning"}),
    ],
)
def test_times_become_findings(
    times_ns: list[int], observed: dict[str, int], expected: dict[str, str]
) -> None:
    settings = default_settings(quick=True)
    findings = validity.timing_findings(queries(times_ns), slices(**observed), settings)
    assert {finding.code: finding.severity for finding in findings} == expected


@pytest.mark.parametrize(("time_ns", "codes"), [(19_000, ["coarse-clock"]), (20_000, [])])
def test_times_of_a_few_steps_of_the_clock_are_marked(time_ns: int, codes: list[str]) -> None:
    findings = validity.clock_findings(queries([time_ns] * 8), 1000)
    assert [finding.code for finding in findings] == codes


def test_answers_that_are_no_numbers_or_leak_are_invalid() -> None:
    good, bad = [[1.0, 2.0]], [[1.0, None]]
    assert validity.leak_findings(good, good) == []
    assert validity.leak_findings(good, [[1.0, 2.0 + 1e-7]]) == []
    for other in (bad, [[1.0, 2.1]]):
        assert [finding.code for finding in validity.leak_findings(good, other)] == ["state-leaks"]
    varied = validity.prediction_findings(5, inconsistent=1)
    assert [(finding.code, finding.severity) for finding in varied] == [("answers-vary", "invalid")]


def test_threads_and_batches_that_were_not_as_asked_are_noted() -> None:
    assert validity.thread_findings(2, 1) == []
    assert [finding.code for finding in validity.thread_findings(4, 0)] == ["threads-ignored"]
    assert validity.batch_findings(3, 3) == []
    assert [finding.code for finding in validity.batch_findings(3, 2)] == ["not-interleaved"]
