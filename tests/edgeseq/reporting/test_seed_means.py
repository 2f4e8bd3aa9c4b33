"""Rows of several seeds: the mean, and its intervals for other examples and other trainings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from scipy import stats

from edgeseq.reporting.rows import read_groups
from edgeseq.reporting.sections import table_sections
from edgeseq.reporting.seed_means import _T_975, seed_means

from ...fake_results import MODELS, Fake, write_result

SCORES = (0.70, 0.74, 0.75)


def _seeds(tmp_path: Path) -> Path:
    """Three trainings of one recipe, and a recipe with one."""
    models = tuple(
        replace(MODELS[0], name=f"lstm-seed-{seed}-hidden_size-64-float32", accuracy=score)
        for seed, score in enumerate(SCORES)
    )
    fake = Fake(
        models=(*models, replace(MODELS[0], name="bert-seed-0-float32"), MODELS[3]),
        n_queries=200, n_examples=300, limited=False, lengths=False,
    )  # fmt: skip
    return write_result(tmp_path / "result.json", fake)


def test_trainings_that_differ_in_the_seed_become_a_mean(tmp_path: Path) -> None:
    [group] = read_groups([_seeds(tmp_path)])
    [mean] = seed_means(group.rows)
    rows = [row for row in group.rows if row.bundle.startswith("lstm-seed")]
    scores = np.array([row.score for row in rows])
    assert (mean.bundle, mean.seeds) == ("lstm-hidden_size-64-float32", 3)
    assert mean.mean == pytest.approx(scores.mean())
    expected = stats.t.interval(0.95, 2, loc=scores.mean(), scale=stats.sem(scores))
    assert mean.training_ci95 == pytest.approx(expected, abs=1e-4)
    for end in (0, 1):
        ends = [row.score_ci95[end] for row in rows if row.score_ci95 is not None]
        assert mean.test_ci95[end] == pytest.approx(np.mean(ends))
    one_training = [row for row in group.rows if "seed-0" in row.bundle]
    assert seed_means(one_training) == []


def test_the_report_has_a_table_of_means_where_there_are_seeds(tmp_path: Path) -> None:
    [group] = read_groups([_seeds(tmp_path)])
    titles = [section.title for section in table_sections(group)]
    assert "Means over seeds" in titles
    [section] = [one for one in table_sections(group) if one.title == "Means over seeds"]
    [line] = section.tables[0].lines
    assert line[:2] == ("lstm-hidden_size-64-float32", "3")
    alone = msgspec.structs.replace(group, models=group.models[:1])
    assert "Means over seeds" not in [section.title for section in table_sections(alone)]


def test_the_quantiles_are_student_s() -> None:
    degrees = np.arange(1, len(_T_975) + 1)
    assert pytest.approx(stats.t.ppf(0.975, degrees), abs=5e-4) == _T_975
