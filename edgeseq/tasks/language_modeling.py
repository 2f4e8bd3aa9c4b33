"""The next word of running text."""

from edgeseq.tasks.examples import StreamExample
from edgeseq.tasks.task import LengthChart, Task

LM = Task(
    name="lm",
    title="the next word",
    head="language-modeling",
    example=StreamExample,
    metric="edgeseq.tasks.perplexity:PERPLEXITY",
    length_chart=LengthChart(
        "What the next word costs as the context grows",
        "words read so far",
        "one more word, ms",
        "Inference time of one more word over the length of the text before it",
    ),
    # A BERT that sees only the words before a token is one no longer.
    bert_title="transformer",
)
