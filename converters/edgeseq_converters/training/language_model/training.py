"""Trains the next-word LSTM: chunks of running text, one after the other, state carried along."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import tensorflow as tf

from edgeseq.datasets.wikitext import EOS
from edgeseq.errors import InputError
from edgeseq.formats.trained_model import ModelManifest, TrainedModel, Training, write_model_folder
from edgeseq.progress import ProgressCallback, ProgressUpdate, no_progress
from edgeseq.tasks.examples import Dataset, StreamExample
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.stored_network import network_to_folder
from edgeseq_converters.training.checkpoints import identity_of, training_file
from edgeseq_converters.training.language_model import corpus
from edgeseq_converters.training.language_model.loop import Chunk, Loop, Paused, begin_of_epoch
from edgeseq_converters.training.language_model.model import (
    Arrays,
    LmLstm,
    initial_arrays,
    network_of_arrays,
)
from edgeseq_converters.training.language_model.settings import LmSettings, RunSettings
from edgeseq_converters.training.language_model.word_vectors import word_vectors
from edgeseq_converters.training.place import check_place

MAX_TOKENS = 1 << 20
"""A stream has no longest input; texts are cut here so that nothing grows without end."""
_TOOLS = ("tensorflow", "numpy", "tokenizers")
_SCORED = 16, 64
"""Streams side by side and steps at a time when scoring: 1,024 words of logits are 136 MB."""


def train_lm(
    data: Dataset[StreamExample],
    out: Path,
    *,
    settings: LmSettings | None = None,
    teacher: Path | None = None,
    checkpoint: str | Path | None = None,
    name: str | None = None,
    data_dir: Path | None = None,
    overwrite: bool = False,
    keep_every_s: float | None = 60.0,
    progress: ProgressCallback = no_progress,
) -> TrainedModel | Paused:
    """Trains on `data.train` and writes the trained-model folder `out`; its score is the
    perplexity per word on `data.dev`.

    A training that was ended, by `hold_s` or otherwise, goes on where its file beside `out`
    (`OUT.training.safetensors`) says. `checkpoint` and `data_dir` are where the word vectors come
    from. Raises `OutputError` when `out` is in the way, `InputError` when the text is too short
    for a chunk, training diverges, or a `teacher` is named (nobody teaches this), `FetchError` and
    `CheckpointError` for the vectors.
    """
    settings = settings or LmSettings()
    refuse_teacher(teacher)
    check_place(out, overwrite=overwrite)
    vocabulary, frequencies, stream = prepare(
        data, settings, words=settings.batch_size * settings.steps, what="batch_size · steps"
    )
    rng = np.random.default_rng(settings.seed)
    table: FloatArray | None = None
    if settings.word_vectors:
        table = word_vectors(
            vocabulary,
            frequencies,
            settings.embedding_size,
            rng,
            checkpoint=checkpoint,
            data_dir=data_dir,
            progress=progress,
        )
    start = initial_arrays(
        frequencies, settings.hidden_size, settings.embedding_size, rng, table=table
    )
    model = LmLstm(
        start,
        batch=settings.batch_size,
        steps=settings.steps,
        dropout_in=settings.dropout_in,
        dropout_out=settings.dropout_out,
        weight_decay=settings.weight_decay,
        clip_norm=settings.clip_norm,
        seed=settings.seed,
    )
    file = training_file(out, every_s=keep_every_s)
    loop = Loop(
        model,
        _Columns(stream, settings),
        settings,
        vocabulary=len(vocabulary),
        file=file,
        identity=identity_of(facts_of(settings, data), start.values()),
        progress=progress,
    )
    if not loop.run():
        return loop.paused()
    dev = corpus.join(corpus.encode(data.dev, vocabulary), vocabulary.index(EOS))
    score = perplexity_of(model, dev, progress=progress)
    trained = _folder(
        name or out.name,
        data,
        settings,
        arrays=model.arrays(),
        vocabulary=vocabulary,
        seconds=loop.seconds,
        score=score,
    )
    write_model_folder(out, trained, overwrite=overwrite)
    if file is not None:
        file.remove()
    return trained


def to_the_end(
    train: Callable[..., TrainedModel | Paused],
    data: Dataset[StreamExample],
    out: Path,
    *,
    settings: RunSettings,
    **options: Any,
) -> TrainedModel:
    """`train` without a hold: what a step of a suite needs is a model."""
    made = train(data, out, settings=msgspec.structs.replace(settings, hold_s=None), **options)
    if isinstance(made, Paused):
        raise InputError("the training was held", found=f"step {made.step} of {made.total}")
    return made


def refuse_teacher(teacher: Path | None) -> None:
    """Raises `InputError` when a teacher is named."""
    if teacher is not None:
        raise InputError("a model of the next word has no teacher", found=str(teacher))


def facts_of(settings: RunSettings, data: Dataset[StreamExample]) -> dict[str, Any]:
    """What may not change between two holds; how long it goes on and when it stops may."""
    facts: dict[str, Any] = msgspec.to_builtins(settings)
    return facts | {"data": data.sha256, "epochs": 0, "hold_s": 0}


def prepare(
    data: Dataset[StreamExample], settings: RunSettings, *, words: int, what: str
) -> tuple[tuple[str, ...], FloatArray, corpus.Stream]:
    """Vocabulary, each word's share [V] of the training text, and that text as one stream.

    Raises `InputError` when it has fewer than the `words` of one step, which are `what`.
    """
    counts = corpus.count_words(data.train)
    vocabulary = corpus.choose_vocabulary(counts, min_count=settings.min_count)
    stream = corpus.join(corpus.encode(data.train, vocabulary), vocabulary.index(EOS))
    if len(stream.targets) < words:
        raise InputError(
            "the train part is shorter than one chunk of text",
            where=data.name,
            found=f"{len(stream.targets)} words",
            expected=f"{words} ({what})",
            fix=f"give a longer text, or smaller {what.replace(' · ', ' and ')}",
        )
    own = np.bincount(stream.targets, minlength=len(vocabulary)) + 0.5
    return vocabulary, (own / own.sum()).astype(np.float32), stream


class _Columns:
    """A stream as parallel ones side by side, `steps` rows at a time."""

    def __init__(self, stream: corpus.Stream, settings: LmSettings) -> None:
        self._stream, self._settings = stream, settings
        self.per_epoch = len(stream.targets) // settings.batch_size // settings.steps
        self._epoch = -1
        self._columns = stream

    def chunk(self, epoch: int, place: int) -> Chunk:
        """Inputs, targets and keep [steps, batch]."""
        if epoch != self._epoch:
            begin = begin_of_epoch(epoch, len(self._stream.targets), self._settings.seed)
            self._columns = self._stream.columns(self._settings.batch_size, begin=begin)
            self._epoch = epoch
        own = slice(place * self._settings.steps, (place + 1) * self._settings.steps)
        columns = self._columns
        return columns.inputs[own], columns.targets[own], columns.keep[own]


def perplexity_of(
    model: LmLstm, stream: corpus.Stream, *, progress: ProgressCallback = no_progress
) -> float:
    """Perplexity per word of all words of `stream`, under the whole vocabulary.

    Streams run side by side, so that all but the first begin without what stands before.
    """
    batch, steps = _SCORED
    batch = max(1, min(batch, len(stream.targets) // steps))
    columns = stream.columns(batch)
    hidden = model.state[0].shape[1]
    h = c = tf.zeros([batch, hidden])
    total, rows = 0.0, len(columns.targets)
    for begin in range(0, rows, steps):
        own = slice(begin, begin + steps)
        some, h, c = model.surprise(
            tf.constant(columns.inputs[own]),
            tf.constant(columns.targets[own]),
            tf.constant(columns.keep[own]),
            h,
            c,
        )
        total += float(some)
        progress(ProgressUpdate("score", min(begin + steps, rows), rows))
    return math.exp(total / columns.targets.size)


def record(
    data: Dataset[StreamExample], settings: RunSettings, *, seconds: float, score: float
) -> Training:
    """How a model was trained; `seconds` is wall-clock time, `score` the perplexity on dev."""
    return Training(
        data_name=data.name,
        data_sha256=data.sha256,
        n_train=len(data.train),
        seed=settings.seed,
        epochs=math.ceil(settings.epochs),
        settings=msgspec.to_builtins(settings),
        seconds=round(seconds, 1),
        dev_score=score,
        tool_versions={tool: version(tool) for tool in _TOOLS},
    )


def _folder(
    name: str,
    data: Dataset[StreamExample],
    settings: LmSettings,
    *,
    arrays: Arrays,
    vocabulary: tuple[str, ...],
    seconds: float,
    score: float,
) -> TrainedModel:
    config, weights = network_to_folder(network_of_arrays(name, arrays))
    manifest = ModelManifest(
        name=name,
        task=data.task,
        arch="lstm",
        labels=(),
        max_tokens=MAX_TOKENS,
        training=record(data, settings, seconds=seconds, score=score),
        network=config,
    )
    return TrainedModel(manifest, weights, corpus.tokenizer_json(vocabulary))
