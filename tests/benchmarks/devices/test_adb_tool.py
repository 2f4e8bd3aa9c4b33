"""What the native tool prints, and how it is read: lines of its own documentation and sources."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import pytest

from edgeseq.errors import DeviceError, InputError
from edgeseq.formats.tflite_file import parse_tflite
from edgeseq_benchmarks.devices.android.benchmark_model import (
    check_native,
    class_number,
    nanoseconds,
    parse_logits,
    parse_operators,
    parse_times,
)
from edgeseq_benchmarks.devices.android.empty_model import empty_model


@pytest.mark.parametrize(
    ("line", "runs_us"),
    [
        ("count=2 first=812 curr=790 min=790 max=812 avg=801 std=11", (812, 790)),
        ("INFO: count=2 first=812 curr=790 min=790 max=812 avg=801 std=11 p5=790", (812, 790)),
        ("count=2 curr=800(all same)", (800, 800)),
        ("count=1 curr=800", (800,)),
        ("count=1 curr=800 p5=800 median=800 p95=800", (800,)),
        ("count=0", ()),
    ],
)
def test_single_runs_are_read_from_a_statistic(line: str, runs_us: tuple[int, ...]) -> None:
    times = parse_times(["INFO: count=3 first=9 curr=7 min=7 max=9 avg=8 std=1", line])
    assert times.runs_us == runs_us
    assert times.warmup_us == (9, 7)


def test_the_last_line_has_loading_and_the_first_inference() -> None:
    line = (
        "INFO: Inference timings in us: Init: 38467, First inference: 79449, "
        "Warmup (avg): 83235, Inference (avg): 79760.9"
    )
    times = parse_times(["count=1 curr=5", line])
    assert (times.init_us, times.first_us) == (38467.0, 79449.0)
    assert times.warmup_us == ()
    old = "Average inference timings in us: Warmup: 83235, Init: 38467, Inference: 79760.9"
    assert (parse_times([old]).init_us, parse_times([old]).first_us) == (38467.0, None)


@pytest.mark.parametrize(("printed_us", "time_ns"), [(0, 1000), (1, 1000), (812.5, 812_500)])
def test_no_time_is_zero(printed_us: float, time_ns: int) -> None:
    assert nanoseconds(printed_us) == time_ns


def test_logits_come_as_lines_of_bytes() -> None:
    values = (1.5, -2.25, 3e-3)
    digits = struct.pack("<3f", *values).hex(" ")
    lines = [f" {digits[:24]}", f" {digits[24:]}"]
    assert parse_logits(lines, 3) == pytest.approx(values)
    assert parse_logits(lines, 4) is None
    assert parse_logits(["od: output: No such file"], 3) is None
    assert parse_logits([], 3) is None


def test_the_class_is_the_largest_logit_as_numpy_takes_it() -> None:
    assert class_number((0.0, 2.0, 2.0)) == 1
    assert class_number((0.0, math.nan, 9.0)) == 1


_SUMMARY = """
============================== Summary by node type ==============================
\t   [Node type]\t  [count]\t  [avg ms]\t    [avg %]\t    [cdf %]\t  [mem KB]\t[times called]
\t                  {first}\t       15\t     1.406\t    89.270%\t    89.270%\t     0.000\t       15
\t                  {second}\t        1\t     0.020\t     0.000%\t   100.000%\t     0.000\t        1

Timings (microseconds): count=50 first=79449 curr=81350 min=77385 max=88213 avg=79732 std=1929
"""


def test_operators_are_read_from_the_summary() -> None:
    lines = _SUMMARY.format(first="TfLiteXNNPackDelegate", second="GATHER").splitlines()
    delegate, gather = parse_operators(lines, runs=50)
    assert (delegate.name, delegate.calls, delegate.total_us) == (
        "TfLiteXNNPackDelegate",
        750,
        70300,
    )
    assert (gather.name, gather.by, gather.calls, gather.total_us) == (
        "GATHER",
        "runtime",
        50,
        1000,
    )


def test_what_a_delegate_ran_is_counted_once() -> None:
    product = "Fully Connected (NC, QD8, F32, QC8W) GEMM"
    outer = _SUMMARY.format(first="TfLiteXNNPackDelegate", second="GATHER")
    inner = _SUMMARY.format(first=product, second="Softmax (NC, F32)")
    found = parse_operators((outer + inner).splitlines(), runs=50)
    assert [one.name for one in found] == [product, "GATHER", "Softmax (NC, F32)"]
    assert [one.by for one in found] == ["xnnpack", "runtime", "xnnpack"]


@pytest.mark.parametrize(
    ("machine", "abi"), [(183, "arm64-v8a"), (40, "armeabi-v7a"), (62, "x86_64")]
)
def test_the_processor_is_read_off_the_program(tmp_path: Path, machine: int, abi: str) -> None:
    path = tmp_path / "benchmark_model"
    path.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 3, machine) + bytes(44))
    check_native(path, (abi,))
    with pytest.raises(DeviceError, match=rf"wrong processor.*found {abi}, expected mips"):
        check_native(path, ("mips",))
    path.write_bytes(b"\x7fELF\x02")
    with pytest.raises(InputError, match="is not a program for Android"):
        check_native(path, (abi,))


def test_the_empty_model_has_no_operator_and_gives_back_its_input() -> None:
    content = empty_model()
    found = parse_tflite(content, where="empty")
    assert [len(graph.operators) for graph in found.subgraphs] == [0]
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(
        model_content=content
    )
    interpreter.allocate_tensors()
    (given,), (answer,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert given["index"] == answer["index"]
    interpreter.invoke()
