"""The result record: the raw observations of one `edgeseq bench` on one device.

Only observations are stored; every statistic (`edgeseq.reporting.rows`) is derived from them, so
that the two cannot disagree. A table is stored as columns of equal length.

Version history of the schema: 1; 2, `after_weight_release`, `top1_correct`, `top3_correct`;
3, `runner`, `working_memory`, and why a limited run was made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from edgeseq.errors import ResultError
from edgeseq.formats.bundle_manifest import Lowering, RecipeName
from edgeseq.formats.memory_limits import LimitedRun, WorkingMemorySearch, check_limited
from edgeseq.formats.result_checks import check_counts, check_head, check_values
from edgeseq.formats.storage import read_json
from edgeseq.formats.trained_model import Arch
from edgeseq.tasks.predictions import Predictions

SCHEMA_VERSION = 3

Runner = Literal["native", "python", "benchmark_model", "browser", "mediapipe"]
"""The program that ran the model: the C runner, a Python process, TFLite's own tool, a page, or
MediaPipe Tasks."""
RUNNER_TITLES: dict[Runner, str] = {
    "native": "native process", "python": "Python process", "benchmark_model": "benchmark_model",
    "browser": "browser", "mediapipe": "MediaPipe",
}  # fmt: skip


class DeviceInfo(msgspec.Struct, frozen=True):
    """The machine that was measured. Latencies are not valid where it is `emulated`.

    `cpu_features` are the kernel's flag names that decide which kernels run (avx2, avx512_vnni,
    asimddp, …); `memory_bytes` is the machine's physical memory.
    """

    name: str
    machine: str
    cpu_model: str
    cpu_features: tuple[str, ...]
    cores: int
    memory_bytes: int
    kernel: str
    os: str
    emulated: bool = False


class RuntimeInfo(msgspec.Struct, frozen=True):
    """The TFLite runtime that ran the models, and the Python that ran it.

    On a phone both are the native tool `benchmark_model`: `version` is the head of its SHA-256,
    because it does not report its release, and `python` is `none`. In a browser `python` is `none`
    too.
    """

    package: Literal[
        "ai-edge-litert",
        "tflite-runtime",
        "tensorflow",
        "benchmark_model",
        "@litertjs/core",
        "mediapipe",
        "tflite-micro",
    ]
    version: str
    python: str
    delegate: str = "xnnpack"


class Settings(msgspec.Struct, frozen=True):
    """The requested settings of a run (`effective`: the ones used).

    Each model makes at least `min_queries` queries, runs every test example at least once and
    is busy for at least `min_duration_s`, but stops repeating after `max_queries`.
    `limited_duration_s` bounds the run under each of `memory_limits_bytes`, and
    `curve_budget_s` the whole memory curve of a model; the curve is measured for every bundle with
    `memory_curve`, or for those named in `memory_curve_bundles`. `cpus` is processor time per
    second under each limit; `board` names the board whose memory and cores are a limit here.
    `examples` is the number of test examples, the same ones on every machine (None: all).
    Memory is steady after the 8 longest texts and `steady_texts` others. Each bundle is measured
    in each of `runners`, and its minimum working memory is searched for with `working_memory`,
    for up to `search_budget_s`.
    """

    threads: int
    quick: bool
    min_queries: int
    min_duration_s: float
    rounds: int
    cold_starts: int
    memory_limits_bytes: tuple[int, ...] = ()
    cpus: float | None = None
    max_queries: int = 50_000
    memory_curve: bool = False
    memory_curve_bundles: tuple[str, ...] = ()
    limited_duration_s: float = 20.0
    limited_queries: int = 200
    curve_budget_s: float = 120.0
    length_tokens: tuple[int, ...] = (8, 16, 32, 64, 128, 256)
    length_samples: int = 30
    seed: int = 0
    board: str | None = None
    profile: bool = False
    energy: bool = False
    energy_duration_s: float = 60.0
    examples: int | None = None
    steady_texts: int = 64
    runners: tuple[Runner, ...] = ("python",)
    working_memory: bool = False
    search_budget_s: float = 60.0


class MachineState(msgspec.Struct, frozen=True):
    """The machine before, during or after a run; None where the machine does not report it.

    `load_other_cores` is CPU time of other processes over wall time, in cores; `steal_cores` is
    the same for time that a hypervisor took away; `throttled` has the reasons that a board reports.
    """

    when: Literal["before", "during", "after"]
    load_other_cores: float | None = None
    steal_cores: float | None = None
    swap_used_bytes: int | None = None
    governor: str | None = None
    temperature_c: float | None = None
    throttled: tuple[str, ...] = ()


class Queries(msgspec.Struct, frozen=True):
    """Columns of equal length, one entry per query, in order.

    `example` is the index into the bundle's test examples, `tokens` the length that was run,
    `round` the interleaving round. `total_ns` is tokenize + inference + decode as timed around
    all three (clock: `time.perf_counter_ns`); `inference_ns` holds resizing, copying the input,
    invoking and copying the output.
    """

    example: tuple[int, ...]
    round: tuple[int, ...]
    tokens: tuple[int, ...]
    tokenize_ns: tuple[int, ...]
    inference_ns: tuple[int, ...]
    decode_ns: tuple[int, ...]
    total_ns: tuple[int, ...]


NO_QUERIES = Queries((), (), (), (), (), (), ())


class Slice(msgspec.Struct, frozen=True):
    """Processor time and memory of the measured process in one round of its queries.

    `cpu_ns` is its processor time within `wall_ns`; `waiting_ns` the time in which it was ready
    to run but other processes had the processor (None where the kernel does not report it).
    """

    round: int
    wall_ns: int
    cpu_ns: int
    waiting_ns: int | None
    minor_faults: int
    major_faults: int
    rss_bytes: int


class LengthPoint(msgspec.Struct, frozen=True):
    """Inference alone at one length in tokens (real sentences joined and cut to it)."""

    tokens: int
    inference_ns: tuple[int, ...]


PhaseName = Literal[
    "runtime_imported",
    "tokenizer_loaded",
    "model_loaded",
    "tensors_allocated",
    "first_answer",
    "steady",
]


class MemoryPhase(msgspec.Struct, frozen=True):
    """Memory of the measured process at the end of a phase, in bytes.

    `peak_bytes` is the highest resident set since the phase began (`VmHWM` after a reset through
    `/proc/self/clear_refs`), None where the kernel does not allow the reset.
    """

    phase: PhaseName
    rss_bytes: int
    pss_bytes: int | None
    anonymous_bytes: int
    file_bytes: int
    peak_bytes: int | None
    minor_faults: int
    major_faults: int


class ColdStart(msgspec.Struct, frozen=True):
    """One fresh process: from its start to its first prediction, its files in the page cache.

    `import_ns` runs from the start of the process until the runtime is imported, `load_ns` until
    the tensors are allocated, `first_answer_ns` until the first prediction.
    """

    import_ns: int
    load_ns: int
    first_answer_ns: int
    total_ns: int


class OperatorTime(msgspec.Struct, frozen=True):
    """The time in one kind of operator over all runs of a profile.

    `by` says whose kernel ran: the runtime's own, which names the operator as the file does, or
    XNNPACK's, which has its own names (several may correspond to one of the file).
    """

    name: str
    by: Literal["runtime", "xnnpack"]
    calls: int
    total_us: int


class OperatorShare(msgspec.Struct, frozen=True):
    """Operators of one kind in one subgraph of the file, and how many of them XNNPACK runs."""

    subgraph: str
    name: str
    nodes: int
    delegated: int


class OperatorProfile(msgspec.Struct, frozen=True):
    """Where the time of one input of `tokens` tokens goes, over `runs` runs under the profiler.

    `invoke_us` is the time within the graph under the profiler, whole microseconds per event (an
    operator that takes less counts as 0); `plain_ns` are runs without the profiler: a large
    difference is the profiler's own time.
    """

    tokens: int
    runs: int
    plain_ns: tuple[int, ...]
    invoke_us: int
    operators: tuple[OperatorTime, ...]
    shares: tuple[OperatorShare, ...]


class EnergyWindow(msgspec.Struct, frozen=True):
    """Energy of the whole machine (or of what `reader` sees of it) over a stretch of time.

    `joules` is the difference of a counter, or the integral of the power in `samples_w`
    (trapezoids over equally spaced samples, watts); `queries` ran in it (0: idle).
    """

    reader: str
    duration_s: float
    joules: float
    queries: int
    samples_w: tuple[float, ...] = ()


class Finding(msgspec.Struct, frozen=True):
    """A remark about the numbers. `invalid` excludes the run from verdicts."""

    code: str
    severity: Literal["invalid", "warning", "note"]
    message: str


class BundleIdentity(msgspec.Struct, frozen=True):
    """Which bundle was measured."""

    name: str
    task: str
    arch: Arch
    recipe: RecipeName
    lowering: Lowering
    parameters: int
    labels: tuple[str, ...]
    size_bytes: int
    model_size_bytes: int
    model_sha256: str
    data_name: str
    data_sha256: str
    max_tokens: int
    provenance: dict[str, str] = {}


class Run(msgspec.Struct, frozen=True):
    """Everything measured of one bundle in one runner.

    `predictions` is None when the process was lost before every example was run;
    `threads_started` counts the threads that the runtime added to the process's own; `profile`
    and `energy` are None where they were not requested or are unavailable. `scope` is what the
    times cover: a whole query, or inference alone (on a phone, which does not tokenize). Then
    `tokenize_ns`, `decode_ns` and `import_ns` are 0 and memory includes no tokenizer.
    `after_weight_release` is the memory of a process that has released the model file's mapped
    pages (madvise(2)) and run the texts of the steady phase again: XNNPACK computes with its
    own copy of the weights. None where no file is mapped, on a phone, and for the native runner,
    which releases them as soon as it has loaded the model.
    `working_memory` is None where it was not searched for.
    """

    bundle: BundleIdentity
    runner: Runner
    warmup: Queries
    queries: Queries
    lengths: tuple[LengthPoint, ...]
    memory: tuple[MemoryPhase, ...]
    cold_starts: tuple[ColdStart, ...]
    predictions: Predictions | None
    limited: tuple[LimitedRun, ...]
    findings: tuple[Finding, ...]
    slices: tuple[Slice, ...] = ()
    threads_started: int | None = None
    profile: OperatorProfile | None = None
    energy: EnergyWindow | None = None
    scope: Literal["query", "inference"] = "query"
    after_weight_release: MemoryPhase | None = None
    working_memory: WorkingMemorySearch | None = None

    @property
    def under_limits(self) -> tuple[LimitedRun, ...]:
        """The runs of the memory cliff: limits asked for, the curve, and the search for working
        memory, without boards' and verdicts'."""
        searched = self.working_memory.runs if self.working_memory else ()
        asked_for = (run for run in self.limited if run.purpose in ("limit", "curve"))
        return (*asked_for, *searched)


class MicroFootprint(msgspec.Struct, frozen=True):
    """What a bundle takes of a microcontroller, as `edgeseq export --for micro` writes it.

    `arena_bytes` is the memory that the runtime's own interpreter allocated on a computer of 64
    bits; pointers of 32 bits need less. `flash_bytes` is the model with its vocabulary, without the
    program. Where a microcontroller cannot run the bundle, `refused` is the reason and both are
    None.
    """

    bundle: BundleIdentity
    arena_bytes: int | None = None
    flash_bytes: int | None = None
    refused: str | None = None


class ResultRecord(msgspec.Struct, frozen=True):
    """A result file: one device, one runtime, one or more bundles measured in one run.

    `findings` are about the machine and the run as a whole: they apply to every run in it.
    `energy_idle` is the machine's energy while nothing was measured. `footprints` are those of
    `edgeseq bench --on micro`, which times nothing and has no runs.
    """

    created_utc: str
    edgeseq_version: str
    command: tuple[str, ...]
    device: DeviceInfo
    runtime: RuntimeInfo
    requested: Settings
    effective: Settings
    machine: tuple[MachineState, ...]
    runs: tuple[Run, ...]
    findings: tuple[Finding, ...] = ()
    git_state: str | None = None
    energy_idle: EnergyWindow | None = None
    footprints: tuple[MicroFootprint, ...] = ()
    schema_version: int = SCHEMA_VERSION


def read_result(path: Path) -> ResultRecord:
    """Reads a result file; raises `ResultError` naming the place that does not fit."""
    result = read_json(path, ResultRecord, error=ResultError, schema_version=SCHEMA_VERSION)
    check_head(path, result)
    for run in result.runs:
        check_run(path, run)
    check_runners(path, [(run.bundle.name, run.runner) for run in result.runs])
    return result


def check_run(path: Path, run: Run) -> None:
    """Raises `ResultError` for a run of the file `path` that contradicts itself."""
    check_counts(path, run.bundle.name, run.predictions)
    check_values(path, run)
    check_limited(path, run.bundle.name, run.limited, run.working_memory)


def check_runners(path: Path, measured: Sequence[tuple[str, Runner]]) -> None:
    """A bundle is in a result once for each runner that it was measured in; else `ResultError`."""
    for (name, runner), count in Counter(measured).items():
        if count > 1:
            raise ResultError(
                f"{name} is in it twice, in the same runner",
                where=path,
                found=runner,
                fix="measure again",
            )
