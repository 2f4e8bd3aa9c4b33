"""The runner as a C library: exported, built with warnings as errors, and asked from C."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

import edgeseq as es
from edgeseq.errors import DeviceError, RefusedError
from edgeseq.formats.export_folder import ExportFolder, write_export_files
from edgeseq.formats.trained_model import write_model_folder
from edgeseq_benchmarks.devices.native.library_export import run_example
from edgeseq_benchmarks.native.library import installed_library
from edgeseq_benchmarks.native.library_sources import example_sources, write_library_sources
from edgeseq_benchmarks.native.targets import TARGETS, host_target

from ..converters.conftest import make_dataset, make_lstm
from .conftest import Runner, Write
from .native_models import Case
from .sanitizers import compile_sanitized, find_clang, sanitizer_environment

PRINTED = 5e-9
"""The example prints nine digits."""
OTHER_SHAPE = 1e-6
"""Another number of tokens at a time: the kernels add up in another order."""
CASES = {
    Case("lstm", "dynamic_wi8_afp32", "loop"): PRINTED,
    Case("tags-bert", "dynamic_wi8_afp32", "encoder"): PRINTED,
    Case("labels-lstm", "dynamic_wi8_afp32", "loop"): PRINTED,
    # A next word's text is read in pieces by the library, and whole by the runner.
    Case("stream", "float32", "loop"): PRINTED,
    Case("window", "float32", "cached"): OTHER_SHAPE,
}
TEXTS = ("the teapot was lovely", "Never a BLANKET, it's the ladder!", "naïve – “quoted” words…")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of an LSTM with random weights."""
    folder = tmp_path_factory.mktemp("library")
    write_model_folder(folder / "model", make_lstm())
    es.convert(folder / "model", make_dataset(), out=folder / "bundle")
    return folder / "bundle"


@pytest.fixture(scope="module")
def exported(bundle: Path) -> ExportFolder:
    if host_target() is None:
        pytest.skip("no C library for this machine")
    return es.export(bundle, "native", out=bundle.parent / "export")


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The example with sanitizers, and the environment that it needs."""
    compiler = find_clang()
    if compiler is None:
        pytest.skip("needs clang")
    folder = tmp_path_factory.mktemp("sanitized")
    write_library_sources(folder)
    includes = [f"-I{folder / name}" for name in ("include", "src")]
    program = folder / "example"
    compile_sanitized(compiler, example_sources(folder), program, *includes)
    return program, {**os.environ, **sanitizer_environment(folder)}


def test_the_example_answers_as_python(exported: ExportFolder) -> None:
    checked = es.check_export(exported.path)
    assert checked.findings == ()
    assert checked.n_examples == len(exported.golden.examples) > 3
    outputs = {example.output for example in exported.golden.examples}
    assert len(outputs) > 3
    assert all(sum(output) == pytest.approx(1) for output in outputs)


def test_a_wrong_answer_is_a_finding(exported: ExportFolder, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    shutil.copytree(exported.path, folder)
    first, *rest = exported.golden.examples
    wrong = msgspec.structs.replace(first, output=(first.output[0] + 0.01, *first.output[1:]))
    golden = msgspec.structs.replace(exported.golden, examples=(wrong, *rest))
    (folder / "export.json").unlink()
    write_export_files(folder, exported.manifest, golden, "")
    [finding] = es.check_export(folder).findings
    assert "text 1" in finding


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_task_answers_as_the_runner_under_sanitizers(
    case: Case, sanitized: tuple[Path, dict[str, str]], runner: Runner, write: Write
) -> None:
    program, environment = sanitized
    folder = write(case).folder
    outputs = run_example(program, folder, installed_library(), TEXTS, env=environment)
    lines = [
        json.loads(line)
        for line in runner.predict(folder, "--json", *TEXTS).stdout.decode().splitlines()
    ]
    names = ("scores", "tag_scores", "probabilities")
    for line, output in zip(lines, outputs, strict=True):
        [numbers] = [line[name] for name in names if name in line]
        expected = list(numbers.values()) if isinstance(numbers, dict) else numbers
        assert output == pytest.approx(expected, rel=CASES[case], abs=0)


def test_a_failure_is_one_line(
    sanitized: tuple[Path, dict[str, str]], write: Write, tmp_path: Path
) -> None:
    program, environment = sanitized
    folder = write(next(iter(CASES))).folder
    for bundle_dir, text, what in (
        (folder, " ", "the text: is empty"),
        (tmp_path, "a", "runner.bin"),
    ):
        with pytest.raises(DeviceError, match=what):
            run_example(program, bundle_dir, installed_library(), [text], env=environment)


def test_a_word_may_hold_a_line_separator(tmp_path: Path) -> None:
    program = tmp_path / "example"
    program.write_text("#!/bin/sh\nprintf 'a\u2028b/O\\t0.25\\nc/O\\t0.5\\n'\n", encoding="utf-8")
    program.chmod(0o755)
    assert run_example(program, tmp_path, tmp_path, ["a\u2028b", "c"]) == ((0.25,), (0.5,))


def test_cmake_builds_a_library_that_exports_its_header_alone(
    exported: ExportFolder, tmp_path: Path
) -> None:
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    cmake, nm = shutil.which("cmake", path=path), shutil.which("nm")
    if cmake is None or nm is None:
        pytest.skip("needs cmake and binutils")
    build = tmp_path / "build"
    for arguments in (["-S", exported.path, "-B", build], ["--build", build]):
        subprocess.run([cmake, *arguments], check=True, capture_output=True)
    names = subprocess.run(
        [nm, "-D", "--defined-only", build / "libedgeseq.so"], check=True, capture_output=True
    ).stdout.decode()
    symbols = {line.split()[-1] for line in names.splitlines()}
    header = (exported.path / "include" / "edgeseq.h").read_text()
    assert len(symbols) == header.count("EDGESEQ_API ") - 1
    assert all(f"{symbol}(" in header for symbol in symbols)
    texts = [example.text for example in exported.golden.examples]
    library = exported.path / "lib" / "libLiteRt.so"
    outputs = run_example(build / "edgeseq_example", exported.path / "bundle", library, texts)
    for example, output in zip(exported.golden.examples, outputs, strict=True):
        assert output == pytest.approx(example.output, abs=exported.golden.tolerance)


def test_an_export_for_another_processor_is_not_run_here(
    exported: ExportFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = next(target for target in TARGETS.values() if target != host_target())
    monkeypatch.setattr(
        "edgeseq_benchmarks.devices.native.library_export.host_target", lambda: other
    )
    with pytest.raises(DeviceError, match="checked where it runs"):
        es.check_export(exported.path)


def test_refuses_a_model_that_keeps_its_state_in_variables(bundle: Path, tmp_path: Path) -> None:
    fused = tmp_path / "fused"
    es.convert(bundle.parent / "model", make_dataset(), out=fused, lowering="fused")
    with pytest.raises(RefusedError, match="--lowering loop"):
        es.export(fused, "native", out=tmp_path / "export")
    assert not (tmp_path / "export").exists()
