"""A sixth task is one new file and one line in the table, from its data to its report."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

import edgeseq as es
from edgeseq.reporting.deployment_report import make_report
from edgeseq.tasks.registry import TASKS

TOPIC_TASK = '''
"""The topic of a headline, scored by macro-F1."""

import numpy as np

from edgeseq.tasks.metric import Metric
from edgeseq.tasks.scoring import label_counts
from edgeseq.tasks.task import Task


def counts(predictions, labels):
    eye = np.eye(len(labels))
    gold, predicted = eye[list(predictions.gold)], eye[list(predictions.predicted)]
    return np.concatenate([gold * predicted, gold + predicted], axis=1)


def macro_f1(sums):
    n = sums.shape[-1] // 2
    return (2 * sums[..., :n] / np.maximum(sums[..., n:], 1)).mean(axis=-1)


MACRO_F1 = Metric(
    name="macro-f1",
    title="macro-F1",
    counts=counts,
    value=macro_f1,
    class_counts=label_counts,
    class_title="topic",
)
TOPIC = Task(name="topic", title="the topic of a headline", metric="topic_task:MACRO_F1")
'''


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_task_of_one_file_and_one_line_goes_all_the_way(
    tmp_path: Path,
    invented_corpus: Path,
    small_bert_checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "topic_task.py").write_text(TOPIC_TASK, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(TASKS, "topic", importlib.import_module("topic_task").TOPIC)

    data = es.load_dataset(invented_corpus / "train.csv", task="topic")
    model = es.train(
        data,
        arch="lstm",
        out=tmp_path / "lstm",
        checkpoint=small_bert_checkpoint,
        epochs=4,
        settings={"hidden_size": 8, "embedding_size": 8, "batch_size": 32, "learning_rate": 2e-2},
    )
    bundle = es.convert(model, data, out=tmp_path / "bundle", recipe="float32")
    result = es.bench([bundle], quick=True)
    result.save(tmp_path / "result.json")
    make_report([tmp_path / "result.json"]).save(tmp_path / "report")

    summary = json.loads((tmp_path / "report" / "summary.json").read_text(encoding="utf-8"))
    assert {row["bundle"] for row in summary["rows"]} == {"bundle"}
    row = summary["rows"][0]
    assert (row["task"], row["metric"]) == ("topic", "macro-f1")
    assert 0.5 < row["score"] <= 1
    assert row["score_ci95"][0] < row["score_ci95"][1]
    assert {one["label"] for one in row["per_class"]} == set(data.labels)
    text = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert "What to ship for the topic of a headline" in text
    assert "macro-F1" in text
    assert "Per topic" in text
