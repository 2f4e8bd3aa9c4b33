"""Findings about predictions: a bundle's golden examples, and the same text twice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from edgeseq.formats.bundle import BundleFiles
from edgeseq.formats.result import Finding

LogitRows = Sequence[Sequence[float | None]]
Severity = Literal["invalid", "warning", "note"]

# Same input, same kernels, same process: equal to the last bit as far as known; a rounding in
# float32 is allowed.
REPEAT_TOLERANCE = 1e-5


def golden_findings(bundle: BundleFiles, logits: LogitRows) -> list[Finding]:
    """Whether the golden examples get the float model's logits, within the tolerance."""
    golden = bundle.golden
    errors = [
        _distance(row, example.logits) for row, example in zip(logits, golden.examples, strict=True)
    ]
    worst = max(errors)
    if worst <= golden.tolerance:
        return []
    wrong = sum(error > golden.tolerance for error in errors)
    return [
        Finding(
            "golden-differs",
            "invalid",
            f"{wrong} of {len(errors)} golden examples get different logits here than where the "
            f"model was converted: a logit is off by {worst:.3g}, the tolerance is "
            f"{golden.tolerance:.3g}",
        )
    ]


def token_findings(bundle: BundleFiles, token_ids: Sequence[tuple[int, ...]]) -> list[Finding]:
    """Whether the tokenizer gives the golden texts the token ids of the conversion."""
    wrong = sum(
        ids != example.token_ids
        for ids, example in zip(token_ids, bundle.golden.examples, strict=True)
    )
    if not wrong:
        return []
    return [
        Finding(
            "tokenizer-differs",
            "invalid",
            f"{wrong} of {len(token_ids)} golden texts get different token ids here than "
            "where the model was converted: install the same version of `tokenizers`",
        )
    ]


def word_findings(bundle: BundleFiles, word_rows: Sequence[tuple[int, ...]]) -> list[Finding]:
    """Whether the words of golden texts, which come first, get the features of the conversion."""
    golden = bundle.golden.examples
    wrong = sum(rows != example.word_rows for rows, example in zip(word_rows, golden, strict=False))
    if not wrong:
        return []
    return [
        Finding(
            "word-features-differ",
            "invalid",
            f"{wrong} of {len(golden)} golden texts get different word features here than where "
            "the model was converted: install the same version of edgeseq",
        )
    ]


def leak_findings(first: LogitRows, repeated: LogitRows) -> list[Finding]:
    """Whether inputs get the same logits before and after other inputs."""
    worst = max((_distance(a, b) for a, b in zip(first, repeated, strict=True)), default=0.0)
    scale = max((abs(value) for row in first for value in row if value is not None), default=1.0)
    if worst <= REPEAT_TOLERANCE * max(1.0, scale):
        return []
    return [
        Finding(
            "state-leaks",
            "invalid",
            "the same text gets different logits after other texts: state leaks from one to the "
            f"next (a logit changed by {worst:.3g})",
        )
    ]


def _distance(actual: Sequence[float | None], expected: Sequence[float | None]) -> float:
    """The largest difference of two rows of logits; infinite where one is NaN."""
    if len(actual) != len(expected):
        return math.inf
    return max(
        math.inf if a is None or b is None else abs(a - b)
        for a, b in zip(actual, expected, strict=True)
    )


def prediction_findings(
    examples: int,
    *,
    inconsistent: int = 0,
    truncated: int = 0,
    unknown_only: int = 0,
    windowed: int = 0,
    by_word: bool = False,
) -> list[Finding]:
    """Findings about the predictions for the test examples (counts of examples)."""
    of_examples = f"of {examples} test examples"
    truncated_what = "hold a word that is" if by_word else "are"
    findings: list[tuple[int, str, Severity, str]] = [
        (
            inconsistent,
            "answers-vary",
            "invalid",
            f"{inconsistent} {of_examples} got another class when they were repeated",
        ),
        (
            truncated,
            "texts-truncated",
            "note",
            f"{truncated} {of_examples} {truncated_what} longer than the model's longest input "
            "and were truncated",
        ),
        (
            windowed,
            "texts-windowed",
            "note",
            f"{windowed} {of_examples} are longer than the model's longest input and were run in "
            "overlapping windows",
        ),
        (
            unknown_only,
            "texts-unknown",
            "note",
            f"{unknown_only} {of_examples} have no token that the model knows",
        ),
    ]
    return [
        Finding(code, severity, message) for count, code, severity, message in findings if count
    ]
