"""The predictions of a model on a test split: what every metric is computed from."""

from __future__ import annotations

import msgspec


class Predictions(msgspec.Struct, frozen=True):
    """The answers over all test examples, by class number, through the timed interpreter.

    With one answer a text, `gold` and `predicted` have one entry an example and `counts` is
    empty. With one a word they are the words of all examples in a row, `counts` [examples] says
    how many are each example's; in the task of the next word `counts` are its whole words, and
    `log_probabilities` [examples] the sums of the natural logarithms of what was given to them,
    `top1_correct` and `top3_correct` [examples] how many words were the most likely prediction, or
    among the three most likely.
    `sources` names each example's source ("" when the set has none); `truncated` counts texts
    cut at the model's longest input (with one answer a word: in which a single word was cut),
    `windowed` those answered in several overlapping windows; `unknown_only` counts texts without
    a known token.
    """

    gold: tuple[int, ...]
    predicted: tuple[int, ...]
    sources: tuple[str, ...]
    truncated: int
    unknown_only: int
    examples_sha256: str
    counts: tuple[int, ...] = ()
    windowed: int = 0
    log_probabilities: tuple[float, ...] = ()
    top1_correct: tuple[int, ...] = ()
    top3_correct: tuple[int, ...] = ()
