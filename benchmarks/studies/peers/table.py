"""A result as Markdown, and its place in benchmarks/README.md."""

from __future__ import annotations

from collections.abc import Iterator

from edgeseq.stats.scores import Interval
from edgeseq.units import format_bytes
from studies.peers.inputs import LENGTHS, REAL
from studies.peers.result import PeersResult, ShapeResult, median_ns
from studies.peers.targets import TargetVerdict, distances, verdicts

MARKERS = ("<!-- peers: lstm -->\n", "<!-- /peers: lstm -->\n")
_COLUMNS = (*map(str, LENGTHS), REAL)


def lines(result: PeersResult) -> Iterator[str]:
    """The whole section between the markers."""
    device = result.device
    tokens = sorted(result.real_tokens)
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    yield (
        f"Measured {result.created_utc} on {device.cpu_model} ({device.machine}; kernels can use "
        f"{', '.join(device.cpu_features) or 'none of note'}), one thread, edgeseq "
        f"{result.edgeseq_version}, {versions}; {result.rounds} interleaved rounds"
        + (", quick run." if result.quick else ".")
    )
    yield ""
    yield (
        f"Real lengths are {len(tokens)} texts of {tokens[0]} to {tokens[-1]} tokens, "
        f"{sum(tokens) / len(tokens):.0f} on average ({result.texts.split()[0]}, test part)."
    )
    yield ""
    yield from _verdicts(result)
    yield ""
    yield from _distances(result)
    for shape in result.shapes:
        yield ""
        yield from _times(shape)


def _verdicts(result: PeersResult) -> Iterator[str]:
    """One row a target and shape; a ratio is the other's time over ours."""
    yield "| the other's time over ours | shape | at least | tokens | ratio (95 %) | verdict |"
    yield "|---|---|---|---|---|---|"
    for verdict in verdicts(result):
        target = verdict.target
        target_text = f"{target.ratio:g}" + (f" (aim {target.aim:g})" if target.aim else "")
        ratio_text = "–" if verdict.ratio is None else _interval(verdict.ratio)
        yield (
            f"| {target.title} | {verdict.shape} | {target_text} | {verdict.workload} "
            f"| {ratio_text} | {_verdict(verdict)} |"
        )


def _verdict(verdict: TargetVerdict) -> str:
    by = "" if verdict.ours is None else f" ({verdict.ours.removeprefix('edgeseq ')})"
    return verdict.text + (by if verdict.ratio is not None else "")


def _interval(interval: Interval) -> str:
    return f"{interval.estimate:.2f} ({interval.low:.2f} to {interval.high:.2f})"


def _distances(result: PeersResult) -> Iterator[str]:
    machine = result.machine
    reads = ", ".join(
        f"{format_bytes(size)}: {rate / 1e9:.0f} GB/s"
        for size, rate in sorted(machine.bytes_per_s.items())
    )
    yield (
        f"This machine's limit, one thread: weights read from the cache at {reads}; "
        f"{machine.products_per_s / 1e9:.0f} G int8 multiply-adds a second in XNNPACK's large "
        "products. The bound is what a text needs at these rates and nothing else."
    )
    yield ""
    yield "| dynamic int8 | tokens | ours | bound | ours / bound | within 3 (aim) |"
    yield "|---|---|---|---|---|---|"
    for distance in distances(result):
        yield (
            f"| {distance.shape} {distance.ours.removeprefix('edgeseq ')} | {distance.workload} "
            f"| {distance.ours_ns / 1e6:.3f} ms | {distance.bound_ns / 1e6:.3f} ms "
            f"| {distance.times:.2f} | {distance.text} |"
        )


def _times(shape: ShapeResult) -> Iterator[str]:
    """Medians in ms; a failed contender has its cause in place of times."""
    head = " | ".join(f"{name} tokens" for name in _COLUMNS[:-1])
    yield f"| {shape.shape.title}: ms per text | file | {head} | real | labels as float |"
    yield "|---|---|" + "---|" * (len(_COLUMNS) + 1)
    for row in sorted(shape.rows, key=lambda row: (row.precision, row.peer)):
        cells = [
            f"{median_ns(row, name) / 1e6:.3f}" if name in row.timings else "–" for name in _COLUMNS
        ]
        yield (
            f"| {row.name} | {format_bytes(row.size_bytes)} | {' | '.join(cells)} "
            f"| {row.agreement.equal_labels:.1%} |"
        )
    if shape.failures:
        yield ""
        yield "| left out | why |"
        yield "|---|---|"
    for failure in shape.failures:
        yield f"| {failure.name} | {_escaped(failure.cause)} |"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
