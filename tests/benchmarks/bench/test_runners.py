"""Each bundle in each runner: the same stages, the same predictions, and what is said if not."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeseq.errors import BundleError, DeviceError, InputError
from edgeseq.formats.bundle import read_bundle
from edgeseq.formats.bundle_manifest import RUNNER_FILE
from edgeseq.formats.result import Settings
from edgeseq.formats.storage import write_json
from edgeseq_benchmarks.bench import protocol
from edgeseq_benchmarks.bench.launcher import native_launcher
from edgeseq_benchmarks.bench.limits.cgroup import Hierarchy
from edgeseq_benchmarks.bench.limits.limited_run import LimitedTask, run_limited
from edgeseq_benchmarks.bench.limits.page_cache import private_files
from edgeseq_benchmarks.bench.runner import bench, default_settings, subjects_of
from edgeseq_benchmarks.bench.this_machine import ThisMachine
from edgeseq_benchmarks.bench.worker_client import WorkerClient, WorkerLostError, load_command
from edgeseq_benchmarks.native import build
from edgeseq_benchmarks.native.targets import host_target

MakeBundle = Callable[..., Path]
pytestmark = pytest.mark.skipif(host_target() is None, reason="no native runner for this machine")


@pytest.fixture
def both(brief: Settings) -> Settings:
    return msgspec.structs.replace(brief, runners=("native", "python"))


def test_both_runners_give_the_same_predictions_in_every_stage(
    make_bundle: MakeBundle, both: Settings
) -> None:
    settings = msgspec.structs.replace(both, cold_starts=2)
    notes: list[str] = []
    result = bench(
        [make_bundle("bag")],
        settings=settings,
        progress=lambda update: notes.append(update.note),
    )
    native, python = result.runs
    assert [run.runner for run in result.runs] == ["native", "python"]
    assert {"bag, native", "bag, python"} <= set(notes)
    assert result.effective.runners == ("native", "python")
    assert result.runtime.python != "none"
    assert native.predictions is not None
    assert native.predictions == python.predictions
    assert len(native.cold_starts) == 2
    assert [point.tokens for point in native.lengths] == [8, 16]
    assert native.memory[0].phase == python.memory[0].phase == "runtime_imported"
    # A Python process with NumPy and a runtime is never as small.
    assert 2 * native.memory[0].rss_bytes < python.memory[0].rss_bytes


def test_bundle_whose_tokenizer_the_runner_lacks_is_measured_in_python_with_the_reason(
    make_bundle: MakeBundle, both: Settings
) -> None:
    path = make_bundle("foreign")
    manifest = read_bundle(path).manifest
    files = {name: entry for name, entry in manifest.files.items() if name != RUNNER_FILE}
    reason = "the tokenizer has a Unigram model"
    changed = msgspec.structs.replace(manifest, files=files, native_unsupported=reason)
    write_json(path / "bundle.json", changed)
    (path / RUNNER_FILE).unlink()
    (run,) = bench([path], settings=both).runs
    assert run.runner == "python"
    (finding,) = [finding for finding in run.findings if finding.code == "native-not-run"]
    assert finding.severity == "note"
    assert reason in finding.message
    native = msgspec.structs.replace(both, runners=("native",))
    with pytest.raises(BundleError, match=r"cannot run it.*Unigram.*--runner python"):
        bench([path], settings=native)


def test_without_a_compiler_python_alone_is_measured_unless_native_was_asked_for(
    make_bundle: MakeBundle, both: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_bundle("bag")

    def no_compiler(*_: object, **__: object) -> Path:
        raise DeviceError("the native runner cannot be built: there is no C compiler")

    monkeypatch.setattr("edgeseq_benchmarks.bench.this_machine.build_runner", no_compiler)
    (run,) = bench([path], settings=both).runs
    assert (run.runner, run.predictions is None) == ("python", False)
    assert "native-not-run" in [finding.code for finding in run.findings]
    with pytest.raises(DeviceError, match="no C compiler"):
        bench([path], settings=msgspec.structs.replace(both, runners=("native",)))


def test_model_that_the_runner_refuses_keeps_its_python_run(
    make_bundle: MakeBundle, both: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A library that is none: the runner says so when it loads.
    fake = tmp_path / "libLiteRt.so"
    fake.write_bytes(b"no library")
    monkeypatch.setattr("edgeseq_benchmarks.bench.this_machine.installed_library", lambda: fake)
    (run,) = bench([make_bundle("bag")], settings=both).runs
    assert run.runner == "python"
    (finding,) = [finding for finding in run.findings if finding.code == "native-not-run"]
    assert str(fake) in finding.message


def test_operators_are_profiled_in_python_alone(make_bundle: MakeBundle, both: Settings) -> None:
    settings = msgspec.structs.replace(both, profile=True, length_tokens=(), rounds=1)
    path = make_bundle("bag")
    native, python = bench([path], settings=settings).runs
    assert (native.profile is None, python.profile is None) == (True, False)
    (alone,) = bench([path], settings=msgspec.structs.replace(settings, runners=("native",))).runs
    assert alone.profile is None
    assert "no-profile" in [finding.code for finding in alone.findings]


def test_first_native_process_with_a_model_is_bound_in_its_memory(
    make_bundle: MakeBundle, both: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model may claim tensors that no machine has room for."""
    available_bytes = 300 << 20
    limits: list[str] = []
    request = WorkerClient.request

    def noted(child: WorkerClient, command: Any, *reply: Any, **timeout: Any) -> Any:
        answer = request(child, command, *reply, **timeout)
        if isinstance(command, protocol.LoadModel) and child.launcher.runner == "native":
            limits.append(Path(f"/proc/{child.pid}/limits").read_text())
        return answer

    monkeypatch.setattr(WorkerClient, "request", noted)
    monkeypatch.setattr(ThisMachine, "available_bytes", lambda _: available_bytes)
    settings = msgspec.structs.replace(both, length_tokens=(), rounds=1)
    assert len(bench([make_bundle("bag")], settings=settings).runs) == 2
    checked, measured = limits[0].splitlines(), limits[1].splitlines()
    (line,) = [line for line in checked if line.startswith("Max data size")]
    assert str(available_bytes) in line
    (line,) = [line for line in checked if line.startswith("Max core file size")]
    assert line.split()[4:6] == ["0", "0"]
    (line,) = [line for line in measured if line.startswith("Max data size")]
    assert str(available_bytes) not in line


def test_choice_of_runners_is_checked() -> None:
    for runners in ((), ("benchmark_model",), ("native", "native")):
        with pytest.raises(InputError, match="native or python"):
            default_settings(runners=runners)  # type: ignore[arg-type]


def test_death_of_a_native_process_is_seen(make_bundle: MakeBundle) -> None:
    bundle = read_bundle(make_bundle("bag"))
    launcher = ThisMachine().launcher(bundle, "native")
    with WorkerClient("bag", launcher) as child:
        load = load_command(bundle, child, threads=1, first_text="soup")
        child.request(load, protocol.ModelLoaded, timeout_s=60)
        os.kill(child.pid, 9)
        with pytest.raises(WorkerLostError, match="SIGKILL"):
            child.request(protocol.MeasureOverhead(1), protocol.Overhead, timeout_s=60)


def test_program_that_cannot_be_started_is_named(tmp_path: Path) -> None:
    launcher = native_launcher(tmp_path / "missing", tmp_path / "libLiteRt.so")
    with pytest.raises(DeviceError, match=r"cannot be started.*missing"):
        WorkerClient("bag", launcher)


@pytest.mark.cgroup
def test_limited_native_process_pays_for_its_program_and_library(
    make_bundle: MakeBundle, hierarchy: Hierarchy
) -> None:
    bundle = read_bundle(make_bundle("bag"))
    settings = default_settings(quick=True, runners=("native",))
    (subject,) = subjects_of([bundle], settings)
    with private_files(bundle, (), subject.launcher) as files:
        names = {path.name for path in files.folder.iterdir()}
        assert names == {"model.tflite", "runner.bin", build.RUNNER, "libLiteRt.so"}
        assert all(str(files.folder) in path for path in files.launcher.programs)
        task = LimitedTask(bundle, files, ["soup"] * 5, 1, duration_s=3.0, load_timeout_s=30.0)
        roomy = run_limited(hierarchy, task, 100_000_000)
        tight = run_limited(hierarchy, task, 2_000_000)
    assert (roomy.status, len(roomy.total_ns)) == ("answered", 5)
    assert "dropped from the page cache" in roomy.files
    # The pages of program and library were read from the disk, inside of the limit.
    assert roomy.major_faults > 0
    assert tight.status != "answered"
    assert not files.folder.exists()
