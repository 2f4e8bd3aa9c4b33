"""The loop of a search: propose, measure untrained, train what fits, tell."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from edgeseq.errors import ConversionError, DataError, InputError, RefusedError
from edgeseq.formats.search_record import SearchTrial
from edgeseq.model_search.candidates import Candidate, Costs
from edgeseq.model_search.disturbances import REPEATS, is_time_alone, least_times
from edgeseq.model_search.halving import is_ended
from edgeseq.model_search.study import OpenTrial, SearchStudy
from edgeseq.model_search.workbench import Measurement, OnEpoch, Workbench
from edgeseq.reporting.budgets import LIMITS, Budget, describe_budget
from edgeseq.reporting.format import format_excess
from edgeseq.units import format_factor

IMPOSSIBLE_AFTER = 30
"""So many candidates are measured, the cheapest of each family among them, before a budget that
none of them fits is called impossible."""


class SearchEnd(NamedTuple):
    """When a search ends: after `trials` finished trials in all, or at `deadline_s` of
    `time.monotonic()` (None: never)."""

    trials: int
    deadline_s: float | None = None

    @property
    def is_due(self) -> bool:
        """Whether the time is over."""
        return self.deadline_s is not None and time.monotonic() >= self.deadline_s


class _TrialEndedError(Exception):
    """Ends a training from within its progress."""


class _OutOfTimeError(Exception):
    """Ends a training that the next run of the search resumes."""


def run_trials(
    study: SearchStudy,
    workbench: Workbench,
    budget: Budget,
    end: SearchEnd,
    *,
    on_trial: Callable[[SearchTrial], None] = lambda _: None,
) -> list[SearchTrial]:
    """Runs trials until the end, those of earlier runs included, and returns all of them.

    `on_trial` is called with each trial that finishes. A trial that is cut off by the deadline or
    an exception is proposed again by the next run. Raises `RefusedError` when no candidate fits the
    budget, naming the nearest and by how much it misses.
    """
    _Trials(study, workbench, budget, end, on_trial).run(workbench.num_workers)
    trials = study.trials
    if trials and all(trial.outcome == "over budget" for trial in trials):
        raise RefusedError(
            "no candidate fits the budget",
            where=describe_budget(budget),
            found=nearest_candidate(trials, budget),
            fix="loosen a limit, or search over more families",
        )
    return trials


class _Trials:
    """Trials in one thread or several, each with the next candidate until the end."""

    def __init__(
        self,
        study: SearchStudy,
        workbench: Workbench,
        budget: Budget,
        end: SearchEnd,
        on_trial: Callable[[SearchTrial], None],
    ) -> None:
        self._study, self._workbench, self._budget = study, workbench, budget
        self._end, self._on_trial = end, on_trial
        self._lock = threading.Lock()
        self._open = 0
        self._is_stopped = False

    def run(self, num_threads: int) -> None:
        """Runs trials to the end; an error or an interrupt ends those of all threads."""
        if num_threads == 1:
            self._run_next()
            return
        with concurrent.futures.ThreadPoolExecutor(num_threads) as threads:
            try:
                running = [threads.submit(self._run_next) for _ in range(num_threads)]
                for ended in concurrent.futures.as_completed(running):
                    ended.result()
            except BaseException:
                self._is_stopped = True
                self._workbench.stop()
                raise

    def _run_next(self) -> None:
        while (trial := self._begin()) is not None:
            try:
                self._run(trial)
            except _OutOfTimeError:
                return
            finally:
                with self._lock:
                    self._open -= 1
            with self._lock:
                trials = self._study.trials
                self._on_trial(next(t for t in trials if t.number == trial.number))

    def _begin(self) -> OpenTrial | None:
        """The next candidate, None at the end."""
        with self._lock:
            trials = self._study.trials
            is_enough = len(trials) + self._open >= self._end.trials
            if is_enough or self._is_stopped or self._end.is_due or _is_impossible(trials):
                return None
            self._open += 1
            return self._study.ask()

    def _run(self, trial: OpenTrial) -> None:
        candidate = trial.candidate
        others = [t.dev_scores for t in self._study.trials if t.arch == candidate.arch]

        def on_epoch(scores: Sequence[float]) -> None:
            trial.set_dev_scores(scores)
            if is_ended(scores, others):
                raise _TrialEndedError
            if self._end.is_due or self._is_stopped:
                raise _OutOfTimeError

        _run_trial(trial, self._workbench, self._budget, self._end, on_epoch)


def _is_impossible(trials: Sequence[SearchTrial]) -> bool:
    return len(trials) >= IMPOSSIBLE_AFTER and all(t.outcome == "over budget" for t in trials)


def _run_trial(
    trial: OpenTrial,
    workbench: Workbench,
    budget: Budget,
    end: SearchEnd,
    on_epoch: OnEpoch,
) -> None:
    candidate = trial.candidate
    try:
        costs, disturbance = _measure(workbench, candidate, budget, end)
    except ConversionError as reason:
        trial.give_up("failed", str(reason))
        return
    if disturbance and is_time_alone(costs, budget):
        trial.leave_open(costs, f"{excess_text(costs, budget)}, but {disturbance}")
        return
    trial.set_costs(costs)
    if not costs.fits(budget):
        trial.give_up("over budget", excess_text(costs, budget))
        return
    try:
        trained = workbench.train(candidate, on_epoch)
    except _TrialEndedError:
        trial.give_up("ended early", "worse than others after as many epochs")
    except DataError:  # it changed meanwhile: no candidate can be trained
        raise
    except (ConversionError, InputError) as reason:
        trial.give_up("failed", str(reason))
    else:
        trial.set_dev_scores(trained.dev_scores)
        trial.finish(trained.dev_score, costs)


def _measure(
    workbench: Workbench, candidate: Candidate, budget: Budget, end: SearchEnd
) -> Measurement:
    """Measures again where other programs may be the reason that a limit of time is exceeded."""
    costs, disturbance = workbench.measure(candidate)
    for _ in range(REPEATS):
        is_open = bool(disturbance) and is_time_alone(costs, budget)
        if not is_open or end.is_due or not workbench.wait_for_idle_machine():
            break
        measured = workbench.measure(candidate, again=True)
        costs, disturbance = least_times(costs, measured.costs), measured.disturbance
    return Measurement(costs, disturbance)


def excess_text(costs: Costs, budget: Budget) -> str:
    """Each limit that is not kept: `memory 21.0 MB > 16.0 MB`."""
    texts = []
    for limit in LIMITS:
        allowed, value = getattr(budget, limit.field), getattr(costs, limit.row_field)
        if allowed is None:
            continue
        if value is None:
            texts.append(f"{limit.title} was not measured")
        elif value > allowed:
            texts.append(f"{limit.title} {format_excess(value, allowed, limit.unit)}")
    return "; ".join(texts)


def nearest_candidate(trials: Sequence[SearchTrial], budget: Budget) -> str:
    """The measured candidate that exceeds its worst limit by the smallest factor."""

    def worst(trial: SearchTrial) -> float:
        return max(_costs(trial).excess(budget).values())

    nearest = min(trials, key=worst)
    candidate = Candidate(nearest.arch, nearest.recipe, nearest.lowering, nearest.settings)
    factor, excess = worst(nearest), excess_text(_costs(nearest), budget)
    return f"{candidate} at {format_factor(factor)} times the limit ({excess})"


def _costs(trial: SearchTrial) -> Costs:
    return Costs(**trial.costs)  # type: ignore[arg-type]
