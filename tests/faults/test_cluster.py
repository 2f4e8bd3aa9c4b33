"""A suite on a cluster whose workers and scheduler are killed ends as on one machine."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgeseq.formats.result import read_result
from edgeseq.formats.storage import sha256_file

from ..conftest import invented_rows, write_csv
from . import commands
from .commands import Command

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(3600)]

SEEDS = 6
LONGEST_S = 1200.0
"""All trainings of a run, on a busy machine."""
SUITE = f"""
schema_version = 1
name = "invented"
task = "sentiment"
seeds = {SEEDS}

[data]
name = "invented"
train = "{{corpus}}/train.csv"
dev = "{{corpus}}/dev.csv"
test = "{{corpus}}/test.csv"

[[model]]
name = "bag"
arch = "bag"
recipes = ["dynamic_wi8_afp32"]
train = {{{{ epochs = 2 }}}}

[bench]
quick = true
working_memory = false
runners = ["native"]
"""
WORKER_OPTIONS = ("--no-nanny", "--nthreads", "1", "--no-dashboard")


class ClusterProcesses:
    """A scheduler and workers, each worker with a home and a temporary folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self._port}"
        self.scheduler: subprocess.Popen[bytes] | None = None
        self.workers: dict[str, subprocess.Popen[bytes]] = {}

    def start_scheduler(self) -> None:
        options = ["--host", "127.0.0.1", "--port", str(self._port), "--no-dashboard"]
        self.scheduler = self._start("scheduler", ["scheduler", *options])

    def start_worker(self, name: str, *options: str) -> None:
        home = self.home(name)
        home.mkdir(exist_ok=True)
        self.workers[name] = self._start(
            name,
            ["worker", self.address, *WORKER_OPTIONS, "--local-directory", str(home), *options],
            HOME=str(home),
            TMPDIR=str(home),
        )

    def home(self, name: str) -> Path:
        return self._folder / name

    def trains(self, name: str) -> bool:
        """Whether this worker runs a training."""
        logs = list(self.home(name).glob("**/edgeseq-logs/*.log"))
        newest = max(logs, key=lambda log: log.stat().st_mtime, default=None)
        is_working = any(self.home(name).glob("**/edgeseq-*/inputs"))
        return is_working and newest is not None and newest.name.startswith("train-")

    def _start(self, name: str, arguments: list[str], **env: str) -> subprocess.Popen[bytes]:
        with (self._folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "dask", *arguments],
                env={**os.environ, **env},
                stdout=log,
                stderr=log,
            )

    def kill_all(self) -> None:
        for process in (self.scheduler, *self.workers.values()):
            if process is not None:
                process.kill()
                process.wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ClusterProcesses]:
    processes = ClusterProcesses(tmp_path)
    yield processes
    processes.kill_all()


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(commands, "LIMIT_S", LONGEST_S)
    for seed, (part, count) in enumerate((("train", 200), ("dev", 40), ("test", 40))):
        write_csv(tmp_path / f"{part}.csv", invented_rows(count, seed=seed))
    path = tmp_path / "invented.toml"
    path.write_text(SUITE.format(corpus=tmp_path))
    return path


def _wait_for(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + LONGEST_S
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _entries(store: Path) -> list[Path]:
    return list(store.glob("steps/*.tar"))


def test_killed_workers_and_schedulers_lose_nothing(
    suite: Path, cluster: ClusterProcesses, tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    store, alone, root = (tmp_path / name for name in ("store", "alone", "out"))
    done = Command(["run", suite, "--out", alone], scratch).run()
    assert done.returncode == 0, done.stderr

    cluster.start_scheduler()
    for name in ("first", "second"):
        cluster.start_worker(name)
    options = ["--scheduler", cluster.address, "--store", store, "--json"]
    command = Command(["run", suite, "--out", root, *options], scratch)
    process = command.start()
    with contextlib.ExitStack() as stack:
        stack.callback(process.kill)
        _wait_for(lambda: any(map(cluster.trains, cluster.workers)), process)
        victim = next(filter(cluster.trains, cluster.workers))
        cluster.workers[victim].send_signal(signal.SIGKILL)
        stored = len(_entries(store))
        _wait_for(lambda: len(_entries(store)) >= stored + 2, process)
        assert cluster.scheduler is not None
        cluster.scheduler.kill()
        _, stderr = process.communicate(timeout=LONGEST_S)
    assert process.returncode == 4, stderr
    assert "the scheduler was lost" in stderr
    assert "Traceback" not in stderr
    kept = {path.stem for path in _entries(store)}
    assert not [path for path in store.rglob("*") if path.is_file() and path.suffix != ".tar"]

    cluster.kill_all()
    cluster.start_scheduler()
    for name in ("first", "second"):
        cluster.start_worker(name)
    done = command.run()
    assert done.returncode == 0, done.stderr
    records = {
        step["step"]: json.loads((root / "steps" / f"{step['step']}.json").read_text())
        for step in json.loads(done.stdout)["steps"]
    }
    ran = {step["step"] for step in json.loads(done.stdout)["steps"] if not step["reused"]}
    assert len(kept) >= 2
    assert not [name for name in ran if records[name]["fingerprint"] in kept]
    for path in (f"models/bag-seed-{seed}/weights.safetensors" for seed in range(SEEDS)):
        assert sha256_file(root / path) == sha256_file(alone / path), path
    ours, theirs = (read_result(folder / "result.json").runs for folder in (root, alone))
    assert [run.predictions for run in ours] == [run.predictions for run in theirs]
    names = [
        [row["bundle"] for row in json.loads((folder / "report/summary.json").read_text())["rows"]]
        for folder in (root, alone)
    ]
    assert names[0] == names[1]


def test_a_worker_of_another_version_is_refused(
    suite: Path, cluster: ClusterProcesses, tmp_path: Path
) -> None:
    old = tmp_path / "old.py"
    old.write_text("import edgeseq\nedgeseq.__version__ = '0.0.1'\n")
    cluster.start_scheduler()
    cluster.start_worker("old", "--preload", str(old))
    options = ["--scheduler", cluster.address, "--store", tmp_path / "store"]
    done = Command(["run", suite, "--out", tmp_path / "out", *options], tmp_path).run()
    assert done.returncode == 4
    assert "runs another version of edgeseq: found 0.0.1" in done.stderr
    assert done.stderr.count("Error") <= 1
