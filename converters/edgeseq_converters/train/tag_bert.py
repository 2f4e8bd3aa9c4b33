"""Fine-tunes a BERT checkpoint on sentences with one tag a word."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import tensorflow as tf

from edgeseq.data.examples import Dataset, TaggedExample
from edgeseq.errors import InputError
from edgeseq.model_folder import ModelManifest, TrainedModel, write_model_folder
from edgeseq.progress import Report, silent
from edgeseq_converters.checkpoint import DEFAULT_CHECKPOINT, read_checkpoint
from edgeseq_converters.taggers import BertTagger
from edgeseq_converters.train.batching import StateTexts, Texts, TokenTexts
from edgeseq_converters.train.finetune import (
    STATES_LIMIT_BYTES,
    frozen_layers_of,
    smaller_checkpoint,
)
from edgeseq_converters.train.loop import TOKEN_IDS, Predictor, train_epochs
from edgeseq_converters.train.optimizer import AdamW
from edgeseq_converters.train.place import check_place
from edgeseq_converters.train.record import training_record
from edgeseq_converters.train.settings import BertSettings
from edgeseq_converters.train.tags import (
    TagPart,
    TagStep,
    encode_tagged,
    logits_by_word,
    tag_score,
    word_encoder,
)
from edgeseq_converters.train.texts import one_hot


def train_bert_tagger(
    data: Dataset[TaggedExample],
    out: Path,
    *,
    teacher: Path | None = None,
    checkpoint: str | Path | None = None,
    settings: BertSettings | None = None,
    name: str | None = None,
    data_dir: Path | None = None,
    replace: bool = False,
    report: Report = silent,
) -> TrainedModel:
    """Fine-tunes `checkpoint` on `data.train` and writes the trained-model folder `out`.

    The loss is the cross-entropy at each word's first token. The epoch with the best score (the
    task's metric) on `data.dev` is kept; `data.test` is not looked at. Raises
    `InputError` for a teacher, and as `edgeseq_converters.train.finetune.train_bert` does.
    """
    if teacher is not None:
        raise InputError(
            "a BERT that tags words is not distilled", where="--teacher", fix="leave it out"
        )
    began = time.monotonic()
    settings = settings or BertSettings()
    check_place(out, replace=replace)
    source = read_checkpoint(
        checkpoint or DEFAULT_CHECKPOINT, pooling="mean", data_dir=data_dir, report=report
    )
    source = smaller_checkpoint(source, settings, [one.text for one in data.train])
    max_tokens = min(settings.max_tokens, source.config.max_position_embeddings)
    frozen = frozen_layers_of(settings, source)
    name = name or out.name
    encoder = word_encoder(source.tokenizer_json, max_tokens)
    train, dev = (encode_tagged(part, data.labels, encoder) for part in (data.train, data.dev))
    config = msgspec.structs.replace(source.config, head="tokens")
    model = BertTagger(
        config,
        len(data.labels),
        source.weights,
        frozen_layers=frozen,
        dropout=settings.dropout,
        seed=settings.seed,
    )
    inputs: Any = TOKEN_IDS
    answer: Callable[..., Any] = model.call
    train_texts: Texts
    dev_texts: Texts
    train_texts, dev_texts = TokenTexts(train.ids), TokenTexts(dev.ids)
    shortened = _lower_states(model, [train, dev], settings, report)
    if shortened:
        train_texts, dev_texts = shortened
        inputs = tf.TensorSpec([None, None, config.hidden_size], tf.float32)

        def upper(states: Any, mask: Any, training: bool = False) -> Any:
            return model.head(model.upper(states, mask, training))

        answer = upper

    predictor = Predictor(answer, inputs=inputs)

    def evaluate() -> float:
        return tag_score(data.task, data.labels, dev, logits_by_word(predictor, dev_texts, dev))

    variables = list(model.trainable_variables)
    heads = (model.head_kernel, model.head_bias)
    optimizer = AdamW(
        variables,
        factors=[
            settings.head_rate_factor if any(v is head for head in heads) else 1.0
            for v in variables
        ],
        weight_decay=settings.weight_decay,
        clip_norm=settings.clip_norm,
    )
    targets = one_hot(train.gold, len(data.labels))
    outcome = train_epochs(
        model,
        TagStep(variables, optimizer, answer, train, targets, inputs=inputs),
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
            bert=config,
        ),
        weights=model.arrays(),
        tokenizer_json=source.tokenizer_json,
    )
    write_model_folder(out, trained, replace=replace)
    return trained


def _lower_states(
    model: BertTagger, parts: list[TagPart], settings: BertSettings, report: Report
) -> list[StateTexts] | None:
    """The frozen layers' states of each part, computed once for all epochs; None where that
    saves nothing or needs too much memory."""
    texts = [TokenTexts(part.ids) for part in parts]
    hidden = model.config.hidden_size
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
