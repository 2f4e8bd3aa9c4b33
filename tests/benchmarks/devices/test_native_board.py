"""Native processes on a board: a real sshd on loopback, without Python where one is not to be."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NoReturn, get_args

import msgspec
import pytest

from edgeseq.errors import BundleError, DeviceError
from edgeseq.formats.bundle import read_bundle
from edgeseq.formats.bundle_manifest import RUNNER_FILE
from edgeseq.formats.memory_limits import Mechanism
from edgeseq.formats.result import Finding, ResultRecord, Runner, Settings
from edgeseq.formats.storage import write_json
from edgeseq.progress import ProgressUpdate
from edgeseq_benchmarks.bench.limits.cgroup import Hierarchy
from edgeseq_benchmarks.bench.probes import machine_state
from edgeseq_benchmarks.bench.runner import bench
from edgeseq_benchmarks.devices.base import DeviceLostError
from edgeseq_benchmarks.devices.doctor.board_target import board_target
from edgeseq_benchmarks.devices.doctor.facts import read_system
from edgeseq_benchmarks.devices.native import board_bench
from edgeseq_benchmarks.devices.native.board_bench import bench_on_board, merge_runners
from edgeseq_benchmarks.devices.native.board_connection import read_script
from edgeseq_benchmarks.devices.native.native_bench import bench_native_on
from edgeseq_benchmarks.devices.remote.remote_bench import RemoteOptions
from edgeseq_benchmarks.devices.ssh import SshDevice
from edgeseq_benchmarks.native.targets import TARGETS, NativeTarget

from . import recorded_systems
from .ssh_server import Sshd, missing

MakeBundle = Callable[..., Path]
KEY = "0123456789abcdef01234567"


@pytest.fixture(scope="module")
def bare_board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A server whose accounts find every program of this system but Python."""
    if reason := missing():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("bare")
    programs = folder / "bin"
    programs.mkdir()
    for source in (Path("/usr/bin"), Path("/bin"), Path("/usr/sbin"), Path("/sbin")):
        for program in source.iterdir():
            link = programs / program.name
            if not program.name.startswith("py") and not link.is_symlink():
                link.symlink_to(program)
    # Where no file of a shell adds to the path.
    (folder / "home").mkdir()
    server = Sshd(folder / "sshd", f"SetEnv PATH={programs} HOME={folder}/home")
    yield server
    server.stop()


@pytest.fixture
def native(brief: Settings) -> Settings:
    return msgspec.structs.replace(brief, runners=("native",), length_tokens=(8,))


@pytest.mark.sshd
def test_board_without_python_measures_as_this_machine_does(
    bare_board: Sshd,
    place: PurePosixPath,
    make_bundle: MakeBundle,
    native: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A round of a test is too short for a load that means something, but not for a number.
    monkeypatch.setattr(machine_state, "_SHORTEST_WINDOW_S", 0.0)
    device = bare_board.device()
    device.connect(timeout_s=20)
    assert device.run(["sh", "-c", "command -v python3"], timeout_s=20).returncode != 0
    path = make_bundle("bag")
    both = msgspec.structs.replace(native, runners=("native", "python"))
    heard: list[str] = []
    there = bench_on_board(
        device,
        [path],
        settings=both,
        options=RemoteOptions(base_dir=place),
        progress=lambda update: heard.append(update.stage),
        command=("edgeseq", "bench"),
    )
    here = bench([path], settings=native)
    (run,), (own,) = there.runs, here.runs
    assert run.runner == "native"
    assert run.predictions == own.predictions
    assert run.predictions is not None
    assert [phase.phase for phase in run.memory] == [phase.phase for phase in own.memory]
    # Started by a process of the board, by its clock.
    assert all(0 < start.import_ns < start.total_ns < 60e9 for start in run.cold_starts)
    (note,) = [finding for finding in run.findings if finding.code == "python-not-run"]
    assert "no such Python" in note.message
    assert there.requested == both
    assert there.command == ("edgeseq", "bench")
    assert there.device.name == f"{here.device.name} ({bare_board.name})"
    assert msgspec.structs.replace(there.device, name=here.device.name) == here.device
    assert {state.when for state in there.machine} == {"before", "during", "after"}
    during = [state for state in there.machine if state.when == "during"]
    assert all(state.load_other_cores is not None for state in during)
    stages = [stage for stage in dict.fromkeys(heard) if not stage.startswith("build")]
    assert stages[:2] == ["send", "check"]


@pytest.mark.sshd
def test_board_with_python_is_measured_in_both_runners(
    bare_board: Sshd,
    board_python: str,
    place: PurePosixPath,
    make_bundle: MakeBundle,
    native: Settings,
) -> None:
    runners: tuple[Runner, ...] = ("native", "python")
    settings = msgspec.structs.replace(native, runners=runners, profile=True)
    options = RemoteOptions(board_python, place, reconnect_s=20, grace_s=60, follow_s=1)
    result = bench_on_board(
        bare_board.device(), [make_bundle("bag")], settings=settings, options=options
    )
    here, there = result.runs
    assert (here.runner, there.runner) == runners
    assert here.predictions == there.predictions
    assert here.predictions is not None
    assert (here.profile is None, there.profile is None) == (True, False)
    assert result.effective.runners == result.requested.runners == runners
    assert result.runtime.python != "none"


@pytest.mark.sshd
@pytest.mark.cgroup
def test_limits_of_a_board_are_set_there(
    bare_board: Sshd,
    place: PurePosixPath,
    make_bundle: MakeBundle,
    native: Settings,
    hierarchy: Hierarchy,
) -> None:
    limits = (100_000_000, 3_000_000)
    settings = msgspec.structs.replace(native, memory_limits_bytes=limits, cpus=0.5)
    result = bench_native_on(
        bare_board.device(), [make_bundle("bag")], settings=settings, base_dir=place
    )
    roomy, tight = result.runs[0].limited
    assert (roomy.status, roomy.mechanism) == ("answered", hierarchy.mechanism)
    assert roomy.total_ns
    assert roomy.peak_bytes is not None
    assert 1_000_000 < roomy.peak_bytes <= limits[0]
    assert roomy.major_faults > 0
    assert roomy.throttled_ns is not None
    assert tight.status != "answered"
    # Groups of others that are being tested have an owner that lives.
    groups = [path.name for path in hierarchy.path.glob("edgeseq-*-[0-9]*")]
    assert [name for name in groups if not Path(f"/proc/{name.split('-')[1]}").exists()] == []


@pytest.mark.sshd
@pytest.mark.parametrize("mishap", ["lost", "interrupted"])
def test_mishap_leaves_nothing_there_and_keeps_what_was_measured(
    bare_board: Sshd,
    place: PurePosixPath,
    make_bundle: MakeBundle,
    native: Settings,
    mishap: str,
) -> None:
    device = bare_board.device()

    def happens(update: ProgressUpdate, /) -> None:
        if update.stage == "rounds" and update.done == 2:
            if mishap == "interrupted":
                raise KeyboardInterrupt
            assert bare_board.drop() > 0

    paths = [make_bundle("bag"), make_bundle("other", examples=50)]
    with pytest.raises((DeviceLostError, KeyboardInterrupt)) as caught:
        bench_native_on(device, paths, settings=native, base_dir=place, progress=happens)
    if mishap == "lost":
        assert isinstance(caught.value, DeviceLostError)
        assert "connection was lost" in str(caught.value)
        result = caught.value.result
        assert result is not None
        assert [run.bundle.name for run in result.runs] == ["bag", "other"]
        assert set(result.runs[0].queries.round) == {0, 1}
        assert "unfinished" in [finding.code for finding in result.findings]


# The programs that the scripts call.
_APPLETS = (
    *("sh", "cat", "chmod", "df", "find", "getconf", "grep", "head", "id", "kill", "ls", "mkdir"),
    *("nproc", "printf", "rm", "rmdir", "sed", "sleep", "sync", "tail", "tr", "uname"),
)


@pytest.fixture(params=["system", "busybox"])
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """An environment in which the scripts find a board's programs."""
    if request.param == "system":
        return dict(os.environ)
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("needs busybox")
    programs = tmp_path / "applets"
    programs.mkdir()
    for name in _APPLETS:
        (programs / name).symlink_to(busybox)
    return {"PATH": str(programs), "HOME": str(tmp_path)}


def test_board_describes_itself_in_any_shell(shell: dict[str, str]) -> None:
    sh = shutil.which("sh", path=shell["PATH"]) or "sh"
    command = [sh, "-c", read_script("machine_probe.sh"), "sh", "MARK", "all"]
    output = subprocess.run(command, env=shell, capture_output=True, check=True).stdout
    names = [part.split(b"\n")[0] for part in output.split(b"\nMARK /")[1:]]
    assert {b"names", b"proc/cpuinfo", b"proc/stat", b"proc/meminfo", b"proc/uptime"} <= {*names}
    assert names[-1] == b"end"
    command = [sh, "-c", read_script("limit_group.sh"), "sh", "find", str(os.getpid())]
    output = subprocess.run(command, env=shell, capture_output=True, check=True).stdout
    assert output.split()[0].decode() in get_args(Mechanism)


def test_folder_is_private_held_and_removed_with_the_connection(
    shell: dict[str, str], tmp_path: Path
) -> None:
    script = read_script("hold_folder.sh")
    sh = shutil.which("sh", path=shell["PATH"]) or "sh"

    def hold(base: Path, needed_kb: int = 1) -> subprocess.Popen[bytes]:
        command = [sh, "-c", script, "sh", KEY, str(needed_kb), str(base)]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=shell)

    def answer(process: subprocess.Popen[bytes]) -> str:
        assert process.stdout is not None
        return process.stdout.readline().decode().strip()

    user_folder = tmp_path / f"edgeseq-{os.getuid()}"
    abandoned = user_folder / KEY.replace("0", "f")
    abandoned.mkdir(parents=True)
    (abandoned / "pid").write_text("1")
    (user_folder / "precious").mkdir()
    user_folder.chmod(0o700)
    with hold(tmp_path) as holder:
        folder = Path(answer(holder).partition(" ")[2])
        assert folder == user_folder / KEY
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert not abandoned.exists()
        (folder / "model.tflite").write_text("sent")
        with hold(tmp_path) as other:
            assert answer(other) == f"busy {holder.pid}"
        assert (folder / "model.tflite").exists()
        assert holder.stdin is not None
        holder.stdin.close()
        holder.wait(20)
    assert [path.name for path in user_folder.iterdir()] == ["precious"]
    with hold(tmp_path, needed_kb=1 << 50) as holder:
        assert answer(holder).startswith("full ")
    user_folder.chmod(0o755)
    with hold(tmp_path) as holder:
        assert "is not a private folder" in answer(holder)
    shutil.rmtree(user_folder)
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    user_folder.symlink_to(tmp_path / "elsewhere")
    with hold(tmp_path) as holder:
        assert "is not a private folder" in answer(holder)


@pytest.mark.parametrize(
    ("system", "words"),
    [
        ("pi2-bookworm-32", "Linux on armv7l, 32-bit programs"),
        ("pi4-bookworm-32", "Linux on aarch64, 32-bit programs"),
        ("alpine", "musl"),
        ("ubuntu-18.04", "found glibc 2.26, expected glibc 2.28 or newer"),
        ("risc-v", "Linux on riscv64"),
        ("termux", "bionic"),
    ],
)
def test_board_that_has_no_native_runner_is_told_why(system: str, words: str) -> None:
    def target(name: str) -> NativeTarget:
        facts = read_system(recorded_systems.system_output(name).decode(), where="board")
        return board_target("ssh://pi@kitchen", facts)

    assert target("pi4-bookworm-64") == TARGETS["linux-aarch64"]
    assert target("debian-x86") == TARGETS["linux-x86_64"]
    with pytest.raises(DeviceError) as caught:
        target(system)
    assert words in str(caught.value)


def test_native_runs_are_kept_when_the_boards_python_refuses_every_bundle(
    make_bundle: MakeBundle, brief: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [make_bundle("bag"), make_bundle("foreign")]
    manifest = read_bundle(paths[1]).manifest
    files = {name: entry for name, entry in manifest.files.items() if name != RUNNER_FILE}
    changed = msgspec.structs.replace(manifest, files=files, native_unsupported="a Unigram model")
    write_json(paths[1] / "bundle.json", changed)
    (paths[1] / RUNNER_FILE).unlink()
    native = bench(paths[:1], settings=brief)

    def refuse(*_: object, **__: object) -> NoReturn:
        raise BundleError("its runtime is too old")

    monkeypatch.setattr(board_bench, "bench_native_on", lambda *_, **__: native)
    monkeypatch.setattr(board_bench, "bench_on", refuse)
    both = msgspec.structs.replace(brief, runners=("native", "python"))
    device = SshDevice("board", name="board")
    result = bench_on_board(device, paths, settings=both)
    (run,) = result.runs
    assert run.queries == native.runs[0].queries
    assert "its runtime is too old" in run.findings[-1].message
    (finding,) = [finding for finding in result.findings if finding.code == "not-measured"]
    assert "foreign was not measured" in finding.message
    assert "Unigram" in finding.message
    with pytest.raises(BundleError, match="too old"):
        bench_on_board(device, paths[1:], settings=both)


def test_results_of_both_runners_become_one(make_bundle: MakeBundle, brief: Settings) -> None:
    paths = [make_bundle("bag"), make_bundle("other")]
    python = bench(paths, settings=brief)

    def as_native(result: ResultRecord, refused: Sequence[str]) -> ResultRecord:
        refusal = Finding("runner-refused", "invalid", "no such operator")
        runs = tuple(
            msgspec.structs.replace(
                run, runner="native", findings=(refusal,) if run.bundle.name in refused else ()
            )
            for run in result.runs
        )
        runtime = msgspec.structs.replace(result.runtime, version="2.9", python="none")
        return msgspec.structs.replace(result, runs=runs, runtime=runtime)

    merged = merge_runners(as_native(python, ["other"]), python)
    assert [(run.bundle.name, run.runner) for run in merged.runs] == [
        ("bag", "native"),
        ("bag", "python"),
        ("other", "python"),
    ]
    assert "no such operator" in merged.runs[2].findings[-1].message
    assert merged.runtime == python.runtime
    assert "runtimes-differ" in [finding.code for finding in merged.findings]
    assert merged.effective.runners == ("native", "python")
