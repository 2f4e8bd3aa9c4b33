"""The trials of a search with a known objective, and what a storage remembers."""

from __future__ import annotations

import threading
from pathlib import Path

import msgspec
import pytest

from edgeseq.errors import ClusterError, InputError, RefusedError
from edgeseq.model_search.candidates import Candidate
from edgeseq.model_search.disturbances import wait_for_idle_machine
from edgeseq.model_search.finalists import candidate_of, choose_finalists
from edgeseq.model_search.halving import is_ended
from edgeseq.model_search.study import SearchStudy, open_study
from edgeseq.model_search.trials import SearchEnd, run_trials
from edgeseq.model_search.workbench import Measurement, OnEpoch, Trained
from edgeseq.progress import no_progress
from edgeseq.reporting.budgets import Budget, parse_budget
from edgeseq.reporting.search_section import frontier

from .known_objective import KnownWorkbench, best_known_score, known_costs, known_space

BUDGET = parse_budget("memory=16MB p95=2ms size=1MB")
ROOMY = parse_budget("memory=64MB p95=2ms size=20MB")
SEEDS, TRIALS = (0, 1), 400


def open_known(
    storage: str | None = None, *, seed: int = 0, budget: str = "a", limits: Budget = BUDGET
) -> SearchStudy:
    return open_study(
        storage,
        name="known",
        identity={"task": "sentiment", "budget": budget},
        space=known_space(),
        budget=limits,
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


class BusyMachine(KnownWorkbench):
    """A machine on which other programs make models so many times slower, until the measurement
    `idle_from` of a candidate."""

    def __init__(self, factor: float, *, idle_from: int = 99) -> None:
        super().__init__()
        self.factor, self.idle_from = factor, idle_from

    def measure(self, candidate: Candidate, *, again: bool = False) -> Measurement:
        costs, _ = super().measure(candidate, again=again)
        assert again == (self.measured[candidate.shape_name] > 1)
        if self.measured[candidate.shape_name] >= self.idle_from:
            return Measurement(costs)
        slower = msgspec.structs.replace(costs, p95_ms=self.factor * (costs.p95_ms or 0.0))
        return Measurement(slower, "other programs used 1.20 of a core")


def test_a_disturbed_measurement_within_the_budget_is_enough() -> None:
    study, workbench = open_known(limits=ROOMY), BusyMachine(1.1)
    [trial] = run_trials(study, workbench, ROOMY, SearchEnd(1))
    assert trial.outcome == "trained"
    assert set(workbench.measured.values()) == {1}


def test_a_disturbed_measurement_over_the_budget_is_repeated() -> None:
    study, workbench = open_known(limits=ROOMY), BusyMachine(1e3, idle_from=3)
    [trial] = run_trials(study, workbench, ROOMY, SearchEnd(1))
    assert trial.outcome == "trained"
    assert trial.costs["p95_ms"] == known_costs(candidate_of(trial)).p95_ms
    assert set(workbench.measured.values()) == {3}


def test_what_a_busy_machine_cannot_measure_is_tried_again_by_the_next_run(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    busy = run_trials(open_known(storage, limits=ROOMY), BusyMachine(1e3), ROOMY, SearchEnd(4))
    assert {trial.outcome for trial in busy} == {"disturbed"}
    assert all("> 2 ms, but other programs used 1.20" in trial.reason for trial in busy)
    idle = run_trials(open_known(storage, limits=ROOMY), KnownWorkbench(), ROOMY, SearchEnd(4))
    undisturbed = run_trials(open_known(limits=ROOMY), KnownWorkbench(), ROOMY, SearchEnd(4))
    assert [(t.model, t.outcome) for t in idle] == [(t.model, t.outcome) for t in undisturbed]
    assert len(busy) == len(idle) == 4


class NeverIdle(BusyMachine):
    """A machine on which waiting does not help."""

    def wait_for_idle_machine(self) -> bool:
        return False


def test_nothing_is_measured_again_beside_programs_that_go_on() -> None:
    workbench = NeverIdle(1e3)
    [trial] = run_trials(open_known(limits=ROOMY), workbench, ROOMY, SearchEnd(1))
    assert trial.outcome == "disturbed"
    assert set(workbench.measured.values()) == {1}


def test_the_wait_for_an_idle_machine_ends_when_it_is() -> None:
    loads = iter([1.7, 0.9, 0.2])
    assert wait_for_idle_machine(no_progress, load_cores=lambda: next(loads), pause_s=0.0)
    assert not list(loads)
    assert not wait_for_idle_machine(
        no_progress, load_cores=lambda: 2.0, pause_s=0.01, limit_s=0.02
    )


class TwoWorkers(KnownWorkbench):
    """Two threads have to train at a time before either goes on."""

    num_workers = 2

    def __init__(self, *, fail_after: int = 99) -> None:
        super().__init__()
        self.both = threading.Barrier(2)
        self.left = fail_after

    def train(self, candidate: Candidate, on_epoch: OnEpoch) -> Trained:
        self.both.wait(timeout=60)
        self.left -= 1
        if self.left < 0:
            raise ClusterError("all workers were lost")
        return super().train(candidate, on_epoch)


def test_two_workers_train_at_a_time_and_no_candidate_twice() -> None:
    budget = parse_budget("memory=1GB size=1GB")
    numbers: list[int] = []
    workbench = TwoWorkers()
    trials = run_trials(
        open_known(limits=budget),
        workbench,
        budget,
        SearchEnd(10),
        on_trial=lambda trial: numbers.append(trial.number),
    )
    assert not workbench.is_stopped
    assert len(trials) == 10
    assert sorted(numbers) == [trial.number for trial in trials]
    assert set(workbench.trained.values()) == {1}
    assert {candidate_of(trial).bundle for trial in trials} == set(workbench.trained)


def test_an_error_of_one_worker_ends_the_search() -> None:
    budget = parse_budget("memory=1GB size=1GB")
    study, workbench = open_known(limits=budget), TwoWorkers(fail_after=2)
    with pytest.raises(ClusterError, match="all workers were lost"):
        run_trials(study, workbench, budget, SearchEnd(6))
    assert workbench.is_stopped
    finished = study.trials
    trials = run_trials(study, KnownWorkbench(), budget, SearchEnd(6))
    assert trials[: len(finished)] == finished
    assert len(trials) == 6


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
