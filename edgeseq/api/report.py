"""Reports: what to ship, and why."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeseq.api.bundle import Bundle, bundle_path
from edgeseq.api.result import Result, result_source
from edgeseq.formats.bundle_zip import open_bundle
from edgeseq.formats.linear_baseline import read_linear_baseline
from edgeseq.formats.storage import sha256_file
from edgeseq.reporting.budgets import parse_budget
from edgeseq.reporting.deployment_report import Report, make_report


def report(
    results: Sequence[Result | str | Path],
    *,
    budget: str = "",
    examples: Bundle | str | Path | None = None,
    baseline: str | Path | None = None,
) -> Report:
    """Decide which model to ship within limits, with the reasons; `save` writes the page.

    Args:
        results: Results, or their files.
        budget: Limits like "memory=64MB p95=20ms" of `memory` (working memory, or the peak of the
            process without it), `model_memory`, `p50`, `p95`, `size` and `cold_start`; `drop`:
            points of the score that a cheaper model may lose.
        examples: A measured bundle, to show some of its texts on which models disagree.
        baseline: The linear baseline's file (`baseline.json` of a suite's run), to say what a
            linear model reaches.

    Returns:
        The report: `verdict.winner`, `verdict.reason`, `rows`, `save(folder)`.

    Raises:
        ResultError: A result is damaged, or one model was measured twice under equal conditions.
        InputError: The budget has an error, or `examples` or `baseline` are of other data than
            were measured.

    Examples:
        >>> report = es.report([result], budget="memory=200MB p95=20ms")
        >>> report.verdict.winner
    """
    texts = texts_sha256 = None
    if examples is not None:
        with open_bundle(bundle_path(examples), verify_hashes=False) as bundle:
            texts = bundle.read_examples()
            texts_sha256 = sha256_file(bundle.path / "eval.jsonl")
    return make_report(
        [result_source(result) for result in results],
        budget=parse_budget(budget),
        examples=texts,
        examples_sha256=texts_sha256,
        baseline=None if baseline is None else read_linear_baseline(Path(baseline)),
    )


def recommend(
    results: Sequence[Result | str | Path],
    *,
    max_drop: float | str = 1.0,
    runner: str | None = None,
    **limits: str,
) -> Report:
    """Decide which model to ship within limits, each named as in `edgeseq recommend`.

    Args:
        results: Results, or their files.
        max_drop: Points of the score that a cheaper model may lose.
        runner: Only models measured in "native", "python", "benchmark_model", "browser" or
            "mediapipe"; by default the native process decides where it was measured.
        **limits: `memory`, `model_memory` or `size` like "64MB", `p50`, `p95` or `cold_start` like
            "20ms".

    Returns:
        The report, whose `verdict.winner` is None when no model fits.

    Raises:
        ResultError: As for `report`.
        InputError: A limit is unknown or has no unit, or no model was measured in `runner`.

    Examples:
        >>> es.recommend([result], memory="64MB", p95="20ms").verdict.winner
    """
    # A blank inside a value ("64 MB") must not end the item.
    items = [f"{name}={''.join(limit.split())}" for name, limit in limits.items()]
    budget = " ".join([*items, f"drop={''.join(str(max_drop).split())}"])
    sources = [result_source(result) for result in results]
    return make_report(sources, budget=parse_budget(budget), runner=runner)
