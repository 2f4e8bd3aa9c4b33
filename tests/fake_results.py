"""Made-up result records with the shape of real ones: seeded, for the tests of the report.

Times follow an AR(1) process in log space with now and then a slow query; answers agree with the
gold label as often as asked for; the ledger and the limited runs follow a simple model of a
process over a bare runtime.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from edgeseq.formats.bundle_manifest import Lowering, RecipeName
from edgeseq.formats.memory_limits import LimitedRun, WorkingMemorySearch
from edgeseq.formats.result import (
    BundleIdentity,
    ColdStart,
    DeviceInfo,
    Finding,
    LengthPoint,
    MachineState,
    MemoryPhase,
    PhaseName,
    Queries,
    ResultRecord,
    Run,
    Runner,
    RuntimeInfo,
    Settings,
)
from edgeseq.formats.storage import write_json
from edgeseq.formats.trained_model import Arch
from edgeseq.reporting.budgets import Budget
from edgeseq.reporting.deployment_report import make_report
from edgeseq.reporting.summary import ReportSummary
from edgeseq.tasks.examples import AnyExample
from edgeseq.tasks.predictions import Predictions

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
MB = 1_000_000
BARE_RUNTIME_BYTES = 48 * MB
LABELS = ("negative", "neutral", "positive")
SOURCES = ("customer reviews", "film", "tweets", "editorials")
LIMITS_MB = (96, 80, 64, 52, 44, 36, 32, 28, 22, 20, 18)
N_EXAMPLES = 2_408


@dataclass(frozen=True)
class FakeModel:
    """What one made-up model costs and how often it is right.

    `inference_ms` is the median at 24 tokens, `memory_mb` the steady memory beyond the bare
    runtime, `load_peak_mb` what loading takes on top of that for a moment.
    """

    name: str
    arch: Arch
    recipe: RecipeName
    accuracy: float
    inference_ms: float
    memory_mb: float
    size_mb: float
    parameters: int
    load_peak_mb: float = 1.0
    family: str = ""
    flip: float = 0.0
    findings: tuple[Finding, ...] = ()
    lowering: Lowering = "encoder"


MINILM = 22_700_000
BILSTM = 4_200_000
MODELS = (
    FakeModel("minilm-l6-float32", "bert", "float32", 0.797, 9.0, 95, 91.0, MINILM, 9, "minilm"),
    FakeModel(
        "minilm-l6-float16", "bert", "float16", 0.797, 9.0, 140, 45.6, MINILM, 42, "minilm", 0.001
    ),
    FakeModel(
        "minilm-l6-dynamic_wi8_afp32",
        "bert",
        "dynamic_wi8_afp32",
        0.797,
        5.0,
        36,
        23.4,
        MINILM,
        6,
        "minilm",
        0.010,
    ),
    FakeModel(
        "bilstm-128-float32",
        "lstm",
        "float32",
        0.728,
        0.3,
        10,
        16.9,
        BILSTM,
        1,
        "bilstm",
        lowering="loop",
    ),
    FakeModel(
        "bilstm-128-float16",
        "lstm",
        "float16",
        0.728,
        0.3,
        8,
        8.5,
        BILSTM,
        2,
        "bilstm",
        0.001,
        lowering="loop",
    ),
    FakeModel(
        "bilstm-128-dynamic_wi8_afp32",
        "lstm",
        "dynamic_wi8_afp32",
        0.728,
        0.2,
        6,
        4.9,
        BILSTM,
        1,
        "bilstm",
        0.006,
        lowering="loop",
    ),
)
DEVICE = DeviceInfo(
    name="kitchen-pi",
    machine="aarch64",
    cpu_model="Cortex-A76",
    cpu_features=("asimd", "asimddp", "fphp"),
    cores=4,
    memory_bytes=8_000 * MB,
    kernel="6.6.31-rpi",
    os="Debian 12",
)


@dataclass(frozen=True)
class Fake:
    """Everything that can be left out of, or changed in, a made-up result."""

    models: tuple[FakeModel, ...] = MODELS
    device: DeviceInfo = DEVICE
    n_queries: int = 1_100
    n_examples: int = N_EXAMPLES
    threads: int = 1
    seed: int = 7
    limited: bool = True
    lengths: bool = True
    accuracy: bool = True
    cold_starts: int = 5
    peaks: bool = True
    labels: tuple[str, ...] = LABELS
    sources: tuple[str, ...] = SOURCES
    data_sha256: str = "d" * 64
    findings: tuple[Finding, ...] = field(default_factory=tuple)
    quick: bool = False
    runner: Runner = "python"


def scale_times(queries: Queries, factor: float) -> Queries:
    """The queries with each time `factor` times as long, a total still at least its parts."""
    parts = {
        name: tuple(int(ns * factor) for ns in getattr(queries, name))
        for name in ("tokenize_ns", "inference_ns", "decode_ns")
    }
    total = tuple(math.ceil(ns * factor) for ns in queries.total_ns)
    return msgspec.structs.replace(queries, total_ns=total, **parts)


def make_result(fake: Fake = Fake()) -> ResultRecord:
    """A made-up result of all `fake.models` on one device."""
    rng = np.random.default_rng(fake.seed)
    gold = rng.choice(len(fake.labels), size=fake.n_examples, p=_priors(len(fake.labels)))
    difficulty = rng.random(fake.n_examples)
    tokens = np.clip(rng.lognormal(3.0, 0.5, fake.n_examples), 4, 128).astype(int)
    texts = _Texts(gold, difficulty, tokens, {})
    runs = tuple(_run(fake, model, rng, texts) for model in fake.models)
    settings = Settings(
        threads=fake.threads,
        quick=fake.quick,
        min_queries=1024,
        min_duration_s=60.0,
        rounds=8,
        cold_starts=fake.cold_starts,
        memory_limits_bytes=tuple(limit * MB for limit in LIMITS_MB) if fake.limited else (),
    )
    return ResultRecord(
        created_utc="2026-05-04T10:20:30Z",
        edgeseq_version="0.1.0",
        command=("edgeseq", "bench", *(m.name for m in fake.models), "--out", "result.json"),
        device=fake.device,
        runtime=RuntimeInfo(package="ai-edge-litert", version="2.3.0", python="3.11.2"),
        requested=settings,
        effective=settings,
        machine=(
            MachineState("before", 0.02, 0.0, 0, "performance", 46.2),
            MachineState("after", 0.03, 0.0, 0, "performance", 58.9),
        ),
        runs=runs,
        findings=fake.findings,
        git_state="1f0c2a9 clean",
    )


def with_native_runner(result: ResultRecord) -> ResultRecord:
    """The result with each model in a native process, too: 40 MB less, and no Python to start."""

    def native(run: Run) -> Run:
        search = run.working_memory
        return msgspec.structs.replace(
            run,
            runner="native",
            memory=tuple(map(_smaller_phase, run.memory)),
            after_weight_release=run.after_weight_release
            and _smaller_phase(run.after_weight_release),
            cold_starts=tuple(
                ColdStart(
                    3_000_000, s.load_ns, s.first_answer_ns, s.total_ns - s.import_ns + 3_000_000
                )
                for s in run.cold_starts
            ),
            limited=tuple(map(_smaller_limit, run.limited)),
            working_memory=search
            and WorkingMemorySearch(search.references, tuple(map(_smaller_limit, search.runs))),
        )

    runs = [measured for run in result.runs for measured in (native(run), run)]
    return msgspec.structs.replace(result, runs=tuple(runs))


def _smaller_phase(phase: MemoryPhase) -> MemoryPhase:
    return msgspec.structs.replace(
        phase,
        rss_bytes=phase.rss_bytes - 40 * MB,
        pss_bytes=phase.pss_bytes and phase.pss_bytes - 40 * MB,
        anonymous_bytes=phase.anonymous_bytes - 18 * MB,
        file_bytes=phase.file_bytes - 22 * MB,
        peak_bytes=phase.peak_bytes and phase.peak_bytes - 40 * MB,
    )


def _smaller_limit(run: LimitedRun) -> LimitedRun:
    return msgspec.structs.replace(run, limit_bytes=run.limit_bytes - 14 * MB)


def verdict_run(run: Run, limit_mb: int, budget: str) -> LimitedRun:
    """The model once more under the limit of its verdict, as fast as without one."""
    search = run.working_memory
    assert search is not None
    return msgspec.structs.replace(
        search.references[0], limit_bytes=limit_mb * MB, purpose="verdict", budget=budget
    )


def write_result(path: Path, fake: Fake = Fake()) -> Path:
    """Writes `make_result(fake)` to `path` and gives `path` back."""
    write_json(path, make_result(fake))
    return path


def _priors(n: int) -> Floats:
    weights = np.linspace(1.0, 1.6, n)
    return np.asarray(weights / weights.sum())


class _Texts(NamedTuple):
    """What all models of a result share: the examples, and what each family answers."""

    gold: Ints
    difficulty: Floats
    tokens: Ints
    families: dict[str, Ints]


def _run(fake: Fake, model: FakeModel, rng: np.random.Generator, texts: _Texts) -> Run:
    empty = Queries((), (), (), (), (), (), ())
    return Run(
        bundle=BundleIdentity(
            name=model.name,
            task="sentiment",
            arch=model.arch,
            recipe=model.recipe,
            lowering=model.lowering,
            parameters=model.parameters,
            labels=fake.labels,
            size_bytes=int(model.size_mb * MB) + 700_000,
            model_size_bytes=int(model.size_mb * MB),
            model_sha256=(model.name.encode().hex() * 8)[:64],
            data_name="feedback",
            data_sha256=fake.data_sha256,
            max_tokens=128,
            provenance={"source": "trained here", "tensorflow": "2.21.0"},
        ),
        runner=fake.runner,
        warmup=empty,
        queries=_queries(model, rng, texts.tokens, fake.n_queries) if fake.n_queries else empty,
        lengths=_lengths(model, rng) if fake.lengths else (),
        memory=_ledger(model, peaks=fake.peaks),
        after_weight_release=_after_weight_release(model, peaks=fake.peaks),
        cold_starts=tuple(_cold_start(model, rng) for _ in range(fake.cold_starts)),
        predictions=(_predictions(fake, model, rng, texts) if fake.accuracy else None),
        limited=tuple(_limited(model, rng, mb) for mb in LIMITS_MB) if fake.limited else (),
        working_memory=_search(fake, model) if fake.limited else None,
        findings=model.findings,
    )


def _scale(model: FakeModel, tokens: Ints) -> Floats:
    """Cost relative to 24 tokens; the BERT's has a part that grows with the square."""
    x = tokens / 24.0
    return np.asarray(0.1 + 0.8 * x + 0.1 * x**2 if model.arch == "bert" else 0.15 + 0.85 * x)


def _queries(model: FakeModel, rng: np.random.Generator, tokens: Ints, n: int) -> Queries:
    example = np.arange(n) % len(tokens)
    noise = np.empty(n)
    state = 0.0
    for index, step in enumerate(rng.normal(0, 0.02, n)):
        state = 0.9 * state + step
        noise[index] = state
    slow = rng.random(n) < 0.01
    length = tokens[example]
    inference = model.inference_ms * 1e6 * _scale(model, length) * np.exp(noise)
    inference *= np.where(slow, rng.uniform(1.5, 3.0, n), 1.0)
    tokenize = 30_000 + 900 * length * np.exp(rng.normal(0, 0.1, n))
    decode = 2_000 * np.exp(rng.normal(0, 0.1, n))
    total = inference + tokenize + decode + 500
    return Queries(
        example=tuple(example.tolist()),
        round=tuple((np.arange(n) * 8 // max(n, 1)).tolist()),
        tokens=tuple(length.tolist()),
        tokenize_ns=tuple(tokenize.astype(int).tolist()),
        inference_ns=tuple(inference.astype(int).tolist()),
        decode_ns=tuple(decode.astype(int).tolist()),
        total_ns=tuple(total.astype(int).tolist()),
    )


def _lengths(model: FakeModel, rng: np.random.Generator) -> tuple[LengthPoint, ...]:
    points = []
    for tokens in (4, 8, 16, 32, 64, 96, 128):
        median = model.inference_ms * 1e6 * float(_scale(model, np.array(tokens)))
        samples = median * np.exp(np.abs(rng.normal(0, 0.06, 80)))
        points.append(LengthPoint(tokens, tuple(samples.astype(int).tolist())))
    return tuple(points)


def _ledger(model: FakeModel, *, peaks: bool) -> tuple[MemoryPhase, ...]:
    mapped = model.size_mb if model.recipe != "float16" else model.size_mb * 0.9
    own = max(model.memory_mb - mapped - 2.0, 2.0)
    mapped = model.memory_mb - own
    steps: tuple[tuple[PhaseName, float, float, float], ...] = (
        ("runtime_imported", 0.0, 0.0, 0.3),
        ("tokenizer_loaded", 1.0, 0.2, 0.5),
        ("model_loaded", 1.0 + own * 0.3, mapped * 0.2, 0.2),
        ("tensors_allocated", 1.0 + own * 0.8, mapped * 0.8, model.load_peak_mb),
        ("first_answer", own - 0.2, mapped * 0.95, 0.6),
        ("steady", own, mapped, 0.1),
    )
    phases = []
    for name, anonymous_mb, file_mb, extra_mb in steps:
        anonymous = 21 * MB + int(anonymous_mb * MB)
        file = BARE_RUNTIME_BYTES - 21 * MB + int(file_mb * MB)
        rss = anonymous + file
        phases.append(
            MemoryPhase(
                phase=name,
                rss_bytes=rss,
                pss_bytes=int(rss * 0.93),
                anonymous_bytes=anonymous,
                file_bytes=file,
                peak_bytes=rss + int(extra_mb * MB) if peaks else None,
                minor_faults=9_000,
                major_faults=0,
            )
        )
    return tuple(phases)


def _after_weight_release(model: FakeModel, *, peaks: bool) -> MemoryPhase:
    """As if three quarters of the mapped file had gone."""
    steady = _ledger(model, peaks=peaks)[-1]
    gone = int((steady.file_bytes - BARE_RUNTIME_BYTES + 21 * MB) * 0.75)
    return msgspec.structs.replace(
        steady,
        rss_bytes=steady.rss_bytes - gone,
        pss_bytes=None if steady.pss_bytes is None else steady.pss_bytes - gone,
        file_bytes=steady.file_bytes - gone,
        peak_bytes=None if steady.peak_bytes is None else steady.peak_bytes - gone,
    )


def _cold_start(model: FakeModel, rng: np.random.Generator) -> ColdStart:
    imported = int(155e6 * np.exp(rng.normal(0, 0.04)))
    load = int((2e6 + model.size_mb * 0.9e6) * np.exp(rng.normal(0, 0.06)))
    first = int(model.inference_ms * 2.2e6 * np.exp(rng.normal(0, 0.08)))
    return ColdStart(imported, load, first, imported + load + first)


def _predictions(
    fake: Fake, model: FakeModel, rng: np.random.Generator, texts: _Texts
) -> Predictions:
    gold, difficulty, _, families = texts
    n, k = len(gold), len(fake.labels)
    sources = np.array([fake.sources[i % len(fake.sources)] for i in range(n)])
    if model.family not in families or not model.family:
        # A text that is hard for one model is mostly hard for the other.
        own = 0.75 * difficulty + 0.25 * rng.random(n)
        wrong = own > np.quantile(own, model.accuracy)
        shift = rng.integers(1, max(k, 2), n)
        families[model.family] = np.where(wrong, (gold + shift) % k, gold)
    predicted = families[model.family].copy()
    flipped = rng.random(n) < model.flip
    predicted[flipped] = rng.integers(0, k, int(flipped.sum()))
    return Predictions(
        gold=tuple(gold.tolist()),
        predicted=tuple(predicted.tolist()),
        sources=tuple(sources.tolist()),
        truncated=3,
        unknown_only=0,
        examples_sha256="e" * 64,
    )


def _limited(model: FakeModel, rng: np.random.Generator, limit_mb: int) -> LimitedRun:
    """The cliff of a model: fine down to its knee, slow below it, no answer at the bottom."""
    knee_mb = 18 + model.memory_mb * 0.5
    floor_mb = 17 + model.memory_mb * 0.3
    status = "answered" if limit_mb > floor_mb else "timed_out"
    if limit_mb < floor_mb * 0.7:
        status = "killed"
    n = 200 if limit_mb > knee_mb else 60
    slow = 1.0 if limit_mb > knee_mb else 1.0 + 60 * (1 - limit_mb / knee_mb)
    samples = model.inference_ms * 1e6 * slow * np.exp(np.abs(rng.normal(0, 0.25, n)))
    return LimitedRun(
        limit_bytes=limit_mb * MB,
        status=status,  # type: ignore[arg-type]
        phase="steady" if status == "answered" else "tensors_allocated",
        total_ns=tuple(samples.astype(int).tolist()) if status == "answered" else (),
        major_faults=0 if limit_mb > knee_mb else 5_000,
        query_major_faults=0 if limit_mb > knee_mb else 4_000,
        purpose="curve",
        peak_bytes=min(limit_mb * MB, int((48 + model.memory_mb) * MB)),
        mechanism="cgroup-v2",
        files="fresh copy of the bundle, runtime's pages shared",
        message="" if status == "answered" else "out of memory",
    )


def _search(fake: Fake, model: FakeModel) -> WorkingMemorySearch:
    """The search for working memory along the same cliff; its draws are apart from the others."""
    rng = np.random.default_rng([fake.seed, *model.name.encode()])
    reference = _limited(model, rng, fake.device.memory_bytes // MB)
    runs = [_limited(model, rng, limit_mb) for limit_mb in LIMITS_MB]
    return WorkingMemorySearch(
        references=(msgspec.structs.replace(reference, purpose="reference"),),
        runs=tuple(msgspec.structs.replace(run, purpose="working_memory") for run in runs),
    )


def save_report(
    results: Sequence[Path],
    folder: Path,
    *,
    budget: Budget | None = None,
    examples: Sequence[AnyExample] | None = None,
) -> ReportSummary:
    """Writes the report of result files and returns its summary."""
    report = make_report(results, budget=budget, examples=examples)
    report.save(folder)
    return report.summary
