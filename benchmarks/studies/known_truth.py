"""Simulates results whose truth is known, and counts how often the verdict on them is the truth.

    python benchmarks/studies/known_truth.py                  2,000 draws of each kind, minutes
    python benchmarks/studies/known_truth.py --draws 200      a look
    python benchmarks/studies/known_truth.py --seed 1         other draws

A draw is a result of an LSTM and a BERT, of two or three recipes each, and a budget. Latencies are
exp of a first-order autoregression; answers share half of their luck between families, and recipes
of one family differ in single answers; the working memory is searched for by
`edgeseq_benchmarks.bench.limits.working_memory` over simulated processes. The limits on p95 and
memory lie anywhere, close to a model's own value as well.

- **apart**: a model's true score is that of its family, or at least 2.5 points below: what a test
  set of this size can tell from the margin of one point.
- **any**: the true scores lie anywhere. No test of this size finds each cheaper model that is just
  within the margin, so that what counts is the promise alone: the recommended model is at most
  the margin worse than the best one.

The truth of a draw is the rule of `edgeseq.reporting.verdict` over the true values.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Sequence
from statistics import NormalDist
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

import edgeseq
from edgeseq.formats.memory_limits import LimitedRun, LimitPurpose, WorkingMemorySearch
from edgeseq.formats.result import (
    BundleIdentity,
    DeviceInfo,
    Queries,
    ResultRecord,
    Run,
    RuntimeInfo,
    Settings,
)
from edgeseq.formats.trained_model import Arch
from edgeseq.reporting.budgets import Budget
from edgeseq.reporting.deployment_report import make_report
from edgeseq.tasks.predictions import Predictions
from edgeseq_benchmarks.bench.limits.working_memory import SearchBounds, search_working_memory
from studies.reliability import record

Floats = npt.NDArray[np.float64]
Kind = Literal["apart", "any"]
N_EXAMPLES, N_QUERIES, MIN_GAP_POINTS = 2_270, 1_024, 2.5
_Z95 = NormalDist().inv_cdf(0.95)


class TrueModel(NamedTuple):
    """What is true of a model; `loss` is the share of its family's right answers that it lost,
    `flips` that of answers in which it differs by chance, half of them for the better."""

    name: str
    arch: Arch
    family_accuracy: float
    loss: float
    flips: float
    median_ms: float
    sigma: float
    correlation: float
    working_memory_bytes: int
    size_bytes: int

    @property
    def accuracy(self) -> float:
        return self.family_accuracy - self.loss

    @property
    def p95_ms(self) -> float:
        return self.median_ms * math.exp(_Z95 * self.sigma)

    @property
    def cost(self) -> float:
        return math.log(self.p95_ms * self.working_memory_bytes * self.size_bytes)

    def fits(self, budget: Budget) -> bool:
        """Whether it truly keeps the limits."""
        within_time = budget.p95_ms is None or self.p95_ms <= budget.p95_ms
        memory = budget.memory_bytes
        return within_time and (memory is None or self.working_memory_bytes <= memory)


class Outcome(NamedTuple):
    """A verdict beside the truth; names of models, None where nothing fits."""

    winner: str | None
    truth: str | None
    is_infeasible: bool
    lost_points: float
    is_doubted: bool
    """Whether the verdict says that a limit may not be kept."""
    excess: float
    """By how much the winner's p95 or memory exceeds its limit, as a factor; 1 at most if not."""


def draw_models(rng: np.random.Generator, kind: Kind) -> list[TrueModel]:
    """An LSTM and a BERT, of two or three recipes each."""
    lstm_accuracy = rng.uniform(0.6, 0.85)
    gap = rng.uniform(MIN_GAP_POINTS if kind == "apart" else 0.0, 12.0) / 100
    bert_accuracy = lstm_accuracy + gap * (1 if rng.random() < 0.85 else -1)
    models = []
    for arch, accuracy, median_ms, memory, size in (
        ("lstm", lstm_accuracy, rng.uniform(0.2, 3), rng.uniform(8e6, 60e6), rng.uniform(2e6, 2e7)),
        ("bert", bert_accuracy, rng.uniform(2, 20), rng.uniform(2e7, 1.2e8), rng.uniform(1e7, 9e7)),
    ):
        sigma, correlation = rng.uniform(0.05, 0.4), rng.choice([0.0, 0.3, 0.6, 0.8])
        for number in range(rng.integers(2, 4)):
            is_worse = number > 0 and rng.random() < 0.3
            loss = rng.uniform(MIN_GAP_POINTS if kind == "apart" else 0.0, 8.0) / 100
            models.append(
                TrueModel(
                    name=f"{arch}-{number}",
                    arch="lstm" if arch == "lstm" else "bert",
                    family_accuracy=accuracy,
                    loss=loss if is_worse else 0.0,
                    flips=rng.uniform(0, 0.01) if number else 0.0,
                    median_ms=median_ms * rng.uniform(0.5, 1.0),
                    sigma=sigma,
                    correlation=correlation,
                    working_memory_bytes=round(memory * rng.uniform(0.4, 1.0)),
                    size_bytes=round(size * rng.uniform(0.25, 1.0)),
                )
            )
    return models


def draw_budget(rng: np.random.Generator, models: Sequence[TrueModel]) -> Budget:
    """Limits anywhere between a little below the cheapest and above the most expensive model."""

    def between(values: Sequence[float]) -> float:
        return math.exp(rng.uniform(math.log(min(values) * 0.9), math.log(max(values) * 1.1)))

    return Budget(
        memory_bytes=round(between([model.working_memory_bytes for model in models])),
        p95_ms=between([model.p95_ms for model in models]),
    )


def true_choice(
    models: Sequence[TrueModel], budget: Budget, *, kind: Kind = "apart"
) -> TrueModel | None:
    """The cheapest within the margin of the best of those that truly fit; of `any` the best."""
    fitting = [model for model in models if model.fits(budget)]
    if not fitting:
        return None
    best = max(model.accuracy for model in fitting)
    margin = budget.drop_points / 100 if kind == "apart" else 0.0
    return min((m for m in fitting if m.accuracy >= best - margin), key=lambda model: model.cost)


def simulate(
    rng: np.random.Generator, models: Sequence[TrueModel], *, n_examples: int = N_EXAMPLES
) -> ResultRecord:
    """A result as a benchmark of these models on one device would write it."""
    luck = rng.random(n_examples)
    gold = rng.integers(0, 3, n_examples)
    shift = rng.integers(1, 3, n_examples)
    right_by_arch: dict[str, npt.NDArray[np.bool_]] = {}
    runs = []
    for model in models:
        if model.arch not in right_by_arch:
            own = np.where(rng.random(n_examples) < 0.5, luck, rng.random(n_examples))
            right_by_arch[model.arch] = own < model.family_accuracy
        right = _of_recipe(rng, model, right_by_arch[model.arch])
        predicted = np.where(right, gold, (gold + shift) % 3)
        runs.append(_run(rng, model, gold, predicted))
    settings = Settings(
        threads=1, quick=False, min_queries=N_QUERIES, min_duration_s=0.0, rounds=1, cold_starts=0
    )
    return ResultRecord(
        created_utc="2026-01-01T00:00:00Z",
        edgeseq_version=edgeseq.__version__,
        command=("edgeseq", "bench"),
        device=DeviceInfo("simulated", "aarch64", "", (), 4, 8_000_000_000, "", ""),
        runtime=RuntimeInfo("ai-edge-litert", "2.1", "3.11"),
        requested=settings,
        effective=settings,
        machine=(),
        runs=tuple(runs),
    )


def _of_recipe(
    rng: np.random.Generator, model: TrueModel, right: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """The family's right answers after the recipe's loss and its flips, which cancel out."""
    chance = rng.random(len(right))
    share = model.family_accuracy
    lost = right & (chance < (model.loss + model.flips / 2) / share)
    won = ~right & (chance < model.flips / 2 / (1 - share))
    return np.asarray((right & ~lost) | won)


def _run(
    rng: np.random.Generator,
    model: TrueModel,
    gold: npt.NDArray[np.int64],
    predicted: npt.NDArray[np.int64],
) -> Run:
    empty = Queries((), (), (), (), (), (), ())
    times = _times_ns(rng, model, N_QUERIES)
    columns = (tuple(range(N_QUERIES)), (0,) * N_QUERIES, (8,) * N_QUERIES)
    return Run(
        bundle=BundleIdentity(
            name=model.name, task="text-classification", arch=model.arch, recipe="float32",
            lowering="encoder" if model.arch == "bert" else "loop", parameters=1,
            labels=("a", "b", "c"), size_bytes=model.size_bytes,
            model_size_bytes=model.size_bytes, model_sha256="0" * 64, data_name="simulated",
            data_sha256="0" * 64, max_tokens=64,
        ),
        runner="native",
        warmup=empty,
        queries=Queries(*columns, (0,) * N_QUERIES, times, (0,) * N_QUERIES, times),
        lengths=(),
        memory=(),
        cold_starts=(),
        predictions=Predictions(
            gold=tuple(gold.tolist()), predicted=tuple(predicted.tolist()),
            sources=("",) * len(gold), truncated=0, unknown_only=0, examples_sha256="0" * 64,
        ),
        limited=(),
        findings=(),
        working_memory=_search(rng, model),
    )  # fmt: skip


def _times_ns(
    rng: np.random.Generator, model: TrueModel, n: int, slower: float = 1.0
) -> tuple[int, ...]:
    """Times of n queries, neighbours correlated in log space."""
    steps = rng.standard_normal(n)
    scale, state = math.sqrt(1 - model.correlation**2), float(steps[0])
    series = [state]
    for step in steps[1:].tolist():
        state = model.correlation * state + scale * step
        series.append(state)
    times = slower * model.median_ms * 1e6 * np.exp(model.sigma * np.array(series))
    return tuple(times.astype(np.int64).tolist())


def _search(rng: np.random.Generator, model: TrueModel) -> WorkingMemorySearch:
    """The product's search over processes that keep their speed from the true limit up."""
    needed = model.working_memory_bytes

    def run_under(limit_bytes: int, purpose: LimitPurpose = "working_memory") -> LimitedRun:
        is_short = limit_bytes < needed
        is_killed = limit_bytes < 0.6 * needed
        times = () if is_killed else _times_ns(rng, model, 130, 3.0 if is_short else 1.0)
        return LimitedRun(
            limit_bytes=limit_bytes,
            status="killed" if is_killed else "answered",
            phase="steady",
            total_ns=times,
            major_faults=0,
            peak_bytes=None,
            mechanism="cgroup-v2",
            files="",
            purpose=purpose,
            query_major_faults=5_000 if is_short else 0,
        )

    bounds = SearchBounds(
        floor_bytes=round(needed * rng.uniform(0.2, 0.9)),
        peak_bytes=round(needed * rng.uniform(1.05, 2.0)),
        memory_bytes=8_000_000_000,
        budget_s=math.inf,
    )
    return search_working_memory(
        lambda: run_under(bounds.memory_bytes, "reference"),
        lambda limit_bytes, _: run_under(limit_bytes),
        bounds,
    )


def judge(rng: np.random.Generator, kind: Kind) -> Outcome:
    """One draw: its verdict and its truth."""
    models = draw_models(rng, kind)
    budget = draw_budget(rng, models)
    verdict = make_report([simulate(rng, models)], budget=budget).verdict
    truth = true_choice(models, budget, kind=kind)
    winner = next((model for model in models if model.name == verdict.winner), None)
    excess = lost = 0.0
    if winner is not None:
        memory, p95_ms = budget.memory_bytes or math.inf, budget.p95_ms or math.inf
        excess = max(winner.working_memory_bytes / memory, winner.p95_ms / p95_ms)
        lost = 100 * (truth.accuracy - winner.accuracy) if truth else 0.0
    return Outcome(
        winner=verdict.winner,
        truth=None if truth is None else truth.name,
        is_infeasible=winner is not None and not winner.fits(budget),
        lost_points=lost,
        is_doubted=bool(verdict.doubts),
        excess=excess,
    )


def lines(kind: Kind, outcomes: Sequence[Outcome]) -> list[str]:
    """The counts in words."""
    n = len(outcomes)
    right = sum(outcome.winner == outcome.truth for outcome in outcomes)
    infeasible = [outcome for outcome in outcomes if outcome.is_infeasible]
    kept = sum(
        outcome.winner is not None and not outcome.is_infeasible and outcome.lost_points <= 1
        for outcome in outcomes
    )
    ships = sum(outcome.winner is not None for outcome in outcomes)
    which = Counter(
        "none though one fits" if outcome.winner is None else "a model though none fits"
        if outcome.truth is None else "another model"
        for outcome in outcomes if outcome.winner != outcome.truth
    )  # fmt: skip
    texts = [f"{kind}: {n:,} draws, {ships:,} with a recommended model"]
    if kind == "apart":
        misses = ", ".join(f"{what}: {count}" for what, count in sorted(which.items()))
        texts.append(f"  the truth is recommended: {right:,} ({right / n:.1%}; {misses})")
    texts.append(f"  an infeasible model is named: {len(infeasible)}")
    if infeasible:
        most = max(outcome.excess for outcome in infeasible) - 1
        unsaid = sum(not outcome.is_doubted for outcome in infeasible)
        texts[-1] += f" (over a limit by up to {most:.1%}; called to be shipped: {unsaid})"
    doubted = sum(outcome.is_doubted for outcome in outcomes)
    texts.append(f"  the verdict says that the model may not fit: {doubted:,}")
    share = f" ({kept / ships:.1%})" if ships else ""
    texts.append(f"  feasible and at most 1 point below the best: {kept:,}{share}")
    return texts


def _record(kind: Kind, outcomes: Sequence[Outcome]) -> None:
    for what, count in (
        ("verdicts", len(outcomes)),
        ("verdicts with a recommended model", sum(o.winner is not None for o in outcomes)),
        ("verdicts that say “may not fit”", sum(o.is_doubted for o in outcomes)),
        (
            "verdicts that say “may not fit” of an infeasible model",
            sum(o.is_infeasible and o.is_doubted for o in outcomes),
        ),
        (
            "verdicts that say “ship” of an infeasible model",
            sum(o.is_infeasible and not o.is_doubted for o in outcomes),
        ),
    ):
        record(f"simulated results, scores {kind}: {what}", count)
    if kind == "apart":
        right = sum(outcome.winner == outcome.truth for outcome in outcomes)
        record("simulated results, scores apart: verdicts that are the truth", right)


def main(arguments: Sequence[str] | None = None) -> int:
    """Draws, judges and prints the counts."""
    parser = argparse.ArgumentParser(description="verdicts over simulated results")
    parser.add_argument("--draws", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=17)
    options = parser.parse_args(arguments)
    kinds: tuple[Kind, ...] = ("apart", "any")
    for number, kind in enumerate(kinds):
        rng = np.random.default_rng([options.seed, number])
        outcomes = [judge(rng, kind) for _ in range(options.draws)]
        _record(kind, outcomes)
        sys.stdout.write("\n".join(lines(kind, outcomes)) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
