"""Trains an LSTM on a data set, alone or distilled from a BERT that was fine-tuned on it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import tensorflow as tf

from edgeseq.errors import CheckpointError
from edgeseq.formats.train_logits import read_train_logits
from edgeseq.formats.trained_model import LstmConfig, TrainedModel, read_model_folder
from edgeseq.progress import ProgressCallback, no_progress
from edgeseq.tasks.examples import AnyDataset
from edgeseq.tasks.registry import task_of
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.huggingface.checkpoint import DEFAULT_CHECKPOINT, read_checkpoint
from edgeseq_converters.models.vocabulary import trim_wordpiece
from edgeseq_converters.training.batching import TokenTexts
from edgeseq_converters.training.bert_model import BertClassifier
from edgeseq_converters.training.checkpoints import training_file
from edgeseq_converters.training.finished import write_trained
from edgeseq_converters.training.loop import Predictor, StepFunction, make_step, train_epochs
from edgeseq_converters.training.lstm_model import LstmClassifier
from edgeseq_converters.training.marks import (
    add_markers,
    dev_score,
    encode_marked,
    encode_marked_part,
    marker_ids,
    marks_of,
    with_swapped,
    with_swapped_targets,
)
from edgeseq_converters.training.optimizer import AdamW
from edgeseq_converters.training.place import check_place
from edgeseq_converters.training.settings import LstmSettings, check_taught
from edgeseq_converters.training.texts import encode_part, encode_texts, one_hot
from edgeseq_converters.training.transfer import TransferSet, transfer_set
from edgeseq_converters.training.word_states import side_by_side, word_states

EMBEDDING_DEVIATION = 0.1
"""Standard deviation of the starting embedding."""

CATCH_UP = 0.6
"""How far kept logits go towards the label (`caught_up`): with 0.6, those of the demo's teacher are
right as often on its training texts (89.9 %) as its final weights are (89.5 %)."""


class Start(msgspec.Struct, frozen=True):
    """What the LSTM starts from: its tokenizer, and its embedding table [V, E] if not random."""

    tokenizer_json: str
    table: Any
    vocabulary_size: int
    identity: str | None


def train_lstm(
    data: AnyDataset,
    out: Path,
    *,
    teacher: Path | None = None,
    checkpoint: str | Path = DEFAULT_CHECKPOINT,
    settings: LstmSettings | None = None,
    name: str | None = None,
    data_dir: Path | None = None,
    overwrite: bool = False,
    keep_every_s: float | None = None,
    progress: ProgressCallback = no_progress,
) -> TrainedModel:
    """Trains an LSTM on `data.train` and writes the trained-model folder `out`.

    A data set with one tag a word goes to `edgeseq_converters.training.tag_lstm`.

    With `teacher`, a BERT's trained-model folder, it learns the teacher's logits (those that the
    folder keeps, where they are of `data`, else computed) and starts from its tokenizer and
    word-piece table; without one, it learns the labels and takes tokenizer and table from
    `checkpoint`. The epoch with the best accuracy on `data.dev` is kept; `data.test` is not
    looked at. The same seed gives the same weights on the same machine. `keep_every_s` is that of
    `train_bert`.

    Raises `OutputError` when `out` is in the way or cannot be written, `CheckpointError` when the
    teacher is no BERT, has other labels or a damaged file, `FetchError` when the checkpoint
    cannot be had, `InputError` when a setting needs a teacher and when training diverges. An
    interrupt leaves nothing at `out`.
    """
    if task_of(data.task).head == "token-classification":
        from edgeseq_converters.training.tag_lstm import train_lstm_tagger

        return train_lstm_tagger(
            data,
            out,
            teacher=teacher,
            checkpoint=checkpoint,
            settings=settings,
            name=name,
            data_dir=data_dir,
            overwrite=overwrite,
            keep_every_s=keep_every_s,
            progress=progress,
        )
    began = time.monotonic()
    settings = settings or LstmSettings()
    check_place(out, overwrite=overwrite)
    name = name or out.name
    check_taught(settings, taught=teacher is not None)
    guide = None if teacher is None else read_teacher(teacher, data)
    texts = [example.text for example in data.train]
    start = start_of(
        texts, guide, settings, checkpoint=checkpoint, data_dir=data_dir, progress=progress
    )
    marked = settings.pooling == "markers"
    config = LstmConfig(
        vocabulary_size=start.vocabulary_size,
        embedding_size=settings.embedding_size,
        hidden_size=settings.hidden_size,
        layers=settings.layers,
        bidirectional=settings.bidirectional,
        pooling=settings.pooling,
        marker_ids=marks_of(start.tokenizer_json) if marked else (),
    )
    encode = encode_marked_part if marked else encode_part
    train = encode(data, "train", start.tokenizer_json, settings.max_tokens)
    dev = encode(data, "dev", start.tokenizer_json, settings.max_tokens)
    targets = one_hot(train.labels, len(data.labels))
    labels_from: Literal["kept", "computed"] | None = None
    if teacher is not None and guide is not None:
        logits = read_train_logits(teacher, data)
        labels_from = "computed" if logits is None else "kept"
        if logits is None:
            logits = teacher_logits(guide, texts, progress=progress)
        else:
            logits = caught_up(logits, targets)
        targets = np.concatenate([targets, logits], axis=1)
    if marked:
        train = with_swapped(train, marker_ids(start.tokenizer_json))
        targets = with_swapped_targets(targets)
    more = _more_texts(data, guide, settings, data_dir=data_dir, progress=progress)
    ids = train.ids
    if more is not None and guide is not None:
        encode_more = encode_marked if marked else encode_texts
        ids = [*ids, *encode_more(start.tokenizer_json, more.texts, settings.max_tokens)]
        said = teacher_logits(guide, list(more.texts), progress=progress)
        unknown = np.zeros((len(said), len(data.labels)), dtype=np.float32)
        targets = np.concatenate([targets, np.concatenate([unknown, said], axis=1)])
    resume = training_file(out, every_s=keep_every_s)
    model = LstmClassifier(
        config,
        len(data.labels),
        dropout=settings.dropout,
        token_dropout=settings.token_dropout,
        seed=settings.seed,
    )
    if start.table is not None:
        model.table.assign(start.table)

    predictor, dev_texts = Predictor(model.call), TokenTexts(dev.ids)

    def evaluate() -> float:
        return dev_score(data.task, dev.labels, predictor(dev_texts))

    outcome = train_epochs(
        model,
        _make_step(model, targets, len(data.labels), settings),
        TokenTexts(ids),
        evaluate,
        settings,
        seed=settings.seed,
        stage=f"train {name}",
        progress=progress,
        resume=resume,
    )
    return write_trained(
        out,
        data,
        settings,
        outcome,
        config,
        name=name,
        weights=model.arrays(),
        tokenizer_json=start.tokenizer_json,
        began=began,
        overwrite=overwrite,
        teacher=None if guide is None else guide.manifest.name,
        teacher_labels=labels_from,
        initial_weights=start.identity,
        transfer=None if more is None else more.record,
        resume=resume,
    )


def _more_texts(
    data: AnyDataset,
    guide: TrainedModel | None,
    settings: LstmSettings,
    *,
    data_dir: Path | None,
    progress: ProgressCallback,
) -> TransferSet | None:
    if guide is None:
        return None
    return transfer_set(
        data,
        guide,
        made=settings.transfer,
        pieces_share=settings.pieces_share,
        unlabelled=settings.unlabelled,
        seed=settings.seed,
        data_dir=data_dir,
        progress=progress,
    )


def read_teacher(folder: Path, data: AnyDataset) -> TrainedModel:
    """The teacher in `folder`; raises `CheckpointError` when it cannot teach this data set."""
    teacher = read_model_folder(folder)
    if teacher.manifest.bert is None:
        raise CheckpointError(
            "cannot be a teacher", where=folder, found=teacher.manifest.arch, expected="bert"
        )
    if teacher.manifest.labels != data.labels:
        raise CheckpointError(
            "the teacher was trained for other labels",
            where=folder,
            found=", ".join(teacher.manifest.labels),
            expected=", ".join(data.labels),
            fix="fine-tune it on this data set",
        )
    return teacher


def teacher_logits(
    teacher: TrainedModel, texts: list[str], *, progress: ProgressCallback = no_progress
) -> FloatArray:
    """The teacher's logits [texts, labels]."""
    config = teacher.manifest.bert
    if config is None:
        raise CheckpointError("cannot be a teacher", where=teacher.manifest.name, expected="bert")
    model = BertClassifier(
        config,
        len(teacher.manifest.labels),
        teacher.weights,
        frozen_layers=config.layers,
    )
    encode = encode_marked if config.pooling == "markers" else encode_texts
    ids = encode(teacher.tokenizer_json, texts, teacher.manifest.max_tokens)
    return Predictor(model.call)(
        TokenTexts(ids), stage=f"ask {teacher.manifest.name}", progress=progress
    )


def caught_up(logits: FloatArray, labels: FloatArray) -> FloatArray:
    """Kept logits [texts, labels] brought about to where the teacher's last step on each text led.

    What is kept was said before the update that the text's own label (one-hot [texts, labels])
    then made. The gradient of the cross-entropy by the logits is softmax − label, so they move
    `CATCH_UP` times its negative.
    """
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares = odds / odds.sum(axis=1, keepdims=True)
    moved: FloatArray = (logits + CATCH_UP * (labels - shares)).astype(np.float32)
    return moved


def project_table(table: FloatArray, size: int, *, seed: int = 0) -> FloatArray:
    """A word-piece table [V, H] on its first `size` principal components: [V, size].

    The rows are centred, turned, and scaled to the deviation that the table had, so that the
    embedding starts at the size of the teacher's. Where the table has fewer dimensions than
    `size`, the others start as small random numbers.
    """
    centred = table - table.mean(axis=0)
    covariance = centred.T.astype(np.float64) @ centred / len(centred)
    values, vectors = np.linalg.eigh(covariance)
    first = vectors[:, np.argsort(values)[::-1][:size]]
    # An eigenvector's sign is arbitrary: fix it, so that every machine starts alike.
    first *= np.sign(first[np.abs(first).argmax(axis=0), np.arange(first.shape[1])])
    projected = centred @ first
    projected *= EMBEDDING_DEVIATION / max(float(projected.std()), 1e-12)
    missing = size - projected.shape[1]
    generator = np.random.default_rng(seed)
    rest = generator.normal(0, EMBEDDING_DEVIATION, (len(table), missing))
    return np.concatenate([projected, rest], axis=1).astype(np.float32)


def start_of(
    texts: Sequence[str],
    teacher: TrainedModel | None,
    settings: LstmSettings,
    *,
    checkpoint: str | Path,
    data_dir: Path | None,
    progress: ProgressCallback,
) -> Start:
    if teacher is not None:
        tokenizer_json, weights = teacher.tokenizer_json, teacher.weights
        identity = teacher.manifest.name
    else:
        source = read_checkpoint(checkpoint, data_dir=data_dir, progress=progress)
        tokenizer_json, weights, identity = source.tokenizer_json, source.weights, source.identity
    table = weights["embeddings.word_embeddings.weight"]
    if settings.pooling == "markers":
        tokenizer_json, table = add_markers(tokenizer_json, table, seed=settings.seed)
    pieces = np.arange(len(table))
    if settings.min_piece_count:
        trimmed = trim_wordpiece(tokenizer_json, texts, min_count=settings.min_piece_count)
        tokenizer_json, table = trimmed.tokenizer_json, table[trimmed.kept_ids]
        pieces = trimmed.kept_ids
    if settings.word_states and teacher is not None:
        states = word_states(teacher, pieces, progress=progress)
        table = side_by_side(table, states, weight=settings.word_states)
    return Start(
        tokenizer_json=tokenizer_json,
        table=project_table(table, settings.embedding_size, seed=settings.seed)
        if settings.teacher_embedding
        else None,
        vocabulary_size=len(table),
        identity=identity if settings.teacher_embedding else None,
    )


def _make_step(
    model: LstmClassifier, targets: FloatArray, labels: int, settings: LstmSettings
) -> StepFunction:
    """Squared error to the teacher's logits plus cross-entropy, or cross-entropy alone."""
    with_teacher = targets.shape[1] > labels

    def loss(ids: Any, mask: Any, rows: Any) -> tuple[Any, Any]:
        logits = model(ids, mask, training=True)
        entropy = tf.nn.softmax_cross_entropy_with_logits(rows[:, :labels], logits)
        if not with_teacher:
            return tf.reduce_mean(entropy), logits
        # 0 for a text of the transfer set, where TensorFlow's gradient would not be 0.
        known = tf.reduce_sum(rows[:, :labels], 1)
        hard = tf.reduce_mean(entropy * known)
        soft = tf.reduce_mean(tf.square(logits - rows[:, labels:]))
        return soft + settings.hard_weight * hard, logits

    variables = list(model.trainable_variables)
    return make_step(variables, AdamW.of(settings, variables), loss, targets)
