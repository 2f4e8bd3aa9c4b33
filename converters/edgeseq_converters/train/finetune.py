"""Fine-tunes a BERT checkpoint on a data set with one label a text."""

from __future__ import annotations

import time
from collections.abc import Callable
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
from edgeseq.train_logits import of_data
from edgeseq_converters.bert import BertClassifier
from edgeseq_converters.checkpoint import DEFAULT_CHECKPOINT, BertCheckpoint, read_checkpoint
from edgeseq_converters.smaller import keep_layers, trim_checkpoint
from edgeseq_converters.train.batching import FloatArray, StateTexts, Texts, TokenTexts
from edgeseq_converters.train.loop import (
    TOKEN_IDS,
    Predictor,
    StepFunction,
    make_step,
    train_epochs,
)
from edgeseq_converters.train.marks import (
    dev_score,
    encode_marked_part,
    mark_checkpoint,
    marker_ids,
    with_swapped,
)
from edgeseq_converters.train.optimizer import AdamW
from edgeseq_converters.train.place import check_place
from edgeseq_converters.train.record import training_record
from edgeseq_converters.train.settings import BertSettings
from edgeseq_converters.train.texts import Part, encode_part, one_hot

STATES_LIMIT_BYTES = 1 << 30
"""What the frozen layers' states of all texts may take: 1 GiB is 1.4 million tokens of MiniLM."""


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

    The epoch with the best accuracy on `data.dev` is kept, with what the model said in it to the
    training texts (`edgeseq.train_logits`); `data.test` is not looked at. The same seed gives the
    same weights on the same machine. `name` defaults to the name of `out`; `data_dir` may hold
    the default checkpoint's package file.

    Raises `OutputError` when `out` is in the way or cannot be written, `CheckpointError` and
    `FetchError` as `read_checkpoint` does, `InputError` for settings that do not fit the
    checkpoint and when training diverges. An interrupt leaves nothing at `out`.
    """
    began = time.monotonic()
    settings = settings or BertSettings()
    check_place(out, replace=replace)
    marked = settings.pooling == "marks"
    source = read_checkpoint(
        checkpoint,
        pooling="mean" if settings.pooling == "marks" else settings.pooling,
        data_dir=data_dir,
        report=report,
    )
    if marked:
        source = mark_checkpoint(source, seed=settings.seed)
    source = _smaller(source, settings, data)
    max_tokens = min(settings.max_tokens, source.config.max_position_embeddings)
    frozen = _frozen_layers(settings, source)
    name = name or out.name
    encode = encode_marked_part if marked else encode_part
    train = encode(data, "train", source.tokenizer_json, max_tokens)
    dev = encode(data, "dev", source.tokenizer_json, max_tokens)
    if marked:
        train = with_swapped(train, marker_ids(source.tokenizer_json))
    model = BertClassifier(
        source.config,
        len(data.labels),
        source.weights,
        frozen_layers=frozen,
        dropout=settings.dropout,
        seed=settings.seed,
    )

    shortened = _lower_states(model, [train, dev], settings, report)
    train_texts: Texts
    dev_texts: Texts
    train_texts, dev_texts = shortened or (TokenTexts(train.ids), TokenTexts(dev.ids))
    answer = _upper_logits(model) if shortened else model.call
    inputs = _states_spec(source) if shortened else TOKEN_IDS
    predictor = Predictor(answer, inputs=inputs)

    def evaluate() -> float:
        return dev_score(data.task, dev.labels, predictor(dev_texts))

    pooled = model.upper if shortened else model.pooled
    outcome = train_epochs(
        model,
        _make_step(model, pooled, train, settings, inputs=inputs),
        train_texts,
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
    # What was said to texts with their names swapped stands behind the others.
    train_logits = of_data(data, outcome.train_logits[: len(data.train)])
    write_model_folder(out, trained, replace=replace, train_logits=train_logits)
    return trained


def _smaller(source: BertCheckpoint, settings: BertSettings, data: Dataset) -> BertCheckpoint:
    if settings.layers is not None:
        source = keep_layers(source, settings.layers)
    if settings.min_piece_count:
        texts = [example.text for example in data.train]
        source = trim_checkpoint(source, texts, min_count=settings.min_piece_count)
    return source


def _frozen_layers(settings: BertSettings, source: BertCheckpoint) -> int:
    layers = source.config.layers
    if settings.frozen_layers is None:
        # Layers that share their arrays are frozen together or not at all.
        return 0 if source.config.layer_sources else layers // 3
    if settings.frozen_layers > layers:
        raise InputError(
            "frozen_layers is more than the checkpoint has",
            where="train",
            found=settings.frozen_layers,
            expected=f"<= {layers}",
        )
    return settings.frozen_layers


def _lower_states(
    model: BertClassifier, parts: list[Part], settings: BertSettings, report: Report
) -> list[StateTexts] | None:
    """The frozen layers' states of each part's texts, computed once for all epochs.

    None where that saves nothing (one epoch, no frozen layer) or needs too much memory, and for
    the pooling `marks`, which looks at the tokens as well.
    """
    if settings.pooling == "marks":
        return None
    hidden = model.config.hidden_size
    texts = [TokenTexts(part.ids) for part in parts]
    size_bytes = sum(StateTexts.size_bytes(one.lengths, hidden) for one in texts)
    if settings.epochs == 1 or not model.frozen_layers or size_bytes > STATES_LIMIT_BYTES:
        return None
    lower = Predictor(model.lower)
    kept = []
    for one in texts:
        states = StateTexts(one.lengths, hidden)
        for batch, values in lower.batches(one, stage="run the frozen layers", report=report):
            states.put(batch, values)
        kept.append(states)
    return kept


def _upper_logits(model: BertClassifier) -> Callable[[Any, Any], Any]:
    def answer(states: Any, mask: Any) -> Any:
        return model.head(model.upper(states, mask))

    return answer


def _states_spec(source: BertCheckpoint) -> Any:
    return tf.TensorSpec([None, None, source.config.hidden_size], tf.float32)


def _make_step(
    model: BertClassifier,
    pooled: Callable[..., Any],
    train: Part,
    settings: BertSettings,
    *,
    inputs: Any,
) -> StepFunction:
    """Cross-entropy, plus the squared error of the second head where there are scores."""
    labels = model.head_kernel.shape[1]
    targets = one_hot(train.labels, labels)
    variables = list(model.trainable_variables)
    heads = [model.head_kernel, model.head_bias]
    with_scores = train.scores is not None and settings.score_weight > 0
    if train.scores is not None and with_scores:
        targets = np.concatenate([targets, train.scores[:, None]], axis=1)
        score_kernel = keras.Variable(np.zeros((model.head_kernel.shape[0], 1), np.float32))
        score_bias = keras.Variable(np.zeros(1, np.float32))
        heads += [score_kernel, score_bias]
        variables += [score_kernel, score_bias]

    def loss(values: Any, mask: Any, rows: Any) -> tuple[Any, Any]:
        features = pooled(values, mask, training=True)
        logits = model.head(features)
        value = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(rows[:, :labels], logits))
        if with_scores:
            scores = tf.matmul(features, score_kernel.value) + score_bias.value
            value += settings.score_weight * tf.reduce_mean(tf.square(scores - rows[:, labels:]))
        return value, logits

    factor = settings.head_rate_factor
    optimizer = AdamW(
        variables,
        factors=[factor if any(v is head for head in heads) else 1.0 for v in variables],
        weight_decay=settings.weight_decay,
        clip_norm=settings.clip_norm,
    )
    contiguous: FloatArray = np.ascontiguousarray(targets, dtype=np.float32)
    return make_step(variables, optimizer, loss, contiguous, inputs=inputs)
