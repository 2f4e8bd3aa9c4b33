"""Processor time, boards, and what is left for a user without control groups."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from edgeseq.errors import DeviceError, InputError
from edgeseq.formats.bundle import read_bundle
from edgeseq.formats.memory_limits import LimitedRun
from edgeseq.formats.result import Settings
from edgeseq.formats.storage import write_json
from edgeseq.reporting.deployment_report import make_report
from edgeseq.reporting.format import format_limited_run, format_limited_status, format_limits
from edgeseq_benchmarks.bench.limits import unprivileged as user_limits
from edgeseq_benchmarks.bench.limits.boards import BOARDS, find_board, limits_here
from edgeseq_benchmarks.bench.limits.cgroup import Hierarchy, MemoryGroup, memory_group
from edgeseq_benchmarks.bench.limits.limited_run import LimitedTask, run_limited
from edgeseq_benchmarks.bench.limits.page_cache import private_files
from edgeseq_benchmarks.bench.limits.unprivileged import SystemdScope, find_limiter, find_systemd
from edgeseq_benchmarks.bench.runner import bench, default_settings

MakeBundle = Callable[..., Path]
BUSY = "import time\nend = time.monotonic() + 1.5\nwhile time.monotonic() < end: pass"


@pytest.mark.cgroup
def test_processor_time_is_limited(hierarchy: Hierarchy) -> None:
    if hierarchy.cpu_path is None:
        pytest.skip("no cpu controller")
    with memory_group(hierarchy, 200_000_000, cpus=0.25) as group:
        begun_s, before = time.monotonic(), os.times()
        subprocess.run(group.wrap([sys.executable, "-c", BUSY]), check=True, timeout=60)
        wall_s, after = time.monotonic() - begun_s, os.times()
        used_s = after.children_user - before.children_user
        used_s += after.children_system - before.children_system
        assert (group.throttled_ns() or 0) > 0
    # A quarter, and what a slice that has begun may overrun.
    assert used_s / wall_s < 0.32


@pytest.mark.cgroup
def test_a_process_that_takes_a_known_amount_is_reported_so(hierarchy: Hierarchy) -> None:
    peaks = []
    for size in (0, 60_000_000):
        program = f"held = bytearray(b'x') * {size}"
        with memory_group(hierarchy, 300_000_000) as group:
            subprocess.run(group.wrap([sys.executable, "-c", program]), check=True, timeout=60)
            peaks.append(group.peak_bytes())
    if None in peaks:
        pytest.skip("the kernel keeps no peak")
    assert peaks[1] - peaks[0] == pytest.approx(60e6, rel=0.05)


def test_quotas_are_written_as_the_kernel_reads_them(tmp_path: Path) -> None:
    two = MemoryGroup(Hierarchy("cgroup-v2", tmp_path, tmp_path), tmp_path, tmp_path)
    for cpus, text in ((0.5, "5000 10000"), (2, "20000 10000"), (0.02, "2000 100000")):
        two.limit_cpus(cpus)
        assert (tmp_path / "cpu.max").read_text() == text
    (tmp_path / "cpu.stat").write_text("usage_usec 9\nthrottled_usec 7\n")
    assert two.throttled_ns() == 7_000
    one = MemoryGroup(Hierarchy("cgroup-v1", tmp_path, tmp_path), tmp_path, tmp_path)
    one.limit_cpus(0.5)
    assert (tmp_path / "cpu.cfs_quota_us").read_text() == "5000"
    assert (tmp_path / "cpu.cfs_period_us").read_text() == "10000"
    (tmp_path / "cpu.stat").write_text("nr_periods 3\nthrottled_time 8000\n")
    assert one.throttled_ns() == 8_000
    with pytest.raises(OSError, match="no control group for processor time"):
        MemoryGroup(Hierarchy("cgroup-v1", tmp_path), tmp_path).limit_cpus(1)


def task_of(path: Path, **changes: object) -> tuple[LimitedTask, object]:
    bundle = read_bundle(path)
    texts = [example.text for example in bundle.read_examples()[:5]]
    files = private_files(bundle, ())
    task = LimitedTask(bundle, files.__enter__(), texts, 1, duration_s=3.0, load_timeout_s=20.0)
    return task._replace(**changes), files


def test_without_any_group_private_memory_is_limited_and_the_rest_is_said(
    make_bundle: MakeBundle,
) -> None:
    task, files = task_of(make_bundle("wide", model="wide"), cpus=0.5)
    fallback = Hierarchy("rlimit", Path())
    roomy = run_limited(fallback, task, 2_000_000_000)
    tight = run_limited(fallback, task, 20_000_000)
    files.__exit__(None, None, None)
    assert (roomy.status, roomy.mechanism) == ("answered", "rlimit")
    assert tight.status == "failed"
    for run in (roomy, tight):
        assert "only private memory" in run.limitations
        assert "not to 0.5 of one" in run.limitations
        assert run.peak_bytes is None


def test_the_best_limiter_is_taken_and_the_last_one_always_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none_here() -> None:
        raise DeviceError("cannot limit memory")

    monkeypatch.setattr(user_limits, "find_hierarchy", none_here)
    monkeypatch.setattr(user_limits, "find_systemd", lambda: None)
    assert find_limiter().mechanism == "rlimit"
    scope = Hierarchy("systemd", Path("/sys"))
    monkeypatch.setattr(user_limits, "find_systemd", lambda: scope)
    assert find_limiter() == scope


SYSTEMD_RUN = """#!/bin/sh
echo "$@" > "{log}"
while [ "$1" != -- ]; do shift; done
shift
exec "$@"
"""
SYSTEMCTL = """#!/bin/sh
echo "$@" >> "{log}"
case "$*" in
  *ControlGroup*) echo /user.slice/user-0.slice/scope ;;
  *Result*) echo oom-kill ;;
esac
"""


def test_a_scope_of_systemd_is_asked_for_and_read(
    make_bundle: MakeBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, script in (("systemd-run", SYSTEMD_RUN), ("systemctl", SYSTEMCTL)):
        (programs / name).write_text(script.format(log=tmp_path / f"{name}.log"))
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    assert find_systemd(tmp_path) is None, "no hierarchy of the user"
    slices = f"user.slice/user-{os.getuid()}.slice/user@{os.getuid()}.service"
    own = tmp_path / "sys/fs/cgroup" / slices
    own.mkdir(parents=True)
    (own / "cgroup.controllers").write_text("cpu memory pids\n")
    found = find_systemd(tmp_path)
    assert found == Hierarchy("systemd", own, own)
    task, files = task_of(make_bundle("plain"), cpus=0.5)
    run = run_limited(found, task, 64_000_000)
    files.__exit__(None, None, None)
    assert (run.status, run.mechanism, run.limitations) == ("answered", "systemd", "")
    asked = (tmp_path / "systemd-run.log").read_text()
    for part in ("--user --scope", "MemoryMax=64000000", "MemorySwapMax=0", "CPUQuota=50%"):
        assert part in asked
    unit = f"edgeseq-{os.getpid()}-"
    said = (tmp_path / "systemctl.log").read_text()
    assert f"stop {unit}" in said
    assert f"reset-failed {unit}" in said
    scope = SystemdScope(found._replace(cpu_path=None), 64_000_000, 0.5)
    assert scope.oom_kills() == 1
    assert "may not limit processor time" in scope.limitations


def test_boards_are_limits_and_say_what_this_machine_lacks() -> None:
    assert set(BOARDS) == {"pi-zero-2w", "pi3", "pi4", "pi5", "phone-low"}
    zero = find_board("pi-zero-2w")
    assert limits_here(zero, 16, 10**11) == (512 << 20, 4.0, "")
    limit_bytes, cpus, limitations = limits_here(zero, 2, 256 << 20)
    assert (limit_bytes, cpus) == (512 << 20, None)
    assert "only 2 of the board's 4 cores" in limitations
    assert "only 268 MB of memory" in limitations
    with pytest.raises(InputError, match="no such board: found 'pi-9'"):
        default_settings(board="pi-9")
    for cpus in (0, -1, 0.001, float("nan")):
        with pytest.raises(InputError, match="not a number of processors"):
            default_settings(cpus=cpus)


@pytest.mark.cgroup
def test_limits_are_rows_everywhere_and_a_board_is_labelled_as_a_limit(
    make_bundle: MakeBundle, brief: Settings, hierarchy: Hierarchy, tmp_path: Path
) -> None:
    settings = msgspec.structs.replace(
        brief, board="pi-zero-2w", cpus=0.5, memory_limits_bytes=(200_000_000, 5_000_000)
    )
    result = bench([make_bundle("kettle")], settings=settings)
    run = result.runs[0]
    board, roomy, tight = run.limited
    assert (board.board, board.limit_bytes, board.status) == ("pi-zero-2w", 512 << 20, "answered")
    assert (roomy.cpus, roomy.status) == (0.5, "answered")
    assert tight.status in ("killed", "timed_out")
    assert run.under_limits == (roomy, tight)
    notes = [finding.message for finding in run.findings if finding.code == "board-limits"]
    assert "whose speed is not that board's" in notes[0]
    write_json(tmp_path / "result.json", result)
    make_report([tmp_path / "result.json"]).save(tmp_path / "report")
    for page in ("report.md", "report.html"):
        text = (tmp_path / "report" / page).read_text()
        assert "pi-zero-2w (537 MB" in text
        assert "the limits of the board, not its speed" in text
        assert "before the runtime was imported" in text


def test_words_of_a_limited_run() -> None:
    run = LimitedRun(
        limit_bytes=64_000_000,
        status="timed_out",
        phase="first_answer",
        total_ns=(2_000_000,) * 3,
        major_faults=1_234,
        peak_bytes=None,
        mechanism="rlimit",
        files="",
        cpus=1.0,
        limitations="little",
    )
    assert format_limits(run) == "64.0 MB, 1 processor"
    assert format_limited_status(run) == "timed out while answering, after 3 answers"
    assert format_limited_run(run)[2:] == ("2.00 ms", "–", "1,234", "little; rlimit")
