"""The trials of a search with a known objective, and what a storage remembers."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeseq.errors import InputError, RefusedError
from edgeseq.model_search.candidates import Candidate
from edgeseq.model_search.finalists import candidate_of, choose_finalists
from edgeseq.model_search.halving import is_ended
from edgeseq.model_search.study import SearchStudy, open_study
from edgeseq.model_search.trials import SearchEnd, run_trials
from edgeseq.model_search.workbench import OnEpoch, Trained
from edgeseq.reporting.budgets import parse_budget
from edgeseq.reporting.search_section import frontier

from .known_objective import KnownWorkbench, best_known_score, known_costs, known_space

BUDGET = parse_budget("memory=16MB p95=2ms size=1MB")
SEEDS, TRIALS = (0, 1), 400


def open_known(storage: str | None = None, *, seed: int = 0, budget: str = "a") -> SearchStudy:
    return open_study(
        storage,
        name="known",
        identity={"task": "sentiment", "budget": budget},
        space=known_space(),
        budget=BUDGET,
        seed=seed,
    )


def test_finds_a_model_within_a_percent_of_the_best_and_none_over_the_budget() -> None:
    best = best_known_score(known_space(), BUDGET)
    shares = []
    for seed in SEEDS:
        workbench = KnownWorkbench()
        trials = run_trials(open_known(seed=seed), workbench, BUDGET, SearchEnd(TRIALS))
        chosen = choose_finalists(trials, BUDGET, count=4)
        for trial in chosen:
            assert known_costs(candidate_of(trial)).fits(BUDGET)
        over = [trial for trial in trials if trial.outcome == "over budget"]
        assert over, "nothing was tried that does not fit"
        assert not {candidate_of(trial).bundle for trial in over} & set(workbench.trained)
        shares.append((chosen[0].dev_score or 0.0) / best)
    assert max(shares) <= 1 + 1e-9
    assert min(shares) >= 0.99, shares


class StoppedWorkbench(KnownWorkbench):
    """A workbench that is interrupted once, in a training."""

    def __init__(self, *, stop_after: int) -> None:
        super().__init__()
        self.left = stop_after

    def train(self, candidate: Candidate, on_epoch: OnEpoch) -> Trained:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        return super().train(candidate, on_epoch)


def test_a_stopped_search_resumes_with_the_candidate_that_was_cut_off(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    trained: list[str] = []
    for stop_after in (3, 2):
        workbench = StoppedWorkbench(stop_after=stop_after)
        with pytest.raises(KeyboardInterrupt):
            run_trials(open_known(storage), workbench, BUDGET, SearchEnd(16))
        trained += workbench.trained.elements()
    last = KnownWorkbench()
    trials = run_trials(open_known(storage), last, BUDGET, SearchEnd(16))
    trained += last.trained.elements()
    assert len(trials) == 16
    assert {candidate_of(trial).bundle for trial in trials if trial.dev_scores} == set(trained)
    assert len(trained) == len(set(trained))
    # The default model of each family is tried first, whatever stopped in between.
    assert [trial.arch for trial in trials[:2]] == ["bag", "lstm"]


def test_a_storage_of_another_search_is_refused(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    open_known(storage)
    with pytest.raises(InputError, match="a search with another budget: found a, expected b"):
        open_known(storage, budget="b")
    with pytest.raises(InputError, match="cannot be opened by Optuna"):
        open_known("nothing://here")


def test_an_impossible_budget_names_the_nearest_candidate() -> None:
    budget = parse_budget("memory=5MB p95=2ms")
    study = open_study(None, name="known", identity={}, space=known_space(), budget=budget, seed=0)
    workbench = KnownWorkbench()
    with pytest.raises(RefusedError, match="no candidate fits the budget") as refusal:
        run_trials(study, workbench, budget, SearchEnd(200))
    assert not workbench.trained
    assert "memory 5.0" in str(refusal.value)
    assert "embedding_size=16" in str(refusal.value)
    assert "> 5 MB" in str(refusal.value)


def test_a_training_is_ended_where_the_better_half_is_ahead() -> None:
    others = [[0.5, 0.6], [0.6, 0.65], [0.7, 0.75], [0.8]]
    assert is_ended([0.55], others)
    assert not is_ended([0.7], others)
    assert not is_ended([0.1], others[:2]), "too few to compare with"
    assert not is_ended([0.1, 0.2, 0.3], [[0.9] * 3] * 4), "not after 3 epochs"
    assert is_ended([0.1, 0.62], others), "its best score so far counts"


def test_finalists_are_the_best_then_the_cheapest_close_ones() -> None:
    trials = run_trials(open_known(), KnownWorkbench(), BUDGET, SearchEnd(40))
    finalists = choose_finalists(trials, BUDGET, count=4)
    trained = [trial for trial in trials if trial.outcome == "trained"]
    best = max(trial.dev_score or 0.0 for trial in trained)
    assert finalists[0].dev_score == best
    assert len({trial.model for trial in finalists}) == len(finalists) > 1
    assert {trial.number for trial in finalists} <= {trial.number for trial in frontier(trials)}
