"""Trains an LSTM tagger, alone or distilled from a BERT that was fine-tuned on the same tags."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from edgeseq.errors import CheckpointError
from edgeseq.formats.trained_model import LstmConfig, TrainedModel
from edgeseq.progress import ProgressCallback, no_progress
from edgeseq.tasks.examples import Dataset, TaggedExample
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.huggingface.checkpoint import DEFAULT_CHECKPOINT
from edgeseq_converters.training.batching import TokenTexts
from edgeseq_converters.training.checkpoints import training_file
from edgeseq_converters.training.distil import read_teacher, start_of
from edgeseq_converters.training.finished import write_trained
from edgeseq_converters.training.loop import Predictor, train_epochs
from edgeseq_converters.training.optimizer import AdamW
from edgeseq_converters.training.place import check_place
from edgeseq_converters.training.settings import LstmSettings
from edgeseq_converters.training.tagger_models import BertTagger, LstmTagger
from edgeseq_converters.training.tags import (
    TagStep,
    encode_tagged,
    logits_by_word,
    tag_score,
    word_encoder,
)
from edgeseq_converters.training.texts import one_hot


def train_lstm_tagger(
    data: Dataset[TaggedExample],
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
    """Trains an LSTM with one answer a token on `data.train` and writes the folder `out`.

    With `teacher`, a BERT tagger's trained-model folder, the target of each word is `hard_weight`
    of its label and the rest of the teacher's distribution (Hinton et al. 2015, "Distilling the
    Knowledge in a Neural Network", temperature 1), which need not be cut into the same tokens.
    The epoch with the best score on `data.dev` is kept; `data.test` is not looked at. Raises as
    `edgeseq_converters.training.distil.train_lstm` does.
    """
    began = time.monotonic()
    settings = settings or LstmSettings()
    check_place(out, overwrite=overwrite)
    name = name or out.name
    guide = None if teacher is None else read_teacher(teacher, data)
    texts = [one.text for one in data.train]
    start = start_of(
        texts, guide, settings, checkpoint=checkpoint, data_dir=data_dir, progress=progress
    )
    config = LstmConfig(
        vocabulary_size=start.vocabulary_size,
        embedding_size=settings.embedding_size,
        hidden_size=settings.hidden_size,
        layers=settings.layers,
        bidirectional=settings.bidirectional,
        pooling="none",
    )
    encoder = word_encoder(start.tokenizer_json, settings.max_tokens)
    train, dev = (encode_tagged(part, data.labels, encoder) for part in (data.train, data.dev))
    targets = one_hot(train.gold, len(data.labels))
    if guide is not None:
        logits = teacher_logits_by_word(guide, data, progress=progress)
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares = odds / odds.sum(axis=1, keepdims=True)
        hard = np.float32(settings.hard_weight)
        targets = (hard * targets + (1 - hard) * shares).astype(np.float32)
    model = LstmTagger(
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
        return tag_score(data.task, data.labels, dev, logits_by_word(predictor, dev_texts, dev))

    variables = list(model.trainable_variables)
    optimizer = AdamW.of(settings, variables)
    resume = training_file(out, every_s=keep_every_s)
    outcome = train_epochs(
        model,
        TagStep(variables, optimizer, model.call, train, targets),
        TokenTexts(train.ids),
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
        teacher_labels=None if guide is None else "computed",
        initial_weights=start.identity,
        resume=resume,
    )


def teacher_logits_by_word(
    teacher: TrainedModel, data: Dataset[TaggedExample], *, progress: ProgressCallback = no_progress
) -> FloatArray:
    """The teacher's logits [words, labels] for the words of the train part."""
    manifest = teacher.manifest
    if manifest.bert is None or manifest.bert.head != "token_classification":
        raise CheckpointError(
            "cannot teach a tagger",
            where=manifest.name,
            expected="a BERT with the head token_classification",
        )
    model = BertTagger(
        manifest.bert, len(manifest.labels), teacher.weights, frozen_layers=manifest.bert.layers
    )
    encoder = word_encoder(teacher.tokenizer_json, manifest.max_tokens)
    part = encode_tagged(data.train, data.labels, encoder)
    return logits_by_word(
        Predictor(model.call),
        TokenTexts(part.ids),
        part,
        stage=f"ask {manifest.name}",
        progress=progress,
    )
