"""Native processes on a board in QEMU from which Python was removed: predictions as here, its own
memory, limits, and the minimum working memory."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from edgeseq.formats.result import ResultRecord, Run
from edgeseq.stats.working_memory import ReferenceSpeed, is_short_of_memory, working_memory
from edgeseq_benchmarks.bench.runner import bench, default_settings
from edgeseq_benchmarks.devices.emulated import EmulatedDevice
from edgeseq_benchmarks.devices.emulator.board_image import BoardImage
from edgeseq_benchmarks.devices.measure import settings_for
from edgeseq_benchmarks.devices.native.native_bench import bench_native_on

pytestmark = [pytest.mark.emulated, pytest.mark.timeout(3000)]
EXAMPLES = 300
RECIPE = "dynamic_wi8_afp32"
LIMIT_BYTES = 100_000_000
# Python, and whatever else could stand in for it; the disk of each start is thrown away.
_REMOVE = "rm -rf /usr/bin/python3* /usr/lib/python3* /opt/edgeseq; command -v python3"
_LEFT = "find / -xdev -path /proc -prune -o -name '*edgeseq*' -print; ls /sys/fs/cgroup"


@pytest.fixture(scope="module")
def chosen(bundles: Sequence[Path]) -> list[Path]:
    """An LSTM and a BERT."""
    return [path for path in bundles if path.name.endswith(RECIPE)]


@pytest.fixture(scope="module")
def there(image: BoardImage, chosen: list[Path]) -> tuple[ResultRecord, bytes]:
    """What was measured on the board, and the names that are left on it.

    The BERT's working memory is not searched for, which would take ten minutes there: it runs under
    what the LSTM needs.
    """
    del image
    path_of_lstm, path_of_bert = chosen
    settings = default_settings(quick=True, examples=EXAMPLES, memory_limits_bytes=[LIMIT_BYTES])
    board = EmulatedDevice("pi4")
    try:
        board.connect(timeout_s=600)
        assert board.run(["sh", "-c", _REMOVE], timeout_s=120).returncode != 0
        settings = settings_for(board, settings)
        # The board that is looked at afterwards is the one that measured.
        lstm = bench_native_on(board, [path_of_lstm], settings=settings, keep_connection=True)
        settings = msgspec.structs.replace(
            settings,
            working_memory=False,
            memory_limits_bytes=(LIMIT_BYTES, _working_memory_bytes(lstm.runs[0])),
            limited_duration_s=20.0,
        )
        bert = bench_native_on(board, [path_of_bert], settings=settings, keep_connection=True)
        result = msgspec.structs.replace(bert, runs=(*lstm.runs, *bert.runs))
        return result, board.run(["sh", "-c", _LEFT], timeout_s=120).stdout
    finally:
        board.close()


def _working_memory_bytes(run: Run) -> int:
    assert run.working_memory is not None
    found = working_memory(run.working_memory.references, run.working_memory.runs)
    assert found.limit_bytes is not None
    return found.limit_bytes


def _equal(one: Sequence[int], other: Sequence[int]) -> int:
    assert len(one) == len(other) == EXAMPLES
    return sum(a == b for a, b in zip(one, other, strict=True))


def test_predictions_are_those_of_this_machine(
    there: tuple[ResultRecord, bytes], chosen: list[Path]
) -> None:
    result, _ = there
    assert (result.device.machine, result.device.emulated) == ("aarch64", True)
    settings = default_settings(
        quick=True, examples=EXAMPLES, runners=("native",), working_memory=False
    )
    here = bench(chosen, settings=settings)
    for own, run in zip(here.runs, result.runs, strict=True):
        assert run.runner == "native"
        assert own.predictions is not None
        assert run.predictions is not None
        same = _equal(own.predictions.predicted, run.predictions.predicted)
        right_here = _equal(own.predictions.gold, own.predictions.predicted)
        right_there = _equal(run.predictions.gold, run.predictions.predicted)
        print(f"{run.bundle.name}: {same} equal, {right_here} right here, {right_there} there")  # noqa: T201
        # Other kernels round to the other side where two labels are close.
        assert same >= 0.99 * EXAMPLES
        assert abs(right_here - right_there) <= 0.005 * EXAMPLES


def test_memory_is_a_native_process(there: tuple[ResultRecord, bytes]) -> None:
    for run in there[0].runs:
        phases = {phase.phase: phase for phase in run.memory}
        assert phases["runtime_imported"].rss_bytes < 10_000_000
        assert phases["steady"].rss_bytes < 40_000_000
        limited = run.limited[0]
        assert limited.limit_bytes == LIMIT_BYTES
        assert (limited.mechanism, limited.status) == ("cgroup-v2", "answered")
        assert limited.major_faults > 0


def test_working_memory_is_found(there: tuple[ResultRecord, bytes]) -> None:
    lstm, bert = there[0].runs
    assert (lstm.bundle.arch, bert.bundle.arch) == ("lstm", "bert")
    assert _working_memory_bytes(lstm) < lstm.memory[-1].rss_bytes * 1.5
    roomy, tight = bert.limited
    print(_working_memory_bytes(lstm), tight.status, tight.query_major_faults, len(tight.total_ns))  # noqa: T201
    assert roomy.query_major_faults == 0
    assert is_short_of_memory(tight, ReferenceSpeed(p95_ns=1, major_faults=0))


def test_nothing_is_left_on_the_board(there: tuple[ResultRecord, bytes]) -> None:
    # Folders of runs and control groups have a number in their names.
    assert re.findall(rb"edgeseq-\d+\S*", there[1]) == []
