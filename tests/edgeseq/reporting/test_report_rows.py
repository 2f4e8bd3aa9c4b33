"""Rows and groups from raw records: what is derived, what is null, what is never merged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgeseq.errors import ResultError
from edgeseq.formats.result import Finding, MemoryPhase, MicroFootprint
from edgeseq.formats.storage import write_json
from edgeseq.reporting.rows import (
    derive_row,
    peak_after_weight_release,
    peak_beyond_runtime,
    peak_of_process,
    read_groups,
)
from edgeseq.reporting.score_gaps import paired_gaps, score_gap

from ...fake_results import BARE_RUNTIME_BYTES, DEVICE, MODELS, Fake, make_result, write_result

LITTLE = Fake(n_queries=200, n_examples=300, limited=False, lengths=False)


def test_a_row_is_what_the_samples_say() -> None:
    result = make_result(LITTLE)
    run = result.runs[0]
    row = derive_row(result, run)
    total_ms = np.sort(np.asarray(run.queries.total_ns)) / 1e6
    assert row.p50_ms == pytest.approx(total_ms[99])
    assert row.p95_ms == pytest.approx(total_ms[189])
    assert row.p50_ms_ci95 is not None
    assert row.p50_ms_ci95[0] <= row.p50_ms <= row.p50_ms_ci95[1]
    assert row.inference_p50_ms is not None
    assert row.inference_p50_ms < row.p50_ms
    found = run.predictions
    assert found is not None
    right = sum(a == b for a, b in zip(found.gold, found.predicted, strict=True))
    assert row.score == right / 300
    assert row.score_ci95 is not None
    assert row.score_ci95[0] < row.score < row.score_ci95[1]
    assert row.n_examples == 300
    assert [one.label for one in row.per_class] == list(run.bundle.labels)
    assert sum(one.n_examples for one in row.per_source) == 300
    starts = sorted(start.total_ns for start in run.cold_starts)
    assert row.cold_start_ms == starts[2] / 1e6
    assert (row.valid, row.invalid_reasons) == (True, ())


def test_memory_is_the_highest_peak_after_the_bare_runtime() -> None:
    run = make_result(LITTLE).runs[1]
    highest = max(phase.peak_bytes or 0 for phase in run.memory)
    assert peak_of_process(run.memory) == highest
    assert peak_beyond_runtime(run.memory) == highest - BARE_RUNTIME_BYTES


def _phase(name: str, rss: int, peak: int | None) -> MemoryPhase:
    return msgspec.convert(
        {"phase": name, "rss_bytes": rss, "pss_bytes": None, "anonymous_bytes": 0, "file_bytes": 0,
         "peak_bytes": peak, "minor_faults": 0, "major_faults": 0}, MemoryPhase
    )  # fmt: skip


def test_a_peak_before_the_model_counts_for_the_process_alone() -> None:
    phases = [_phase("runtime_imported", 50, 90), _phase("steady", 60, 70)]
    assert peak_of_process(phases) == 90
    assert peak_beyond_runtime(phases) == 20


def test_released_pages_replace_the_steady_phase_alone() -> None:
    phases = [_phase("runtime_imported", 50, 90), _phase("first_answer", 65, 70)]
    steady, small = _phase("steady", 80, 85), _phase("steady", 60, 68)
    assert (
        peak_after_weight_release([*phases, steady], small) == 20
    )  # loading needs that in any case
    assert peak_after_weight_release([*phases, steady], _phase("steady", 70, 75)) == 25
    assert peak_after_weight_release([*phases, steady], None) is None
    assert peak_after_weight_release([*phases, steady], _phase("steady", 60, None)) is None
    result = make_result(LITTLE)
    row = derive_row(result, result.runs[0])
    assert (row.peak_memory_bytes, row.memory_after_release_bytes) == (
        95_100_000,
        90_750_000,
    )


def test_without_peaks_memory_is_not_guessed() -> None:
    phases = [_phase("runtime_imported", 50, 55), _phase("steady", 60, None)]
    assert peak_of_process(phases) is None
    assert peak_beyond_runtime(phases) is None
    assert peak_beyond_runtime([_phase("steady", 60, 61)]) is None
    assert peak_of_process([]) is None


def test_percentiles_below_their_floor_are_null() -> None:
    result = make_result(replace(LITTLE, n_queries=129))
    row = derive_row(result, result.runs[0])
    assert row.p95_ms is None
    assert row.p95_ms_ci95 is None
    assert row.p50_ms is not None


def test_parts_that_were_not_measured_are_null_not_zero() -> None:
    result = make_result(replace(LITTLE, n_queries=0, accuracy=False, cold_starts=0, peaks=False))
    row = derive_row(result, result.runs[0])
    for name in ("p50_ms", "p95_ms", "score", "score_ci95", "macro_f1", "cold_start_ms",
                 "peak_memory_bytes", "peak_process_bytes", "inference_p50_ms"):  # fmt: skip
        assert getattr(row, name) is None, name
    assert (row.n_examples, row.per_class, row.n_queries) == (0, (), 0)


def test_times_of_an_emulated_device_are_never_latencies() -> None:
    device = msgspec.structs.replace(DEVICE, emulated=True)
    result = make_result(replace(LITTLE, device=device))
    row = derive_row(result, result.runs[0])
    assert (row.p50_ms, row.p95_ms, row.cold_start_ms, row.inference_p95_ms) == (None,) * 4
    assert row.score is not None
    assert row.peak_process_bytes is not None


def test_findings_of_the_run_and_of_the_result_decide_validity() -> None:
    own = Finding("state", "invalid", "the model keeps state between texts: convert it again")
    warning = Finding("drift", "warning", "the median went up")
    shared = Finding("load", "invalid", "other programs used 1.5 of a core")
    models = (replace(MODELS[0], findings=(own, warning)), MODELS[3])
    result = make_result(replace(LITTLE, models=models, findings=(shared,)))
    first, second = (derive_row(result, run) for run in result.runs)
    assert first.invalid_reasons == (own.message, shared.message)
    assert second.invalid_reasons == (shared.message,)
    assert not first.valid
    assert warning in first.findings


def test_files_of_equal_identity_are_one_group_in_several_runs(tmp_path: Path) -> None:
    paths = [
        write_result(tmp_path / f"{n}.json", replace(LITTLE, models=MODELS[n : n + 1]))
        for n in range(2)
    ]
    (group,) = read_groups(paths)
    assert [row.bundle for row in group.rows] == [model.name for model in MODELS[:2]]
    assert group.files == ("0.json", "1.json")
    assert len(group.results) == 2


@pytest.mark.parametrize(
    "other",
    [
        replace(LITTLE, threads=2),
        replace(LITTLE, quick=True),
        replace(LITTLE, data_sha256="f" * 64),
        replace(LITTLE, device=msgspec.structs.replace(DEVICE, kernel="6.12")),
        replace(LITTLE, labels=("bad", "fair", "good")),
    ],
)
def test_results_of_other_identity_are_never_merged(tmp_path: Path, other: Fake) -> None:
    paths = [write_result(tmp_path / "a.json", LITTLE), write_result(tmp_path / "b.json", other)]
    groups = read_groups(paths)
    assert [len(group.rows) for group in groups] == [6, 6]
    assert [group.files for group in groups] == [("a.json",), ("b.json",)]


def test_the_same_model_twice_under_equal_conditions_is_refused(tmp_path: Path) -> None:
    paths = [write_result(tmp_path / name, LITTLE) for name in ("a.json", "b.json")]
    with pytest.raises(ResultError, match=r"minilm-l6-float32 was measured twice .* compare"):
        read_groups(paths)


def test_no_file_and_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="no result file given"):
        read_groups([])
    with pytest.raises(ResultError, match="no such file"):
        read_groups([tmp_path / "missing.json"])


def test_footprints_without_a_measured_model_are_refused(tmp_path: Path) -> None:
    result = make_result(LITTLE)
    footprints = (MicroFootprint(result.runs[0].bundle, arena_bytes=3_312, flash_bytes=281_558),)
    micro = msgspec.structs.replace(result, runs=(), footprints=footprints)
    write_json(tmp_path / "micro.json", micro)
    with pytest.raises(ResultError, match=r"micro\.json: holds footprints .* alone"):
        read_groups([tmp_path / "micro.json"])


def test_a_footprint_of_other_data_is_refused() -> None:
    result = make_result(LITTLE)
    bundle = result.runs[0].bundle
    other = msgspec.structs.replace(bundle, name="other", data_sha256="1" * 64)
    records = [
        msgspec.structs.replace(
            result, runs=(), footprints=(MicroFootprint(one, arena_bytes=1, flash_bytes=2),)
        )
        for one in (bundle, other)
    ]
    (group, *_) = read_groups([result, records[0]])
    assert [footprint.bundle.name for footprint in group.footprints] == [bundle.name]
    with pytest.raises(
        ResultError, match="no model was measured on the data of the footprint of other"
    ):
        read_groups([result, *records])


def test_gaps_are_paired_and_never_granted_without_pairs() -> None:
    runs = make_result(LITTLE).runs
    bert, small_bert, lstm = runs[0], runs[2], runs[3]
    close = score_gap(bert, small_bert, allowed_points=5)
    assert close is not None
    assert close.not_worse
    assert close.worst_points is not None
    assert close.points <= close.worst_points < 5
    far = score_gap(bert, lstm, allowed_points=1)
    assert far is not None
    assert not far.not_worse
    assert far.points > 1
    same = score_gap(bert, bert, allowed_points=0)
    assert same is not None
    assert same.not_worse
    assert bert.predictions is not None
    other = msgspec.structs.replace(
        small_bert,
        predictions=msgspec.structs.replace(bert.predictions, examples_sha256="0" * 64),
    )
    assert score_gap(bert, other, allowed_points=50) is None
    between = paired_gaps([bert, other], allowed_points=50)
    assert not between(bert.bundle.name, other.bundle.name).not_worse


def test_runners_are_groups_of_their_own_native_first() -> None:
    runners = ("python", "native")
    python, native = (make_result(replace(LITTLE, runner=runner)) for runner in runners)
    both = msgspec.structs.replace(python, runs=(*python.runs, *native.runs))
    groups = read_groups([both])
    assert [group.runner for group in groups] == ["native", "python"]
    assert [row.runner for row in groups[0].rows] == ["native"] * len(MODELS)
    assert "native process" in groups[0].title
    assert groups[1].title.startswith("kitchen-pi, Python process, 1 thread")


def test_the_working_memory_of_a_row() -> None:
    (row, *_) = read_groups([make_result(replace(LITTLE, limited=True))])[0].rows
    assert row.working_memory_bytes is not None
    assert row.working_memory_bracket_bytes is not None
    failing, working = row.working_memory_bracket_bytes
    assert failing < working == row.working_memory_bytes
    assert row.working_memory_p95_ms is not None
    (row, *_) = read_groups([make_result(LITTLE)])[0].rows
    assert row.working_memory_bytes is row.working_memory_bracket_bytes is None
