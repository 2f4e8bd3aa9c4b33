"""Memory limits: real ones where this machine allows it, and the files of both versions."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeseq.errors import DeviceError
from edgeseq.formats.bundle import read_bundle
from edgeseq.formats.memory_limits import LimitedRun
from edgeseq_benchmarks.bench.limits.cgroup import (
    Hierarchy,
    MemoryGroup,
    find_hierarchy,
    memory_group,
)
from edgeseq_benchmarks.bench.limits.curve import RESOLUTION_BYTES, memory_curve
from edgeseq_benchmarks.bench.limits.limited_run import LimitedTask, run_limited
from edgeseq_benchmarks.bench.limits.page_cache import (
    evict,
    file_system,
    private_files,
    resident_bytes,
    scratch_folder,
)
from edgeseq_benchmarks.bench.limits.private_mounts import can_mount, with_mounts
from edgeseq_benchmarks.bench.probes.process_memory import mapped_files

MakeBundle = Callable[..., Path]


def groups(hierarchy: Hierarchy) -> list[Path]:
    return list(hierarchy.path.glob(f"edgeseq-{os.getpid()}-*"))


@pytest.mark.cgroup
def test_a_limit_far_below_the_need_is_seen(make_bundle: MakeBundle, hierarchy: Hierarchy) -> None:
    bundle = read_bundle(make_bundle("wide", model="wide"))
    texts = [example.text for example in bundle.read_examples()[:5]]
    with private_files(bundle, ()) as files:
        task = LimitedTask(bundle, files, texts, threads=1, duration_s=3.0, load_timeout_s=20.0)
        roomy = run_limited(hierarchy, task, 250_000_000)
        tight = run_limited(hierarchy, task, 45_000_000)
        folder = files.folder
    assert roomy.status == "answered"
    assert roomy.phase == "steady"
    assert len(roomy.total_ns) == len(texts)
    # 40 MB for one tensor beside the interpreter, and no swap: the kernel has nothing to drop.
    assert tight.status in ("killed", "timed_out")
    assert tight.total_ns == ()
    assert tight.phase in ("started", "runtime_imported", "tokenizer_loaded", "model_loaded",
                           "tensors_allocated")  # fmt: skip
    assert tight.message
    for run in (roomy, tight):
        assert run.peak_bytes is not None
        assert 0 < run.peak_bytes <= run.limit_bytes
        assert "own copy" in run.files
    assert groups(hierarchy) == []
    assert not folder.exists()


@pytest.mark.cgroup
def test_a_group_is_removed_whatever_happens_inside(hierarchy: Hierarchy) -> None:
    seen: list[Path] = []

    def fail_inside() -> None:
        with memory_group(hierarchy, 50_000_000) as group:
            seen.append(group.path)
            assert group.path.is_dir()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_inside()
    assert not seen[0].exists()


@pytest.mark.cgroup
def test_groups_of_runs_that_are_gone_are_removed(hierarchy: Hierarchy) -> None:
    left_over = hierarchy.path / "edgeseq-4194305-0"  # above the largest process id
    left_over.mkdir()
    find_hierarchy()
    assert not left_over.exists()


def test_version_2_writes_its_files(tmp_path: Path) -> None:
    (tmp_path / "memory.swap.max").touch()
    group = MemoryGroup(Hierarchy("cgroup-v2", tmp_path), tmp_path)
    group.limit(64_000_000)
    assert (tmp_path / "memory.max").read_text() == "64000000"
    assert (tmp_path / "memory.swap.max").read_text() == "0"
    (tmp_path / "memory.events").write_text("low 0\nmax 7\noom 2\noom_kill 1\n")
    (tmp_path / "memory.stat").write_text("anon 1\npgfault 5\npgmajfault 4\n")
    assert (group.oom_kills(), group.major_faults()) == (1, 4)
    assert group.peak_bytes() is None
    (tmp_path / "memory.peak").write_text("63000000\n")
    assert group.peak_bytes() == 63_000_000


def test_version_1_writes_its_files(tmp_path: Path) -> None:
    (tmp_path / "memory.memsw.limit_in_bytes").touch()
    group = MemoryGroup(Hierarchy("cgroup-v1", tmp_path), tmp_path)
    group.limit(64_000_000)
    assert (tmp_path / "memory.limit_in_bytes").read_text() == "64000000"
    assert (tmp_path / "memory.memsw.limit_in_bytes").read_text() == "64000000"
    (tmp_path / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
    assert group.oom_kills() == 3


def test_version_2_is_switched_on_where_it_may_be(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    root = tmp_path / "cgroup"
    root.mkdir()
    mounts.write_text(f"cgroup2 {root} cgroup2 rw 0 0\n")
    (root / "cgroup.controllers").write_text("cpu memory pids\n")
    (root / "cgroup.subtree_control").write_text("")
    assert find_hierarchy(mounts) == Hierarchy("cgroup-v2", root, root)
    # On a real one these are commands; here the file holds the last of them.
    assert (root / "cgroup.subtree_control").read_text() == "+cpu"
    (root / "cgroup.controllers").write_text("cpu pids\n")
    with pytest.raises(DeviceError, match=r"without the memory controller.*cgroup_enable=memory"):
        find_hierarchy(mounts)
    mounts.write_text("proc /proc proc rw 0 0\n")
    with pytest.raises(DeviceError, match="no control groups"):
        find_hierarchy(mounts)


def test_the_page_cache_is_emptied_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(3_000_000))
    if file_system(tmp_path) in ("tmpfs", "ramfs"):
        pytest.skip("the temporary folder is memory itself")
    with path.open("rb") as file:
        os.fsync(file.fileno())
    assert resident_bytes(str(path)) >= 3_000_000
    evict(str(path))
    assert resident_bytes(str(path)) == 0
    evict(str(tmp_path / "missing"))
    assert resident_bytes(str(tmp_path / "missing")) == 0


def limited(limit_bytes: int, *, answered: bool, ns: int = 1) -> LimitedRun:
    return LimitedRun(
        limit_bytes=limit_bytes,
        status="answered" if answered else "killed",
        phase="steady",
        total_ns=(ns,) if answered else (),
        major_faults=0,
        peak_bytes=None,
        mechanism="cgroup-v2",
        files="",
    )


@pytest.mark.parametrize("need_bytes", [99_000_000, 60_000_000, 31_234_567, 5_000_000])
def test_the_curve_ends_at_the_smallest_limit_that_answers(need_bytes: int) -> None:
    curve = memory_curve(
        lambda limit: limited(limit, answered=limit >= need_bytes),
        start_bytes=100_000_000,
        budget_s=60,
    )
    limits = [run.limit_bytes for run in curve]
    assert limits == sorted(limits, reverse=True)
    good = min(run.limit_bytes for run in curve if run.status == "answered")
    bad = max(run.limit_bytes for run in curve if run.status == "killed")
    assert bad < need_bytes <= good
    assert good - bad <= RESOLUTION_BYTES


def test_the_curve_keeps_to_its_time_and_uses_what_is_known() -> None:
    assert memory_curve(lambda limit: limited(limit, answered=True), start_bytes=10**8,
                        budget_s=0) == ()  # fmt: skip
    known = (limited(58_000_000, answered=False),)
    curve = memory_curve(
        lambda limit: limited(limit, answered=limit >= 59_500_000),
        start_bytes=60_000_000,
        budget_s=60,
        known=known,
    )
    # 60 MB answers, 52.2 MB does not, and 58 MB is known not to: nothing is left to halve.
    assert [run.limit_bytes for run in curve] == [60_000_000, 52_200_000]


def test_a_process_sees_copies_in_place_of_files(tmp_path: Path) -> None:
    assert with_mounts([], ["cat"]) == ["cat"]
    if not can_mount():
        pytest.skip("this user may not mount")
    original, copy = tmp_path / "original", tmp_path / "its copy"
    original.write_text("shared")
    copy.write_text("private")

    def seen(copy: Path) -> str:
        command = with_mounts([(str(copy), str(original))], ["cat", str(original)])
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert seen(copy) == "private"
    assert original.read_text() == "shared"
    assert seen(tmp_path / "missing") == "shared", "counted as shared, and the process runs"


def test_libraries_that_others_keep_are_copied(make_bundle: MakeBundle) -> None:
    """This process keeps its own libraries in memory."""
    if not can_mount() or not scratch_folder()[1]:
        pytest.skip("this user may not mount, or there is no disk")
    library = next(path for path in mapped_files() if "libc.so" in path or "libpython" in path)
    bundle = read_bundle(make_bundle("plain"))
    with private_files(bundle, [library]) as files:
        before = files.launcher.command
        eviction = files.evict()
        assert eviction.shared_bytes < 100_000
        assert files.launcher.command[-len(before) :] == before
        assert library in files.launcher.command, "mounted over"
        (copy,) = files.folder.glob("library-*/*")
        assert copy.read_bytes() == Path(library).read_bytes()
        assert resident_bytes(str(copy)) > 0
        files.evict()
        assert resident_bytes(str(copy)) == 0
    assert not copy.exists()
