"""Measuring on a board: a real sshd on loopback, the real runner, real bundles, every mishap."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import pytest

from edgeseq.errors import DeviceError
from edgeseq.formats.bundle import BundleFiles
from edgeseq.formats.result import ResultRecord, Settings, read_result
from edgeseq.progress import ProgressUpdate
from edgeseq_benchmarks.bench.runner import bench
from edgeseq_benchmarks.devices import measure
from edgeseq_benchmarks.devices.base import Device, DeviceLostError
from edgeseq_benchmarks.devices.measure import (
    BenchRequest,
    DeviceOutcome,
    find_targets,
    measure_on_all,
)
from edgeseq_benchmarks.devices.remote.archive import write_archive
from edgeseq_benchmarks.devices.remote.messages import RunRequest
from edgeseq_benchmarks.devices.remote.remote_bench import RemoteOptions, bench_on

from .ssh_server import Sshd, free_port, naming, wait_until

MakeBundle = Callable[..., Path]
# Looks as often as a test has time for; the board gives up soon after its workstation has.


def options(python: str, base_dir: PurePosixPath, **changes: float) -> RemoteOptions:
    """Short times, so that no test waits for long."""
    brief = RemoteOptions(python, base_dir, reconnect_s=20, grace_s=60, follow_s=1)
    return msgspec.structs.replace(brief, **changes)


@pytest.fixture
def place_name() -> str:
    return "-a place; with $(odd) 'name'\n"


@pytest.mark.sshd
def test_a_board_measures_as_this_machine_does(
    sshd: Sshd, board_python: str, place: PurePosixPath, make_bundle: MakeBundle, brief: Settings
) -> None:
    paths = [make_bundle("first one"), make_bundle("second", examples=50)]
    heard: list[ProgressUpdate] = []
    there = bench_on(
        sshd.device(),
        paths,
        settings=brief,
        options=options(board_python, place),
        progress=heard.append,
        command=("edgeseq", "bench"),
    )
    here = bench(paths, settings=brief)
    assert there.device.name == f"{here.device.name} ({sshd.name})"
    assert msgspec.structs.replace(there.device, name=here.device.name) == here.device
    assert there.command == ("edgeseq", "bench")
    assert (there.requested, there.runtime) == (brief, here.runtime)
    for run, own in zip(there.runs, here.runs, strict=True):
        assert run.bundle == own.bundle
        assert run.predictions == own.predictions
        assert set(run.queries.round) == set(range(brief.rounds))
        assert [phase.phase for phase in run.memory] == [phase.phase for phase in own.memory]
    stages = list(dict.fromkeys(update.stage for update in heard))
    assert stages[:2] == ["send", "check"]
    assert stages[-2:] == ["rounds", "lengths"]


@pytest.mark.sshd
def test_a_dropped_connection_costs_nothing(
    sshd: Sshd, board_python: str, place: PurePosixPath, make_bundle: MakeBundle, brief: Settings
) -> None:
    heard: list[ProgressUpdate] = []
    drops = {"send": 0, "check": 0, "rounds": 1}

    def drop(update: ProgressUpdate, /) -> None:
        heard.append(update)
        if drops.get(update.stage) == update.done:
            del drops[update.stage]
            assert sshd.drop()

    result = bench_on(
        sshd.device(),
        [make_bundle("plain")],
        settings=brief,
        options=options(board_python, place),
        progress=drop,
    )
    assert not drops
    assert sum(update.stage == "connect" for update in heard) >= 3
    # Nothing was done twice: what the board said while nobody listened is heard later, once.
    rounds = [update.done for update in heard if update.stage == "rounds"]
    assert rounds == sorted(set(rounds))
    assert sum(update.stage == "memory" and not update.done for update in heard) == 1
    assert set(result.runs[0].queries.round) == set(range(brief.rounds))


@pytest.mark.sshd
def test_what_a_lost_board_has_measured_is_kept_and_picked_up(  # noqa: PLR0917 - fixtures
    sshd: Sshd,
    board_python: str,
    place: PurePosixPath,
    make_bundle: MakeBundle,
    brief: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    archives: list[tuple[int, bytes]] = []

    def write_once(path: Path, bundles: Sequence[BundleFiles], request: RunRequest) -> int:
        """The same archive both times, though somebody saves a source file in between."""
        if not archives:
            archives.append((write_archive(path, bundles, request), path.read_bytes()))
        path.write_bytes(archives[0][1])
        return archives[0][0]

    monkeypatch.setattr("edgeseq_benchmarks.devices.remote.remote_bench.write_archive", write_once)
    paths = [make_bundle("plain")]
    impatient = {"reconnect_s": 0.5, "follow_s": 0.5, "checkpoint_s": 0.0}
    longer = msgspec.structs.replace(brief, min_duration_s=6.0, max_queries=10**6)

    def measure_there(report: Callable[[ProgressUpdate], None]) -> ResultRecord:
        return bench_on(
            sshd.device(),
            paths,
            settings=longer,
            options=options(board_python, place, **impatient),
            progress=report,
        )

    def lose(update: ProgressUpdate, /) -> None:
        if update.stage == "rounds" and update.done == 2:
            sshd.stop()

    try:
        with pytest.raises(DeviceLostError, match="did not come back") as caught:
            measure_there(lose)
        assert "the same command resumes it" in str(caught.value)
        assert caught.value.exit_code == 4
        so_far = caught.value.result
        assert so_far is not None
        assert so_far.runs[0].memory
        assert "unfinished" in {finding.code for finding in so_far.findings}
        assert so_far.device.name.endswith(f"({sshd.name})")
    finally:
        sshd.start()
    heard: list[ProgressUpdate] = []
    result = measure_there(heard.append)
    assert result.created_utc == so_far.created_utc
    assert set(result.runs[0].queries.round) == set(range(brief.rounds))
    assert "unfinished" not in {finding.code for finding in result.findings}


@pytest.mark.sshd
def test_a_board_that_is_left_alone_ends_by_itself(
    sshd: Sshd, board_python: str, place: PurePosixPath, make_bundle: MakeBundle, brief: Settings
) -> None:
    def lose(update: ProgressUpdate, /) -> None:
        if update.stage == "memory":
            sshd.stop()

    endless = msgspec.structs.replace(brief, min_duration_s=600.0, max_queries=10**9)
    try:
        with pytest.raises(DeviceLostError):
            bench_on(
                sshd.device(),
                [make_bundle("plain")],
                settings=endless,
                options=options(board_python, place, reconnect_s=0.2, grace_s=2, follow_s=1),
                progress=lose,
            )
        # The fixture waits until nothing is left.
    finally:
        sshd.start()


@pytest.fixture
def ssh_command(sshd: Sshd, tmp_path: Path) -> dict[str, str]:
    """An environment whose `ssh` takes the test's configuration: it ignores $HOME."""
    script = tmp_path / "bin" / "ssh"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F "{sshd.config}" "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return {
        "PATH": f"{script.parent}:/usr/bin:/bin",
        "COLUMNS": "120",
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }


@pytest.mark.sshd
def test_ctrl_c_ends_the_run_on_the_board(
    sshd: Sshd,
    board_python: str,
    make_bundle: MakeBundle,
    ssh_command: dict[str, str],
    tmp_path: Path,
) -> None:
    bundle, out = str(make_bundle("plain")), tmp_path / "result.json"
    # Whoever starts the tests in the background has them ignore the signal.
    command = ["env", "--default-signal=INT", sys.executable, "-m", "edgeseq", "bench", bundle]
    command += ["--out", str(out)]
    command += ["--on", sshd.name, "--python", board_python, "--runner", "python"]
    with subprocess.Popen(command, env=ssh_command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("rounds"):
                break
        agents = [line for line in naming("devices.remote.agent") if board_python in line]
        assert len(agents) == 1
        folder = Path(agents[0].split("remote.agent ")[1].strip())
        assert (folder / "tree").is_dir()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        process.send_signal(signal.SIGINT)
        assert "Traceback" not in process.stderr.read()
    assert process.returncode == 130
    assert not out.exists()
    assert not folder.exists()
    assert wait_until(lambda: not naming(str(folder)))


def bench_below(
    base_dir: PurePosixPath, device: Device, *arguments: Any, **named: Any
) -> ResultRecord:
    """`bench_on` with everything below one folder."""
    named["options"] = msgspec.structs.replace(named["options"], base_dir=base_dir)
    return bench_on(device, *arguments, **named)


@pytest.mark.sshd
def test_of_two_boards_the_lost_one_loses_only_its_own(  # noqa: PLR0917 - fixtures
    sshd: Sshd,
    board_python: str,
    make_bundle: MakeBundle,
    brief: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: PurePosixPath,
) -> None:
    other = Sshd(tmp_path / "other")
    servers = {server.port: server for server in (sshd, other)}
    monkeypatch.setattr(
        measure, "open_device", lambda address: servers[address.port].device(name=address.text)
    )
    # Two accounts on one machine stand for two boards: their folders must not meet.
    folders = {server.port: Path(place) / str(server.port) for server in (sshd, other)}
    for folder in folders.values():
        folder.mkdir()

    def bench_there(device: Device, *arguments: object, **named: object) -> ResultRecord:
        port = int(device.name.rpartition(":")[2])
        return bench_below(PurePosixPath(folders[port]), device, *arguments, **named)

    monkeypatch.setattr(measure, "bench_on_board", bench_there)
    ended: list[DeviceOutcome] = []

    def lose(update: ProgressUpdate, /) -> None:
        if update.stage.endswith(f"{other.port}: rounds") and update.done == 1:
            other.stop()

    targets = find_targets([sshd.name, other.name], python=board_python)
    task = BenchRequest(
        (make_bundle("plain"),),
        brief,
        remote=RemoteOptions(reconnect_s=0.5, grace_s=3, follow_s=1),
    )
    kept, lost = measure_on_all(targets, task, progress=lose, ended=ended.append)
    assert kept.error is None
    assert kept.result is not None
    assert set(kept.result.runs[0].queries.round) == set(range(brief.rounds))
    assert isinstance(lost.error, DeviceLostError)
    assert str(lost.error).startswith(other.name)
    assert lost.error.exit_code == 4
    assert {outcome.target.name for outcome in ended} == {sshd.name, other.name}
    for folder in folders.values():
        assert wait_until(lambda folder=folder: not list(folder.iterdir()))  # type: ignore[misc]
        folder.rmdir()


@pytest.mark.sshd
def test_an_interrupt_ends_the_run_on_every_board(  # noqa: PLR0917 - fixtures
    sshd: Sshd,
    board_python: str,
    make_bundle: MakeBundle,
    brief: Settings,
    monkeypatch: pytest.MonkeyPatch,
    place: PurePosixPath,
) -> None:
    monkeypatch.setattr(measure, "open_device", lambda address: sshd.device(name=address.text))

    def bench_there(device: Device, *arguments: object, **named: object) -> ResultRecord:
        return bench_below(place, device, *arguments, **named)

    monkeypatch.setattr(measure, "bench_on_board", bench_there)
    began = threading.Event()

    def hear(update: ProgressUpdate, /) -> None:
        if update.stage.endswith(f"{sshd.port}: rounds"):
            began.set()

    def interrupt() -> None:
        began.wait(120)
        os.kill(os.getpid(), signal.SIGTERM)

    endless = msgspec.structs.replace(brief, min_duration_s=600.0, max_queries=10**9)
    targets = find_targets(["local", sshd.name], python=board_python)
    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        measure_on_all(targets, BenchRequest((make_bundle("plain"),), endless), progress=hear)
    assert began.is_set()


@pytest.mark.sshd
def test_the_command_keeps_what_it_can(
    sshd: Sshd,
    board_python: str,
    make_bundle: MakeBundle,
    ssh_command: dict[str, str],
    tmp_path: Path,
) -> None:
    gone = f"ssh://nobody@127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "edgeseq", "bench", str(make_bundle("plain")), "--quick"]
    command += ["--out", str(tmp_path / "result.json"), "--json", "--python", board_python]
    answer = subprocess.run(
        [*command, "--on", sshd.name, "--on", gone],
        env=ssh_command,
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )
    assert answer.returncode == 4, answer.stderr
    assert f"error: {gone}: no ssh server answers there" in answer.stderr
    measured, lost = json.loads(answer.stdout)
    assert lost["device"] == gone
    path = tmp_path / f"result-root@127.0.0.1-{sshd.port}.json"
    assert measured["result"] == str(path)
    assert read_result(path).device.name.endswith(f"({sshd.name})")
    assert [found.name for found in tmp_path.glob("result*")] == [path.name]


@pytest.mark.sshd
def test_a_board_that_lacks_something_says_what_to_type(
    sshd: Sshd, make_bundle: MakeBundle, brief: Settings, tmp_path: Path
) -> None:
    bundle = make_bundle("plain")

    def refused(python: str) -> str:
        with pytest.raises(DeviceError) as caught:
            bench_on(sshd.device(), [bundle], settings=brief, options=RemoteOptions(python))
        assert caught.value.exit_code == 4
        assert f"edgeseq device doctor {sshd.name}" in str(caught.value)
        return str(caught.value)

    empty = tmp_path / "empty"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(empty)], check=True)
    said = refused(f"{empty}/bin/python")
    assert "lacks a TFLite runtime, numpy, tokenizers, msgspec" in said
    assert f"{empty}/bin/python -m pip install numpy tokenizers msgspec ai-edge-litert" in said
    # A real 32-bit personality: the kernel itself says another processor (personality(2)).
    other = tmp_path / "other"
    other.write_text(f'#!/bin/sh\nexec setarch linux32 "{empty}/bin/python" "$@"\n')
    other.chmod(0o755)
    assert "none is made for Python on i686" in refused(str(other))
    old = tmp_path / "old"
    old.write_text(
        "#!/bin/sh\necho 'SyntaxError: future feature annotations is not defined' >&2\nexit 1\n"
    )
    old.chmod(0o755)
    assert "its Python does not work" in refused(str(old))
    assert "has no such Python" in refused("/nowhere/python3")


@pytest.mark.sshd
def test_a_full_disk_ends_the_run_and_leaves_nothing(  # noqa: PLR0917 - fixtures
    sshd: Sshd,
    board_python: str,
    make_bundle: MakeBundle,
    brief: Settings,
    small_disk: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundle = make_bundle("plain")

    def measure_there() -> None:
        bench_on(
            sshd.device(),
            [bundle],
            settings=brief,
            options=options(board_python, PurePosixPath(small_disk)),
        )

    with pytest.raises(DeviceError, match=r"the disk is full: found 2\.00 MB free in"):
        measure_there()
    # There seemed to be room, and then there was none: the archive is whole, its content not.
    monkeypatch.setattr("edgeseq_benchmarks.devices.remote.remote_bench._ROOM_FACTOR", 0)
    monkeypatch.setattr("edgeseq_benchmarks.devices.remote.remote_bench._ROOM_BYTES", 0)
    with pytest.raises(DeviceError, match="the disk is full"):
        measure_there()
    assert not list(small_disk.iterdir())
