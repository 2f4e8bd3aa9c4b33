"""Emulated boards without starting one: their files, their archive, what is said when they lack."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeseq.errors import DeviceError, InputError
from edgeseq.formats.bundle import read_bundle
from edgeseq.formats.result import Settings
from edgeseq_benchmarks.bench.limits.boards import find_board
from edgeseq_benchmarks.bench.subject import Subject
from edgeseq_benchmarks.devices.base import DeviceLostError
from edgeseq_benchmarks.devices.emulated import EmulatedDevice
from edgeseq_benchmarks.devices.emulator import debian, host_tools, root_tree
from edgeseq_benchmarks.devices.emulator.board_image import image_folder
from edgeseq_benchmarks.devices.emulator.initramfs import cpio, make_initramfs, module_order
from edgeseq_benchmarks.devices.wheels import LITERT

GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "raspberry-pi.md"


def test_boards_have_their_real_memory() -> None:
    assert find_board("pi-zero-2w").memory_bytes == 512 << 20
    assert find_board("pi4").qemu_cpu == "cortex-a72"
    with pytest.raises(InputError, match="pi4 or pi5"):
        find_board("phone-low", emulated=True)


def test_a_board_that_was_never_built_says_what_to_type(tmp_path: Path) -> None:
    device = EmulatedDevice("pi4", cache=tmp_path)
    with pytest.raises(DeviceError, match="edgeseq device emulate pi4"):
        device.connect(timeout_s=1)
    with pytest.raises(DeviceLostError, match="not connected"):
        device.run(["true"], timeout_s=1)
    device.close()
    device.close()


def test_missing_programs_are_named_with_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_tools, "_PATH", "/nowhere")
    with pytest.raises(DeviceError, match="sudo apt install mmdebstrap e2fsprogs openssh-client"):
        host_tools.require_tools(host_tools.BUILD_TOOLS)
    with pytest.raises(DeviceError, match="qemu-system-arm"):
        host_tools.require_tools(host_tools.START_TOOLS)


def test_a_program_that_fails_gives_its_last_words() -> None:
    with pytest.raises(DeviceError, match="found E: no such mirror"):
        host_tools.run_tool(
            ["sh", "-c", "echo fine; echo 'E: no such mirror' >&2; exit 1"], timeout_s=9
        )
    with pytest.raises(DeviceError, match="did not end in time"):
        host_tools.run_tool(["sleep", "9"], timeout_s=0.1)


def test_packages_come_from_where_this_machine_takes_its_own(tmp_path: Path) -> None:
    apt = tmp_path / "etc/apt/sources.list.d"
    apt.mkdir(parents=True)
    (tmp_path / "etc/os-release").write_text('ID=debian\nVERSION_CODENAME="trixie"\n')
    fits = apt / "debian.sources"
    fits.write_text(
        "Types: deb\nURIs: http://mirror.example/debian\nSuites: trixie\nComponents: main\n"
    )
    (apt / "other.list").write_text("deb http://mirror.example/tools stable main\n")
    (apt / "off.list").write_text("# deb http://mirror.example/debian trixie main\n")
    assert debian.release_here(tmp_path) == "trixie"
    assert debian.sources_here("trixie", tmp_path) == [fits]
    (tmp_path / "etc/os-release").write_text("ID=ubuntu\nVERSION_CODENAME=noble\n")
    assert debian.release_here(tmp_path) == debian.FALLBACK_RELEASE


def _module(path: Path, depends: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x7fELF\0license=GPL\0depends=" + depends.encode() + b"\0name=x\0")
    return path


def test_modules_are_loaded_after_what_they_need(tmp_path: Path) -> None:
    _module(tmp_path / "a/virtio_blk.ko", "virtio,virtio-ring")
    _module(tmp_path / "b/virtio.ko", "")
    _module(tmp_path / "b/virtio_ring.ko", "virtio")
    order = [path.name for path in module_order(tmp_path, ("built_in", "virtio_blk"))]
    assert order == ["virtio.ko", "virtio_ring.ko", "virtio_blk.ko"]


@pytest.mark.skipif(shutil.which("cpio") is None, reason="needs cpio (apt install cpio)")
def test_first_file_system_is_one_that_cpio_reads(tmp_path: Path) -> None:
    _module(tmp_path / "modules/virtio_blk.ko", "")
    busybox = tmp_path / "busybox"
    busybox.write_bytes(b"shell" * 7)
    archive = gzip.decompress(make_initramfs(busybox, tmp_path / "modules"))
    target = tmp_path / "out"
    target.mkdir()
    command = ["cpio", "--extract", "--make-directories", "--quiet"]
    subprocess.run(command, input=archive, cwd=target, check=True)
    assert (target / "bin/busybox").read_bytes() == b"shell" * 7
    assert os.access(target / "init", os.X_OK)
    assert "insmod /modules/$module" in (target / "init").read_text()
    with pytest.raises(DeviceError, match="driver of QEMU's disk"):
        make_initramfs(busybox, tmp_path / "no-modules")


def test_archive_pads_to_four_bytes() -> None:
    assert len(cpio([("a", 0o100644, b"12345")])) % 4 == 0


def test_the_image_changes_with_what_it_is_made_of(tmp_path: Path) -> None:
    first = image_folder(tmp_path, "bookworm")
    assert first == image_folder(tmp_path, "bookworm")
    assert first != image_folder(tmp_path, "trixie")


def test_the_board_gets_what_the_guide_installs() -> None:
    quoted = " ".join(f"'{name}'" for name in LITERT.requirements)
    assert f"~/edgeseq-venv/bin/python -m pip install {quoted}" in GUIDE.read_text("utf-8")


def test_a_part_of_the_examples_is_the_same_everywhere(make_bundle: Any, brief: Settings) -> None:
    bundle = read_bundle(make_bundle("bag", examples=30))
    whole = Subject(bundle, brief)
    part = Subject(bundle, msgspec.structs.replace(brief, examples=7, seed=5))
    again = Subject(bundle, msgspec.structs.replace(brief, examples=7))
    assert [one.model_input for one in part.examples] == [one.model_input for one in again.examples]
    assert len(part.examples) == 7
    assert set(part.order) == set(range(7))
    assert part.examples_sha256 == again.examples_sha256 != whole.examples_sha256
    assert [finding.code for finding in part.findings] == ["part-of-examples"]
    assert not whole.findings


def test_a_tree_without_kernel_or_python_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="holds no kernel"):
        root_tree.kernel_of(tmp_path)
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/python3").symlink_to("python3.13")
    assert root_tree.python_of(tmp_path) == "3.13"
