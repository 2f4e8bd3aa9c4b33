"""Settings of a training, with the defaults of `edgeseq demo`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from edgeseq.errors import InputError
from edgeseq.formats.codec import from_builtins
from edgeseq.tasks.registry import task_of

Count = Annotated[int, msgspec.Meta(ge=1)]
Fraction = Annotated[float, msgspec.Meta(ge=0, lt=1)]
Weight = Annotated[float, msgspec.Meta(ge=0)]
Rate = Annotated[float, msgspec.Meta(gt=0, le=1)]


class BertSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a BERT is fine-tuned.

    Accuracy on the development part of `customer-feedback` (MiniLM-L6, 19,000 training texts),
    and work, counting a layer's forward pass as 1 and its backward pass as 2: two epochs above 2
    frozen layers 77.1 % for 26 (the defaults), two above 3 frozen 76.1 % for 21, one above 2
    frozen 75.9 % for 14. Each is one run, the last two before copies were left out of the set;
    1 point is about the standard error.

    - `frozen_layers`: the lowest layers, which stay as they are; None: a third of them. They have
      no gradient, and with more than one epoch they are run once for all.
    - `head_rate_factor`: the head starts at nothing and learns this much faster.
    - `score_weight`: where all training examples have a score (the raters' mean), a second head
      that is dropped after training learns it too: a score says more than the class made of it.
    - `score_noise`: the standard error of those scores. A text whose score lies near a border
      between two classes is then learnt as partly each of them
      (`edgeseq_converters.training.texts`);
      0 learns the label alone.
    - `layer_decay`: each layer learns this much slower than the one above it (Howard & Ruder 2018,
      "Universal Language Model Fine-tuning for Text Classification", discriminative fine-tuning).
    - With a teacher (`edgeseq_converters.training.students`) the loss is the squared error to its
      logits, plus `hard_weight` of all the above, plus `hidden_weight` of the squared distance
      of the states; `transfer`, `pieces_share` and `unlabelled` are as for an LSTM.
    - `layers`: how many of the checkpoint's layers are kept, evenly spread from the lowest on
      (every second one for half of them); None: all.
    - `min_piece_count`: pieces rarer in the training texts leave the vocabulary, which changes no
      answer to a text without them; 0 keeps all.
    - `max_tokens`: longer texts are cut, the special tokens included in the count.
    - `pooling` `markers`: for texts with marked mentions (the task `coref`); each text is learnt
      with its two names in both roles.
    """

    epochs: Count = 2
    batch_size: Count = 32
    learning_rate: Rate = 2e-4
    head_rate_factor: Weight = 5.0
    warmup: Fraction = 0.06
    weight_decay: Weight = 0.01
    clip_norm: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    dropout: Fraction = 0.05
    frozen_layers: Annotated[int, msgspec.Meta(ge=0)] | None = None
    score_weight: Weight = 0.5
    score_noise: Weight = 0.0
    layer_decay: Rate = 1.0
    hard_weight: Weight = 0.3
    hidden_weight: Weight = 1.0
    transfer: Annotated[int, msgspec.Meta(ge=0)] = 0
    pieces_share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5
    unlabelled: tuple[str, ...] = ()
    pooling: Literal["mean", "cls", "markers"] = "mean"
    layers: Count | None = None
    min_piece_count: Annotated[int, msgspec.Meta(ge=0)] = 0
    max_tokens: Annotated[int, msgspec.Meta(ge=8)] = 128
    patience: Count = 2
    seed: int = 0


class LstmSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How an LSTM is trained, alone or from a teacher.

    - `hard_weight`: with a teacher the loss is the mean squared error to its logits, plus this
      much of the cross-entropy to the labels (Tang et al. 2019, "Distilling Task-Specific
      Knowledge from BERT into Simple Neural Networks").
    - `teacher_embedding`: the embedding starts as the teacher's word-piece table, projected to
      `embedding_size` by principal components; else at random.
    - `word_states`: it starts as the teacher's table beside the state that the teacher's last layer
      gives each piece on its own, both projected (Tulkens & van Dongen 2024, "Model2Vec": what a
      piece means to the fine-tuned model, also for one that the training texts hardly have). This
      times the weight of the states; 0 leaves them out.
    - `transfer`: so many texts made from the training texts, and `unlabelled`: the texts of these
      collections, are learnt with the teacher's answers (`edgeseq_converters.training.transfer`);
      `pieces_share` of those made are short pieces.
    - `min_piece_count`: pieces rarer in the training texts leave the vocabulary; 0 keeps all.
      With 1 the int8 model of `customer-feedback` has 3.2 MB.
    - `patience`: epochs without a better development score before training ends.
    """

    epochs: Count = 6
    batch_size: Count = 128
    learning_rate: Rate = 3e-3
    warmup: Fraction = 0.05
    weight_decay: Weight = 0.0
    clip_norm: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    dropout: Fraction = 0.3
    token_dropout: Fraction = 0.1
    embedding_size: Count = 128
    hidden_size: Count = 128
    layers: Count = 1
    bidirectional: bool = True
    pooling: Literal["max", "mean", "last", "markers"] = "max"
    hard_weight: Weight = 0.3
    teacher_embedding: bool = True
    word_states: Weight = 0.0
    transfer: Annotated[int, msgspec.Meta(ge=0)] = 0
    pieces_share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5
    unlabelled: tuple[str, ...] = ()
    min_piece_count: Annotated[int, msgspec.Meta(ge=0)] = 2
    max_tokens: Annotated[int, msgspec.Meta(ge=8)] = 128
    patience: Count = 3
    seed: int = 0


def check_taught(settings: BertSettings | LstmSettings, *, taught: bool) -> None:
    """Raises `InputError` for a setting that needs a teacher, without one."""
    for name in ("transfer", "unlabelled", "word_states"):
        if getattr(settings, name, None) and not taught:
            raise InputError("needs a teacher", where=name, fix="name one with --teacher")


Settings = TypeVar("Settings", bound=msgspec.Struct)

_MARKED: dict[str, Any] = {"pooling": "markers", "max_tokens": 512}
"""All passages of GAP are shorter."""
TASK_DEFAULTS: dict[tuple[str, type[Any]], dict[str, Any]] = {
    ("coref", BertSettings): _MARKED
    | {"epochs": 3, "batch_size": 16, "learning_rate": 1.5e-4, "warmup": 0.1}
    | {"dropout": 0.1, "frozen_layers": 0},
    ("coref", LstmSettings): _MARKED
    | {"epochs": 12, "batch_size": 64, "dropout": 0.4, "patience": 4},
    ("token-classification", BertSettings): {"epochs": 3, "frozen_layers": 0},
    ("token-classification", LstmSettings): {"epochs": 8, "batch_size": 64, "hard_weight": 0.5},
}
"""Defaults of a task, or of a head, that differ. `coref`: few texts, read often, and all layers
must change for a question that no pre-training asked. Token classification: every word is an
example, so smaller batches; parts of speech are known in the lowest layers, so none is frozen."""


def read_settings(
    values: Mapping[str, Any], kind: type[Settings], task: str | None = None
) -> Settings:
    """Settings from a table of a suite file or from options; what is not named is the default,
    that of `task` where it has one of its own (`TASK_DEFAULTS`).

    Raises `InputError` naming the setting that is unknown or out of range.
    """
    try:
        names = () if task is None else (task, task_of(task).head)
        own: dict[str, Any] = next(
            (TASK_DEFAULTS[name, kind] for name in names if (name, kind) in TASK_DEFAULTS), {}
        )
        return from_builtins(own | dict(values), kind)
    except msgspec.ValidationError as failure:
        raise InputError(
            "a training setting is not what was expected",
            where="train",
            found=str(failure),
            expected="settings among " + ", ".join(kind.__struct_fields__),
        ) from failure
