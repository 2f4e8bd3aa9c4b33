"""`edgeseq compare`: thresholds, identities, intervals and exit codes, on made-up results."""

from __future__ import annotations

import json
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edgeseq.errors import InputError, ResultError
from edgeseq.formats.result import Finding, ResultRecord, Run
from edgeseq.formats.storage import write_json
from edgeseq.reporting.comparison import (
    CheckStatus,
    Comparison,
    check_change,
    compare_results,
)
from edgeseq.reporting.metric_changes import MetricChange, compared_run, metric_changes
from edgeseq.reporting.thresholds import RegressionThreshold, parse_thresholds

from ...fake_results import DEVICE, MODELS, Fake, make_result, scale_times

EDGESEQ = Path(sysconfig.get_path("scripts")) / "edgeseq"
LITTLE = Fake(models=MODELS[3:5], n_queries=1_000, n_examples=500, limited=False, lengths=False)
NAME = MODELS[3].name
Write = Callable[..., Path]
replace = msgspec.structs.replace


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a made-up result; `write("new", change)` with a change of each run."""

    def made(name: str, change: Callable[[Run], Run] | None = None, **whole: Any) -> Path:
        result: ResultRecord = make_result(LITTLE)
        if change is not None:
            result = replace(result, runs=tuple(change(run) for run in result.runs))
        path = tmp_path / f"{name}.json"
        write_json(path, replace(result, **whole))
        return path

    return made


def _slower(factor: float) -> Callable[[Run], Run]:
    def change(run: Run) -> Run:
        return replace(run, queries=scale_times(run.queries, factor))

    return change


def _found(compared: Comparison, metric: str, bundle: str = NAME) -> MetricChange:
    [change] = [one for one in compared.changes if (one.metric, one.bundle) == (metric, bundle)]
    return change


def _statuses(old: Path, new: Path, text: str, **options: bool) -> set[CheckStatus]:
    compared = compare_results(old, new, **options)
    return {check.status for check in compared.check(text)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("p95>10%", [RegressionThreshold("p95", 0.1, relative=True)]),
        (" p50 > 2.5 % ", [RegressionThreshold("p50", 0.025, relative=True)]),
        ("cold_start>50ms", [RegressionThreshold("cold_start", 50.0, relative=False)]),
        ("memory > 5 MB, size>1KiB", [RegressionThreshold("memory", 5e6, relative=False),
                                     RegressionThreshold("size", 1024.0, relative=False)]),
        ("score>1pt p95>0%", [RegressionThreshold("score", 1.0, relative=False),
                              RegressionThreshold("p95", 0.0, relative=True)]),
    ],
)  # fmt: skip
def test_thresholds_are_read_and_written(text: str, expected: list[RegressionThreshold]) -> None:
    found = parse_thresholds(text)
    assert [replace(one, text="") for one in found] == expected
    assert parse_thresholds(" ".join(one.text for one in found)) == found


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("p95", "is not METRIC>AMOUNT"),
        ("p99>10%", "is not METRIC>AMOUNT"),
        ("p95<10%", "is not METRIC>AMOUNT"),
        ("p95>10", "has no unit"),
        ("p95>-1%", "is not a duration"),
        ("p95>5MB", "is not a duration"),
        ("memory>5ms", "is not a size"),
        ("score>1%", "takes points"),
        ("score>1MB", "is not a number of points"),
        ("p95>__import__('os')%", "is not a duration"),
    ],
)
def test_what_is_no_threshold_is_one_line(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        parse_thresholds(text)
    assert "\n" not in str(caught.value)
    assert "--fail-on" in str(caught.value)


def test_the_same_twice_has_changed_nothing(write: Write) -> None:
    path = write("same")
    compared = compare_results(path, path)
    checks = compared.check("p50>5% p95>5% memory>1kB size>1B score>0.1pt")
    assert {check.status for check in checks} == {"holds"}
    assert len(checks) == 2 * 5
    for change in compared.changes:
        assert change.worse_by == 0
        if change.ratio_ci95 is not None:
            low, high = change.ratio_ci95
            assert low <= 1.0
            assert high is None or high >= 1.0


def test_a_regression_fails_an_improvement_does_not(write: Write) -> None:
    old, slow, fast = write("old"), write("slow", _slower(1.5)), write("fast", _slower(0.6))
    assert _statuses(old, slow, "p50>10% p95>10%") == {"fails"}
    assert _statuses(old, slow, "p50>100%") == {"holds"}
    assert _statuses(old, fast, "p50>0% p95>0%") == {"holds"}
    change = _found(compare_results(old, slow), "p95")
    assert change.ratio == pytest.approx(1.5, rel=1e-6)
    assert change.ratio_ci95 is not None
    assert change.ratio_ci95[0] < 1.5
    amount = change.worse_by
    assert amount is not None
    assert _statuses(old, slow, f"p95>{amount / 10:.6f}ms") == {"fails"}
    assert _statuses(old, slow, f"p95>{amount * 10:.6f}ms") == {"holds"}


def test_beyond_but_not_surely_beyond_is_undecided(write: Write) -> None:
    old, new = write("old"), write("new", _slower(1.101))
    assert _statuses(old, new, "p50>10%") == {"undecided"}


@pytest.mark.parametrize(
    ("low", "estimate", "status"),
    [(0.11, 0.2, "fails"), (0.09, 0.2, "undecided"), (0.02, 0.09, "holds"), (-0.3, -0.2, "holds")],
)
def test_a_threshold_looks_at_the_whole_interval(low: float, estimate: float, status: str) -> None:
    change = MetricChange("m", "p95", "ms", 1.0, 1 + estimate, estimate, (low, None), 1 + estimate,
                    (1 + low, None))  # fmt: skip
    assert check_change(change, RegressionThreshold("p95", 0.1, relative=True)).status == status
    assert check_change(change, RegressionThreshold("p95", 0.1, relative=False)).status == status


def test_intervals_cover_the_true_ratio() -> None:
    """Of 100 pairs of runs whose p95 differ by a quarter, about 95 % of the intervals hold it."""
    rng = np.random.default_rng(5)
    result = make_result(replace_fake(LITTLE, models=MODELS[3:4]))
    [run] = result.runs
    hits = 0
    for _ in range(100):
        pair = []
        for scale in (1.0, 1.25):
            total = tuple((scale * 1e6 * rng.lognormal(0, 0.3, 600)).astype(int).tolist())
            queries = replace(run.queries, total_ns=total)
            pair.append(replace(run, queries=queries))
        old, new = (compared_run(result, one) for one in pair)
        [change] = [one for one in metric_changes(old, new) if one.metric == "p95"]
        assert change.ratio_ci95 is not None
        low, high = change.ratio_ci95
        hits += low <= 1.25 and (high is None or high >= 1.25)
    # Binomial(100, 0.95): 89 is more than 2.5 standard deviations below its mean.
    assert hits >= 89


def replace_fake(fake: Fake, **changes: Any) -> Fake:
    from dataclasses import replace as replace_dataclass

    return replace_dataclass(fake, **changes)


def test_memory_and_size_are_compared_as_they_are(write: Write) -> None:
    def larger(run: Run) -> Run:
        phases = tuple(
            replace(one, peak_bytes=(one.peak_bytes or 0) + 6_000_000) for one in run.memory
        )
        bundle = replace(run.bundle, size_bytes=run.bundle.size_bytes + 100)
        return replace(run, memory=phases, bundle=bundle)

    old, new = write("old"), write("new", larger)
    assert _statuses(old, new, "memory>5MB") == {"fails"}
    assert _statuses(old, new, "memory>7MB") == {"holds"}
    assert _statuses(old, new, "size>99B") == {"fails"}
    assert _statuses(new, old, "memory>0% size>0%") == {"holds"}


def _with_limits(seed: int, keep_mb: float, **whole: Any) -> ResultRecord:
    """A result whose searches find that every model keeps its speed down to `keep_mb`."""
    result = make_result(replace_fake(LITTLE, limited=True, seed=seed))

    def searched(run: Run) -> Run:
        search = run.working_memory
        assert search is not None
        [reference] = search.references
        tried = tuple(
            replace(reference, limit_bytes=int(mb * 1e6), purpose="working_memory")
            if mb >= keep_mb
            else replace(reference, limit_bytes=int(mb * 1e6), purpose="working_memory",
                         status="killed", total_ns=())
            for mb in (40, 20, 18, 16, 14, 12)
        )  # fmt: skip
        return replace(run, working_memory=replace(search, runs=tried))

    return replace(result, runs=tuple(map(searched, result.runs)), **whole)


def test_memory_is_working_memory_with_its_bracket(tmp_path: Path) -> None:
    paths = []
    for number, keep_mb in enumerate((14, 16, 40)):
        paths.append(tmp_path / f"{number}.json")
        write_json(paths[-1], _with_limits(7, keep_mb))
    change = _found(compare_results(paths[0], paths[1]), "memory")
    assert (change.old, change.new, change.basis) == (14e6, 16e6, "working memory")
    # The old minimum lies in 12 to 14 MB, the new one in 14 to 16 MB.
    assert change.worse_by_ci95 == (0, 4e6)
    assert change.ratio_ci95 == (1.0, 16 / 12)
    assert _statuses(paths[0], paths[1], "memory>1MB") == {"undecided"}
    assert _statuses(paths[0], paths[1], "memory>3MB") == {"holds"}
    assert _statuses(paths[0], paths[2], "memory>5MB") == {"fails"}
    assert _statuses(paths[0], paths[2], "peak_memory>1kB") == {"holds"}
    # In one result alone there is nothing to compare it with.
    bare = tmp_path / "bare.json"
    write_json(bare, make_result(LITTLE))
    assert _statuses(paths[0], bare, "memory>5MB") == {"unknown"}


def test_a_model_that_vanished_does_not_pass(write: Write) -> None:
    result = make_result(LITTLE)
    old, shorter = write("old"), write("shorter", runs=result.runs[:1])
    compared = compare_results(old, shorter)
    checks = compared.check("p95>1000% size>1000%")
    assert [check.status for check in checks if check.bundle == NAME] == ["holds", "holds"]
    [missing, _] = compared.regressions("p95>1000% size>1000%")
    assert (missing.bundle, missing.status) == (MODELS[4].name, "unknown")
    assert "not in NEW" in missing.reason
    # A model that came is no regression.
    assert not compare_results(shorter, old).regressions("p95>1000%")
    # One that is only measured in another runner has vanished, too.
    both = tuple(replace(run, runner="native") for run in result.runs)
    two = compare_results(write("two", runs=(*result.runs, *both)), old)
    assert two.only_old == tuple(f"{run.bundle.name} (native)" for run in result.runs)
    assert {check.status for check in two.regressions("p95>1000%")} == {"unknown"}


def test_scores_are_compared_on_the_same_examples(write: Write) -> None:
    def worse(run: Run) -> Run:
        assert run.predictions is not None
        wrong = tuple(
            (answer + 1) % 3 if number % 5 == 0 else answer
            for number, answer in enumerate(run.predictions.predicted)
        )
        return replace(run, predictions=replace(run.predictions, predicted=wrong))

    def other_examples(run: Run) -> Run:
        assert run.predictions is not None
        return replace(run, predictions=replace(run.predictions, examples_sha256="f" * 64))

    old, new = write("old"), write("new", worse)
    change = _found(compare_results(old, new), "score")
    assert change.worse_by is not None
    assert change.old is not None
    assert change.new is not None
    assert change.worse_by == pytest.approx(change.old - change.new, abs=1e-9)
    assert _statuses(old, new, "score>1pt") == {"fails"}
    assert _statuses(new, old, "score>0pt") == {"holds"}
    assert _statuses(old, write("others", other_examples), "score>1pt") == {"unknown"}


def test_other_conditions_are_refused_unless_they_are_meant(write: Write) -> None:
    old = write("old")
    result = make_result(LITTLE)
    cases = {
        "device.kernel": {"device": replace(DEVICE, kernel="6.12")},
        "device.name": {"device": replace(DEVICE, name="attic-pi")},
        "runtime.version": {"runtime": replace(result.runtime, version="2.4.0")},
        "settings.threads": {"effective": replace(result.effective, threads=4)},
        "settings.quick": {"effective": replace(result.effective, quick=True)},
    }
    for field, whole in cases.items():
        new = write("new", **whole)
        with pytest.raises(ResultError, match=rf"in {field}: .*--across") as caught:
            compare_results(old, new)
        assert caught.value.exit_code == 2
        compared = compare_results(old, new, across=True)
        assert [one.field for one in compared.differing] == [field]
        assert compared.changes
    # What differs between two versions of the same program is what people compare.
    assert compare_results(old, write("new", edgeseq_version="9", git_state="x")).differing == ()


def test_what_cannot_be_checked_does_not_pass(write: Write) -> None:
    hot = (Finding("throttled", "invalid", "slowed down while it was measured: throttled"),)

    def first_hundred(run: Run) -> Run:
        columns = {name: getattr(run.queries, name) for name in run.queries.__struct_fields__}
        cut = {name: column[:100] for name, column in columns.items()}
        return replace(run, queries=replace(run.queries, **cut))

    few, old = write("few", first_hundred), write("old")
    assert _statuses(old, few, "p95>10%") == {"unknown"}
    assert _statuses(old, write("hot", findings=hot), "p50>10%") == {"unknown"}
    assert _statuses(old, write("hot", findings=hot), "size>10%") == {"holds"}
    bare = write("bare", lambda run: replace(run, predictions=None, memory=()))
    assert _statuses(old, bare, "score>1pt memory>1MB") == {"unknown"}
    emulated = write("emulated", device=replace(DEVICE, emulated=True))
    assert _statuses(emulated, emulated, "p50>10% cold_start>10%") == {"unknown"}
    assert _statuses(emulated, emulated, "memory>10%") == {"holds"}


def test_models_are_paired_by_name(write: Write) -> None:
    result = make_result(LITTLE)
    old, one = write("old"), write("one", runs=result.runs[:1])
    compared = compare_results(old, one)
    assert {change.bundle for change in compared.changes} == {NAME}
    assert compared.only_old == (MODELS[4].name,)
    assert compare_results(one, old).only_new == (MODELS[4].name,)
    with pytest.raises(ResultError, match="no model in common"):
        compare_results(one, write("other", runs=result.runs[1:]))


def test_the_command(write: Write) -> None:
    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(EDGESEQ), "compare", *map(str, arguments)],
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert "Traceback" not in done.stderr
        return done

    old, slow = write("old"), write("slow", _slower(1.5))
    fine = run(old, old, "--fail-on", "p95>10% memory>5MB", "--fail-on", "score>1pt")
    assert fine.returncode == 0, fine.stderr
    assert fine.stdout.count("holds ") == 6
    runs = make_result(LITTLE).runs
    others = tuple(
        replace(one, predictions=replace(one.predictions, examples_sha256="1" * 64))
        for one in runs
        if one.predictions
    )
    shown = run(old, write("others", runs=others)).stdout
    assert "measured on different examples" in shown, "nothing is cut off"
    failed = run(old, slow, "--fail-on", "p95>10%", "--json")
    assert failed.returncode == 3
    answer = json.loads(failed.stdout)
    assert {check["status"] for check in answer["checks"]} == {"fails"}
    assert len(failed.stderr.splitlines()) == 1
    assert "p95>10% does not hold" in failed.stderr
    assert run(old, slow).returncode == 0, "without a threshold there is nothing to fail"
    elsewhere = write("elsewhere", device=replace(DEVICE, name="attic-pi"))
    refused = run(old, elsewhere)
    assert refused.returncode == 2
    assert "device.name" in refused.stderr
    across = run(old, elsewhere, "--across")
    assert across.returncode == 0
    assert "different device.name: kitchen-pi → attic-pi" in across.stderr
    assert run(old, old, "--fail-on", "p95").returncode == 2
