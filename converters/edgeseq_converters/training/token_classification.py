"""Training with a label per word: cross-entropy at each word's first token, or of its sentence's
paths."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from edgeseq.errors import InputError
from edgeseq.progress import ProgressCallback
from edgeseq.tasks.examples import Dataset, TaggedExample
from edgeseq.tasks.tag_transitions import TagTransitions
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.training.classifier import (
    ClassifierObjective,
    TrainStep,
    make_optimizer,
    training_graph,
)
from edgeseq_converters.training.crf import TransitionScores
from edgeseq_converters.training.initial_weights import initial_weights
from edgeseq_converters.training.record import PreparedTraining, TrainingSources
from edgeseq_converters.training.settings import BertSettings, LstmSettings, TrainerOptions
from edgeseq_converters.training.tags import (
    encode_tagged,
    logits_by_word,
    tag_score,
    untagged,
    word_encoder,
)
from edgeseq_converters.training.teacher import teacher_tag_probabilities, token_states
from edgeseq_converters.training.texts import one_hot
from edgeseq_converters.training.transfer import transfer_set


def prepare_token_classification(
    data: Dataset[TaggedExample],
    settings: BertSettings | LstmSettings,
    options: TrainerOptions,
    progress: ProgressCallback,
) -> PreparedTraining:
    """Reads the initial weights, encodes the words, asks the teacher and builds the update; raises
    `InputError` for a teacher of a BERT."""
    if options.teacher is not None and isinstance(settings, BertSettings):
        raise InputError(
            "distillation into a BERT is not supported for token classification",
            where="--teacher",
            fix="leave it out",
        )
    initial = initial_weights(
        data, settings, options, by_word=True, token_states=token_states, progress=progress
    )
    teacher = initial.teacher
    features = initial.word_features
    encoder = word_encoder(initial.tokenizer_json, initial.settings.max_tokens, features)
    transfer, data_dir = None, options.data_dir
    if teacher is not None:
        transfer = transfer_set(data, teacher, settings, data_dir=data_dir, progress=progress)
    examples = [*data.train, *([] if transfer is None else untagged(transfer.texts, data.labels))]
    train, dev = (encode_tagged(split, data.labels, encoder) for split in (examples, data.dev))
    targets = one_hot(train.gold, len(data.labels))
    if teacher is not None:
        cache = options.teacher_cache
        shares = teacher_tag_probabilities(teacher, examples, cache=cache, progress=progress)
        num_tagged = sum(train.counts[: len(data.train)])
        targets = _distilled(targets, shares, settings.hard_label_weight, num_tagged)
    transitions = TransitionScores(len(data.labels)) if settings.crf else None
    if transitions is not None:
        targets = np.concatenate([targets, train.sentence_edges()], axis=1)
    graph = training_graph(initial, len(data.labels), train.ids, dev.ids, progress)

    def loss(values: Any, mask: Any, rows: Any) -> tuple[Any, None]:
        logits = graph.model.head(graph.pooled(values, mask, True))
        if transitions is not None:
            return transitions.cross_entropy(logits, rows), None
        losses = -tf.reduce_sum(rows * tf.nn.log_softmax(logits), -1)
        return tf.reduce_sum(losses) / tf.maximum(tf.reduce_sum(rows), 1.0), None

    specification = tf.TensorSpec([None, None, targets.shape[1]], tf.float32)
    optimizer = make_optimizer(
        graph, initial.settings, () if transitions is None else transitions.variables
    )
    predictor = graph.predictor()

    def learnt() -> TagTransitions | None:
        return None if transitions is None else transitions.values()

    def evaluate() -> float:
        logits = logits_by_word(predictor, graph.dev, dev)
        return tag_score(data.task, data.labels, dev, logits, learnt())

    objective = ClassifierObjective(
        graph,
        initial.settings,
        TrainStep(optimizer, loss, inputs=graph.inputs, targets=specification),
        targets,
        batch_targets=lambda batch: train.by_token(batch, targets),
        evaluate=evaluate,
    )
    return PreparedTraining(
        objective,
        initial.settings,
        initial.tokenizer_json,
        initial.settings.max_tokens,
        lambda: (initial.config, graph.model.arrays()),
        sources=TrainingSources(
            initial_weights=initial.identity,
            teacher=None if teacher is None else teacher.manifest.name,
            teacher_logits=None if teacher is None else "computed",
            transfer=None if transfer is None else transfer.record,
        ),
        transitions=learnt,
        word_features=features,
    )


def _distilled(
    labels: FloatArray, shares: FloatArray, hard_label_weight: float, num_tagged: int
) -> FloatArray:
    """Distributions [words, labels]: `hard_label_weight` of the labels and the rest of the
    teacher's shares (Hinton et al. 2015, "Distilling the Knowledge in a Neural Network",
    temperature 1), which need not be cut into the same tokens; the shares alone for words from
    `num_tagged` on, which have no label."""
    hard = np.full((len(labels), 1), hard_label_weight, np.float32)
    hard[num_tagged:] = 0
    targets: FloatArray = (hard * labels + (1 - hard) * shares).astype(np.float32)
    return targets
