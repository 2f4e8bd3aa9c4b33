"""Verdicts over results whose truth is known: the fast version of the study."""

from __future__ import annotations

import numpy as np
import pytest

from edgeseq.reporting.rows import derive_row
from studies.known_truth import N_EXAMPLES, Outcome, draw_models, judge, lines, main, simulate


def test_the_truth_is_recommended_and_no_doubt_is_kept_silent() -> None:
    rng = np.random.default_rng([17, 0])
    outcomes = [judge(rng, "apart") for _ in range(200)]
    right = sum(outcome.winner == outcome.truth for outcome in outcomes)
    assert right >= 0.95 * len(outcomes), lines("apart", outcomes)
    assert all(o.is_doubted for o in outcomes if o.is_infeasible)
    assert sum(outcome.is_infeasible for outcome in outcomes) <= 0.02 * len(outcomes)
    assert 0.5 < sum(outcome.truth is not None for outcome in outcomes) / len(outcomes) < 1


def test_what_ships_is_at_most_the_margin_below_the_best() -> None:
    rng = np.random.default_rng([17, 1])
    shipped = [o for o in (judge(rng, "any") for _ in range(100)) if o.winner is not None]
    good = [o for o in shipped if not o.is_infeasible and o.lost_points <= 1]
    assert len(good) >= 0.95 * len(shipped)
    assert all(o.is_doubted for o in shipped if o.is_infeasible)


def test_simulated_results_are_what_they_are_said_to_be() -> None:
    """Large samples of one draw show its true values, so that the truth is one."""
    rng = np.random.default_rng(5)
    models = draw_models(rng, "apart")
    result = simulate(rng, models, n_examples=40 * N_EXAMPLES)
    for model, run in zip(models, result.runs, strict=True):
        row = derive_row(result, run)
        assert row.score == pytest.approx(model.accuracy, abs=0.006)
        assert row.p95_ms == pytest.approx(model.p95_ms, rel=0.15)
        assert row.working_memory_bracket_bytes is not None
        failing, working = row.working_memory_bracket_bytes
        assert failing < model.working_memory_bytes <= working


def test_draws_without_a_recommended_model_have_no_share() -> None:
    nothing = Outcome(None, None, False, 0.0, False, 0.0)
    assert lines("any", [nothing])[-1].endswith("below the best: 0")


def test_the_command_prints_counts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--draws", "3", "--seed", "2"]) == 0
    printed = capsys.readouterr().out
    assert "apart: 3 draws" in printed
    assert "an infeasible model is named: " in printed
