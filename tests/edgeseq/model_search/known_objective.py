"""A search whose best candidate is known: a workbench that computes what others measure."""

from __future__ import annotations

import itertools
import math
from collections import Counter

from edgeseq.model_search.candidates import Candidate, Costs
from edgeseq.model_search.space import RECIPES, SearchSpace
from edgeseq.model_search.workbench import Measurement, OnEpoch, Trained
from edgeseq.reporting.budgets import Budget

EPOCHS = 8
BITS = {
    "dynamic_wi4_ei4_afp32": 4,
    "static_wi8_ai8": 8,
    "dynamic_wi8_afp32": 8,
    "float32": 32,
}
LOST = {
    "dynamic_wi4_ei4_afp32": 0.0015,
    "static_wi8_ai8": 0.003,
    "dynamic_wi8_afp32": 0.0005,
    "float32": 0.0,
}


def known_space() -> SearchSpace:
    """The real space of the two families that need no checkpoint."""
    return SearchSpace("sentiment", ("bag", "lstm"), "native", EPOCHS)


class KnownWorkbench:
    """Costs and scores by formulas: both grow with the model, the score ever more slowly, and the
    learning rate and dropout have one best value. It counts what it is asked."""

    num_workers = 1

    def __init__(self) -> None:
        self.is_stopped = False
        self.measured: Counter[str] = Counter()
        self.trained: Counter[str] = Counter()

    def wait_for_idle_machine(self) -> bool:
        return True

    def stop(self) -> None:
        self.is_stopped = True

    def measure(self, candidate: Candidate, *, again: bool = False) -> Measurement:
        self.measured[candidate.shape_name] += 1
        return Measurement(known_costs(candidate))

    def train(self, candidate: Candidate, on_epoch: OnEpoch) -> Trained:
        self.trained[candidate.bundle] += 1
        score = known_score(candidate)
        scores: list[float] = []
        for epoch in range(1, EPOCHS + 1):
            scores.append(score * (1 - 0.4 * 0.6**epoch))
            on_epoch(scores)
        return Trained(score, tuple(scores))


def known_costs(candidate: Candidate) -> Costs:
    """Tables and matrices in bytes, and a time by their products."""
    train = candidate.train
    embedding, hidden = train["embedding_size"], train["hidden_size"]
    table = 30_000 / (1 + train["min_piece_count"]) * embedding
    if candidate.arch == "bag":
        matrices, products = embedding * hidden, embedding * hidden
    else:
        directions = 2 if train["bidirectional"] else 1
        first = directions * 4 * hidden * (embedding + hidden)
        more = (train["layers"] - 1) * directions * 4 * hidden * (directions + 1) * hidden
        matrices = first + more
        products = 20 * matrices
    size = (table + matrices) * BITS[candidate.recipe] / 8 + 50_000
    slowness = 1.5 if candidate.recipe == "float32" else 1.0
    return Costs(
        required_memory_bytes=5e6 + 1.2 * size,
        p95_ms=0.02 + 1e-6 * products * slowness,
        size_bytes=size,
    )


def known_score(candidate: Candidate) -> float:
    """As steep as the published results of the suite `sentiment` (docs/evidence.md): 192 columns
    instead of 128 are worth 0.7 points, and int4 costs 0.1 to 0.2 of them."""
    train = candidate.train
    score = {"bag": 0.72, "lstm": 0.76}[candidate.arch]
    score -= 0.08 * math.exp(-train["embedding_size"] / 48)
    score -= 0.07 * math.exp(-train["hidden_size"] / 48)
    score -= 0.08 * math.log10(train["learning_rate"] / 4e-3) ** 2
    score -= 0.10 * (train["dropout"] - 0.25) ** 2
    score -= 0.002 * (train["min_piece_count"] - 1) + LOST[candidate.recipe]
    if candidate.arch == "lstm":
        score += 0.01 * train["bidirectional"] + 0.005 * (train["layers"] - 1)
    return score


def best_known_score(space: SearchSpace, budget: Budget) -> float:
    """The best score of any candidate of the space that fits the budget, by trying all."""
    sizes = range(16, 257, 8)
    best = -math.inf
    for arch in space.families:
        structures = [(1, True), (1, False), (2, True), (2, False)] if arch == "lstm" else [(1, 0)]
        for embedding, hidden, count, (layers, both), recipe in itertools.product(
            sizes, sizes, range(1, 9), structures, RECIPES
        ):
            train = {
                "embedding_size": embedding,
                "hidden_size": hidden,
                "min_piece_count": count,
                "learning_rate": 4e-3,
                "dropout": 0.25,
                "layers": layers,
                "bidirectional": both,
            }
            candidate = Candidate(arch, recipe, "loop", train)
            score = known_score(candidate)
            if score > best and known_costs(candidate).fits(budget):
                best = score
    return best
