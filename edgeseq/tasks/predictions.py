"""The predictions of a model on a test split: what every metric is computed from."""

from __future__ import annotations

import msgspec


class Predictions(msgspec.Struct, frozen=True):
    """The predictions for all test examples, by class number, through the timed interpreter.

    For text classification, `gold` and `predicted` have one entry per example and `counts` is
    empty. For multilabel classification they have a 1 or 0 for each label of each example, whether
    it has that label, and `counts` [examples] is the number of labels. For token classification
    they are the words of all examples, concatenated, and `counts` [examples] is the number of words
    of each; for language modeling `counts` are whole words, `log_probabilities` [examples] the sums
    of their natural log-probabilities, and `top1_correct` and `top3_correct` [examples] how many
    words were the most likely prediction, or among the three most likely. Of predicted numbers
    `counts` [examples] is how many there are, `absolute_errors` and `squared_errors` [examples] the
    sums of their errors.
    `sources` names each example's source ("" when the set has none); `truncated` counts texts
    truncated at the model's longest input (token classification: in which a single word was
    truncated), `windowed` those run in several overlapping windows, `unknown_only` those without
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
    absolute_errors: tuple[float, ...] = ()
    squared_errors: tuple[float, ...] = ()
