"""On a board in QEMU: the same answers as here, its own memory, and no time shown as a latency."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import pytest

from edgeseq.formats.result import ResultRecord, Run, read_result
from edgeseq.subprocesses.command_runs import CommandOutput
from edgeseq_benchmarks.devices.emulated import EmulatedDevice
from edgeseq_benchmarks.devices.emulator import board_packages
from edgeseq_benchmarks.devices.emulator.board_image import BoardImage
from edgeseq_benchmarks.devices.emulator.host_tools import run_tool
from edgeseq_benchmarks.devices.wheels import LITERT

# The whole is to take 25 minutes on two idle processors; a machine at work may take twice that.
pytestmark = [pytest.mark.emulated, pytest.mark.timeout(3000)]
EXAMPLES = 120
Edgeseq = Callable[..., str]
# Between what an LSTM process and one with the BERT's float32 weights need.
LIMIT = "28MB"
RECIPES = ("dynamic_wi8_afp32", "float32", "static_wi8_ai8")
Results = tuple[ResultRecord, list[ResultRecord]]


@pytest.fixture(scope="module")
def installation(
    image: BoardImage, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Future[CommandOutput]]:
    """The guide's own words, typed on a board; only the wheels lie in a folder there.

    It goes on beside the measurement: on an emulated processor it takes minutes, in which another
    one of this machine's would be idle.
    """
    folder = tmp_path_factory.mktemp("wheels")
    with ThreadPoolExecutor(1) as beside:
        yield beside.submit(_install, image, folder)


def _install(image: BoardImage, folder: Path) -> CommandOutput:
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(folder)]
    settings = board_packages.pip_settings(image.python)
    run_tool([*download, *settings, *LITERT.requirements], timeout_s=900)
    wheels = sorted(folder.glob("*.whl"))
    there = PurePosixPath("/root/wheels")
    quoted = " ".join(f"'{name}'" for name in LITERT.requirements)
    # Bytecode is made when a module is first needed: all of numpy's would take minutes.
    script = (
        "PATH=/usr/bin:/bin; export PIP_NO_INDEX=1 PIP_FIND_LINKS=/root/wheels PIP_NO_COMPILE=1\n"
        "python3 -m venv ~/edgeseq-venv &&\n"
        f"~/edgeseq-venv/bin/python -m pip install {quoted} &&\n"
        "~/edgeseq-venv/bin/python -c 'import numpy, msgspec, tokenizers, "
        "ai_edge_litert.interpreter; print(numpy.__file__)'\n"
    )
    board = EmulatedDevice("pi4")
    try:
        board.connect(timeout_s=600)
        assert board.run(["mkdir", str(there)], timeout_s=60).returncode == 0
        for path in wheels:
            board.put(path, there / path.name, timeout_s=300)
        return board.run(["sh", "-c", script], timeout_s=2400)
    finally:
        board.close()


@pytest.fixture(scope="module")
def results(
    work: Path, bundles: Sequence[Path], installation: Future[CommandOutput], edgeseq: Edgeseq
) -> Results:
    """The same bundles and examples, measured here and on three boards, one for each recipe, while
    a fourth one is installed: each keeps one processor busy."""
    asked = ["--examples", str(EXAMPLES), "--quick", "--runner", "python", "--no-working-memory"]
    edgeseq("bench", *bundles, *asked, "--out", work / "here.json")

    def on_board(recipe: str) -> ResultRecord:
        own = [path for path in bundles if path.name.endswith(recipe)]
        limited = ["--on", "emulated:pi4", "--memory", LIMIT]
        edgeseq("bench", *own, *asked, *limited, "--out", work / f"pi4-{recipe}.json")
        return read_result(work / f"pi4-{recipe}.json")

    with ThreadPoolExecutor(len(RECIPES)) as beside:
        there = list(beside.map(on_board, RECIPES))
    return read_result(work / "here.json"), there


def _runs(results: Sequence[ResultRecord]) -> list[Run]:
    return [run for result in results for run in result.runs]


def _share_right(run: Run) -> float:
    assert run.predictions is not None
    pairs = list(zip(run.predictions.gold, run.predictions.predicted, strict=True))
    assert len(pairs) == EXAMPLES
    return sum(gold == predicted for gold, predicted in pairs) / len(pairs)


def test_answers_are_those_of_this_machine(results: Results) -> None:
    here, there = results
    for result in there:
        assert result.device.machine == "aarch64"
        assert result.device.cpu_model == "Cortex-A72"
        assert "asimddp" not in result.device.cpu_features
    found = {run.bundle.name: run for run in _runs(there)}
    assert len(here.runs) == len(found) == 6
    for one in here.runs:
        other = found[one.bundle.name]
        assert one.bundle.model_sha256 == other.bundle.model_sha256
        right_here, right_there = _share_right(one), _share_right(other)
        print(f"{one.bundle.name}: {right_here:.1%} here, {right_there:.1%} there")  # noqa: T201
        assert right_here > 0.45  # three classes: above chance
        assert round(EXAMPLES * abs(right_here - right_there)) <= 1


def test_memory_is_the_boards_own(results: Results) -> None:
    _, there = results
    assert all(result.device.memory_bytes < 2 << 30 for result in there)
    for run in _runs(there):
        phases = {phase.phase: phase for phase in run.memory}
        assert set(phases) >= {"runtime_imported", "model_loaded", "steady"}
        used = phases["steady"].rss_bytes - phases["runtime_imported"].rss_bytes
        print(f"{run.bundle.name}: {used / 1e6:.1f} MB beyond the runtime")  # noqa: T201
        assert 0 < used < 200e6


def test_a_limit_stops_the_large_model_first(results: Results) -> None:
    _, there = results
    by_name = {(run.bundle.arch, run.bundle.recipe): run.under_limits[0] for run in _runs(there)}
    small, large = by_name["lstm", "dynamic_wi8_afp32"], by_name["bert", "float32"]
    for name, run in by_name.items():
        print(*name, run.status, len(run.total_ns), run.major_faults)  # noqa: T201
    assert small.mechanism == "cgroup-v2"
    assert small.status == "answered"
    # It is killed, or reads its weights from the disk again and again.
    assert large.status != "answered" or large.major_faults > 10 * small.major_faults


def test_the_report_shows_no_time(results: Results, work: Path, edgeseq: Edgeseq) -> None:
    target = work / "report"
    files = [work / f"pi4-{recipe}.json" for recipe in RECIPES]
    edgeseq("report", *files, "--out", target)
    rows = json.loads((target / "summary.json").read_text("utf-8"))["rows"]
    assert len(rows) == 6
    assert all(row["p50_ms"] is None and row["cold_start_ms"] is None for row in rows)
    assert "emulated" in (target / "report.md").read_text("utf-8")
    for result in results[1]:
        assert any(finding.code == "emulated" for finding in result.findings)


def test_the_guides_commands_install_what_measures(installation: Future[CommandOutput]) -> None:
    done = installation.result()
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert b"/root/edgeseq-venv/" in done.stdout


def test_nothing_is_left_running(image: BoardImage) -> None:
    device = EmulatedDevice("pi-zero-2w")
    device.connect(timeout_s=300)
    assert device.board is not None
    said = device.run(["grep", "MemTotal", "/proc/meminfo"], timeout_s=60).stdout
    assert 400_000 < int(said.split()[1]) < 512 * 1024
    machine = device.board
    device.close()
    deadline = time.monotonic() + 30
    while _qemu_with(machine.port) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not _qemu_with(machine.port)


def _qemu_with(port: int) -> list[str]:
    """The running processes whose command line forwards that port."""
    wanted = f"hostfwd=tcp:127.0.0.1:{port}-:22".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if wanted in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            continue
    return found
