"""What answers mean for the numbers: a bundle's golden examples, and the same text twice."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgeseq.formats.bundle import Bundle
from edgeseq.formats.result import Finding

Logits = Sequence[Sequence[float | None]]

# Same input, same kernels, same process: equal to the last bit as far as it is known; what is
# allowed is a rounding in float32.
SAME_ANSWER_TOLERANCE = 1e-5


def golden_findings(bundle: Bundle, logits: Logits) -> list[Finding]:
    """Whether the golden examples are answered as the float model did, within the tolerance."""
    golden = bundle.golden
    errors = [
        _distance(found, example.logits)
        for found, example in zip(logits, golden.examples, strict=True)
    ]
    worst = max(errors)
    if worst <= golden.tolerance:
        return []
    wrong = sum(error > golden.tolerance for error in errors)
    return [
        Finding(
            "golden-differs",
            "invalid",
            f"{wrong} of {len(errors)} golden examples are answered differently here than where "
            f"the model was converted: a logit is off by {worst:.3g}, allowed are "
            f"{golden.tolerance:.3g}",
        )
    ]


def token_findings(bundle: Bundle, token_ids: Sequence[tuple[int, ...]]) -> list[Finding]:
    """Whether the tokenizer cuts the golden texts into the tokens that the converter saw."""
    wrong = sum(
        found != example.token_ids
        for found, example in zip(token_ids, bundle.golden.examples, strict=True)
    )
    if not wrong:
        return []
    return [
        Finding(
            "tokenizer-differs",
            "invalid",
            f"{wrong} of {len(token_ids)} golden texts get other token ids here than where the "
            "model was converted: install the same version of `tokenizers`",
        )
    ]


def leak_findings(first: Logits, again: Logits) -> list[Finding]:
    """Whether inputs are answered the same after other inputs as before them."""
    worst = max((_distance(a, b) for a, b in zip(first, again, strict=True)), default=0.0)
    scale = max((abs(value) for row in first for value in row if value is not None), default=1.0)
    if worst <= SAME_ANSWER_TOLERANCE * max(1.0, scale):
        return []
    return [
        Finding(
            "state-leaks",
            "invalid",
            "the same text is answered differently after other texts: state leaks from one to "
            f"the next (a logit changed by {worst:.3g})",
        )
    ]


def _distance(found: Sequence[float | None], expected: Sequence[float | None]) -> float:
    """The largest difference of two rows of logits; infinite where one is no number."""
    if len(found) != len(expected):
        return math.inf
    return max(
        math.inf if a is None or b is None else abs(a - b)
        for a, b in zip(found, expected, strict=True)
    )


def answer_findings(
    varied: int,
    truncated: int,
    unknown_only: int,
    examples: int,
    *,
    windowed: int = 0,
    by_word: bool = False,
) -> list[Finding]:
    """What is to be said about the answers over the test examples (counts of examples)."""
    findings = []
    if varied:
        findings.append(
            Finding(
                "answers-vary",
                "invalid",
                f"{varied} of {examples} test examples got another class when they were repeated",
            )
        )
    if truncated:
        findings.append(
            Finding(
                "texts-truncated",
                "note",
                f"{truncated} of {examples} test examples "
                + ("hold a word that is" if by_word else "are")
                + " longer than the model's longest input and were cut",
            )
        )
    if windowed:
        findings.append(
            Finding(
                "texts-windowed",
                "note",
                f"{windowed} of {examples} test examples are longer than the model's longest "
                "input and were answered in overlapping windows",
            )
        )
    if unknown_only:
        findings.append(
            Finding(
                "texts-unknown",
                "note",
                f"{unknown_only} of {examples} test examples hold no token that the model knows",
            )
        )
    return findings
