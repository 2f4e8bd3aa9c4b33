"""Building the native runner: compilers, the cache, and what is said when it cannot be built."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import struct
import subprocess
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgeseq.cli.app import app
from edgeseq.errors import DeviceError, InputError
from edgeseq_benchmarks.devices.native import native_files
from edgeseq_benchmarks.native import build
from edgeseq_benchmarks.native.library import installed_library, installed_version
from edgeseq_benchmarks.native.targets import (
    TARGETS,
    find_target,
    host_target,
    target_of_machine,
)

HELLO = """\
#include "answer.h"
#include <stdio.h>
int main(void) { return printf("%d", ANSWER) < 0; }
"""
ELF_MACHINES = {"linux-x86_64": 62, "linux-aarch64": 183}

needs_zig = pytest.mark.skipif(
    importlib.util.find_spec("ziglang") is None, reason="needs the extra `native` (ziglang)"
)
needs_host = pytest.mark.skipif(host_target() is None, reason="no target for this machine")


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    folder = tmp_path / "src"
    folder.mkdir()
    (folder / "main.c").write_text(HELLO)
    (folder / "answer.h").write_text("#define ANSWER 42\n")
    return folder


def _elf_machine(path: Path) -> int:
    header = path.read_bytes()[:20]
    assert header[:4] == b"\x7fELF"
    return int(struct.unpack("<H", header[18:20])[0])


@needs_host
def test_program_is_built_once_and_again_when_a_header_changes(
    sources: Path, tmp_path: Path
) -> None:
    first = build.build_runner(cache_dir=tmp_path, source_dir=sources)
    assert subprocess.run([first], capture_output=True, check=True).stdout == b"42"
    built_ns = first.stat().st_mtime_ns
    again = build.build_runner(cache_dir=tmp_path, source_dir=sources)
    assert (again, again.stat().st_mtime_ns) == (first, built_ns)
    (sources / "answer.h").write_text("#define ANSWER 43\n")
    changed = build.build_runner(cache_dir=tmp_path, source_dir=sources)
    assert changed != first
    assert subprocess.run([changed], capture_output=True, check=True).stdout == b"43"
    assert [path.name for path in changed.parent.iterdir()] == [build.RUNNER]


@needs_zig
@pytest.mark.parametrize("name", TARGETS)
def test_zig_builds_for_each_target_against_an_old_c_library(
    name: str, sources: Path, tmp_path: Path
) -> None:
    program = build.build_runner(
        TARGETS[name], portable=True, cache_dir=tmp_path, source_dir=sources
    )
    assert _elf_machine(program) == ELF_MACHINES[name]
    content = program.read_bytes()
    newer = [minor for minor in range(29, 45) if f"GLIBC_2.{minor}".encode() in content]
    assert newer == []


@needs_host
def test_warning_is_an_error_that_names_its_line(sources: Path, tmp_path: Path) -> None:
    (sources / "main.c").write_text("int main(void) { int unused; return 0; }\n")
    with pytest.raises(DeviceError, match=r"cannot be built.*main\.c:1.*unused") as caught:
        build.build_runner(cache_dir=tmp_path, source_dir=sources)
    assert "\n" not in str(caught.value)
    assert [path for path in tmp_path.rglob("*") if path.name.startswith(".build")] == []


def test_without_a_compiler_the_error_says_what_to_install(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(build.importlib.util, "find_spec", lambda _: None)
    for target in TARGETS.values():
        with pytest.raises(DeviceError, match=r"no C compiler.*edgeseq\[native\]"):
            build.build_runner(target, cache_dir=tmp_path, source_dir=sources)


@needs_host
def test_cache_that_may_not_be_written_to_is_named(sources: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file in the way")
    with pytest.raises(DeviceError, match=r"XDG_CACHE_HOME"):
        build.build_runner(cache_dir=tmp_path / "cache", source_dir=sources)


def test_targets_by_machine() -> None:
    assert target_of_machine("Linux", "aarch64") == TARGETS["linux-aarch64"]
    assert target_of_machine("Linux", "AMD64") == TARGETS["linux-x86_64"]
    assert target_of_machine("Linux", "aarch64", 32) is None
    assert target_of_machine("Linux", "armv7l", 32) is None
    assert target_of_machine("Darwin", "arm64") is None
    if platform.machine() in ("x86_64", "aarch64"):
        host = host_target()
        assert host is not None
        assert host.machine == platform.machine()
    with pytest.raises(InputError, match="linux-x86_64 or linux-aarch64"):
        find_target("windows")


def test_library_of_the_installed_runtime_is_for_this_machine() -> None:
    host = host_target()
    assert host is not None
    assert _elf_machine(installed_library()) == ELF_MACHINES[host.name]


@needs_zig
@pytest.mark.parametrize("name", TARGETS)
def test_native_build_copies_runner_and_library_of_the_target(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = host_target()
    if host is None or name != host.name:
        # The library of another processor comes from an index: here, out of a wheel of our own.
        def wheel(_target: object, _version: str, folder: Path) -> Path:
            path = folder / "ai_edge_litert-1-py3-none-any.whl"
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("ai_edge_litert/libLiteRt.so", b"a library")
            return path

        monkeypatch.setattr(native_files, "_fetch_wheel", wheel)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    command = ["native", "build", "--target", name, "--out", str(tmp_path / "out"), "--json"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert answer["target"] == name
    runner, library = tmp_path / "out" / build.RUNNER, tmp_path / "out" / "libLiteRt.so"
    assert (answer["runner"], answer["library"]) == (str(runner), str(library))
    assert _elf_machine(runner) == ELF_MACHINES[name]
    assert os.access(runner, os.X_OK)
    assert library.read_bytes()[:4] in (b"\x7fELF", b"a li")


@pytest.mark.index
def test_library_of_another_processor_comes_out_of_its_wheel(tmp_path: Path) -> None:
    host = host_target()
    target = next(target for target in TARGETS.values() if target != host)
    version = installed_version() or native_files.TESTED_VERSION
    library = native_files.find_library(target, version, cache_dir=tmp_path)
    assert _elf_machine(library) == ELF_MACHINES[target.name]
    assert native_files.find_library(target, version, cache_dir=tmp_path) == library
