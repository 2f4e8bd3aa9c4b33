"""Any number of labels per text: those whose probability reaches the label's threshold."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

from edgeseq.tasks.examples import MultilabelExample
from edgeseq.tasks.task import Task

LABEL_SEPARATOR = ";"
"""Between the labels of a text where they are written as one text."""
MULTILABEL_CLASSIFICATION = Task(
    name="multilabel-classification",
    title=None,
    head="multilabel-classification",
    example=MultilabelExample,
    metric="edgeseq.tasks.multilabel_f1:MACRO_F1",
)


def threshold_logits(thresholds: Sequence[float]) -> tuple[float, ...]:
    """Thresholds, probabilities above 0 and below 1, as logits ln(p / (1 − p)) rounded to float32:
    what every runner compares a model's logits with, so that all of them decide alike."""
    return tuple(
        struct.unpack("<f", struct.pack("<f", math.log(share) - math.log1p(-share)))[0]
        for share in thresholds
    )


def describe_thresholds(labels: Sequence[str], thresholds: Sequence[float]) -> str:
    """The thresholds of all labels in one line: `late 0.31, damaged 0.48`."""
    pairs = zip(labels, thresholds, strict=True)
    return ", ".join(f"{label} {threshold:.2g}" for label, threshold in pairs)
