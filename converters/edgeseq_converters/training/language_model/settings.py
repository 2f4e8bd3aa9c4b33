"""Settings of the trainings of next-word models."""

from __future__ import annotations

from typing import Annotated

import msgspec

from edgeseq_converters.training.settings import Count, Fraction, Rate, Weight


class RunSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What both architectures have.

    - `epochs` may be a fraction: a pass over WikiText-2 takes minutes.
    - `constant`: the part of the training at the peak rate (after `warmup` steps); then the rate
      falls to 0 in a straight line.
    - `candidates`: words that the sampled softmax is over
    (`edgeseq_converters.training.language_model.sampling`).
    - `dropout_in` is of the words' vectors, `dropout_out` of the states before the softmax.
    - `hold_s`: stop after so many seconds with the state kept; the same command goes on later.
    """

    epochs: Annotated[float, msgspec.Meta(gt=0)] = 8.0
    candidates: Count = 1536
    learning_rate: Rate = 3e-3
    warmup: Count = 200
    constant: Fraction = 0.5
    dropout_in: Fraction = 0.2
    dropout_out: Fraction = 0.3
    weight_decay: Weight = 0.02
    clip_norm: Annotated[float, msgspec.Meta(gt=0)] = 0.5
    min_count: Count = 1
    hold_s: Annotated[float, msgspec.Meta(gt=0)] | None = None
    seed: int = 0


class LmSettings(RunSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a next-word LSTM is trained.

    - `batch_size` texts are read side by side, `steps` words of each at a time.
    - `word_vectors`: the table starts as the checkpoint's word pieces, projected down; else at
      random.
    """

    batch_size: Count = 64
    steps: Count = 35
    embedding_size: Count = 256
    hidden_size: Count = 384
    word_vectors: bool = True


class LmBertSettings(RunSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a causal transformer is trained from the lowest layers of a BERT.

    - `batch_size` windows of `window` words a step. The window is also the longest text that the
      model will ever see at once: the positions that are kept of the checkpoint.
    - `embedding_size` of 176 makes a file as large as the LSTM's (10.3 and 10.2 MB in int8).
    - `table_rate`: the table of words learns this much faster than the rest. A word is seen
      seldom, and the layers start from weights that know something.
    """

    epochs: Annotated[float, msgspec.Meta(gt=0)] = 3.0
    batch_size: Count = 8
    window: Annotated[int, msgspec.Meta(ge=2)] = 128
    embedding_size: Count = 176
    layers: Count = 2
    learning_rate: Rate = 1e-3
    warmup: Count = 50
    table_rate: Annotated[float, msgspec.Meta(gt=0)] = 2.0
    dropout_in: Fraction = 0.1
    dropout_out: Fraction = 0.1
    clip_norm: Annotated[float, msgspec.Meta(gt=0)] = 1.0
