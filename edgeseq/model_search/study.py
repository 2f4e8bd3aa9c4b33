"""The search as a study of Optuna: its storage, its sampler, and what its trials are told.

What a trial was is in its user attributes, so that `optuna-dashboard` shows it and a search that
was stopped resumes from the storage alone.
"""

from __future__ import annotations

import os
import platform
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import msgspec
import numpy as np
import optuna
from optuna.importance import get_param_importances
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from edgeseq.errors import InputError
from edgeseq.formats.codec import from_builtins
from edgeseq.formats.search_record import SearchTrial, TrialOutcome
from edgeseq.model_search.candidates import Candidate, Costs
from edgeseq.model_search.search_folder import check_same_search
from edgeseq.model_search.space import SearchSpace
from edgeseq.model_search.variation import vary
from edgeseq.reporting.budgets import Budget
from edgeseq.reporting.search_section import COST_NAMES

OBJECTIVES = ("score", "memory", "p95", "size")
_DIRECTIONS: list[Literal["maximize", "minimize"]] = [
    "maximize",
    "minimize",
    "minimize",
    "minimize",
]
_STARTUP_TRIALS = 8
_FRONTIER_EVERY = 6
_OTHER_FAMILY_EVERY = 3
_VARIED_AFTER, _VARIED_EVERY, _VARIED_AMONG = 16, 6, 3
_CLOSE_SHARE = 0.015
_MIN_IMPORTANCE_TRIALS = 10
"""With fewer, the best tenth is one trial."""
_IDENTITY, _OUTCOME, _WORKER, _CANDIDATE = "identity", "outcome", "worker", "candidate"
_COSTS, _DEV_SCORES, _DEV_SCORE, _REASON = "costs", "dev_scores", "dev_score", "reason"
_SECONDS, _INSTEAD_OF = "seconds", "instead_of"


class SearchStudy:
    """The trials of one search."""

    def __init__(
        self, study: optuna.Study, space: SearchSpace, budget: Budget, *, seed: int
    ) -> None:
        self._study, self._space, self._budget, self._seed = study, space, budget, seed
        frozen = study.get_trials(deepcopy=False)
        self._earlier = {trial.number for trial in frozen if _is_disturbed(trial)}

    @property
    def trials(self) -> list[SearchTrial]:
        """The finished trials in the order of their numbers; those that were cut off are not, nor
        disturbed ones of earlier runs."""
        frozen = self._study.get_trials(deepcopy=False)
        return [
            _search_trial(trial)
            for trial in sorted(frozen, key=lambda trial: trial.number)
            if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
            or (_is_disturbed(trial) and trial.number not in self._earlier)
        ]

    def ask(self) -> OpenTrial:
        """The next candidate, proposed by Optuna from what is known of the others."""
        with _quiet():
            waiting = self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
            if not waiting and self._is_for_score():
                self._study.enqueue_trial(self._propose_for_score())
            trial = self._study.ask()
            candidate = self._space.suggest(trial)
        trial.set_user_attr(_WORKER, _this_worker())
        trial.set_user_attr(_CANDIDATE, msgspec.to_builtins(candidate))
        return OpenTrial(self._study, trial, candidate, self._budget)

    def _is_for_score(self) -> bool:
        """Whether the next proposal is to raise the score within the budget, whatever it costs
        there; the others look for all that no other model beats in everything."""
        number = len(self._study.get_trials(deepcopy=False))
        return number >= _STARTUP_TRIALS and number % _FRONTIER_EVERY != 0

    def _propose_for_score(self) -> dict[str, Any]:
        """Parameters of one family by the same sampler with the score as the only objective, or a
        variation of one of its best candidates.

        A study has one set of objectives, so this one is made of copies of the family's trials.
        """
        states = (TrialState.COMPLETE, TrialState.PRUNED)
        trials = self._study.get_trials(deepcopy=False, states=states)
        family = self._next_family(trials)
        # Those that run in other threads count too, which would draw the same otherwise.
        number = len(self._study.get_trials(deepcopy=False))
        of_family = [trial for trial in trials if trial.params["arch"] == family]
        complete = [trial for trial in of_family if trial.state == TrialState.COMPLETE]
        if len(of_family) >= _VARIED_AFTER and complete and len(trials) % _VARIED_EVERY != 0:
            best = sorted(complete, key=lambda trial: -trial.values[0])[:_VARIED_AMONG]
            generator = np.random.default_rng((self._seed, number))
            return vary(best[generator.integers(len(best))], generator)
        with_score = optuna.create_study(
            direction="maximize", sampler=_sampler(self._seed + number)
        )
        with_score.add_trials([_with_score_alone(trial) for trial in of_family])
        with_score.enqueue_trial({"arch": family})
        proposed = with_score.ask()
        self._space.suggest(proposed)
        return proposed.params

    def _next_family(self, trials: Sequence[optuna.trial.FrozenTrial]) -> str:
        """The family with the fewest trials; once each has enough, the one with the fewest of those
        that are close to the best, but for every third proposal: what a family can reach shows only
        after some trials."""
        counts = dict.fromkeys(self._space.families, 0)
        best = dict.fromkeys(self._space.families, -1.0)
        for trial in trials:
            family = trial.params["arch"]
            counts[family] += 1
            if trial.state == TrialState.COMPLETE:
                best[family] = max(best[family], trial.values[0])
        fewest = min(counts, key=counts.__getitem__)
        if counts[fewest] < 2 * _STARTUP_TRIALS or len(trials) % _OTHER_FAMILY_EVERY == 0:
            return fewest
        top = max(best.values())
        close = [family for family, score in best.items() if score >= (1 - _CLOSE_SHARE) * top]
        return min(close, key=counts.__getitem__)

    def importance(self) -> dict[str, dict[str, float]]:
        """By objective, the share of each setting, the largest first; {} with too few trials."""
        complete = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if len(complete) < _MIN_IMPORTANCE_TRIALS:
            return {}
        shares = {}
        for index, objective in enumerate(OBJECTIVES):
            if len({trial.values[index] for trial in complete}) == 1:
                continue  # nothing changes it
            # The target is minimized; of the score the highest is best.
            sign = -1.0 if index == 0 else 1.0
            with _quiet():
                shares[objective] = get_param_importances(
                    self._study, target=_signed_value(index, sign)
                )
        return shares


class OpenTrial:
    """A candidate whose trial is not finished."""

    def __init__(
        self, study: optuna.Study, trial: optuna.Trial, candidate: Candidate, budget: Budget
    ) -> None:
        self.candidate = candidate
        self._study, self._trial, self._budget = study, trial, budget
        self._began_s = time.monotonic()

    @property
    def number(self) -> int:
        """The trial's number in its study."""
        return int(self._trial.number)

    def set_costs(self, costs: Costs) -> None:
        """Records what was measured, and how far it is from each limit."""
        self._trial.set_user_attr(_COSTS, msgspec.to_builtins(costs))
        for key, factor in costs.excess(self._budget).items():
            self._trial.set_constraint(key, factor - 1)

    def set_dev_scores(self, scores: Sequence[float]) -> None:
        """Records the scores of the epochs so far."""
        self._trial.set_user_attr(_DEV_SCORES, list(scores))

    def finish(self, dev_score: float, costs: Costs) -> None:
        """Tells Optuna all four objectives."""
        self._trial.set_user_attr(_DEV_SCORE, dev_score)
        self._close("trained")
        values = [getattr(costs, field) for field in COST_NAMES]
        # What was not measured counts as nothing: no limit is on it, or the costs would not fit.
        self._study.tell(self._trial, [dev_score, *(value or 0.0 for value in values)])

    def give_up(self, outcome: TrialOutcome, reason: str) -> None:
        """Tells Optuna that the candidate was not trained to its end."""
        self._trial.set_user_attr(_REASON, reason)
        self._close(outcome)
        self._study.tell(self._trial, state=TrialState.PRUNED)

    def leave_open(self, costs: Costs, reason: str) -> None:
        """Tells Optuna nothing of a candidate whose times are not known; the next run of the search
        tries it again."""
        self._trial.set_user_attr(_COSTS, msgspec.to_builtins(costs))
        self._trial.set_user_attr(_REASON, reason)
        self._close("disturbed")
        self._study.tell(self._trial, state=TrialState.FAIL)

    def _close(self, outcome: TrialOutcome) -> None:
        self._trial.set_user_attr(_OUTCOME, outcome)
        self._trial.set_user_attr(_SECONDS, round(time.monotonic() - self._began_s, 1))


def open_study(
    storage: str | None,
    *,
    name: str,
    identity: Mapping[str, str],
    space: SearchSpace,
    budget: Budget,
    seed: int,
) -> SearchStudy:
    """Creates the study `name` in Optuna's storage `storage` (None: in memory) or resumes it.

    `identity` says by facts what is searched for. Raises `InputError` when the storage cannot be
    opened, or its study is of another identity.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    where = storage or "memory"
    try:
        with _quiet():
            study = optuna.create_study(
                storage=storage, study_name=name, directions=_DIRECTIONS, load_if_exists=True
            )
    except (SQLAlchemyError, ValueError, ImportError) as failure:
        raise InputError(
            "cannot be opened by Optuna",
            where=where,
            found=str(failure).splitlines()[0],
            expected="an address of a database such as sqlite:///study.db",
        ) from failure
    known = study.user_attrs.get(_IDENTITY)
    if known is None:
        if study.get_trials(deepcopy=False):
            raise InputError(
                "holds a study that no search made",
                where=where,
                found=repr(name),
                fix="name another --storage, or another --out, which names the study",
            )
        study.set_user_attr(_IDENTITY, dict(identity))
        for parameters in space.first_parameters():
            study.enqueue_trial(parameters)
    else:
        fix = "name another --out (and --storage)"
        check_same_search(known, identity, where=where, fix=fix)
    _enqueue_lost_trials(study)
    with _quiet():
        # A resumed search must not begin with the same random candidates.
        study.sampler = _sampler(seed + len(study.trials))
    return SearchStudy(study, space, budget, seed=seed)


def _sampler(seed: int) -> optuna.samplers.BaseSampler:
    """Settings of one family are sampled together (Falkner et al. 2018, "BOHB")."""
    return optuna.samplers.TPESampler(
        seed=seed,
        n_startup_trials=_STARTUP_TRIALS,
        n_ei_candidates=128,
        multivariate=True,
        group=True,
    )


def _with_score_alone(trial: optuna.trial.FrozenTrial) -> optuna.trial.FrozenTrial:
    """A copy for a study whose only objective is the score; how long a training that was ended
    early lasted and what it reached are intermediate values."""
    scores = trial.user_attrs.get(_DEV_SCORES, ())
    is_complete = trial.state == TrialState.COMPLETE
    return optuna.create_trial(
        state=trial.state,
        value=trial.values[0] if is_complete else None,
        params=trial.params,
        distributions=trial.distributions,
        intermediate_values={} if is_complete else dict(enumerate(scores, start=1)),
        constraints=trial.constraints,
    )


def _enqueue_lost_trials(study: optuna.Study) -> None:
    """What a process of this machine began and did not finish is proposed again, and once what
    could not be measured."""
    trials = study.get_trials(deepcopy=False)
    proposed = {trial.user_attrs.get(_INSTEAD_OF) for trial in trials}
    for trial in filter(_is_disturbed, trials):
        if trial.number not in proposed:
            study.enqueue_trial(trial.params, user_attrs={_INSTEAD_OF: trial.number})
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if _is_alive(trial.user_attrs.get(_WORKER, [])):
            continue
        study.tell(trial.number, state=TrialState.FAIL)
        if _CANDIDATE in trial.user_attrs:
            study.enqueue_trial(trial.params)


def _is_disturbed(trial: optuna.trial.FrozenTrial) -> bool:
    return bool(trial.user_attrs.get(_OUTCOME) == "disturbed")


def _this_worker() -> list[Any]:
    return [platform.node(), os.getpid()]


def _is_alive(worker: Sequence[Any]) -> bool:
    """Whether the process still runs; one of another machine is taken to."""
    if len(worker) < 2 or worker == _this_worker():
        return False
    node, process_id = worker
    if node != platform.node():
        return True
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _search_trial(trial: optuna.trial.FrozenTrial) -> SearchTrial:
    attributes = trial.user_attrs
    candidate = from_builtins(attributes[_CANDIDATE], Candidate)
    return SearchTrial(
        number=trial.number,
        outcome=attributes[_OUTCOME],
        model=candidate.name,
        arch=candidate.arch,
        recipe=candidate.recipe,
        lowering=candidate.lowering,
        is_distilled=candidate.is_distilled,
        settings=candidate.train,
        costs=attributes.get(_COSTS, {}),
        dev_scores=tuple(attributes.get(_DEV_SCORES, ())),
        dev_score=attributes.get(_DEV_SCORE),
        seconds=attributes.get(_SECONDS, 0.0),
        reason=attributes.get(_REASON, ""),
    )


def _signed_value(index: int, sign: float) -> Callable[[optuna.trial.FrozenTrial], float]:
    return lambda trial: sign * trial.values[index]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's warnings that a feature is experimental."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield
