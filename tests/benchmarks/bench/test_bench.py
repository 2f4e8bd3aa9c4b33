"""The whole benchmark over small bundles: structure, sums and order, never times."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

import edgeseq as es
from edgeseq.errors import BundleError, DeviceError, InputError
from edgeseq.formats.bundle import read_bundle
from edgeseq.formats.bundle_manifest import Golden, GoldenExample
from edgeseq.formats.result import Run, Settings, read_result
from edgeseq.formats.storage import write_json
from edgeseq.progress import ProgressUpdate
from edgeseq.reporting.run_statistics import working_memory_of
from edgeseq.tasks.examples import TextExample
from edgeseq_benchmarks.bench.context import Timeouts
from edgeseq_benchmarks.bench.limits.cgroup import Hierarchy
from edgeseq_benchmarks.bench.limits.working_memory import resolution_bytes
from edgeseq_benchmarks.bench.runner import bench

MakeBundle = Callable[..., Path]


def codes(run: Run, severity: str = "invalid") -> set[str]:
    """The findings of a run that do not depend on what else this machine does."""
    disturbed = {"processor-shared", "unstable", "memory-grows", "few-samples"}
    found = {finding.code for finding in run.findings if finding.severity == severity}
    return found - disturbed


def own_workers() -> list[int]:
    """Process ids of living workers that this process has started, in the order of their start."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, parent = (path / "stat").read_text().rpartition(")")[2].split()[:2]
            ours = int(parent) == os.getpid() and state != "Z"
            if ours and b"edgeseq_benchmarks.bench.worker" in (path / "cmdline").read_bytes():
                found.append(int(path.name))
    return sorted(found)


def test_everything_is_measured_and_adds_up(
    make_bundle: MakeBundle, brief: Settings, tmp_path: Path
) -> None:
    paths = [make_bundle("first"), make_bundle("second", examples=50)]
    result = bench(paths, settings=brief, command=("edgeseq", "bench"))
    write_json(tmp_path / "result.json", result)
    assert read_result(tmp_path / "result.json") == result
    assert [run.bundle.name for run in result.runs] == ["first", "second"]
    assert result.requested == brief
    assert result.runtime.package == "ai-edge-litert"
    assert {state.when for state in result.machine} == {"before", "during", "after"}
    assert {"quick", "loop-overhead"} <= {finding.code for finding in result.findings}
    assert not own_workers()
    for run, examples in zip(result.runs, (60, 50), strict=True):
        assert codes(run) == set()
        queries = run.queries
        assert set(queries.example) == set(range(examples))
        assert list(queries.round) == sorted(queries.round)
        assert set(queries.round) == set(range(brief.rounds))
        for total, *parts in zip(
            queries.total_ns,
            queries.tokenize_ns,
            queries.inference_ns,
            queries.decode_ns,
            strict=True,
        ):
            assert total == sum(parts)
            assert min(parts) > 0
        assert set(run.warmup.round) == set(range(brief.rounds))
        assert [part.round for part in run.slices] == list(range(brief.rounds))
        assert [point.tokens for point in run.lengths] == [8, 16]
        assert all(len(point.inference_ns) >= brief.length_samples for point in run.lengths)
        assert len(run.cold_starts) == brief.cold_starts
        for start in run.cold_starts:
            assert start.total_ns >= start.import_ns + start.load_ns + start.first_answer_ns
        assert run.predictions is not None
        assert len(run.predictions.gold) == len(run.predictions.predicted) == examples
        assert set(run.predictions.sources) == {"shop", "forum"}
        assert [phase.phase for phase in run.memory] == [
            "runtime_imported",
            "tokenizer_loaded",
            "model_loaded",
            "tensors_allocated",
            "first_answer",
            "steady",
        ]
        assert run.after_weight_release is not None
        assert run.after_weight_release.phase == "steady"
        for phase in run.memory:
            assert phase.rss_bytes == phase.anonymous_bytes + phase.file_bytes
            assert phase.peak_bytes is None or phase.peak_bytes >= phase.rss_bytes
            assert phase.pss_bytes is None or phase.pss_bytes <= phase.rss_bytes


def test_what_was_packed_is_released(make_bundle: MakeBundle, brief: Settings) -> None:
    run = bench([make_bundle("heavy", model="heavy")], settings=brief).runs[0]
    steady, after_weight_release = run.memory[-1], run.after_weight_release
    assert after_weight_release is not None
    # Two matrices of 4,194,304 bytes, which XNNPACK multiplies by in a copy of its own. Beside the
    # rows that are looked up again the kernel maps up to 2 MiB of what is in its cache.
    gone_bytes = steady.file_bytes - after_weight_release.file_bytes
    assert 8_388_608 - 2 * 2_097_152 <= gone_bytes <= 8_500_000
    assert after_weight_release.anonymous_bytes == pytest.approx(steady.anonymous_bytes, rel=0.02)
    assert (
        after_weight_release.peak_bytes is None
        or after_weight_release.peak_bytes < steady.rss_bytes
    )


def test_the_native_runner_releases_what_it_packed(
    make_bundle: MakeBundle, brief: Settings
) -> None:
    native = msgspec.structs.replace(brief, runners=("native",))
    run = bench([make_bundle("heavy", model="heavy")], settings=native).runs[0]
    loaded = next(phase for phase in run.memory if phase.phase == "model_loaded")
    assert loaded.peak_bytes is not None
    assert run.after_weight_release is None
    # The two matrices were read and packed at the peak, and are gone when the model is loaded.
    assert loaded.peak_bytes - loaded.rss_bytes >= 8_388_608 - 2 * 2_097_152
    assert run.memory[-1].file_bytes < loaded.peak_bytes - loaded.anonymous_bytes


def test_examples_are_run_in_one_order_whatever_the_model(
    make_bundle: MakeBundle, brief: Settings
) -> None:
    once = msgspec.structs.replace(brief, min_queries=1)
    result = bench([make_bundle("one"), make_bundle("two", model="wide")], settings=once)
    first, second = (run.queries.example for run in result.runs)
    assert first == second
    assert list(first) != sorted(first)


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_lost_process_costs_only_its_own_bundle(
    make_bundle: MakeBundle, brief: Settings, signal_number: signal.Signals
) -> None:
    def lose_the_second(update: ProgressUpdate, /) -> None:
        if update.stage == "rounds" and update.done == 2:
            os.kill(own_workers()[1], signal_number)

    paths = [make_bundle("keeps"), make_bundle("loses"), make_bundle("stays")]
    result = bench(paths, settings=brief, progress=lose_the_second, timeouts=Timeouts(slice_s=2.0))
    kept, lost, stayed = result.runs
    assert codes(kept) == codes(stayed) == set()
    assert kept.predictions is not None
    assert codes(lost) == {"process-lost"}
    assert "round 3" in next(f.message for f in lost.findings if f.code == "process-lost")
    assert set(lost.queries.round) == {0, 1}
    assert lost.predictions is None
    assert not own_workers()


def test_a_model_that_keeps_state_is_found_out(make_bundle: MakeBundle, brief: Settings) -> None:
    result = bench([make_bundle("counts", model="counting")], settings=brief)
    assert "state-leaks" in codes(result.runs[0])


def test_answers_and_tokens_other_than_the_golden_ones_are_invalid(
    make_bundle: MakeBundle, brief: Settings
) -> None:
    golden = Golden(
        examples=(GoldenExample(text="soup", token_ids=(2, 3), logits=(9.0, 9.0, 9.0)),),
        tolerance=0.01,
    )
    result = bench([make_bundle("other", golden=golden)], settings=brief)
    assert codes(result.runs[0]) == {"golden-differs", "tokenizer-differs"}


def test_hostile_texts_are_answered_and_counted(make_bundle: MakeBundle, brief: Settings) -> None:
    texts = ["", "soup " * 10_000, "\x00\x07\x1b[31m \u202e\ufeff", "🫖" * 500, "soup\r\nlamp\t"]
    rows = [
        TextExample(id=str(number), text=text, label="bad") for number, text in enumerate(texts)
    ]
    result = bench([make_bundle("hostile", examples=rows)], settings=brief)
    run = result.runs[0]
    assert codes(run) == set()
    assert codes(run, "note") >= {"texts-truncated", "texts-unknown"}
    assert run.predictions is not None
    assert run.predictions.truncated == 1
    assert run.predictions.unknown_only == 3
    assert max(run.queries.tokens) == 48
    assert min(run.queries.tokens) >= 1


def test_a_truncated_model_is_refused(
    make_bundle: MakeBundle, models: Path, brief: Settings
) -> None:
    content = (models / "bag.tflite").read_bytes()
    for number, part in enumerate((content[:0], content[:7], content[: len(content) // 2])):
        path = make_bundle(f"cut{number}", content=part)
        with pytest.raises(BundleError, match=r"model\.tflite.*runtime can load") as caught:
            bench([path], settings=brief)
        assert "\n" not in str(caught.value)


def test_a_model_that_cannot_be_loaded_does_not_stop_the_others(
    make_bundle: MakeBundle, brief: Settings
) -> None:
    golden = Golden(
        examples=(GoldenExample(text="soup", token_ids=(2, 3), logits=(0.0, 0.0, 0.0)),),
        tolerance=0.01,
    )
    sound_path = make_bundle("sound")
    signature = msgspec.structs.replace(read_bundle(sound_path).manifest.signature, key="other")
    paths = [make_bundle("broken", golden=golden, signature=signature), sound_path]
    broken, sound = bench(paths, settings=brief).runs
    assert codes(broken) == {"process-lost"}
    assert broken.queries.total_ns == ()
    assert codes(sound) == set()


def test_what_cannot_be_measured_is_refused_before_anything_is(
    make_bundle: MakeBundle, brief: Settings
) -> None:
    path = make_bundle("plain")
    with pytest.raises(InputError, match="no bundle"):
        bench([], settings=brief)
    with pytest.raises(InputError, match="same name"):
        bench([path, path], settings=brief)
    with pytest.raises(BundleError, match="no test example"):
        bench([make_bundle("empty", examples=0)], settings=brief)
    with pytest.raises(BundleError, match="no row for"):
        bench([make_bundle("short", vocabulary_size=33)], settings=brief)
    named = msgspec.structs.replace(brief, memory_curve_bundles=("else",))
    with pytest.raises(InputError, match="no such bundle"):
        bench([path], settings=named)


def test_a_limit_that_this_machine_cannot_set_is_refused_at_once(
    make_bundle: MakeBundle, brief: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    without_cpu = Hierarchy("cgroup-v1", tmp_path)
    monkeypatch.setattr("edgeseq_benchmarks.bench.this_machine.find_limiter", lambda: without_cpu)
    limited = msgspec.structs.replace(brief, cpus=0.5)
    with pytest.raises(DeviceError, match="cannot limit processor time"):
        bench([make_bundle("plain")], settings=limited)


@pytest.mark.cgroup
def test_limits_and_curve_are_part_of_the_run(
    make_bundle: MakeBundle, brief: Settings, hierarchy: object
) -> None:
    settings = msgspec.structs.replace(
        brief, memory_limits_bytes=(200_000_000,), memory_curve=True, curve_budget_s=4.0
    )
    run = bench([make_bundle("plain", examples=15)], settings=settings).runs[0]
    assert run.limited[0].limit_bytes == 200_000_000
    assert run.limited[0].status == "answered"
    assert len(run.limited[0].total_ns) == 15
    curve = [limited.limit_bytes for limited in run.limited[1:]]
    assert curve
    assert curve == sorted(curve, reverse=True)
    assert codes(run) == set()


@pytest.mark.cgroup
def test_the_working_memory_is_searched_for(
    make_bundle: MakeBundle, brief: Settings, hierarchy: object
) -> None:
    settings = msgspec.structs.replace(brief, working_memory=True)
    run = bench([make_bundle("plain", examples=15)], settings=settings).runs[0]
    assert run.limited == ()
    search = run.working_memory
    assert search is not None
    for reference in search.references:
        assert len(reference.total_ns) == 130, "few examples are repeated"
        assert len(reference.warmup_ns) == 8 + 15
        assert reference.query_major_faults == 0, "the warm-up has read everything once"
        assert reference.first_answer_ns is not None
    found = working_memory_of(run)
    assert found.limit_bytes is not None
    assert 0 < found.failing_bytes < found.limit_bytes < run.memory[-1].rss_bytes
    assert found.limit_bytes - found.failing_bytes <= resolution_bytes(found.limit_bytes)
    assert codes(run) == set()


def test_without_a_control_group_working_memory_is_not_measured(
    make_bundle: MakeBundle, brief: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    no_group = Hierarchy("rlimit", tmp_path)
    monkeypatch.setattr("edgeseq_benchmarks.bench.this_machine.find_limiter", lambda: no_group)
    copied: list[object] = []
    monkeypatch.setattr(
        "edgeseq_benchmarks.bench.this_machine.private_files", lambda *files: copied.append(files)
    )
    settings = msgspec.structs.replace(brief, working_memory=True)
    run = bench([make_bundle("plain", examples=15)], settings=settings).runs[0]
    assert copied == [], "files that nothing would run"
    assert run.working_memory is None
    (finding,) = [finding for finding in run.findings if finding.code == "working-memory"]
    assert finding.severity == "note"
    assert "no control group" in finding.message


def test_an_interrupt_leaves_no_process_behind(make_bundle: MakeBundle, tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    command = [sys.executable, "-m", "edgeseq", "bench", str(make_bundle("plain"))]
    with subprocess.Popen(
        [*command, "--out", str(out)], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("rounds"):
                break
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        deadline = time.monotonic() + 30
        while not (pids := children.read_text().split()) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert pids
        process.send_signal(signal.SIGTERM)
        assert "Traceback" not in process.stderr.read()
    assert process.returncode == 128 + signal.SIGTERM
    assert not out.exists()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_a_bundle_shows_itself_in_one_line(make_bundle: MakeBundle) -> None:
    bundle = es.load_bundle(make_bundle("plain"))
    assert repr(bundle).startswith(f"Bundle({bundle.name}: {bundle.recipe}, ")
    assert str(bundle.path) in repr(bundle)
