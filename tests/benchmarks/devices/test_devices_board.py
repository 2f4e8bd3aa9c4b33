"""What a board lacks, what it keeps and removes, and what is never sent: without a connection."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

import edgeseq
from edgeseq.errors import BundleError, DeviceError, InputError, OutputError
from edgeseq.formats.bundle import read_bundle
from edgeseq.formats.result import Settings
from edgeseq.progress import ProgressUpdate
from edgeseq.subprocesses.command_runs import CommandOutput
from edgeseq.subprocesses.job_processes import JobFailure
from edgeseq_benchmarks.bench.runner import bench
from edgeseq_benchmarks.devices.address import DeviceAddress
from edgeseq_benchmarks.devices.base import DeviceLostError
from edgeseq_benchmarks.devices.doctor.facts import PythonFacts
from edgeseq_benchmarks.devices.measure import find_targets
from edgeseq_benchmarks.devices.remote import requirements, run_folder
from edgeseq_benchmarks.devices.remote.agent import RunLog
from edgeseq_benchmarks.devices.remote.archive import WORKSTATION_FOLDERS, write_archive
from edgeseq_benchmarks.devices.remote.messages import LogLine, RunRequest
from edgeseq_benchmarks.devices.remote.remote_bench import bench_on, label_result

from .fake_device import FakeDevice

MakeBundle = Callable[..., Path]
BOARD = PythonFacts(
    path="/usr/bin/python3",
    version=(3, 11, 2),
    system="Linux",
    machine="aarch64",
    implementation="CPython",
    pointer_bits=64,
    in_venv=False,
    externally_managed=True,
    has_ensurepip=True,
    has_pip=True,
    modules={"msgspec": "0.19"},
)
READY = {"numpy": "2.0", "tokenizers": "0.20", "msgspec": "0.19", "ai_edge_litert": "2.1"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "numpy tokenizers ai-edge-litert"),
        ({"in_venv": True}, "type there: /usr/bin/python3 -m pip install numpy"),
        (
            {"machine": "armv7l", "pointer_bits": 32},
            "pip install tokenizers 'numpy<2' tflite-runtime",
        ),
        ({"pointer_bits": 32}, "pip install tokenizers 'numpy<2' tflite-runtime"),
        (
            {"machine": "armv7l", "pointer_bits": 32, "version": (3, 12, 0)},
            "none is made for Python on",
        ),
        ({"machine": "riscv64"}, "none is made for Python on riscv64"),
        ({"modules": {"msgspec": "", "ai_edge_litert": ""}}, "lacks numpy, tokenizers"),
        ({"version": (3, 9, 2)}, "older than 3.10"),
        ({"system": "Darwin"}, "runs Darwin, not Linux"),
    ],
)
def test_what_is_missing_and_what_mends_it(changes: dict[str, object], words: str) -> None:
    found = msgspec.structs.replace(BOARD, **changes)
    answer = CommandOutput(0, msgspec.json.encode(found) + b"\n", b"")
    device = FakeDevice({"python3": answer}, name="ssh://pi@kitchen")
    device.connect(timeout_s=1)
    with pytest.raises(DeviceError) as caught:
        requirements.check(device, "python3", timeout_s=1)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_board_with_everything_is_taken() -> None:
    found = msgspec.structs.replace(BOARD, modules=READY)
    device = FakeDevice({"python3": CommandOutput(0, b"noise\n" + msgspec.json.encode(found), b"")})
    device.connect(timeout_s=1)
    assert requirements.check(device, "python3", timeout_s=1) == found


def _ask_board(folder: Path, *arguments: str) -> dict[str, object]:
    """`devices/remote/run_folder.py` as a board runs it, in `folder`."""
    script = Path(run_folder.__file__).read_bytes()
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
    assert "not the folder of a run" in str(
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
    assert "not the key" in str(_ask_board(tmp_path, "prepare", "../x", "me", "0", str(tmp_path)))


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
    (small_disk / "spare").write_bytes(b"\0" * run_folder.SPARE_BYTES)
    log = RunLog(small_disk)
    log.progress(ProgressUpdate("check", 0, 1))
    with (small_disk / "all").open("wb", 0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    for number in range(200):
        log.progress(ProgressUpdate("rounds", number, 200, "a note that takes some room"))
    log.finish(LogLine(failure=JobFailure("OutputError", "the disk is full")))
    lines = (small_disk / "log.jsonl").read_bytes().splitlines()
    heard = [msgspec.json.decode(line, type=LogLine) for line in lines]
    assert heard[0].progress == ProgressUpdate("check", 0, 1)
    assert len(heard) < 200
    assert heard[-1].failure is not None
    error = heard[-1].failure.to_error(device="ssh://pi@kitchen")
    assert isinstance(error, OutputError)
    assert str(error) == "ssh://pi@kitchen: the disk is full"


def test_a_run_that_found_no_folder_removes_none(make_bundle: MakeBundle, brief: Settings) -> None:
    ready = msgspec.structs.replace(BOARD, modules=READY)
    answers = {"-": ready, "prepare": {"free_bytes": 1, "base": "/small"}}
    device = FakeDevice(
        {
            "python3": lambda words, _: CommandOutput(
                0, msgspec.json.encode(answers[words[2] if words[2:] else "-"]), b""
            )
        }
    )
    with pytest.raises(DeviceError, match="the disk is full: found 1 B free in /small"):
        bench_on(device, [make_bundle("plain")], settings=brief)
    answers["prepare"] = {"busy": [77]}
    with pytest.raises(DeviceError, match="another benchmark is running there: found process 77"):
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
    request = RunRequest(1, brief, 60, 60)
    sizes = []
    for name in ("one", "two"):
        sizes.append(write_archive(tmp_path / name, [bundle], request))
        time.sleep(0.01)
    assert sizes[0] == sizes[1]
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    with tarfile.open(tmp_path / "one") as tar:
        folders = {tuple(name.split("/")[:2]) for name in tar.getnames()}
    for name in WORKSTATION_FOLDERS["edgeseq"]:
        assert (Path(edgeseq.__file__).parent / name).is_dir()
        assert ("edgeseq", name) not in folders
    assert ("edgeseq_benchmarks", "bench") in folders
    # A phone's connection should not be tried: without bundles it is well below a megabyte.
    assert (tmp_path / "one").stat().st_size < 1_000_000


def test_one_device_is_not_named_twice() -> None:
    with pytest.raises(InputError, match="the same device twice"):
        find_targets(["ssh://pi@kitchen", "ssh://pi@kitchen/"])
    labels = [target.label for target in find_targets(["local", "ssh://a@b:22", "emulated:pi4"])]
    assert labels == ["local", "a@b-22", "emulated-pi4"]
    assert find_targets(["ssh://a@b"], python="~/x")[0].address == DeviceAddress(
        "ssh", "ssh://a@b", "b", user="a", python="~/x"
    )


def test_no_time_of_an_emulated_device_is_a_latency(
    make_bundle: MakeBundle, brief: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from edgeseq.cli.bench_table import print_result, result_rows
    from edgeseq.formats.storage import write_json
    from edgeseq.reporting.rows import read_groups

    measured = bench([make_bundle("plain")], settings=brief)
    device = FakeDevice(name="emulated:pi4", emulated=True)
    result = label_result(measured, device, ("edgeseq", "bench"))
    assert result.device.emulated
    assert result.device.name.endswith("(emulated:pi4)")
    assert ("emulated", "invalid") in {(one.code, one.severity) for one in result.findings}
    rows = result_rows(result)
    assert (rows[0].p50_ms, rows[0].p95_ms, rows[0].cold_start_ms) == (None, None, None)
    assert rows[0].peak_memory_bytes
    print_result(result, rows, "")
    assert " ms" not in capsys.readouterr().out
    write_json(tmp_path / "result.json", result)
    (group,) = read_groups([tmp_path / "result.json"])
    assert not any(row.p50_ms for row in group.rows)


@pytest.mark.parametrize("has_filter", [True, False], ids=["newer Python", "older Python"])
@pytest.mark.parametrize("kind", ["outside", "link", "device"])
def test_a_hostile_archive_is_not_unpacked(
    tmp_path: Path, kind: str, has_filter: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = tarfile.TarInfo("../outside" if kind == "outside" else "member")
    if kind != "outside":
        member.type = tarfile.SYMTYPE if kind == "link" else tarfile.CHRTYPE
        member.linkname = "/etc/passwd"
    folder = tmp_path / "run"
    folder.mkdir()
    with tarfile.open(folder / "archive.tar.gz", "w:gz") as tar:
        tar.addfile(member)
    if not has_filter:
        monkeypatch.delattr(tarfile, "data_filter")
    with pytest.raises(tarfile.TarError):
        run_folder.unpack(str(folder))
    assert not (folder / "tree").exists()
    assert not (tmp_path / "outside").exists()


def test_an_archive_is_unpacked_without_a_filter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "code.py").write_text("pass")
    with tarfile.open(tmp_path / "archive.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "code.py", "edgeseq/code.py")
    monkeypatch.delattr(tarfile, "data_filter")
    run_folder.unpack(str(tmp_path))
    assert (tmp_path / "tree" / "edgeseq" / "code.py").read_text() == "pass"
