"""What a report of language models says: the cost of one more word, and top-k accuracy."""

from __future__ import annotations

from collections.abc import Sequence

from edgeseq.reporting.rows import MeasuredModel
from edgeseq.reporting.run_statistics import length_medians_ms, top_k_shares
from edgeseq.units import format_duration_ms, format_factor, format_share


def top_k_caption(models: Sequence[MeasuredModel]) -> str:
    """Top-1 and top-3 accuracy of each model; empty for other tasks."""
    parts = []
    for model in models:
        predictions = model.run.predictions
        if predictions is not None and predictions.top1_correct:
            top1, top3 = top_k_shares(predictions)
            parts.append(f"{model.row.bundle} {format_share(top1)} and {format_share(top3)}")
    return f" Top-1 and top-3 accuracy: {'; '.join(parts)}." if parts else ""


def context_cost_caption(models: Sequence[MeasuredModel]) -> str:
    """The cost of the context, for the fastest model of each architecture and lowering, and how
    a transformer's next word compares with an LSTM's."""
    fastest: dict[tuple[str, str], tuple[MeasuredModel, dict[int, float]]] = {}
    for model in models:
        medians_ms, variant = length_medians_ms(model.run), (model.row.arch, model.row.lowering)
        total_ms = sum(medians_ms.values())
        if medians_ms and (variant not in fastest or total_ms < sum(fastest[variant][1].values())):
            fastest[variant] = (model, medians_ms)
    lstms = [medians_ms for (arch, _), (_, medians_ms) in fastest.items() if arch == "lstm"]
    lstm_ms = min(lstms, key=lambda medians_ms: sum(medians_ms.values()), default={})
    captions = []
    for (arch, lowering), (model, medians_ms) in fastest.items():
        window = model.run.bundle.max_tokens
        captions.append(growth_caption(model.row.bundle, medians_ms, window))
        if lowering == "cached":
            captions[-1] += (
                f" Every {window // 2} words its KV cache is full and starts over; those words are "
                "not among these."
            )
        if arch == "bert":
            captions[-1] += transformer_caption(lstm_ms, medians_ms)
    return " ".join(captions)


def growth_caption(bundle: str, medians_ms: dict[int, float], window: int) -> str:
    """The cost of one more word at the longest context against the shortest; `medians_ms` are by
    words read so far, `window` the most words that the model sees."""
    shortest, longest = min(medians_ms), max(medians_ms)
    growth = format_factor(medians_ms[longest] / medians_ms[shortest])
    limited = f" (it sees the last {window})" if window < longest else ""
    return (
        f"One more word after {longest} words{limited} takes {bundle} {growth} times as long as at "
        f"the beginning ({format_duration_ms(medians_ms[longest])} against "
        f"{format_duration_ms(medians_ms[shortest])})."
    )


def transformer_caption(lstm_ms: dict[int, float], transformer_ms: dict[int, float]) -> str:
    """The transformer's next word against the LSTM's at the shortest and the longest context that
    both were timed after, and from where on it costs more; empty without such contexts."""
    shared = sorted(set(lstm_ms) & set(transformer_ms))
    if len(shared) < 2:
        return ""
    ratios = [transformer_ms[words] / lstm_ms[words] for words in shared]
    text = (
        f" That is {format_factor(ratios[0])} times the fastest LSTM's time after {shared[0]} "
        f"words and {format_factor(ratios[-1])} times after {shared[-1]}."
    )
    slower = [words for words, ratio in zip(shared, ratios, strict=True) if ratio > 1]
    if slower and ratios[0] <= 1 and ratios[-1] > 1:
        text += f" From {slower[0]} words on the LSTM is faster."
    return text
