"""Fine-tunes a BERT checkpoint on a data set with one label a text."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import keras
import msgspec
import numpy as np
import tensorflow as tf

from edgeseq.data.examples import Dataset
from edgeseq.errors import InputError
from edgeseq.model_folder import ModelManifest, TrainedModel, write_model_folder
from edgeseq.progress import Report, silent
from edgeseq_converters.bert import BertClassifier
from edgeseq_converters.checkpoint import DEFAULT_CHECKPOINT, BertCheckpoint, read_checkpoint
from edgeseq_converters.train.batching import FloatArray
from edgeseq_converters.train.loop import Predictor, StepFunction, make_step, train_epochs
from edgeseq_converters.train.optimizer import AdamW
from edgeseq_converters.train.place import check_place
from edgeseq_converters.train.record import training_record
from edgeseq_converters.train.settings import BertSettings
from edgeseq_converters.train.texts import Part, encode_part, one_hot


def train_bert(
    data: Dataset,
    out: Path,
    *,
    checkpoint: str | Path = DEFAULT_CHECKPOINT,
    settings: BertSettings | None = None,
    name: str | None = None,
    data_dir: Path | None = None,
    replace: bool = False,
    report: Report = silent,
) -> TrainedModel:
    """Fine-tunes `checkpoint` on `data.train` and writes the trained-model folder `out`.

    The epoch with the best accuracy on `data.dev` is kept; `data.test` is not looked at. The same
    seed gives the same weights on the same machine. `name` defaults to the name of `out`;
    `data_dir` may hold the default checkpoint's package file.

    Raises `OutputError` when `out` is in the way or cannot be written, `CheckpointError` and
    `FetchError` as `read_checkpoint` does, `InputError` for settings that do not fit the
    checkpoint and when training diverges. An interrupt leaves nothing at `out`.
    """
    began = time.monotonic()
    settings = settings or BertSettings()
    check_place(out, replace=replace)
    source = read_checkpoint(checkpoint, pooling=settings.pooling, data_dir=data_dir, report=report)
    max_tokens = min(settings.max_tokens, source.config.max_position_embeddings)
    frozen = _frozen_layers(settings, source)
    name = name or out.name
    train = encode_part(data, "train", source.tokenizer_json, max_tokens)
    dev = encode_part(data, "dev", source.tokenizer_json, max_tokens)
    model = BertClassifier(
        source.config,
        len(data.labels),
        source.weights,
        frozen_layers=frozen,
        dropout=settings.dropout,
        seed=settings.seed,
    )

    predictor = Predictor(model)

    def evaluate() -> float:
        predicted = predictor(dev.ids).argmax(axis=1)
        return float(np.mean(predicted == dev.labels))

    outcome = train_epochs(
        model,
        _make_step(model, train, len(data.labels), settings),
        train.ids,
        evaluate,
        settings,
        seed=settings.seed,
        stage=f"train {name}",
        report=report,
    )
    used = msgspec.structs.replace(settings, frozen_layers=frozen, max_tokens=max_tokens)
    trained = TrainedModel(
        manifest=ModelManifest(
            name=name,
            task=data.task,
            arch="bert",
            labels=data.labels,
            max_tokens=max_tokens,
            training=training_record(
                data,
                used,
                outcome,
                seconds=time.monotonic() - began,
                initial_weights=source.identity,
            ),
            bert=source.config,
        ),
        weights=model.arrays(),
        tokenizer_json=source.tokenizer_json,
    )
    write_model_folder(out, trained, replace=replace)
    return trained


def _frozen_layers(settings: BertSettings, source: BertCheckpoint) -> int:
    layers = source.config.layers
    if settings.frozen_layers is None:
        return layers // 3
    if settings.frozen_layers > layers:
        raise InputError(
            "frozen_layers is more than the checkpoint has",
            where="train",
            found=settings.frozen_layers,
            expected=f"<= {layers}",
        )
    return settings.frozen_layers


def _make_step(
    model: BertClassifier, train: Part, labels: int, settings: BertSettings
) -> StepFunction:
    """Cross-entropy, plus the squared error of the second head where there are scores."""
    targets = one_hot(train.labels, labels)
    variables = list(model.trainable_variables)
    heads = [model.head_kernel, model.head_bias]
    with_scores = train.scores is not None and settings.score_weight > 0
    if train.scores is not None and with_scores:
        targets = np.concatenate([targets, train.scores[:, None]], axis=1)
        score_kernel = keras.Variable(np.zeros((model.config.hidden_size, 1), np.float32))
        score_bias = keras.Variable(np.zeros(1, np.float32))
        heads += [score_kernel, score_bias]
        variables += [score_kernel, score_bias]

    def loss(ids: Any, mask: Any, rows: Any) -> Any:
        pooled = model.pooled(ids, mask, training=True)
        value = tf.reduce_mean(
            tf.nn.softmax_cross_entropy_with_logits(rows[:, :labels], model.head(pooled))
        )
        if with_scores:
            scores = tf.matmul(pooled, score_kernel.value) + score_bias.value
            value += settings.score_weight * tf.reduce_mean(tf.square(scores - rows[:, labels:]))
        return value

    factor = settings.head_rate_factor
    optimizer = AdamW(
        variables,
        factors=[factor if any(v is head for head in heads) else 1.0 for v in variables],
        weight_decay=settings.weight_decay,
        clip_norm=settings.clip_norm,
    )
    contiguous: FloatArray = np.ascontiguousarray(targets, dtype=np.float32)
    return make_step(variables, optimizer, loss, contiguous)
