"""Fine-tunes a BERT checkpoint on sentences with one tag a word."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import tensorflow as tf

from edgeseq.errors import InputError
from edgeseq.formats.trained_model import TrainedModel
from edgeseq.progress import ProgressCallback, no_progress
from edgeseq.tasks.examples import Dataset, TaggedExample
from edgeseq_converters.models.huggingface.checkpoint import DEFAULT_CHECKPOINT, read_checkpoint
from edgeseq_converters.training.batching import Texts, TokenTexts
from edgeseq_converters.training.checkpoints import training_file
from edgeseq_converters.training.finetune import frozen_layers_of, smaller_checkpoint
from edgeseq_converters.training.finished import write_trained
from edgeseq_converters.training.frozen import lower_states
from edgeseq_converters.training.loop import TOKEN_IDS, Predictor, train_epochs
from edgeseq_converters.training.optimizer import AdamW
from edgeseq_converters.training.place import check_place
from edgeseq_converters.training.settings import BertSettings
from edgeseq_converters.training.tagger_models import BertTagger
from edgeseq_converters.training.tags import (
    TagStep,
    encode_tagged,
    logits_by_word,
    tag_score,
    word_encoder,
)
from edgeseq_converters.training.texts import one_hot


def train_bert_tagger(
    data: Dataset[TaggedExample],
    out: Path,
    *,
    teacher: Path | None = None,
    checkpoint: str | Path | None = None,
    settings: BertSettings | None = None,
    name: str | None = None,
    data_dir: Path | None = None,
    overwrite: bool = False,
    keep_every_s: float | None = None,
    progress: ProgressCallback = no_progress,
) -> TrainedModel:
    """Fine-tunes `checkpoint` on `data.train` and writes the trained-model folder `out`.

    The loss is the cross-entropy at each word's first token. The epoch with the best score (the
    task's metric) on `data.dev` is kept; `data.test` is not looked at. `keep_every_s` and the other
    errors are those of `edgeseq_converters.training.finetune.train_bert`; raises `InputError` for a
    teacher.
    """
    if teacher is not None:
        raise InputError(
            "a BERT that tags words is not distilled", where="--teacher", fix="leave it out"
        )
    began = time.monotonic()
    settings = settings or BertSettings()
    check_place(out, overwrite=overwrite)
    source = read_checkpoint(
        checkpoint or DEFAULT_CHECKPOINT, pooling="mean", data_dir=data_dir, progress=progress
    )
    source = smaller_checkpoint(source, settings, [one.text for one in data.train])
    max_tokens = min(settings.max_tokens, source.config.max_position_embeddings)
    frozen = frozen_layers_of(settings, source)
    name = name or out.name
    encoder = word_encoder(source.tokenizer_json, max_tokens)
    train, dev = (encode_tagged(part, data.labels, encoder) for part in (data.train, data.dev))
    config = msgspec.structs.replace(source.config, head="token_classification")
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
    texts = [TokenTexts(train.ids), TokenTexts(dev.ids)]
    shortened = lower_states(model, texts, settings, progress)
    train_texts: Texts
    dev_texts: Texts
    train_texts, dev_texts = shortened or texts
    if shortened:
        inputs = tf.TensorSpec([None, None, config.hidden_size], tf.float32)

        def upper(states: Any, mask: Any, training: bool = False) -> Any:
            return model.head(model.upper(states, mask, training))

        answer = upper

    predictor = Predictor(answer, inputs=inputs)

    def evaluate() -> float:
        return tag_score(data.task, data.labels, dev, logits_by_word(predictor, dev_texts, dev))

    variables = list(model.trainable_variables)
    heads = (model.head_kernel, model.head_bias)
    factors = [
        settings.head_rate_factor if any(v is head for head in heads) else 1.0 for v in variables
    ]
    optimizer = AdamW.of(settings, variables, factors)
    targets = one_hot(train.gold, len(data.labels))
    resume = training_file(out, every_s=keep_every_s)
    outcome = train_epochs(
        model,
        TagStep(variables, optimizer, answer, train, targets, inputs=inputs),
        train_texts,
        evaluate,
        settings,
        seed=settings.seed,
        stage=f"train {name}",
        progress=progress,
        resume=resume,
    )
    used = msgspec.structs.replace(settings, frozen_layers=frozen, max_tokens=max_tokens)
    return write_trained(
        out,
        data,
        used,
        outcome,
        config,
        name=name,
        weights=model.arrays(),
        tokenizer_json=source.tokenizer_json,
        began=began,
        overwrite=overwrite,
        initial_weights=source.identity,
        resume=resume,
    )
