"""The loss of a BERT with one label a text, alone or with a teacher, and its step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import msgspec
import numpy as np
import tensorflow as tf

from edgeseq_converters.training.batching import FloatArray
from edgeseq_converters.training.bert_model import BertClassifier
from edgeseq_converters.training.loop import Step, make_step
from edgeseq_converters.training.optimizer import AdamW
from edgeseq_converters.training.settings import BertSettings
from edgeseq_converters.training.students import Lesson


class Wanted(msgspec.Struct, frozen=True):
    """What is to be learnt about each text.

    `labels` [texts, labels] are shares of each class that add up to 1, or to 0 for a text whose
    label is not known; `scores` [texts] are the raters' means, or there are none; `lesson` is what
    a teacher says, of all texts.
    """

    labels: FloatArray
    scores: FloatArray | None = None
    lesson: Lesson | None = None


def bert_step(
    model: BertClassifier,
    features: Callable[..., list[Any]],
    wanted: Wanted,
    settings: BertSettings,
    *,
    inputs: Any,
) -> Step:
    """Cross-entropy, the squared error of a second head where there are scores, and the teacher's
    logits and states where there is one.

    `features(values, mask, training)` gives the pooled states [batch, pooled] that the head reads,
    last in a list; before them, where the teacher's states are compared, those of each matched
    layer.
    """
    heads = [model.head_kernel, model.head_bias]
    targets = Columns()
    labels = targets.add(wanted.labels)
    score_head: list[Any] = []
    scores = None
    if wanted.scores is not None and settings.score_weight > 0:
        scores = targets.add(wanted.scores[:, None])
        score_head = [
            keras.Variable(np.zeros((model.head_kernel.shape[0], 1), np.float32)),
            keras.Variable(np.zeros(1, np.float32)),
        ]
    taught = _Taught(targets, wanted.lesson, settings) if wanted.lesson is not None else None

    def loss(values: Any, mask: Any, rows: Any) -> tuple[Any, Any]:
        pooled = features(values, mask, training=True)
        logits = model.head(pooled[-1])
        known = tf.reduce_sum(rows[:, labels], 1)
        # By the share that is known: for a text without a label TensorFlow's gradient is not 0.
        entropy = tf.nn.softmax_cross_entropy_with_logits(rows[:, labels], logits) * known
        value = tf.reduce_mean(entropy)
        if scores is not None:
            said = tf.matmul(pooled[-1], score_head[0].value) + score_head[1].value
            error = tf.square(said - rows[:, scores])[:, 0] * known
            value += settings.score_weight * tf.reduce_mean(error)
        return (taught.loss(value, logits, pooled, rows) if taught else value), logits

    variables = [*model.trainable_variables, *score_head]
    factors = _factors(model, variables, [*heads, *score_head], settings)
    optimizer = AdamW.of(settings, variables, factors)
    return make_step(variables, optimizer, loss, targets.joined(), inputs=inputs)


class Columns:
    """Arrays [texts, n] side by side, each found again by the slice that `add` gives."""

    def __init__(self) -> None:
        self._parts: list[FloatArray] = []
        self._width = 0

    def add(self, part: FloatArray) -> slice:
        """Puts `part` [texts, n] behind the others."""
        self._parts.append(part)
        start, self._width = self._width, self._width + part.shape[1]
        return slice(start, self._width)

    def joined(self) -> FloatArray:
        """All of them [texts, all columns]."""
        rows: FloatArray = np.concatenate(self._parts, axis=1, dtype=np.float32)
        return np.ascontiguousarray(rows)


class _Taught:
    """The teacher's part of the loss."""

    def __init__(self, targets: Columns, lesson: Lesson, settings: BertSettings) -> None:
        texts, self._layers, self._hidden = lesson.states.shape
        self._logits = targets.add(lesson.logits)
        self._states = targets.add(lesson.states.reshape(texts, -1)) if self._layers else None
        self._hard_weight = settings.hard_weight
        self._hidden_weight = settings.hidden_weight

    def loss(self, own: Any, logits: Any, pooled: list[Any], rows: Any) -> Any:
        """`own` is the loss without a teacher."""
        value = tf.reduce_mean(tf.square(logits - rows[:, self._logits])) + self._hard_weight * own
        if self._states is not None:
            theirs = tf.reshape(rows[:, self._states], [-1, self._layers, self._hidden])
            ours = tf.math.l2_normalize(tf.stack(pooled[-self._layers :], 1), axis=2)
            distance = tf.reduce_sum(tf.square(ours - theirs), 2)
            value += self._hidden_weight * tf.reduce_mean(distance)
        return value


def _factors(
    model: BertClassifier, variables: list[Any], heads: list[Any], settings: BertSettings
) -> list[float]:
    """How much faster or slower than the learning rate each variable learns."""
    depths = {
        id(variable): model.config.layers - 1 - number
        for number, layer in model.layers_by_source.items()
        for variable in layer.trainable_variables
    }
    head_ids = {id(head) for head in heads}
    return [
        settings.head_rate_factor
        if id(variable) in head_ids
        else settings.layer_decay ** depths.get(id(variable), model.config.layers)
        for variable in variables
    ]
