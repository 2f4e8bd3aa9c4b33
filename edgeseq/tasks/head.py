"""What a model predicts; a module apart, because the measured process imports nothing else."""

from __future__ import annotations

from typing import Literal

Head = Literal[
    "text-classification",
    "multilabel-classification",
    "token-classification",
    "language-modeling",
    "sequence-classification",
    "sequence-regression",
]

TEXT_HEADS: tuple[Head, ...] = ("text-classification", "multilabel-classification")
"""Those that give labels for a text as a whole."""
_UNITS: dict[Head, str] = {
    "text-classification": "texts",
    "multilabel-classification": "label decisions",
    "token-classification": "words",
    "language-modeling": "words",
    "sequence-classification": "sequences",
    "sequence-regression": "numbers",
}


def is_per_text(head: Head) -> bool:
    """Whether a model gives logits [labels] for a text, not for each of its tokens."""
    return head in TEXT_HEADS or is_numeric(head)


def is_numeric(head: Head) -> bool:
    """Whether a model reads numeric sequences, not texts."""
    return head in ("sequence-classification", "sequence-regression")


def scored_unit(head: Head) -> str:
    """What is scored, in the plural: a label decision is whether a text has one of the labels."""
    return _UNITS[head]
