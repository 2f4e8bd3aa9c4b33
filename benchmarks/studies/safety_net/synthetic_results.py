"""Seeded result records of every task: latencies that depend on each other, limits, predictions."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from edgeseq.formats.memory_limits import LimitedRun, LimitPurpose, WorkingMemorySearch
from edgeseq.formats.result import (
    BundleIdentity,
    ColdStart,
    DeviceInfo,
    EnergyWindow,
    Finding,
    LengthPoint,
    MemoryPhase,
    Queries,
    ResultRecord,
    Run,
    RuntimeInfo,
    Settings,
)
from edgeseq.tasks.predictions import Predictions

from .seeded import generator

MB = 1_000_000
LIMITS_MB = (128, 64, 48, 32)
LABELS: dict[str, tuple[str, ...]] = {
    "sentiment": ("negative", "neutral", "positive"),
    "coref": ("A", "B", "neither"),
    "pos": ("NOUN", "VERB", "ADJ", "DET"),
    "ner": ("O", "B-PER", "I-PER", "B-LOC", "I-LOC"),
    "lm": (),
}
SOURCES: dict[str, tuple[str, ...]] = {
    "sentiment": ("reviews", "film", "tweets"),
    "coref": ("feminine", "masculine"),
    "pos": ("web", "email"),
    "ner": ("filings",),
    "lm": ("articles",),
}


class ModelCosts(NamedTuple):
    """What a made-up model costs, and the share of its answers that are right."""

    name: str
    arch: Any
    recipe: Any
    lowering: Any
    accuracy: float
    latency_ms: float
    memory_mb: float
    size_mb: float
    invalid: bool = False


MODELS = (
    ModelCosts("bert-float32", "bert", "float32", "encoder", 0.84, 9.0, 90, 91.0),
    ModelCosts("bert-dynamic_wi8_afp32", "bert", "dynamic_wi8_afp32", "encoder", 0.835, 5, 36, 23),
    ModelCosts("lstm-float32", "lstm", "float32", "loop", 0.79, 0.4, 11, 16.9),
    ModelCosts("lstm-dynamic_wi8_afp32", "lstm", "dynamic_wi8_afp32", "loop", 0.788, 0.3, 6, 4.9),
    ModelCosts(
        "lstm-dynamic_wi8_afp32-fused", "lstm", "dynamic_wi8_afp32", "fused", 0.788, 0.25, 8, 5.1
    ),
    ModelCosts("bert-invalid", "bert", "float16", "encoder", 0.86, 8.0, 120, 45.0, invalid=True),
)


class Scenario(NamedTuple):
    """One result; the same `task` and number of examples have the same gold answers."""

    task: str
    seed: str = "first"
    slowdown: float = 1.0
    extra_errors: float = 0.0
    examples: int = 100
    queries: int = 300
    emulated: bool = False


def make_result(scenario: Scenario) -> ResultRecord:
    """A result of `MODELS`."""
    settings = Settings(
        threads=1,
        quick=False,
        min_queries=scenario.queries,
        min_duration_s=1.0,
        rounds=4,
        cold_starts=5,
    )
    return ResultRecord(
        created_utc="2026-05-04T10:20:30Z",
        edgeseq_version="0",
        command=("edgeseq", "bench"),
        device=DeviceInfo(
            name="board", machine="aarch64", cpu_model="Cortex-A76", cpu_features=("asimd",),
            cores=4, memory_bytes=4_000 * MB, kernel="6", os="Debian", emulated=scenario.emulated,
        ),
        runtime=RuntimeInfo(package="ai-edge-litert", version="2.3.0", python="3.11.2"),
        requested=settings,
        effective=settings,
        machine=(),
        runs=tuple(_run(scenario, model) for model in MODELS),
        energy_idle=EnergyWindow("meter", 10.0, 20.0, 0),
    )  # fmt: skip


def _run(scenario: Scenario, model: ModelCosts) -> Run:
    task, examples = scenario.task, scenario.examples
    draw = generator(f"{task} {scenario.seed} {model.name}")
    latency_ms = model.latency_ms * scenario.slowdown
    finding = Finding("background-load", "invalid", "other programs ran: close them")
    return Run(
        bundle=BundleIdentity(
            name=model.name,
            task=task,
            arch=model.arch,
            recipe=model.recipe,
            lowering=model.lowering,
            parameters=1000,
            labels=LABELS[task],
            size_bytes=int(model.size_mb * MB) + 700_000,
            model_size_bytes=int(model.size_mb * MB),
            model_sha256="0" * 64,
            data_name="seeded",
            data_sha256="1" * 64,
            max_tokens=128,
        ),
        runner="python",
        warmup=Queries((), (), (), (), (), (), ()),
        queries=_queries(draw, latency_ms, scenario.queries, examples),
        lengths=tuple(
            LengthPoint(tokens, latencies(draw, latency_ms * tokens / 24, 40))
            for tokens in (8, 16, 32, 64)
        ),
        memory=_memory(model),
        cold_starts=tuple(
            ColdStart(import_ns, load_ns, first_ns, import_ns + load_ns + first_ns)
            for import_ns, load_ns, first_ns in draw.integers(10**6, 10**8, (5, 3)).tolist()
        ),
        predictions=_predictions(scenario, model, draw),
        limited=tuple(_limited(draw, model, latency_ms, limit_mb) for limit_mb in LIMITS_MB),
        working_memory=_search(scenario, model, latency_ms),
        findings=(finding,) if model.invalid else (),
        after_weight_release=_phase("steady", 50 + model.memory_mb / 2, 0.1),
        energy=EnergyWindow("meter", 30.0, 60.0 + latency_ms, 500),
    )


def latencies(draw: np.random.Generator, median_ms: float, count: int) -> tuple[int, ...]:
    """Times in ns in the order of measuring: each depends on the one before; some are slow."""
    level, samples = 0.0, []
    for step, is_slow in zip(draw.normal(0, 0.03, count), draw.random(count) < 0.02, strict=True):
        level = 0.8 * level + float(step)
        samples.append(int(median_ms * 1e6 * (1 + level) * (2 if is_slow else 1)))
    return tuple(samples)


def _queries(draw: np.random.Generator, latency_ms: float, queries: int, examples: int) -> Queries:
    inference = latencies(draw, latency_ms, queries)
    tokenize = tuple(draw.integers(20_000, 40_000, queries).tolist())
    decode = tuple(draw.integers(1_000, 3_000, queries).tolist())
    return Queries(
        example=tuple(n % examples for n in range(queries)),
        round=tuple(n * 4 // queries for n in range(queries)),
        tokens=tuple(draw.integers(4, 64, queries).tolist()),
        tokenize_ns=tokenize,
        inference_ns=inference,
        decode_ns=decode,
        total_ns=tuple(map(sum, zip(inference, tokenize, decode, strict=True))),
    )


def _phase(name: Any, total_mb: float, extra_mb: float) -> MemoryPhase:
    total = int(total_mb * MB)
    return MemoryPhase(
        phase=name,
        rss_bytes=total,
        pss_bytes=total - MB,
        anonymous_bytes=total // 2,
        file_bytes=total - total // 2,
        peak_bytes=total + int(extra_mb * MB),
        minor_faults=900,
        major_faults=0,
    )


def _memory(model: ModelCosts) -> tuple[MemoryPhase, ...]:
    own_bytes = model.memory_mb
    return (
        _phase("runtime_imported", 48, 0.3),
        _phase("tokenizer_loaded", 49, 0.5),
        _phase("model_loaded", 49 + own_bytes * 0.3, 0.2),
        _phase("tensors_allocated", 49 + own_bytes * 0.8, own_bytes * 0.1),
        _phase("first_answer", 48 + own_bytes, 0.6),
        _phase("steady", 48 + own_bytes, 0.1),
    )


def _limited(
    draw: np.random.Generator,
    model: ModelCosts,
    latency_ms: float,
    limit_mb: int,
    *,
    queries: int = 60,
    purpose: LimitPurpose = "curve",
) -> LimitedRun:
    fits = limit_mb > 30 + model.memory_mb * 0.3
    slow = 1 if limit_mb > 40 + model.memory_mb * 0.5 else 20
    return LimitedRun(
        limit_bytes=limit_mb * MB,
        status="answered" if fits else "killed",
        phase="steady" if fits else "tensors_allocated",
        total_ns=latencies(draw, latency_ms * slow, queries) if fits else (),
        major_faults=0,
        peak_bytes=limit_mb * MB,
        mechanism="cgroup-v2",
        files="fresh copy",
        purpose=purpose,
        query_major_faults=0 if slow == 1 else 50,
    )


def _search(scenario: Scenario, model: ModelCosts, latency_ms: float) -> WorkingMemorySearch:
    draw = generator(f"working memory {scenario.task} {scenario.seed} {model.name}")

    def run_under(limit_mb: int, purpose: LimitPurpose) -> LimitedRun:
        return _limited(draw, model, latency_ms, limit_mb, queries=130, purpose=purpose)

    return WorkingMemorySearch(
        references=(run_under(4_000, "reference"),),
        runs=tuple(run_under(limit_mb, "working_memory") for limit_mb in LIMITS_MB),
    )


def _predictions(scenario: Scenario, model: ModelCosts, draw: np.random.Generator) -> Predictions:
    task, examples = scenario.task, scenario.examples
    shared = generator(f"{task} gold {examples}")
    counts = shared.integers(3, 15, examples)
    by_example = task in ("sentiment", "coref")
    total = examples if by_example else int(counts.sum())
    difficulty = shared.random(total)
    sources = SOURCES[task]
    common: dict[str, Any] = {
        "sources": tuple(sources[n % len(sources)] for n in range(examples)),
        "truncated": 2,
        "unknown_only": 1,
        "examples_sha256": "2" * 64,
        "counts": () if by_example else tuple(counts.tolist()),
    }
    if task == "lm":
        spread = draw.integers(0, 100, examples) / 100
        mean = 4.6 - model.accuracy + scenario.extra_errors
        first = [int(n * share / 3) for n, share in zip(counts, spread, strict=True)]
        return Predictions(
            gold=(),
            predicted=(),
            log_probabilities=tuple((-counts * (mean + spread / 4)).tolist()),
            top1_correct=tuple(first),
            top3_correct=tuple(2 * n for n in first),
            **common,
        )
    gold = shared.integers(0, len(LABELS[task]), total)
    # What is hard for one model is mostly hard for the others.
    is_wrong = (
        0.8 * difficulty + 0.2 * draw.random(total) > 0.9 * model.accuracy - scenario.extra_errors
    )
    predicted = np.where(is_wrong, draw.integers(0, len(LABELS[task]), total), gold)
    return Predictions(gold=tuple(gold.tolist()), predicted=tuple(predicted.tolist()), **common)
