"""The result of comparing BERT files, what is promised, and the table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from edgeseq.formats.result import DeviceInfo
from edgeseq.stats.scores import Interval
from edgeseq.units import format_bytes
from studies.peers.bert_files import LENGTHS
from studies.peers.contenders import BuildFailure, Precision
from studies.peers.inputs import REAL
from studies.peers.limit import MachineLimits
from studies.peers.result import PeerRow, median_ns, paired_ratio
from studies.peers.targets import judge

MARKERS = ("<!-- peers: bert -->\n", "<!-- /peers: bert -->\n")
_COLUMNS = (*map(str, LENGTHS), REAL)


class FileSizes(msgspec.Struct, frozen=True):
    """Of the network, to count its products."""

    layers: int
    width: int
    inner: int

    def products(self, tokens: float) -> float:
        """Multiply-adds of a text: four projections and two of the feed-forward a token, and
        attention's two products of every token with every other."""
        linear = tokens * (4 * self.width**2 + 2 * self.width * self.inner)
        return self.layers * (linear + 2 * tokens**2 * self.width)


class ThreadsResult(msgspec.Struct, frozen=True):
    """All contenders with so many threads. With more than one, times are those that passed."""

    threads: int
    rows: tuple[PeerRow, ...]
    failures: tuple[BuildFailure, ...]


class BertPeersResult(msgspec.Struct, frozen=True):
    """What one run of the command measured; see `peers.result.PeersResult` for the fields."""

    created_utc: str
    edgeseq_version: str
    device: DeviceInfo
    versions: dict[str, str]
    checkpoint: str
    sizes: FileSizes
    texts: str
    real_tokens: tuple[int, ...]
    rounds: int
    quick: bool
    machine: MachineLimits
    runs: tuple[ThreadsResult, ...]
    schema_version: int = 1


class BertSpeedTarget(msgspec.Struct, frozen=True):
    """`ratio` at least: the fastest of `against` over our fastest of `precision`."""

    title: str
    precision: Precision
    against: tuple[str, ...]
    ratio: float
    workloads: tuple[str, ...]
    threads: int = 1


_OURS_PADDED = "edgeseq dynamic_wi8_afp32 at 128"
_BOTH = tuple(map(str, LENGTHS))
_ORT = {
    precision: (f"onnxruntime {precision}", f"onnxruntime fused {precision}")
    for precision in ("float32", "dynamic")
}
TARGETS = (
    BertSpeedTarget("dynamic int8, litert-torch", "dynamic", ("litert-torch dynamic",), 1, _BOTH),
    BertSpeedTarget("dynamic int8, ONNX Runtime", "dynamic", _ORT["dynamic"], 1.6, _BOTH),
    BertSpeedTarget("the same against our int4", "int4", _ORT["dynamic"], 1, (*_BOTH, REAL)),
    BertSpeedTarget(
        "dynamic int8, fixed 128", "dynamic", ("litert-torch dynamic padded",), 4, (REAL,)
    ),
    BertSpeedTarget("the same, our file at 128", "dynamic", (_OURS_PADDED,), 4, (REAL,)),
    BertSpeedTarget("float32, ONNX Runtime", "float32", _ORT["float32"], 1, (*_BOTH, REAL)),
    BertSpeedTarget(
        "dynamic int8, ONNX Runtime", "dynamic", _ORT["dynamic"], 1, ("128",), threads=2
    ),
    BertSpeedTarget("float32, ONNX Runtime", "float32", _ORT["float32"], 1, ("128",), threads=2),
)  # fmt: skip


def lines(result: BertPeersResult) -> Iterator[str]:
    """The whole section as Markdown."""
    device, tokens = result.device, sorted(result.real_tokens)
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    yield (
        f"Measured {result.created_utc} on {device.cpu_model} ({device.machine}; kernels can use "
        f"{', '.join(device.cpu_features) or 'none of note'}), edgeseq {result.edgeseq_version}, "
        f"{versions}; {result.rounds} interleaved rounds"
        + (", quick run." if result.quick else ".")
    )
    yield ""
    yield (
        f"{result.checkpoint} with a classifier of three classes, fitted to training texts. "
        f"Real lengths are {len(tokens)} texts of {tokens[0]} to {tokens[-1]} tokens, "
        f"{sum(tokens) / len(tokens):.0f} on average "
        f"({result.texts.split()[0]}, test part)."
    )
    yield ""
    yield from _verdicts(result)
    yield ""
    yield from _distances(result)
    for run in result.runs:
        yield ""
        yield from _times(run)


def _verdicts(result: BertPeersResult) -> Iterator[str]:
    yield "| the other's time over ours | threads | at least | tokens | ratio (95 %) | verdict |"
    yield "|---|---|---|---|---|---|"
    for target in TARGETS:
        run = next(
            (precision for precision in result.runs if precision.threads == target.threads), None
        )
        for workload in target.workloads:
            ratio = None if run is None else _ratio(run, target, workload)
            cell = "–"
            if ratio is not None:
                cell = f"{ratio.estimate:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"
            verdict = "not measured" if ratio is None else judge(ratio, target.ratio)
            yield (
                f"| {target.title} | {target.threads} | {target.ratio:g} | {workload} | {cell} "
                f"| {verdict} |"
            )


def _ratio(run: ThreadsResult, target: BertSpeedTarget, workload: str) -> Interval | None:
    ours = fastest(run.rows, workload, precision=target.precision)
    peer = fastest(run.rows, workload, names=target.against)
    return None if ours is None or peer is None else paired_ratio(peer, ours, workload)


def fastest(
    rows: Sequence[PeerRow],
    workload: str,
    *,
    precision: Precision | None = None,
    names: tuple[str, ...] = (),
) -> PeerRow | None:
    """The fastest row among `names`, or among ours of a precision that answer texts as they are."""
    medians = [
        row
        for row in rows
        if workload in row.timings
        and (
            row.name in names
            if names
            else row.peer == "edgeseq" and row.precision == precision and row.feeding == "open"
        )
    ]
    return min(medians, key=lambda row: median_ns(row, workload), default=None)


def _distances(result: BertPeersResult) -> Iterator[str]:
    rate = result.machine.products_per_s
    yield (
        f"This machine's limit, one thread: {rate / 1e9:.0f} G int8 multiply-adds a second in "
        "XNNPACK's large products. The bound is the network's products at that rate and nothing "
        "else: no softmax, no normalization, no quantizing of activations."
    )
    yield ""
    yield "| dynamic int8, one thread | tokens | ours | bound | ours / bound |"
    yield "|---|---|---|---|---|"
    for run in result.runs:
        for workload in _COLUMNS:
            ours = fastest(run.rows, workload, precision="dynamic")
            if run.threads != 1 or ours is None:
                continue
            lengths = result.real_tokens if workload == REAL else (int(workload),)
            products = sum(result.sizes.products(length) for length in lengths) / len(lengths)
            ours_ms, bound_ms = median_ns(ours, workload) / 1e6, 1e3 * products / rate
            yield (
                f"| {ours.name.removeprefix('edgeseq ')} | {workload} | {ours_ms:.2f} ms "
                f"| {bound_ms:.2f} ms | {ours_ms / bound_ms:.2f} |"
            )


def _times(run: ThreadsResult) -> Iterator[str]:
    threads = f"{run.threads} thread{'s' * (run.threads != 1)}"
    head = " | ".join(f"{name} tokens" for name in map(str, LENGTHS))
    yield f"| {threads}: ms per text | file | {head} | real | labels as float |"
    yield "|---|---|" + "---|" * (len(_COLUMNS) + 1)
    for row in sorted(run.rows, key=lambda row: (row.precision, row.peer)):
        cells = [
            f"{median_ns(row, name) / 1e6:.2f}" if name in row.timings else "–" for name in _COLUMNS
        ]
        yield (
            f"| {row.name} | {format_bytes(row.size_bytes)} | {' | '.join(cells)} "
            f"| {row.agreement.equal_labels:.1%} |"
        )
    if run.failures:
        yield ""
        yield "| left out | why |"
        yield "|---|---|"
    for failure in run.failures:
        cause = failure.cause.replace("|", "\\|").replace("<", "&lt;")
        yield f"| {failure.name} | {cause} |"
