"""Training with a label, or any number of labels, per text: alone, with the raters' scores, or
with a teacher."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import msgspec
import numpy as np
import tensorflow as tf

from edgeseq.errors import InputError
from edgeseq.formats.train_logits import read_train_logits
from edgeseq.formats.trained_model import TrainedModel
from edgeseq.progress import ProgressCallback
from edgeseq.tasks.examples import Dataset
from edgeseq.tasks.label_thresholds import sigmoid
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.training.classifier import (
    ClassifierObjective,
    TrainingGraph,
    TrainStep,
    make_optimizer,
    training_graph,
)
from edgeseq_converters.training.initial_weights import InitialWeights, initial_weights
from edgeseq_converters.training.marks import (
    SWAPPED_LABELS,
    encode_marked,
    encode_marked_split,
    marker_ids,
    with_swapped,
)
from edgeseq_converters.training.record import PreparedTraining, TrainingSources
from edgeseq_converters.training.settings import AnyClassifierSettings, BertSettings, TrainerOptions
from edgeseq_converters.training.teacher import (
    DistillationData,
    TeacherOutputs,
    correct_stale_logits,
    distil_to_bert,
    distil_to_student,
    softmax,
    token_states,
)
from edgeseq_converters.training.texts import (
    EncodedSplit,
    encode_split,
    encode_texts,
    label_targets,
    soft_labels,
    split_score,
)


class Targets(msgspec.Struct, frozen=True):
    """What is learnt about each text.

    `labels` [texts, labels] are probabilities that add up to 1, or to 0 for a text without a known
    label; with `known` [texts] they are 1 for each label that a text has, and the labels of a text
    are known where that is 1. `scores` [texts] are the raters' means; `teacher` are a teacher's
    outputs for all texts. The weights are those of the parts of the loss (`BertSettings`).
    """

    labels: FloatArray
    known: FloatArray | None = None
    scores: FloatArray | None = None
    teacher: TeacherOutputs | None = None
    score_weight: float = 0.0
    hidden_state_weight: float = 0.0


def prepare_sequence_classification(
    data: Dataset[Any],
    settings: AnyClassifierSettings,
    options: TrainerOptions,
    progress: ProgressCallback,
) -> PreparedTraining:
    """Reads the initial weights, encodes the texts, asks the teacher and builds the update."""
    has_mentions = settings.pooling == "markers"
    if has_mentions and options.teacher is not None and isinstance(settings, BertSettings):
        raise InputError(
            "distillation into a BERT is not supported with mentions",
            where="pooling",
            found="markers",
        )
    initial = initial_weights(
        data, settings, options, by_word=False, token_states=token_states, progress=progress
    )
    teacher = initial.teacher
    max_tokens = initial.settings.max_tokens
    encode = encode_marked_split if has_mentions else encode_split
    train = encode(data, "train", initial.tokenizer_json, max_tokens)
    dev = encode(data, "dev", initial.tokenizer_json, max_tokens)
    distillation = None
    if teacher is not None:
        distillation = _distillation(
            data, teacher, initial, train, options=options, progress=progress
        )
    if has_mentions:
        train = with_swapped(train, marker_ids(initial.tokenizer_json))
    targets = _targets(data, train, initial.settings, distillation)
    ids = train.ids
    if distillation is not None and distillation.extra_texts:
        encode_extra = encode_marked if has_mentions else encode_texts
        ids = [*ids, *encode_extra(initial.tokenizer_json, distillation.extra_texts, max_tokens)]
    graph = training_graph(initial, len(data.labels), ids, dev.ids, progress)
    step, target_rows = sequence_step(graph, targets, initial.settings)
    predictor = graph.predictor()

    def evaluate() -> float:
        return split_score(data.task, data.labels, dev, predictor(graph.dev))

    objective = ClassifierObjective(
        graph,
        initial.settings,
        step,
        target_rows,
        batch_targets=lambda batch: target_rows[batch.index],
        evaluate=evaluate,
    )
    transfer = None if distillation is None else distillation.transfer
    return PreparedTraining(
        objective,
        initial.settings,
        initial.tokenizer_json,
        max_tokens,
        lambda: (initial.config, graph.model.arrays()),
        sources=TrainingSources(
            initial_weights=initial.identity,
            teacher=None if teacher is None else teacher.manifest.name,
            teacher_logits=None if distillation is None else distillation.logits_source,
            transfer=None if transfer is None else transfer.record,
        ),
        keeps_logits=isinstance(settings, BertSettings),
    )


def _distillation(
    data: Dataset[Any],
    teacher: TrainedModel,
    initial: InitialWeights,
    train: EncodedSplit,
    *,
    options: TrainerOptions,
    progress: ProgressCallback,
) -> DistillationData:
    """The teacher's outputs; those for texts with swapped names follow the train split's."""
    settings = initial.settings
    if isinstance(settings, BertSettings):
        return distil_to_bert(
            data, teacher, settings, initial.config, data_dir=options.data_dir, progress=progress
        )
    labels = label_targets(train, len(data.labels))
    stored = read_train_logits(options.teacher, data) if options.teacher else None
    shares_of = softmax if train.labels.ndim == 1 else sigmoid
    distillation = distil_to_student(
        data,
        teacher,
        settings,
        None if stored is None else correct_stale_logits(stored, labels, shares_of),
        data_dir=options.data_dir,
        cache=options.teacher_cache,
        progress=progress,
    )
    if settings.pooling != "markers":
        return distillation
    logits = distillation.outputs.logits
    swapped = logits[: len(train.ids), list(SWAPPED_LABELS)]
    logits = np.concatenate([logits[: len(train.ids)], swapped, logits[len(train.ids) :]])
    outputs = TeacherOutputs(logits, np.empty((len(logits), 0, 0), np.float32))
    return msgspec.structs.replace(distillation, outputs=outputs)


def _targets(
    data: Dataset[Any],
    train: EncodedSplit,
    settings: AnyClassifierSettings,
    distillation: DistillationData | None,
) -> Targets:
    """Targets of the train split, and of the teacher's extra texts, which have no label."""
    labels = scores = known = None
    weights: dict[str, float] = {}
    is_multilabel = train.labels.ndim == 2
    if isinstance(settings, BertSettings):
        labels = None if is_multilabel else soft_labels(data, settings.score_noise)
        scores = train.scores if settings.score_weight else None
        weights["score_weight"] = settings.score_weight
        weights["hidden_state_weight"] = settings.hidden_state_weight
    if labels is None:
        labels = label_targets(train, len(data.labels))
    extra = 0 if distillation is None else len(distillation.extra_texts)
    if is_multilabel:
        known = np.pad(np.ones(len(labels), np.float32), (0, extra))
    return Targets(
        np.pad(labels, ((0, extra), (0, 0))),
        known,
        None if scores is None else np.pad(scores, (0, extra)),
        None if distillation is None else distillation.outputs,
        **weights,
    )


def sequence_step(
    graph: TrainingGraph, targets: Targets, settings: AnyClassifierSettings
) -> tuple[TrainStep, FloatArray]:
    """The update, and the targets [texts, n] that it takes.

    The loss is the cross-entropy to the labels (binary, the mean over the labels, where a text has
    any number of them: PyTorch's `BCEWithLogitsLoss`), plus the squared error of a second head
    where there are scores. With a teacher it is the squared error to its logits, plus
    `hard_label_weight` times all that, plus the squared distance to its states where they are
    compared.
    """
    model, teacher = graph.model, targets.teacher
    columns = TargetColumns()
    labels = columns.add(targets.labels)
    score_head: list[Any] = []
    known_column = scores = soft = states = None
    if targets.known is not None:
        known_column = columns.add(targets.known[:, None])
    if targets.scores is not None:
        scores = columns.add(targets.scores[:, None])
        score_head = [
            keras.Variable(np.zeros((model.head_kernel.shape[0], 1), np.float32)),
            keras.Variable(np.zeros(1, np.float32)),
        ]
    layers = 0
    if teacher is not None:
        soft = columns.add(teacher.logits)
        num_texts, layers, hidden = teacher.states.shape
        states = columns.add(teacher.states.reshape(num_texts, -1)) if layers else None
    features = _layer_features(graph) if layers else _pooled_features(graph)

    def loss(values: Any, mask: Any, rows: Any) -> tuple[Any, Any]:
        pooled = features(values, mask)
        logits = model.head(pooled[-1])
        if known_column is None:
            known = tf.reduce_sum(rows[:, labels], 1)
            # By the share that is known: for a text without a label TensorFlow's gradient is not 0.
            entropy = tf.nn.softmax_cross_entropy_with_logits(rows[:, labels], logits) * known
        else:
            known = rows[:, known_column][:, 0]
            by_label = tf.nn.sigmoid_cross_entropy_with_logits(rows[:, labels], logits)
            entropy = tf.reduce_mean(by_label, 1) * known
        value = tf.reduce_mean(entropy)
        if scores is not None:
            predicted = tf.matmul(pooled[-1], score_head[0].value) + score_head[1].value
            error = tf.square(predicted - rows[:, scores])[:, 0] * known
            value += targets.score_weight * tf.reduce_mean(error)
        if soft is not None:
            distance = tf.reduce_mean(tf.square(logits - rows[:, soft]))
            value = distance + settings.hard_label_weight * value
        if states is not None:
            teacher_states = tf.reshape(rows[:, states], [-1, layers, hidden])
            student_states = tf.math.l2_normalize(tf.stack(pooled[-layers:], 1), axis=2)
            gap = tf.reduce_sum(tf.square(student_states - teacher_states), 2)
            value += targets.hidden_state_weight * tf.reduce_mean(gap)
        return value, logits

    rows = columns.joined()
    optimizer = make_optimizer(graph, settings, score_head)
    specification = tf.TensorSpec([None, rows.shape[1]], tf.float32)
    return TrainStep(optimizer, loss, inputs=graph.inputs, targets=specification), rows


def _pooled_features(graph: TrainingGraph) -> Callable[[Any, Any], list[Any]]:
    """The pooled states [batch, pooled] that the head reads, alone in a list."""
    return lambda values, mask: [graph.pooled(values, mask, True)]


def _layer_features(graph: TrainingGraph) -> Callable[[Any, Any], list[Any]]:
    """The mean states after each trained layer, the last being what the head reads."""
    model = graph.model

    def features(values: Any, mask: Any) -> list[Any]:
        states = values if graph.starts_from_states else model.lower(values, mask)
        means: list[Any] = model.layer_means(states, mask, True)
        if model.config.pooling == "mean":
            return means
        return [*means[:-1], model.upper(states, mask, True)]

    return features


class TargetColumns:
    """Arrays [texts, n] side by side; `add` returns the slice of each."""

    def __init__(self) -> None:
        self._parts: list[FloatArray] = []
        self._width = 0

    def add(self, part: FloatArray) -> slice:
        """Appends `part` [texts, n]."""
        self._parts.append(part)
        start, self._width = self._width, self._width + part.shape[1]
        return slice(start, self._width)

    def joined(self) -> FloatArray:
        """All of them [texts, all columns]."""
        rows: FloatArray = np.concatenate(self._parts, axis=1, dtype=np.float32)
        return np.ascontiguousarray(rows)
