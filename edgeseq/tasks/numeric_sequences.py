"""Numeric sequences, such as readings of sensors or prices: numbers or a class from each."""

from edgeseq.tasks.examples import SequenceExample
from edgeseq.tasks.task import LengthChart, Task

_LENGTHS = LengthChart(
    "What a longer sequence costs",
    "steps in the sequence",
    "inference, ms",
    "Inference time over sequence length",
    unit="steps",
)

SEQUENCE = Task(
    name="sequence",
    title=None,
    head="sequence-regression",
    example=SequenceExample,
    metric="edgeseq.tasks.regression:MAE",
    length_chart=_LENGTHS,
)
SEQUENCE_CLASSIFICATION = Task(
    name="sequence-classification",
    title=None,
    head="sequence-classification",
    example=SequenceExample,
    length_chart=_LENGTHS,
)
