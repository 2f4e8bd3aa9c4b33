"""Prints the figures of a result file that the project makes claims about, and keeps them.

    edgeseq demo --out edgeseq-demo
    python benchmarks/studies/figures.py edgeseq-demo/result.json            prints
    python benchmarks/studies/figures.py edgeseq-demo/result.json --write    into both READMEs

Figures of another kind of processor (`studies.peers.page`) stay beside those that are written.

Ratios are between medians of interleaved samples of one run, with 95 % intervals by bootstrap.
Times of the demo come from the records of its steps, in `steps/` beside the result.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

from edgeseq.cli.run import closing_lines
from edgeseq.errors import EdgeseqError, InputError
from edgeseq.formats.result import ResultRecord, Run, read_result
from edgeseq.formats.storage import write_text
from edgeseq.reporting.format import ABSENT, format_optional
from edgeseq.reporting.rows import derive_row
from edgeseq.stats.latency import median, median_ratio
from edgeseq.stats.scores import paired_bootstrap
from edgeseq.suite.steps import StepRecord
from edgeseq.suite.times import busy_seconds, peak_memory_bytes, read_records
from edgeseq.units import format_bytes, format_duration_ms
from studies.peers.page import processor_kind, put_part

STUDIES_DIR = Path(__file__).parent
DEMO_TARGET_MIN = 12
WIDTH = 120
MARKERS = ("<!-- figures -->\n", "<!-- /figures -->")
KERNEL_FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")


def lines(result: ResultRecord) -> Iterator[str]:
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
    if any(run.runner == "native" for run in result.runs):
        yield ""
        yield from _processes(result)


def _primary_runs(result: ResultRecord) -> list[Run]:
    """The native process's runs, or Python's where there are no others."""
    return [run for run in result.runs if run.runner == "native"] or list(result.runs)


def _processes(result: ResultRecord) -> Iterator[str]:
    """What each model needs in a native process and in a Python process."""
    yield (
        "| native / Python | peak | working memory | cold start | p95 "
        "| whole answers, native / Python |"
    )
    yield "|---|---|---|---|---|---|"
    in_python = {run.bundle.name: run for run in result.runs if run.runner == "python"}
    for run in _primary_runs(result):
        other = in_python.get(run.bundle.name)
        if other is None:
            continue
        pair = derive_row(result, run), derive_row(result, other)
        ratio = median_ratio(run.queries.total_ns, other.queries.total_ns)
        cells = [
            " / ".join(_size(row.peak_process_bytes) for row in pair),
            " / ".join(_size(row.working_memory_bytes) for row in pair),
            " / ".join(_time(row.cold_start_ms) for row in pair),
            " / ".join(_time(row.p95_ms) for row in pair),
            f"{ratio.estimate:.2f} ({ratio.low:.2f} to {ratio.high:.2f})",
        ]
        yield f"| {run.bundle.name} | {' | '.join(cells)} |"


def _size(size_bytes: int | None) -> str:
    return format_optional(size_bytes, format_bytes, ABSENT)


def _time(time_ms: float | None) -> str:
    return format_optional(time_ms, format_duration_ms, ABSENT)


def _samples(run: Run, tokens: int) -> tuple[int, ...]:
    return next((point.inference_ns for point in run.lengths if point.tokens == tokens), ())


def _medians(result: ResultRecord) -> Iterator[str]:
    runs = _primary_runs(result)
    lengths = sorted({point.tokens for run in runs for point in run.lengths})
    head = " | ".join(f"{tokens} tokens" for tokens in lengths)
    yield f"| model | file | {head} |"
    yield "|---|---|" + "---|" * len(lengths)
    for run in runs:
        cells = []
        for tokens in lengths:
            samples = _samples(run, tokens)
            cells.append(f"{median(samples) / 1e6:.3f} ms" if samples else "–")
        size = format_bytes(run.bundle.model_size_bytes)
        yield f"| {run.bundle.name} | {size} | {' | '.join(cells)} |"


def _find(result: ResultRecord, arch: str, recipe: str) -> Run | None:
    runs = _primary_runs(result)
    return next((r for r in runs if r.bundle.arch == arch and r.bundle.recipe == recipe), None)


def _ratios(result: ResultRecord) -> Iterator[str]:
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


def _differences(result: ResultRecord) -> Iterator[str]:
    yield "| accuracy on the test part | difference in points | texts |"
    yield "|---|---|---|"
    for arch in ("bert", "lstm"):
        float_run = _find(result, arch, "float32")
        if float_run is None or float_run.predictions is None:
            continue
        quantized_run = _find(result, arch, "dynamic_wi8_afp32")
        if quantized_run is None or quantized_run.predictions is None:
            continue
        gold = float_run.predictions.gold
        difference = paired_bootstrap(
            gold,
            quantized_run.predictions.predicted,
            float_run.predictions.predicted,
            len(float_run.bundle.labels),
        ).interval
        points = [100 * x for x in (difference.estimate, difference.low, difference.high)]
        yield (
            f"| {quantized_run.bundle.name} − {float_run.bundle.name} "
            f"| {points[0]:+.2f} ({points[1]:+.2f} to {points[2]:+.2f}) | {len(gold):,} |"
        )


def demo_transcript(root: Path, records: list[StepRecord]) -> str:
    """What the demo printed, from its steps' records, in the order in which they ended."""
    # A resumed run reads the data again, but no step comes before it.
    ended = sorted(
        records,
        key=lambda step_record: (
            step_record.name != "data",
            (step_record.began_unix_s or 0.0) + step_record.seconds,
        ),
    )
    steps = [
        f"✓ {_title(step)}  {step.seconds:.0f} s  {step.answer.get('note', '')}".rstrip()
        for step in ended
    ]
    answer = next(record.answer for record in records if record.name == "report")
    took = (busy_seconds(records), peak_memory_bytes(records))
    closing = closing_lines(Path(root.name), answer, *took)
    return "\n".join([*steps, "", *(textwrap.fill(line, WIDTH) for line in closing)])


def demo_time(result: ResultRecord, records: list[StepRecord]) -> str:
    """How long the demo took, on what."""
    device = result.device
    features = ", ".join(f for f in KERNEL_FEATURES if f in device.cpu_features)
    processor = f"{device.cpu_model} ({features})" if features else device.cpu_model
    return f"{_minutes(records)} on {device.cores} cores of {processor}"


def demo_target(records: list[StepRecord]) -> str:
    """Two cells: how long the demo took, and whether that is what was aimed at."""
    over = busy_seconds(records) / 60 - DEMO_TARGET_MIN
    verdict = "holds" if over < 0 else f"**missed** by {over:.1f} minutes"
    longest = max(records, key=lambda record: record.seconds)
    share = f"“{_title(longest)}” takes {longest.seconds / 60:.1f} of them"
    return f"{_minutes(records)} | {verdict}; {share}"


def _check_times(root: Path, records: list[StepRecord]) -> None:
    unknown = [record.name for record in records if record.began_unix_s is None]
    if unknown:
        raise InputError(
            "does not say when a step began", where=root, found=unknown[0], fix="run it anew"
        )


def _minutes(records: list[StepRecord]) -> str:
    return f"{busy_seconds(records) / 60:.1f} minutes"


def _title(record: StepRecord) -> str:
    return record.name.replace("-", " ", 1)


def put(page: Path, name: str, text: str) -> None:
    """Puts `text` between `<!-- NAME -->` and `<!-- /NAME -->` of a page; both must be there."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    content = page.read_text(encoding="utf-8")
    if content.count(begin) != 1 or content.count(end) != 1:
        raise InputError("has no place for the figures", where=page, expected=f"{begin} … {end}")
    before, _, rest = content.partition(begin)
    _, _, after = rest.partition(end)
    page.write_text(f"{before}{begin}{text}{end}{after}", encoding="utf-8")


def main(arguments: list[str], *, pages: Path = STUDIES_DIR.parents[1]) -> int:
    """Prints the figures of the result file named; `--write` puts them into the READMEs."""
    paths = [Path(argument) for argument in arguments if not argument.startswith("--")]
    if len(paths) != 1:
        sys.stderr.write(__doc__ or "")
        return 2
    try:
        result, records = read_result(paths[0]), read_records(paths[0].parent)
        _check_times(paths[0].parent, records)
        text = "\n".join(lines(result)) + "\n"
        transcript = demo_transcript(paths[0].resolve().parent, records)
        sys.stdout.write(f"{text}\n{transcript}\n\n{demo_time(result, records)}\n")
        if "--write" in arguments:
            readme = pages / "benchmarks" / "README.md"
            page, kind = readme.read_text(encoding="utf-8"), processor_kind(result.device)
            write_text(readme, put_part(page, text, MARKERS, kind))
            put(readme, "demo-target", demo_target(records))
            put(pages / "README.md", "demo", f"\n```\n{transcript}\n```\n")
            put(pages / "README.md", "demo-time", demo_time(result, records))
    except EdgeseqError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
