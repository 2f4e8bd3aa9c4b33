"""BERTs that learn from a larger BERT which was fine-tuned on the same data.

The student starts as every so many layers of its teacher (DistilBERT, Sanh et al. 2019, section 2)
with the teacher's table, tokenizer and head, and learns

- the teacher's logits, by squared error (Tang et al. 2019; TinyBERT's prediction layer, Jiao et
  al. 2020, uses soft cross-entropy to the same end),
- the labels, by cross-entropy,
- the teacher's states after evenly matched layers, where both have the same width: student layer j
  of S follows teacher layer (j + 1)·T/S - 1 of T, so that the last follows the last (TinyBERT's
  g(m)). As in patient distillation (Sun et al. 2019, "Patient Knowledge Distillation for BERT
  Model Compression", equation 7) what is compared is one state a text, scaled to length 1; here
  the mean over the tokens, which the head reads, not the first token's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import tensorflow as tf

from edgeseq.errors import CheckpointError, InputError
from edgeseq.formats.trained_model import BertConfig, TrainedModel, TransferRecord
from edgeseq.progress import ProgressCallback, no_progress
from edgeseq.tasks.examples import Dataset
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.huggingface.checkpoint import BertCheckpoint
from edgeseq_converters.training.batching import TokenTexts
from edgeseq_converters.training.bert_model import BertClassifier
from edgeseq_converters.training.loop import Predictor
from edgeseq_converters.training.settings import BertSettings
from edgeseq_converters.training.texts import encode_texts
from edgeseq_converters.training.transfer import transfer_set


class Lesson(msgspec.Struct, frozen=True):
    """What the teacher says about each text.

    `logits` [texts, labels]; `states` [texts, matched layers, hidden], each of length 1, lowest
    layer first, with no layer where states are not compared.
    """

    logits: FloatArray
    states: FloatArray


def start_of(teacher: TrainedModel, folder: Path) -> BertCheckpoint:
    """The teacher as what a student starts from; its layers are chosen by `keep_layers`.

    Raises `CheckpointError` when its head is not one label a text.
    """
    config = bert_of(teacher)
    if config.head != "sequence_classification" or config.head_act is not None:
        raise CheckpointError(
            "cannot be a teacher of a BERT",
            where=folder,
            found=config.head,
            expected="sequence_classification",
        )
    return BertCheckpoint(config, teacher.weights, teacher.tokenizer_json, teacher.manifest.name)


def matched_layers(teacher_layers: int, student_layers: int, *, frozen: int = 0) -> tuple[int, ...]:
    """For each trained layer of the student, lowest first, the teacher's layer that it follows.

    Raises `InputError` when the student has more layers than the teacher.
    """
    if student_layers > teacher_layers:
        raise InputError(
            "the student has more layers than its teacher",
            where="layers",
            found=student_layers,
            expected=f"<= {teacher_layers}",
        )
    return tuple(
        (number + 1) * teacher_layers // student_layers - 1
        for number in range(frozen, student_layers)
    )


def lesson(
    teacher: TrainedModel,
    texts: list[str],
    *,
    layers: tuple[int, ...] = (),
    progress: ProgressCallback = no_progress,
) -> Lesson:
    """Asks the teacher for its logits, and its states after `layers` (numbers from 0, ascending).

    One pass over the texts gives both.
    """
    config = bert_of(teacher)
    labels = len(teacher.manifest.labels)
    model = BertClassifier(config, labels, teacher.weights)

    def answer(ids: Any, mask: Any) -> Any:
        means = model.layer_means(model.lower(ids, mask), mask)
        chosen = [tf.math.l2_normalize(means[number], axis=1) for number in layers]
        pooled = means[-1] if config.pooling == "mean" else model.pooled(ids, mask)
        return tf.concat([model.head(pooled), *chosen], axis=1)

    ids = encode_texts(teacher.tokenizer_json, texts, teacher.manifest.max_tokens)
    rows = Predictor(answer)(
        TokenTexts(ids), stage=f"ask {teacher.manifest.name}", progress=progress
    )
    states = rows[:, labels:].reshape(len(texts), len(layers), config.hidden_size)
    return Lesson(logits=np.ascontiguousarray(rows[:, :labels]), states=states)


class Taught(msgspec.Struct, frozen=True):
    """A lesson on the train part's texts and on `more_texts` behind them."""

    lesson: Lesson
    more_texts: tuple[str, ...] = ()
    transfer: TransferRecord | None = None


def teach(
    data: Dataset,
    teacher: TrainedModel,
    student: BertConfig,
    settings: BertSettings,
    *,
    frozen: int,
    data_dir: Path | None = None,
    progress: ProgressCallback = no_progress,
) -> Taught:
    """The lesson for a student of the dimensions `student` whose lowest `frozen` layers stay.

    Raises `InputError` when states of different widths would be compared, or the student has more
    layers, and what `transfer_set` raises.
    """
    layers: tuple[int, ...] = ()
    if settings.hidden_weight:
        _check_widths(bert_of(teacher).hidden_size, student.hidden_size)
        layers = matched_layers(bert_of(teacher).layers, student.layers, frozen=frozen)
    transfer = transfer_set(
        data,
        teacher,
        made=settings.transfer,
        pieces_share=settings.pieces_share,
        unlabelled=settings.unlabelled,
        seed=settings.seed,
        data_dir=data_dir,
        progress=progress,
    )
    more = () if transfer is None else transfer.texts
    texts = [*(example.text for example in data.train), *more]
    said = lesson(teacher, texts, layers=layers, progress=progress)
    return Taught(said, more, None if transfer is None else transfer.record)


def _check_widths(teacher: int, student: int) -> None:
    if teacher != student:
        raise InputError(
            "states of different widths cannot be compared",
            where="hidden_weight",
            found=f"{student} and the teacher's {teacher}",
            fix="set hidden_weight=0, or start from the teacher (no checkpoint)",
        )


def bert_of(teacher: TrainedModel) -> BertConfig:
    """The teacher's dimensions; raises `CheckpointError` when it is no BERT."""
    if teacher.manifest.bert is None:
        raise CheckpointError("cannot be a teacher", where=teacher.manifest.name, expected="bert")
    return teacher.manifest.bert
