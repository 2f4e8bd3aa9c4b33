"""Prints the figures of a result file that the project makes claims about, and keeps them.

    edgeseq demo --out edgeseq-demo
    python benchmarks/figures.py edgeseq-demo/result.json            prints
    python benchmarks/figures.py edgeseq-demo/result.json --write    into benchmarks/README.md

Ratios are between medians of interleaved samples of one run, with 95 % intervals by bootstrap.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from edgeseq.percentiles import median, median_ratio
from edgeseq.results import Result, Run, read_result
from edgeseq.stats import paired_bootstrap
from edgeseq.units import format_bytes

README = Path(__file__).parent / "README.md"
BEGIN, END = "<!-- figures -->\n", "<!-- /figures -->\n"
KERNEL_FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")


def lines(result: Result) -> Iterator[str]:
    """The figures as Markdown."""
    device = result.device
    features = ", ".join(f for f in KERNEL_FEATURES if f in device.cpu_features) or "none of note"
    yield (
        f"Measured {result.created_utc} with {result.runtime.package} {result.runtime.version} "
        f"on {device.cpu_model} ({device.machine}; kernels can use {features}), "
        f"{result.effective.threads} thread, edgeseq {result.edgeseq_version}"
        + (", quick run." if result.effective.quick else ".")
    )
    yield ""
    yield from _medians(result)
    yield ""
    yield from _ratios(result)
    yield ""
    yield from _differences(result)


def _samples(run: Run, tokens: int) -> tuple[int, ...]:
    return next((point.inference_ns for point in run.lengths if point.tokens == tokens), ())


def _medians(result: Result) -> Iterator[str]:
    lengths = sorted({point.tokens for run in result.runs for point in run.lengths})
    head = " | ".join(f"{tokens} tokens" for tokens in lengths)
    yield f"| model | file | {head} |"
    yield "|---|---|" + "---|" * len(lengths)
    for run in result.runs:
        cells = []
        for tokens in lengths:
            samples = _samples(run, tokens)
            cells.append(f"{median(samples) / 1e6:.3f} ms" if samples else "–")
        size = format_bytes(run.bundle.model_size_bytes)
        yield f"| {run.bundle.name} | {size} | {' | '.join(cells)} |"


def _find(result: Result, arch: str, recipe: str) -> Run | None:
    runs = (r for r in result.runs if r.bundle.arch == arch and r.bundle.recipe == recipe)
    return next(runs, None)


def _ratios(result: Result) -> Iterator[str]:
    pairs = [
        (_find(result, "bert", "float32"), _find(result, "bert", "dynamic_wi8_afp32")),
        (_find(result, "lstm", "float32"), _find(result, "lstm", "dynamic_wi8_afp32")),
        (_find(result, "bert", "dynamic_wi8_afp32"), _find(result, "lstm", "dynamic_wi8_afp32")),
    ]
    yield "| ratio of inference times | 32 tokens | 128 tokens |"
    yield "|---|---|---|"
    for above, below in pairs:
        if above is None or below is None:
            continue
        cells = []
        for tokens in (32, 128):
            first, second = _samples(above, tokens), _samples(below, tokens)
            if not first or not second:
                cells.append("–")
                continue
            ratio = median_ratio(first, second)
            cells.append(f"{ratio.estimate:.2f} ({ratio.low:.2f} to {ratio.high:.2f})")
        yield f"| {above.bundle.name} / {below.bundle.name} | {' | '.join(cells)} |"


def _differences(result: Result) -> Iterator[str]:
    yield "| accuracy on the test part | difference in points | texts |"
    yield "|---|---|---|"
    for arch in ("bert", "lstm"):
        whole = _find(result, arch, "float32")
        if whole is None or whole.predictions is None:
            continue
        for recipe in ("float16", "dynamic_wi8_afp32"):
            other = _find(result, arch, recipe)
            if other is None or other.predictions is None:
                continue
            gold = whole.predictions.gold
            found = paired_bootstrap(
                gold,
                other.predictions.predicted,
                whole.predictions.predicted,
                len(whole.bundle.labels),
            ).interval
            points = [100 * x for x in (found.estimate, found.low, found.high)]
            yield (
                f"| {other.bundle.name} − {whole.bundle.name} "
                f"| {points[0]:+.2f} ({points[1]:+.2f} to {points[2]:+.2f}) | {len(gold):,} |"
            )


def main(arguments: list[str]) -> int:
    """Prints the figures of the result file named; `--write` puts them into the README."""
    paths = [Path(argument) for argument in arguments if not argument.startswith("--")]
    if len(paths) != 1:
        sys.stderr.write(__doc__ or "")
        return 2
    text = "\n".join(lines(read_result(paths[0]))) + "\n"
    sys.stdout.write(text)
    if "--write" in arguments:
        page = README.read_text(encoding="utf-8")
        before, _, rest = page.partition(BEGIN)
        _, _, after = rest.partition(END)
        README.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
