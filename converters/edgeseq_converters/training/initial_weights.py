"""What a classifier starts from: a checkpoint or a teacher, with the tokenizer and the
dimensions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np

from edgeseq.errors import InputError
from edgeseq.formats.trained_model import BagConfig, LstmConfig, TrainedModel
from edgeseq.progress import ProgressCallback
from edgeseq.tasks.examples import Dataset
from edgeseq.tasks.word_features import WordFeatures
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.encoder import WORD_TABLE
from edgeseq_converters.models.huggingface.checkpoint import (
    DEFAULT_CHECKPOINT,
    BertCheckpoint,
    read_checkpoint,
)
from edgeseq_converters.models.trim_encoder import keep_layers, trim_checkpoint
from edgeseq_converters.models.vocabulary import trim_pieces
from edgeseq_converters.training.marks import add_markers, mark_checkpoint, marks_of
from edgeseq_converters.training.settings import (
    AnyClassifierSettings,
    BagSettings,
    BertSettings,
    LstmSettings,
    TrainerOptions,
)
from edgeseq_converters.training.teacher_model import read_teacher, teacher_checkpoint

EMBEDDING_DEVIATION = 0.1
"""Standard deviation of a student's initial embedding table."""


class InitialWeights(msgspec.Struct, frozen=True):
    """Tokenizer, `BertConfig`, `LstmConfig` or `BagConfig`, and arrays by name (but for a BERT at
    most the table).

    `identity` names the pre-trained weights, if any; `settings` have nothing left open; `teacher`
    is the one named in the options; `word_features` those of the settings, if any.
    """

    tokenizer_json: str
    config: Any
    weights: dict[str, FloatArray]
    identity: str | None
    settings: AnyClassifierSettings
    teacher: TrainedModel | None = None
    word_features: WordFeatures | None = None


def initial_weights(
    data: Dataset[Any],
    settings: AnyClassifierSettings,
    options: TrainerOptions,
    *,
    by_word: bool,
    token_states: Callable[..., FloatArray] | None = None,
    progress: ProgressCallback,
) -> InitialWeights:
    """Those of the teacher or the checkpoint, for a label per text or (`by_word`) per word, without
    the layers and word pieces that the settings leave out. `token_states` runs a teacher
    (`edgeseq_converters.training.teacher`); without it the table starts without its states.

    Raises `CheckpointError` and `FetchError` as `read_checkpoint` does, and `InputError` for
    settings that do not fit it.
    """
    teacher = None if options.teacher is None else read_teacher(options.teacher, data)
    texts = [example.text for example in data.train]
    is_bert = isinstance(settings, BertSettings)
    if teacher is not None and not (is_bert and options.checkpoint is not None):
        checkpoint = teacher_checkpoint(teacher, has_bert_student=is_bert)
    else:
        checkpoint = read_checkpoint(
            options.checkpoint or DEFAULT_CHECKPOINT,
            pooling="cls" if settings.pooling == "cls" and not by_word else "mean",
            data_dir=options.data_dir,
            progress=progress,
        )
    if isinstance(settings, BertSettings):
        initial = _initial_bert(checkpoint, texts, settings, by_word=by_word)
    else:
        initial = _initial_student(
            checkpoint,
            texts,
            settings,
            teacher,
            by_word=by_word,
            token_states=token_states,
            progress=progress,
        )
    features = settings.word_features if by_word else None
    return msgspec.structs.replace(initial, teacher=teacher, word_features=features)


def _initial_bert(
    checkpoint: BertCheckpoint, texts: Sequence[str], settings: BertSettings, *, by_word: bool
) -> InitialWeights:
    if settings.pooling == "markers" and not by_word:
        checkpoint = mark_checkpoint(checkpoint, seed=settings.seed)
    if settings.layers is not None:
        checkpoint = keep_layers(checkpoint, settings.layers)
    if settings.min_piece_count:
        checkpoint = trim_checkpoint(checkpoint, texts, min_count=settings.min_piece_count)
    config = checkpoint.config
    return InitialWeights(
        tokenizer_json=checkpoint.tokenizer_json,
        config=msgspec.structs.replace(config, head="token_classification") if by_word else config,
        weights=checkpoint.weights,
        identity=checkpoint.identity,
        settings=msgspec.structs.replace(
            settings,
            frozen_layers=_frozen_layers(settings, checkpoint),
            max_tokens=min(settings.max_tokens, config.max_position_embeddings),
        ),
    )


def _frozen_layers(settings: BertSettings, checkpoint: BertCheckpoint) -> int:
    """How many of the lowest layers are not trained; raises `InputError` when there are fewer."""
    layers = checkpoint.config.layers
    if settings.frozen_layers is None:
        # Layers that share their arrays are frozen together or not at all.
        return 0 if checkpoint.config.layer_sources else layers // 3
    if settings.frozen_layers > layers:
        raise InputError(
            "frozen_layers is more than the checkpoint has",
            where="train",
            found=settings.frozen_layers,
            expected=f"<= {layers}",
        )
    return settings.frozen_layers


def _initial_student(
    checkpoint: BertCheckpoint,
    texts: Sequence[str],
    settings: LstmSettings | BagSettings,
    teacher: TrainedModel | None,
    *,
    by_word: bool,
    token_states: Callable[..., FloatArray] | None,
    progress: ProgressCallback,
) -> InitialWeights:
    tokenizer_json, table = checkpoint.tokenizer_json, checkpoint.weights[WORD_TABLE]
    has_mentions = settings.pooling == "markers" and not by_word
    if has_mentions:
        tokenizer_json, table = add_markers(tokenizer_json, table, seed=settings.seed)
    token_ids = np.arange(len(table))
    if settings.min_piece_count:
        trimmed = trim_pieces(tokenizer_json, texts, min_count=settings.min_piece_count)
        tokenizer_json, token_ids = trimmed.tokenizer_json, trimmed.kept_ids
        table = table[token_ids]
    if settings.token_state_weight and teacher is not None and token_states is not None:
        states = token_states(teacher, token_ids, progress=progress)
        table = concat_weighted(table, states, weight=settings.token_state_weight)
    sizes = (len(table), settings.embedding_size, settings.hidden_size)
    config: LstmConfig | BagConfig
    if isinstance(settings, BagSettings):
        config = BagConfig(*sizes, pooling=settings.pooling)
    else:
        config = LstmConfig(
            *sizes,
            layers=settings.layers,
            bidirectional=settings.bidirectional,
            pooling="none" if by_word else settings.pooling,
            marker_ids=marks_of(tokenizer_json) if has_mentions else (),
        )
    if not settings.pretrained_embeddings:
        return InitialWeights(tokenizer_json, config, {}, None, settings)
    projected = project_table(table, settings.embedding_size, seed=settings.seed)
    weights = {"embedding.weight": projected}
    return InitialWeights(tokenizer_json, config, weights, checkpoint.identity, settings)


def concat_weighted(table: FloatArray, states: FloatArray, *, weight: float) -> FloatArray:
    """Both [n, hidden] as [n, 2·hidden], each centred and of deviation 1, the states times
    `weight`: projected by principal components, neither outweighs the other by its size alone."""
    parts = [
        factor * (part - part.mean(axis=0)) / max(float((part - part.mean(axis=0)).std()), 1e-12)
        for part, factor in ((table, 1.0), (states, weight))
    ]
    joined: FloatArray = np.concatenate(parts, axis=1).astype(np.float32)
    return joined


def project_table(table: FloatArray, size: int, *, seed: int = 0) -> FloatArray:
    """A word-piece table [V, H] on its first `size` principal components: [V, size].

    The rows are centred, rotated, and scaled to `EMBEDDING_DEVIATION`. Where the table has fewer
    dimensions than `size`, the others start as small random numbers.
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
