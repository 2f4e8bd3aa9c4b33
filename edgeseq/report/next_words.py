"""What a report of next-word models says in other words: the cost of a word, words offered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from edgeseq.report.rows import Entry
from edgeseq.tasks.predictions import Predictions
from edgeseq.tasks.registry import head_of
from edgeseq.units import format_factor, format_share


class Words(NamedTuple):
    """How the picture of time over length is lettered."""

    title: str
    x: str
    y: str
    description: str


_TEXTS = Words(
    "What a longer sentence costs",
    "tokens in the sentence",
    "inference, ms",
    "Inference time over sentence length",
)
_NEXT_WORD = Words(
    "What the next word costs as the context grows",
    "words read so far",
    "one more word, ms",
    "Inference time of one more word over the length of the text before it",
)


def words_of(task: str) -> Words:
    """The lettering for a task."""
    return _NEXT_WORD if head_of(task) == "language-modeling" else _TEXTS


def offered_shares(found: Predictions) -> tuple[float, float]:
    """Of all words, the share that was the likeliest one, and that among the three likeliest."""
    total = max(1, sum(found.counts))
    return sum(found.top1_correct) / total, sum(found.top3_correct) / total


def offered_caption(entries: Sequence[Entry]) -> str:
    """How often the words that would be offered hold the right one; nothing for other tasks."""
    parts = []
    for entry in entries:
        found = entry.run.predictions
        if found is None or not found.top1_correct:
            continue
        one, three = offered_shares(found)
        parts.append(f"{entry.row.bundle} {format_share(one)} and {format_share(three)}")
    if not parts:
        return ""
    return f" The likeliest word is right, or one of the three: {'; '.join(parts)}."


def medians_ms(entry: Entry) -> dict[int, float]:
    """The median of each length that was timed."""
    return {
        point.tokens: float(np.median(point.inference_ns)) / 1e6
        for point in entry.run.lengths
        if point.inference_ns
    }


def costs_caption(entries: Sequence[Entry]) -> str:
    """What the context costs: of each form of a model (architecture and lowering) the fastest,
    and what a transformer's next word costs in an LSTM's."""
    fastest: dict[tuple[str, str], tuple[Entry, dict[int, float]]] = {}
    for entry in entries:
        medians, form = medians_ms(entry), (entry.row.arch, entry.row.lowering)
        total = sum(medians.values())
        if medians and (form not in fastest or total < sum(fastest[form][1].values())):
            fastest[form] = (entry, medians)
    lstms = [medians for (arch, _), (_, medians) in fastest.items() if arch == "lstm"]
    lstm = min(lstms, key=lambda medians: sum(medians.values()), default={})
    said = []
    for (arch, lowering), (entry, medians) in fastest.items():
        window = entry.run.bundle.max_tokens
        said.append(growth_caption(entry.row.bundle, medians, window))
        if lowering == "cached":
            said[-1] += f" Every {window // 2} words its cache is full and begins anew; the word "
            said[-1] += "that this falls on is not among these."
        if arch == "bert":
            said[-1] += against_caption(lstm, medians)
    return " ".join(said)


def growth_caption(bundle: str, medians: dict[int, float], window: int) -> str:
    """What one more word costs at the longest context against the shortest; `medians` are ms by
    words read so far, `window` the most words that the model sees."""
    lengths = sorted(medians)
    growth = format_factor(medians[lengths[-1]] / medians[lengths[0]])
    seen = f", of which it sees the last {window}," if window < lengths[-1] else ""
    return (
        f"{bundle} takes {growth} times as long for one more word behind {lengths[-1]} words"
        f"{seen} as at the beginning ({medians[lengths[-1]]:.3g} ms and "
        f"{medians[lengths[0]]:.3g} ms)."
    )


def against_caption(lstm: dict[int, float], transformer: dict[int, float]) -> str:
    """What the transformer's next word costs in the LSTM's at the shortest and the longest context
    that both were timed behind, and from where on it costs more; empty without such contexts."""
    shared = sorted(set(lstm) & set(transformer))
    if len(shared) < 2:
        return ""
    ratios = [transformer[words] / lstm[words] for words in shared]
    said = (
        f" That is {format_factor(ratios[0])} times the fastest LSTM's word behind {shared[0]} and "
        f"{format_factor(ratios[-1])} times behind {shared[-1]} words."
    )
    dearer = [words for words, ratio in zip(shared, ratios, strict=True) if ratio > 1]
    if dearer and ratios[0] <= 1 and ratios[-1] > 1:
        said += f" From {dearer[0]} words on the LSTM's is the cheaper one."
    return said
