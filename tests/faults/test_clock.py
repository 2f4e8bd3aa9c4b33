"""The wall clock jumps by years while commands run: nothing ends early, late, or otherwise."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgeseq.formats.drafts import owner_prefix
from edgeseq.formats.result import read_result

from .commands import Command, abandoned_control_groups, drafts
from .conftest import TinyRun

# One after the other: each looks for control groups of processes that are gone.
pytestmark = [
    *(pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(900)),
    pytest.mark.xdist_group("signals"),
]

DAY_S = 24 * 3600


@pytest.fixture(scope="module")
def jumping(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process whose clock jumps."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("needs a C compiler (apt install gcc libc6-dev)")
    library = tmp_path_factory.mktemp("clock") / "jumping_clock.so"
    source = Path(__file__).with_name("jumping_clock.c")
    command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, source]
    subprocess.run(command, check=True)
    environment = {"LD_PRELOAD": str(library)}
    seconds = "import time; print(*(time.time() for _ in range(9) if not time.sleep(0.5)))"
    done = subprocess.run(
        [sys.executable, "-c", seconds],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    times_s = list(map(float, done.stdout.split()))
    assert max(times_s) - min(times_s) > 300 * DAY_S, "the clock does not jump"
    return environment


def test_a_suite_is_interrupted_resumes_and_ends_the_same(
    tiny_run: TinyRun, tmp_path: Path, scratch: Path, jumping: dict[str, str]
) -> None:
    root = tmp_path / "out"
    command = Command(["run", tiny_run.suite, "--out", root, "--json"], scratch, jumping)
    for number, step in ((signal.SIGKILL, "train-tiny-lstm"), (signal.SIGTERM, "bench")):
        log = root / "log" / f"{step}.log"
        code = command.run_and_signal(number, 0.5, after=log.exists)
        assert code not in (None, 0)
        assert not command.wait_for_processes()
    done = command.run()
    assert done.returncode == 0, done.stderr
    steps = {step["step"]: step["reused"] for step in json.loads(done.stdout)["steps"]}
    assert steps["train-tiny-bert"], "a finished step counts, whatever the clock says"
    assert not command.wait_for_processes()
    assert not drafts(root)
    assert not list(scratch.iterdir())
    assert not abandoned_control_groups()
    tiny_run.check_equal(root)


def test_a_bench_measures_the_same_times(
    tiny_run: TinyRun, tmp_path: Path, scratch: Path, jumping: dict[str, str]
) -> None:
    out = tmp_path / "result.json"
    arguments = [
        "bench",
        tiny_run.bundle,
        "--quick",
        "--no-working-memory",
        "--memory",
        "1GB",
        "--out",
        out,
    ]
    done = Command(arguments, scratch, jumping).run()
    assert done.returncode == 0, done.stderr
    [run, *_] = read_result(out).runs
    times_s = [ns / 1e9 for ns in (*run.queries.total_ns, *(s.total_ns for s in run.cold_starts))]
    assert times_s
    assert max(times_s) < DAY_S
    assert [limited.status for limited in run.limited] == ["answered"]


def test_a_draft_of_a_living_process_is_kept_and_of_a_dead_one_removed(
    tiny_run: TinyRun, tmp_path: Path, scratch: Path, jumping: dict[str, str]
) -> None:
    """By whether its process is there, not by its age."""
    ours = scratch / f"{owner_prefix()}00000000"
    ours.mkdir()
    out = tmp_path / "out" / "report"
    command = Command(["report", tiny_run.root / "result.json", "--out", out], scratch, jumping)
    code = command.run_and_signal(signal.SIGKILL, 0, after=lambda: drafts(out.parent))
    assert code == -signal.SIGKILL
    assert drafts(out.parent)
    done = command.run()
    assert done.returncode == 0, done.stderr
    assert list(scratch.iterdir()) == [ours]
    assert not drafts(out.parent)
    ours.rmdir()
