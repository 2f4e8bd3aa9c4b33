"""Measuring on a board: a real sshd on loopback, the real runner, real bundles, every mishap."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import site
import stat
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

import msgspec
import pytest
from edgeseq_benchmarks.bench import bench
from edgeseq_benchmarks.devices import board, measure, needs
from edgeseq_benchmarks.devices.agent import Log
from edgeseq_benchmarks.devices.archive import write_archive
from edgeseq_benchmarks.devices.fake import FakeDevice
from edgeseq_benchmarks.devices.measure import Outcome, Task, find_targets, measure_on_all
from edgeseq_benchmarks.devices.names import DeviceName
from edgeseq_benchmarks.devices.needs import Board
from edgeseq_benchmarks.devices.remote import Patience, as_measured_there, bench_on
from edgeseq_benchmarks.devices.seam import Device, DeviceLostError, Finished
from edgeseq_benchmarks.devices.wire import Failure, Line, Request, error_of

from edgeseq.bundle import Bundle, read_bundle
from edgeseq.errors import BundleError, DeviceError, InputError, OutputError
from edgeseq.progress import Progress
from edgeseq.results import Result, Settings, read_result

from .ssh_server import Sshd, free_port, missing, naming, wait_until

MakeBundle = Callable[..., Path]
# Looks as often as a test has time for; the board gives up soon after its workstation has.
PATIENCE = Patience(reconnect_s=20, grace_s=60, listen_s=1)


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    if reason := missing():
        pytest.skip(reason)
    server = Sshd(tmp_path_factory.mktemp("sshd"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def board_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter in an environment with a runtime and nothing of this project's."""
    folder = tmp_path_factory.mktemp("board") / "env; with $(odd) 'name'"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    for path in Path(site.getsitepackages()[0]).iterdir():
        ours = path.name.lstrip("_").startswith(("edgeseq", "tflite", "flatbuffers", "tensorflow"))
        if not ours and path.suffix != ".pth":
            (packages / path.name).symlink_to(path)
    python = str(folder / "bin" / "python")
    found = subprocess.run(
        [python, "-c", "import edgeseq"], capture_output=True, check=False, cwd="/"
    )
    assert b"ModuleNotFoundError" in found.stderr
    return python


@pytest.fixture
def place(tmp_path: Path) -> Iterator[PurePosixPath]:
    """A folder on the board that must be empty in the end, with nothing that runs in it."""
    folder = tmp_path / "-a place; with $(odd) 'name'\n"
    folder.mkdir()
    yield PurePosixPath(folder)
    assert wait_until(lambda: not list(folder.iterdir()))
    assert wait_until(lambda: not naming(str(tmp_path / "-a place")))


@pytest.mark.sshd
def test_a_board_measures_as_this_machine_does(
    sshd: Sshd, board_python: str, place: PurePosixPath, make_bundle: MakeBundle, brief: Settings
) -> None:
    paths = [make_bundle("first one"), make_bundle("second", examples=50)]
    heard: list[Progress] = []
    there = bench_on(
        sshd.device(),
        paths,
        settings=brief,
        python=board_python,
        report=heard.append,
        command=("edgeseq", "bench"),
        patience=PATIENCE,
        place=place,
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
    stages = list(dict.fromkeys(progress.stage for progress in heard))
    assert stages[:2] == ["send", "check"]
    assert stages[-2:] == ["rounds", "lengths"]


@pytest.mark.sshd
def test_a_dropped_connection_costs_nothing(
    sshd: Sshd, board_python: str, place: PurePosixPath, make_bundle: MakeBundle, brief: Settings
) -> None:
    heard: list[Progress] = []
    drops = {"send": 0, "check": 0, "rounds": 1}

    def drop(progress: Progress, /) -> None:
        heard.append(progress)
        if drops.get(progress.stage) == progress.done:
            del drops[progress.stage]
            assert sshd.drop()

    result = bench_on(
        sshd.device(),
        [make_bundle("plain")],
        settings=brief,
        python=board_python,
        report=drop,
        patience=PATIENCE,
        place=place,
    )
    assert not drops
    assert sum(progress.stage == "connect" for progress in heard) >= 3
    # Nothing was done twice: what the board said while nobody listened is heard later, once.
    rounds = [progress.done for progress in heard if progress.stage == "rounds"]
    assert rounds == sorted(set(rounds))
    assert sum(progress.stage == "memory" and not progress.done for progress in heard) == 1
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

    def write_once(path: Path, bundles: Sequence[Bundle], request: Request) -> int:
        """The same archive both times, though somebody saves a source file in between."""
        if not archives:
            archives.append((write_archive(path, bundles, request), path.read_bytes()))
        path.write_bytes(archives[0][1])
        return archives[0][0]

    monkeypatch.setattr("edgeseq_benchmarks.devices.remote.write_archive", write_once)
    paths = [make_bundle("plain")]
    impatient = Patience(reconnect_s=0.5, grace_s=60, listen_s=0.5, keep_s=0.0)
    longer = msgspec.structs.replace(brief, min_duration_s=6.0, max_queries=10**6)

    def measure_there(report: Callable[[Progress], None]) -> Result:
        return bench_on(
            sshd.device(),
            paths,
            settings=longer,
            python=board_python,
            report=report,
            patience=impatient,
            place=place,
        )

    def lose(progress: Progress, /) -> None:
        if progress.stage == "rounds" and progress.done == 2:
            sshd.stop()

    try:
        with pytest.raises(DeviceLostError, match="did not come back") as caught:
            measure_there(lose)
        assert "the same command picks it up" in str(caught.value)
        assert caught.value.exit_code == 4
        so_far = caught.value.result
        assert so_far is not None
        assert so_far.runs[0].memory
        assert "unfinished" in {finding.code for finding in so_far.findings}
        assert so_far.device.name.endswith(f"({sshd.name})")
    finally:
        sshd.start()
    heard: list[Progress] = []
    result = measure_there(heard.append)
    assert result.created_utc == so_far.created_utc
    assert set(result.runs[0].queries.round) == set(range(brief.rounds))
    assert "unfinished" not in {finding.code for finding in result.findings}


@pytest.mark.sshd
def test_a_board_that_is_left_alone_ends_by_itself(
    sshd: Sshd, board_python: str, place: PurePosixPath, make_bundle: MakeBundle, brief: Settings
) -> None:
    def lose(progress: Progress, /) -> None:
        if progress.stage == "memory":
            sshd.stop()

    endless = msgspec.structs.replace(brief, min_duration_s=600.0, max_queries=10**9)
    try:
        with pytest.raises(DeviceLostError):
            bench_on(
                sshd.device(),
                [make_bundle("plain")],
                settings=endless,
                python=board_python,
                report=lose,
                patience=Patience(reconnect_s=0.2, grace_s=2, listen_s=1),
                place=place,
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
    command += ["--on", sshd.name, "--python", board_python]
    with subprocess.Popen(command, env=ssh_command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("rounds"):
                break
        agents = [line for line in naming("devices.agent") if board_python in line]
        assert len(agents) == 1
        folder = Path(agents[0].split("devices.agent ")[1].strip())
        assert (folder / "tree").is_dir()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        process.send_signal(signal.SIGINT)
        assert "Traceback" not in process.stderr.read()
    assert process.returncode == 130
    assert not out.exists()
    assert not folder.exists()
    assert wait_until(lambda: not naming(str(folder)))


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
        measure, "open_device", lambda name: servers[name.port].device(name=name.text)
    )
    # Two accounts on one machine stand for two boards: their folders must not meet.
    folders = {server.port: Path(place) / str(server.port) for server in (sshd, other)}
    for folder in folders.values():
        folder.mkdir()

    def bench_there(device: Device, *arguments: object, **named: object) -> Result:
        port = int(device.name.rpartition(":")[2])
        return bench_on(device, *arguments, place=PurePosixPath(folders[port]), **named)  # type: ignore[arg-type]

    monkeypatch.setattr(measure, "bench_on", bench_there)
    ended: list[Outcome] = []

    def lose(progress: Progress, /) -> None:
        if progress.stage.endswith(f"{other.port}: rounds") and progress.done == 1:
            other.stop()

    targets = find_targets([sshd.name, other.name], python=board_python)
    task = Task(
        (make_bundle("plain"),), brief, patience=Patience(reconnect_s=0.5, grace_s=3, listen_s=1)
    )
    kept, lost = measure_on_all(targets, task, report=lose, ended=ended.append)
    assert kept.error is None
    assert kept.result is not None
    assert set(kept.result.runs[0].queries.round) == set(range(brief.rounds))
    assert isinstance(lost.error, DeviceLostError)
    assert str(lost.error).startswith(other.name)
    assert measure.exit_code((kept, lost)) == 4
    assert {outcome.target.given for outcome in ended} == {sshd.name, other.name}
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
    monkeypatch.setattr(measure, "open_device", lambda name: sshd.device(name=name.text))

    def bench_there(device: Device, *arguments: object, **named: object) -> Result:
        return bench_on(device, *arguments, place=place, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(measure, "bench_on", bench_there)
    began = threading.Event()

    def hear(progress: Progress, /) -> None:
        if progress.stage.endswith(f"{sshd.port}: rounds"):
            began.set()

    def interrupt() -> None:
        began.wait(120)
        os.kill(os.getpid(), signal.SIGTERM)

    endless = msgspec.structs.replace(brief, min_duration_s=600.0, max_queries=10**9)
    targets = find_targets(["local", sshd.name], python=board_python)
    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        measure_on_all(targets, Task((make_bundle("plain"),), endless), report=hear)
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
            bench_on(sshd.device(), [bundle], settings=brief, python=python)
        assert caught.value.exit_code == 4
        assert f"edgeseq device doctor {sshd.name}" in str(caught.value)
        return str(caught.value)

    empty = tmp_path / "empty"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(empty)], check=True)
    said = refused(f"{empty}/bin/python")
    assert "lacks a TFLite runtime, numpy, msgspec, tokenizers" in said
    assert f"{empty}/bin/python -m pip install numpy msgspec tokenizers ai-edge-litert" in said
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
    assert "does not answer as one should" in refused(str(old))
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
            python=board_python,
            patience=PATIENCE,
            place=PurePosixPath(small_disk),
        )

    with pytest.raises(DeviceError, match=r"the disk is full: found 2\.00 MB free in"):
        measure_there()
    # There seemed to be room, and then there was none: the archive is whole, its content not.
    monkeypatch.setattr("edgeseq_benchmarks.devices.remote._ROOM_FACTOR", 0)
    monkeypatch.setattr("edgeseq_benchmarks.devices.remote._ROOM_BYTES", 0)
    with pytest.raises(DeviceError, match="the disk is full"):
        measure_there()
    assert not list(small_disk.iterdir())


BOARD = Board(
    python=(3, 11, 2),
    executable="/usr/bin/python3",
    environment=False,
    system="Linux",
    machine="aarch64",
    bits=64,
    missing=("numpy", "tokenizers"),
    runtimes=(),
)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "numpy tokenizers ai-edge-litert"),
        ({"environment": True}, "type there: /usr/bin/python3 -m pip install numpy"),
        ({"machine": "armv7l", "bits": 32}, "pip install tokenizers 'numpy<2' tflite-runtime"),
        ({"bits": 32}, "pip install tokenizers 'numpy<2' tflite-runtime"),
        ({"machine": "armv7l", "bits": 32, "python": (3, 12, 0)}, "none is made for Python on"),
        ({"machine": "riscv64"}, "none is made for Python on riscv64"),
        ({"runtimes": ("ai_edge_litert",)}, "lacks numpy, tokenizers"),
        ({"python": (3, 9, 2)}, "older than 3.10"),
        ({"system": "Darwin"}, "is no Linux but Darwin"),
    ],
)
def test_what_is_missing_and_what_mends_it(changes: dict[str, object], words: str) -> None:
    found = msgspec.structs.replace(BOARD, **changes)
    answer = Finished(0, msgspec.json.encode(found) + b"\n", b"")
    device = FakeDevice({"sh": answer}, name="ssh://pi@kitchen")
    device.connect(timeout_s=1)
    with pytest.raises(DeviceError) as caught:
        needs.look(device, "python3", timeout_s=1)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_board_with_everything_is_taken() -> None:
    found = msgspec.structs.replace(BOARD, missing=(), runtimes=("tflite_runtime",))
    device = FakeDevice({"sh": Finished(0, b"noise\n" + msgspec.json.encode(found), b"")})
    device.connect(timeout_s=1)
    assert needs.look(device, "python3", timeout_s=1) == found


def _ask_board(folder: Path, *arguments: str) -> dict[str, object]:
    """`devices/board.py` as a board runs it, in `folder`."""
    script = Path(board.__file__).read_bytes()
    said = subprocess.run(
        [sys.executable, "-", *arguments], input=script, cwd=folder, capture_output=True, check=True
    ).stdout
    answer: dict[str, object] = json.loads(said)
    return answer


KEY = "0123456789abcdef01234567"


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "{here}", "{here}/precious", f"{{here}}/{KEY}", KEY, f"edgeseq-0/{KEY}"),
        f"{{here}}/edgeseq-{os.getuid()}",
        f"{{here}}/edgeseq-{os.getuid()}/../{KEY}",
        f"{{here}}/edgeseq-{os.getuid()}/precious",
        f"{{here}}/edgeseq-{os.getuid() + 1}/{KEY}",
    ],
)
def test_only_the_folder_of_a_run_is_ever_removed(name: str, tmp_path: Path) -> None:
    uid = os.getuid()
    for folder in ("precious", KEY, f"edgeseq-{uid}/precious", f"edgeseq-{uid + 1}/{KEY}"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "file").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    (tmp_path / f"edgeseq-{uid}").chmod(0o700)
    assert "no folder of a run" in str(
        _ask_board(tmp_path, "stop", name.format(here=tmp_path), "x")
    )
    assert sorted(tmp_path.rglob("*")) == before


def test_a_link_is_not_followed_and_a_key_is_a_key(tmp_path: Path) -> None:
    (tmp_path / "elsewhere" / KEY).mkdir(parents=True)
    (tmp_path / f"edgeseq-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    run = str(tmp_path / f"edgeseq-{os.getuid()}" / KEY)
    assert "not a private folder" in str(_ask_board(tmp_path, "stop", run, "x"))
    prepare = ("prepare", KEY, "me", "0", str(tmp_path))
    assert "not a private folder" in str(_ask_board(tmp_path, *prepare))
    assert (tmp_path / "elsewhere" / KEY).is_dir()
    assert "no key" in str(_ask_board(tmp_path, "prepare", "../x", "me", "0", str(tmp_path)))


def test_what_dead_runs_left_is_cleared_and_a_living_one_is_not_disturbed(tmp_path: Path) -> None:
    prepare = ("me", "0", str(tmp_path))
    first = _ask_board(tmp_path, "prepare", KEY, *prepare)
    mine = tmp_path / f"edgeseq-{os.getuid()}"
    assert first == {"folder": str(mine / KEY), "unpacked": False, "finished": False}
    (mine / "precious").mkdir()
    other = KEY[::-1]
    assert _ask_board(tmp_path, "prepare", other, *prepare) == {"busy": [0]}
    os.utime(mine / KEY / "alive", (0, 0))
    sleeper = [sys.executable, "-c", "import time; time.sleep(60)", str(mine / KEY)]
    with subprocess.Popen(sleeper) as process:
        (mine / KEY / "pid").write_text(str(process.pid))
        assert _ask_board(tmp_path, "prepare", other, *prepare) == {"busy": [process.pid]}
        assert _ask_board(tmp_path, "stop", str(mine / KEY), "another") == {"removed": False}
        assert process.poll() is None
        process.kill()
    os.utime(mine / "precious", (0, 0))
    assert _ask_board(tmp_path, "prepare", other, *prepare)["folder"] == str(mine / other)
    assert sorted(path.name for path in mine.iterdir()) == sorted([other, "precious"])
    assert _ask_board(tmp_path, "stop", str(mine / other), "me") == {"removed": True}


def test_a_full_disk_costs_lines_of_progress_and_not_the_last_one(small_disk: Path) -> None:
    (small_disk / "spare").write_bytes(b"\0" * board.SPARE_BYTES)
    log = Log(small_disk)
    log.progress(Progress("check", 0, 1))
    with (small_disk / "all").open("wb", 0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    for number in range(200):
        log.progress(Progress("rounds", number, 200, "a note that takes some room"))
    log.last(Line(failure=Failure("OutputError", "the disk is full")))
    lines = (small_disk / "log.jsonl").read_bytes().splitlines()
    heard = [msgspec.json.decode(line, type=Line) for line in lines]
    assert heard[0].progress == Progress("check", 0, 1)
    assert len(heard) < 200
    assert heard[-1].failure is not None
    error = error_of(heard[-1].failure, device="ssh://pi@kitchen")
    assert isinstance(error, OutputError)
    assert str(error) == "ssh://pi@kitchen: the disk is full"


def test_a_run_that_found_no_folder_removes_none(make_bundle: MakeBundle, brief: Settings) -> None:
    ready = msgspec.structs.replace(BOARD, missing=(), runtimes=("ai_edge_litert",))
    answers = {"facts": ready, "prepare": {"free_bytes": 1, "place": "/small"}}
    device = FakeDevice(
        {"sh": lambda words, _: Finished(0, msgspec.json.encode(answers[words[6]]), b"")}
    )
    with pytest.raises(DeviceError, match="the disk is full: found 1 B free in /small"):
        bench_on(device, [make_bundle("plain")], settings=brief)
    answers["prepare"] = {"busy": [77]}
    with pytest.raises(DeviceError, match="another measurement goes on there: found process 77"):
        bench_on(device, [make_bundle("other")], settings=brief)
    assert not any(" stop" in subject for _, subject in device.calls)


def test_nothing_is_sent_that_could_not_be_measured(
    make_bundle: MakeBundle, brief: Settings
) -> None:
    device = FakeDevice()
    with pytest.raises(InputError, match="no bundle"):
        bench_on(device, [], settings=brief)
    with pytest.raises(BundleError, match="no test example"):
        bench_on(device, [make_bundle("empty", examples=0)], settings=brief)
    assert not device.calls


def test_a_first_connection_that_fails_is_not_tried_again(
    make_bundle: MakeBundle, brief: Settings
) -> None:
    device = FakeDevice(lost_at=(1,))
    with pytest.raises(DeviceLostError, match="the connection was lost"):
        bench_on(device, [make_bundle("plain")], settings=brief)
    assert device.calls == [("connect", "fake")]
    assert device.closed


def test_the_archive_is_the_same_each_time(
    make_bundle: MakeBundle, brief: Settings, tmp_path: Path
) -> None:
    bundle = read_bundle(make_bundle("plain"))
    request = Request(1, brief, 60, 60)
    sizes = []
    for name in ("one", "two"):
        sizes.append(write_archive(tmp_path / name, [bundle], request))
        time.sleep(0.01)
    assert sizes[0] == sizes[1]
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    # A phone's connection should not be tried: without bundles it is well below a megabyte.
    assert (tmp_path / "one").stat().st_size < 1_000_000


def test_one_device_is_not_named_twice() -> None:
    with pytest.raises(InputError, match="the same device twice"):
        find_targets(["ssh://pi@kitchen", "ssh://pi@kitchen/"])
    labels = [target.label for target in find_targets(["local", "ssh://a@b:22", "emulated:pi4"])]
    assert labels == ["local", "a@b-22", "emulated-pi4"]
    assert find_targets(["ssh://a@b"], python="~/x")[0].name == DeviceName(
        "ssh", "ssh://a@b", user="a", host="b", python="~/x"
    )


def test_no_time_of_an_emulated_device_is_a_latency(
    make_bundle: MakeBundle, brief: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from edgeseq.cli.bench_table import print_result, result_rows
    from edgeseq.files import write_json
    from edgeseq.report.rows import read_groups

    measured = bench([make_bundle("plain")], settings=brief)
    device = FakeDevice(name="emulated:pi4", emulated=True)
    result = as_measured_there(measured, device, ("edgeseq", "bench"))
    assert result.device.emulated
    assert result.device.name.endswith("(emulated:pi4)")
    assert ("emulated", "invalid") in {(one.code, one.severity) for one in result.findings}
    rows = result_rows(result)
    assert [rows[0][key] for key in ("p50_ms", "p95_ms", "cold_start_ms")] == [None] * 3
    assert rows[0]["peak_memory_bytes"]
    print_result(result, rows, "")
    assert " ms" not in capsys.readouterr().out
    write_json(tmp_path / "result.json", result)
    (group,) = read_groups([tmp_path / "result.json"])
    assert not any(entry.row.p50_ms for entry in group.entries)
