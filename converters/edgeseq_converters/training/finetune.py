"""Fine-tunes a BERT on a data set with one label a text: a checkpoint, or a teacher's student."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import tensorflow as tf

from edgeseq.errors import InputError
from edgeseq.formats.trained_model import TrainedModel
from edgeseq.progress import ProgressCallback, no_progress
from edgeseq.tasks.examples import AnyDataset, Dataset
from edgeseq.tasks.registry import task_of
from edgeseq_converters.models.huggingface.checkpoint import (
    DEFAULT_CHECKPOINT,
    BertCheckpoint,
    read_checkpoint,
)
from edgeseq_converters.models.trim_encoder import keep_layers, trim_checkpoint
from edgeseq_converters.training.batching import Texts, TokenTexts
from edgeseq_converters.training.bert_model import BertClassifier
from edgeseq_converters.training.bert_step import Wanted, bert_step
from edgeseq_converters.training.checkpoints import training_file
from edgeseq_converters.training.distil import read_teacher
from edgeseq_converters.training.finished import write_trained
from edgeseq_converters.training.frozen import lower_states
from edgeseq_converters.training.loop import TOKEN_IDS, Predictor, train_epochs
from edgeseq_converters.training.marks import (
    dev_score,
    encode_marked_part,
    mark_checkpoint,
    marker_ids,
    with_swapped,
)
from edgeseq_converters.training.place import check_place
from edgeseq_converters.training.settings import BertSettings, check_taught
from edgeseq_converters.training.students import Lesson, start_of, teach
from edgeseq_converters.training.texts import (
    Part,
    encode_part,
    encode_texts,
    one_hot,
    soft_labels,
)


def train_bert(
    data: AnyDataset,
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

    A data set with one tag a word goes to `edgeseq_converters.training.tag_bert`.

    The epoch with the best accuracy on `data.dev` is kept, with what the model said in it to the
    training texts (`edgeseq.formats.train_logits`); `data.test` is not looked at. The same seed
    gives the
    same weights on the same machine. `name` defaults to the name of `out`; `data_dir` may hold
    the default checkpoint's package file.

    With `teacher`, a BERT's trained-model folder, it starts from that (or from `checkpoint`, if one
    is named) and learns what the teacher says as well (`edgeseq_converters.training.students`).
    With `keep_every_s` the training's state is kept beside `out` about so often (seconds), and a
    training that was begun there is gone on with (`edgeseq_converters.training.checkpoints`).

    Raises `OutputError` when `out` is in the way or cannot be written, `CheckpointError` and
    `FetchError` as `read_checkpoint` does, `InputError` for settings that do not fit the
    checkpoint or need a teacher, and when training diverges. An interrupt leaves nothing at `out`.
    """
    if task_of(data.task).head == "token-classification":
        from edgeseq_converters.training.tag_bert import train_bert_tagger

        return train_bert_tagger(
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
    settings = settings or BertSettings()
    check_place(out, overwrite=overwrite)
    marked = settings.pooling == "markers"
    _check_teacher(teacher, settings)
    guide = None if teacher is None else read_teacher(teacher, data)
    if guide is not None and teacher is not None and checkpoint is None:
        source = start_of(guide, teacher)
    else:
        source = read_checkpoint(
            DEFAULT_CHECKPOINT if checkpoint is None else checkpoint,
            pooling="mean" if settings.pooling == "markers" else settings.pooling,
            data_dir=data_dir,
            progress=progress,
        )
    if marked:
        source = mark_checkpoint(source, seed=settings.seed)
    source = smaller_checkpoint(source, settings, [example.text for example in data.train])
    max_tokens = min(settings.max_tokens, source.config.max_position_embeddings)
    frozen = frozen_layers_of(settings, source)
    name = name or out.name
    encode = encode_marked_part if marked else encode_part
    train = encode(data, "train", source.tokenizer_json, max_tokens)
    dev = encode(data, "dev", source.tokenizer_json, max_tokens)
    if marked:
        train = with_swapped(train, marker_ids(source.tokenizer_json))
    taught = None
    if guide is not None:
        taught = teach(
            data,
            guide,
            source.config,
            settings,
            frozen=frozen,
            data_dir=data_dir,
            progress=progress,
        )
        more = encode_texts(source.tokenizer_json, taught.more_texts, max_tokens)
        train = msgspec.structs.replace(train, ids=[*train.ids, *more])
    model = BertClassifier(
        source.config,
        len(data.labels),
        source.weights,
        frozen_layers=frozen,
        dropout=settings.dropout,
        seed=settings.seed,
    )

    texts = [TokenTexts(train.ids), TokenTexts(dev.ids)]
    # The pooling `markers` looks at the tokens as well as at the states.
    shortened = None if marked else lower_states(model, texts, settings, progress)
    train_texts: Texts
    dev_texts: Texts
    train_texts, dev_texts = shortened or texts
    answer = _upper_logits(model) if shortened else model.call
    inputs = _states_spec(source) if shortened else TOKEN_IDS
    predictor = Predictor(answer, inputs=inputs)

    def evaluate() -> float:
        return dev_score(data.task, dev.labels, predictor(dev_texts))

    compared = taught is not None and taught.lesson.states.shape[1] > 0
    wanted = _wanted(data, train, settings, None if taught is None else taught.lesson)
    features = _features(model, compared=compared, from_states=shortened is not None)
    resume = training_file(out, every_s=keep_every_s)
    outcome = train_epochs(
        model,
        bert_step(model, features, wanted, settings, inputs=inputs),
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
        source.config,
        name=name,
        weights=model.arrays(),
        tokenizer_json=source.tokenizer_json,
        began=began,
        overwrite=overwrite,
        teacher=None if guide is None else guide.manifest.name,
        teacher_labels=None if guide is None else "computed",
        initial_weights=source.identity,
        transfer=None if taught is None else taught.transfer,
        # What was said to texts with their names swapped stands behind the others.
        train_logits=outcome.train_logits[: len(data.train)],
        resume=resume,
    )


def _check_teacher(teacher: Path | None, settings: BertSettings) -> None:
    check_taught(settings, taught=teacher is not None)
    if teacher is not None and settings.pooling == "markers":
        raise InputError("is not distilled into a BERT", where="pooling", found="markers")


def _wanted(data: Dataset, train: Part, settings: BertSettings, lesson: Lesson | None) -> Wanted:
    """What is known of the train part's texts, with nothing known of those behind them."""
    labels = soft_labels(data, settings.score_noise)
    if labels is None:
        labels = one_hot(train.labels, len(data.labels))
    more = len(train.ids) - len(labels)
    scores = None if train.scores is None else np.pad(train.scores, (0, more))
    return Wanted(np.pad(labels, ((0, more), (0, 0))), scores, lesson)


def _features(
    model: BertClassifier, *, compared: bool, from_states: bool
) -> Callable[..., list[Any]]:
    """The pooled states, with those of the lower layers before them where they are compared.

    `from_states`: what comes in has been through the frozen layers already.
    """

    def pooled(values: Any, mask: Any, training: bool = False) -> list[Any]:
        run = model.upper if from_states else model.pooled
        return [run(values, mask, training)]

    def layers(values: Any, mask: Any, training: bool = False) -> list[Any]:
        states = values if from_states else model.lower(values, mask)
        means = model.layer_means(states, mask, training)
        if model.config.pooling == "mean":
            return means
        return [*means[:-1], model.upper(states, mask, training)]

    return layers if compared else pooled


def smaller_checkpoint(
    source: BertCheckpoint, settings: BertSettings, texts: Sequence[str]
) -> BertCheckpoint:
    """The checkpoint with fewer layers and pieces, as the settings and the `texts` ask for."""
    if settings.layers is not None:
        source = keep_layers(source, settings.layers)
    if settings.min_piece_count:
        source = trim_checkpoint(source, texts, min_count=settings.min_piece_count)
    return source


def frozen_layers_of(settings: BertSettings, source: BertCheckpoint) -> int:
    """How many of the lowest layers stay as they are.

    Raises `InputError` when there are fewer.
    """
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


def _upper_logits(model: BertClassifier) -> Callable[[Any, Any], Any]:
    def answer(states: Any, mask: Any) -> Any:
        return model.head(model.upper(states, mask))

    return answer


def _states_spec(source: BertCheckpoint) -> Any:
    return tf.TensorSpec([None, None, source.config.hidden_size], tf.float32)
