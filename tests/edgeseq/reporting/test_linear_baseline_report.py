"""What a report says of a linear baseline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeseq.errors import InputError, ResultError
from edgeseq.formats.linear_baseline import LinearBaseline, read_linear_baseline
from edgeseq.formats.result import ResultRecord, Run
from edgeseq.formats.storage import write_json
from edgeseq.reporting.deployment_report import make_report
from edgeseq.tasks.examples import sample_positions
from edgeseq.tasks.predictions import Predictions
from edgeseq.tasks.scoring import difference, metric_of

from ...fake_results import Fake, make_result

LITTLE = Fake(n_queries=200, n_examples=300, limited=False, lengths=False)


def predictions_of(run: Run) -> Predictions:
    assert run.predictions is not None
    return run.predictions


def baseline_of(result: ResultRecord, predictions: Predictions) -> LinearBaseline:
    bundle = result.runs[0].bundle
    return LinearBaseline(
        method="word counts",
        task=bundle.task,
        data_name=bundle.data_name,
        data_sha256=bundle.data_sha256,
        labels=bundle.labels,
        predictions=predictions,
        dev_score=0.5,
        settings={},
        parameters=10,
        seconds=1.0,
    )


def always_first_label(run: Run) -> Predictions:
    found = predictions_of(run)
    return msgspec.structs.replace(found, predicted=(0,) * len(found.gold))


def test_the_difference_to_the_winner_is_paired() -> None:
    result = make_result(LITTLE)
    predictions = always_first_label(result.runs[0])
    report = make_report([result], baseline=baseline_of(result, predictions))
    winner = next(run for run in result.runs if run.bundle.name == report.verdict.winner)
    metric, labels = metric_of(winner.bundle.task), winner.bundle.labels
    interval = difference(metric, predictions_of(winner), predictions, labels).interval
    (sentence, *_) = report.views[0].remarks
    assert "linear baseline (word counts)" in sentence
    assert f"{winner.bundle.name} is {100 * interval.estimate:.1f} points better" in sentence
    assert f"({100 * interval.low:.1f} to {100 * interval.high:.1f})" in sentence
    assert sentence in report.to_html()
    assert "linear baseline" in report.to_markdown()
    assert make_report([result]).views[0].remarks == ()


def test_a_model_that_answers_alike_may_differ_by_chance() -> None:
    result = make_result(LITTLE)
    winner = make_report([result]).verdict.winner
    same = next(run for run in result.runs if run.bundle.name == winner)
    report = make_report([result], baseline=baseline_of(result, predictions_of(same)))
    assert (
        "differs by +0.0 points (+0.0 to +0.0), which may be chance" in report.views[0].remarks[0]
    )


def test_a_sample_is_compared_with_the_same_examples() -> None:
    whole = make_result(LITTLE)
    total = len(predictions_of(whole.runs[0]).gold)
    count = 50
    positions = sample_positions(total, count)
    runs = tuple(
        msgspec.structs.replace(
            run,
            predictions=msgspec.structs.replace(
                predictions_of(run),
                gold=tuple(predictions_of(run).gold[p] for p in positions),
                predicted=tuple(predictions_of(run).predicted[p] for p in positions),
                sources=tuple(predictions_of(run).sources[p] for p in positions),
            ),
        )
        for run in whole.runs
    )
    settings = msgspec.structs.replace(whole.effective, examples=count)
    sample = msgspec.structs.replace(whole, runs=runs, effective=settings)
    baseline = baseline_of(whole, always_first_label(whole.runs[0]))
    (sentence, *_) = make_report([sample], baseline=baseline).views[0].remarks
    share = sum(predictions_of(runs[0]).gold[k] == 0 for k in range(count)) / count
    assert f"accuracy {100 * share:.1f} %" in sentence
    assert "points better" in sentence


def test_a_baseline_of_other_data_is_refused(tmp_path: Path) -> None:
    result = make_result(LITTLE)
    baseline = baseline_of(result, always_first_label(result.runs[0]))
    other = msgspec.structs.replace(baseline, data_name="others", data_sha256="0" * 64)
    with pytest.raises(InputError, match="of other data than the results: found others"):
        make_report([result], baseline=other)
    path = tmp_path / "baseline.json"
    write_json(path, baseline)
    assert read_linear_baseline(path) == baseline
    path.write_text("{}")
    with pytest.raises(ResultError, match=r"baseline\.json"):
        read_linear_baseline(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"counts": (5,) * LITTLE.n_examples}, "gold of the linear baseline do not fit the words"),
        ({"predicted": (0,)}, r"\$\.predictions cannot be: found gold 300, predicted 1, sources"),
        ({"predicted": (-1,) * LITTLE.n_examples}, r"\$\.predictions\.predicted\[0\] cannot be"),
        ({"gold": (), "predicted": (), "sources": ()}, r"\$\.predictions\.sources cannot be"),
    ],
)
def test_a_damaged_baseline_is_refused(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    result = make_result(LITTLE)
    predictions = msgspec.structs.replace(always_first_label(result.runs[0]), **changes)
    write_json(tmp_path / "baseline.json", baseline_of(result, predictions))
    with pytest.raises(ResultError, match=message):
        read_linear_baseline(tmp_path / "baseline.json")
