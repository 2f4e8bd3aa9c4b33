"""Trains the next-word LSTM: chunks of running text, one after the other, state carried along."""

from __future__ import annotations

import math
import time
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import tensorflow as tf

from edgeseq.data.examples import Dataset, StreamExample
from edgeseq.data.wikitext import EOS
from edgeseq.errors import InputError
from edgeseq.model_folder import ModelManifest, TrainedModel, Training, write_model_folder
from edgeseq.progress import Progress, Report, silent
from edgeseq_converters.arrays import FloatArray
from edgeseq_converters.importers.folder import network_to_folder
from edgeseq_converters.lm import corpus
from edgeseq_converters.lm.model import (
    Arrays,
    LmLstm,
    draw_candidates,
    initial_arrays,
    network_of_arrays,
)
from edgeseq_converters.lm.word_vectors import word_vectors
from edgeseq_converters.train.checkpoints import Snapshot, TrainingFile, identity_of, training_file
from edgeseq_converters.train.place import check_place
from edgeseq_converters.train.settings import Count, Fraction, Rate, Weight

MAX_TOKENS = 1 << 20
"""A stream has no longest input; texts are cut here so that nothing grows without end."""
_TOOLS = ("tensorflow", "numpy", "tokenizers")
_SCORED = 16, 64
"""Streams side by side and steps at a time when scoring: 1,024 words of logits are 136 MB."""


class LmSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a next-word LSTM is trained.

    - `epochs` may be a fraction: a pass over WikiText-2 takes minutes.
    - `constant`: the part of the training at the peak rate (after `warmup` steps); then the rate
      falls to 0 in a straight line.
    - `candidates`: words that the sampled softmax is over (`edgeseq_converters.lm.model`).
    - `word_vectors`: the table starts as the checkpoint's word pieces, projected down; else at
      random.
    - `hold_s`: stop after so many seconds with the state kept; the same command goes on later.
    """

    epochs: Annotated[float, msgspec.Meta(gt=0)] = 8.0
    batch_size: Count = 64
    steps: Count = 35
    embedding_size: Count = 256
    hidden_size: Count = 384
    candidates: Count = 1536
    learning_rate: Rate = 3e-3
    warmup: Count = 200
    constant: Fraction = 0.5
    dropout_in: Fraction = 0.2
    dropout_out: Fraction = 0.3
    weight_decay: Weight = 0.02
    clip_norm: Annotated[float, msgspec.Meta(gt=0)] = 0.5
    min_count: Count = 1
    word_vectors: bool = True
    hold_s: Annotated[float, msgspec.Meta(gt=0)] | None = None
    seed: int = 0


class Paused(msgspec.Struct, frozen=True):
    """A training that was held: `step` of `total` is done, its state stands in `path`."""

    step: int
    total: int
    path: str


def train_lm(
    data: Dataset[StreamExample],
    out: Path,
    *,
    settings: LmSettings | None = None,
    teacher: Path | None = None,
    checkpoint: str | Path | None = None,
    name: str | None = None,
    data_dir: Path | None = None,
    replace: bool = False,
    keep_every_s: float | None = 60.0,
    report: Report = silent,
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
    if teacher is not None:
        raise InputError("a model of the next word has no teacher", found=str(teacher))
    check_place(out, replace=replace)
    vocabulary, frequencies, stream = _prepare(data, settings)
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
            report=report,
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
    # How long and when it stops may change between two holds; everything else may not.
    facts = msgspec.to_builtins(settings) | {"data": data.sha256, "epochs": 0, "hold_s": 0}
    file = training_file(out, every_s=keep_every_s)
    loop = _Loop(
        model,
        stream,
        settings,
        file=file,
        identity=identity_of(facts, start.values()),
        report=report,
    )
    if not loop.run():
        return Paused(loop.step, loop.total, str(file.path if file else ""))
    dev = corpus.join(corpus.encode(data.dev, vocabulary), vocabulary.index(EOS))
    score = perplexity_of(model, dev, report=report)
    trained = _folder(
        name or out.name,
        data,
        settings,
        arrays=model.arrays(),
        vocabulary=vocabulary,
        seconds=loop.seconds,
        score=score,
    )
    write_model_folder(out, trained, replace=replace)
    if file is not None:
        file.remove()
    return trained


def train_to_the_end(
    data: Dataset[StreamExample], out: Path, *, settings: LmSettings, **options: Any
) -> TrainedModel:
    """`train_lm` without a hold: what a step of a suite needs is a model."""
    made = train_lm(data, out, settings=msgspec.structs.replace(settings, hold_s=None), **options)
    if isinstance(made, Paused):
        raise InputError("the training was held", found=f"step {made.step} of {made.total}")
    return made


def _prepare(
    data: Dataset[StreamExample], settings: LmSettings
) -> tuple[tuple[str, ...], FloatArray, corpus.Stream]:
    counts = corpus.count_words(data.train)
    vocabulary = corpus.choose_vocabulary(counts, min_count=settings.min_count)
    stream = corpus.join(corpus.encode(data.train, vocabulary), vocabulary.index(EOS))
    needed = settings.batch_size * settings.steps
    if len(stream.targets) < needed:
        raise InputError(
            "the train part is shorter than one chunk of text",
            where=data.name,
            found=f"{len(stream.targets)} words",
            expected=f"{needed} (batch_size · steps)",
            fix="give a longer text, or smaller batch_size and steps",
        )
    own = np.bincount(stream.targets, minlength=len(vocabulary)) + 0.5
    return vocabulary, (own / own.sum()).astype(np.float32), stream


class _Loop:
    """The steps of a training: which chunk comes when, the rate, what is kept on disk."""

    def __init__(
        self,
        model: LmLstm,
        stream: corpus.Stream,
        settings: LmSettings,
        *,
        file: TrainingFile | None,
        identity: str,
        report: Report,
    ) -> None:
        self._model, self._stream, self._settings = model, stream, settings
        self._file, self._identity, self._report = file, identity, report
        self._vocabulary = int(model.weights["table"].shape[0])
        words = len(stream.targets)
        self.per_epoch = words // settings.batch_size // settings.steps
        self.total = max(1, round(settings.epochs * self.per_epoch))
        self.step, self._earlier_s, self._began = 0, 0.0, time.monotonic()
        kept = None if file is None else file.read(identity)
        if kept is not None:
            model.restore(kept.arrays)
            self.step, self._earlier_s = kept.position["step"], kept.position["seconds"]

    @property
    def seconds(self) -> float:
        """Wall-clock time of all holds together."""
        return self._earlier_s + time.monotonic() - self._began

    def run(self) -> bool:
        """Goes on to the end (True) or until the hold's time is over (False)."""
        settings, rows = self._settings, self._settings.steps
        losses: list[float] = []
        columns: corpus.Stream | None = None
        while self.step < self.total:
            epoch, place = divmod(self.step, self.per_epoch)
            if place == 0:
                self._model.restart()
            if columns is None or place == 0:
                columns = self._stream.columns(settings.batch_size, begin=self._begin(epoch))
            chunk = slice(place * rows, (place + 1) * rows)
            rng = np.random.default_rng((settings.seed, self.step))
            drawn, tries = draw_candidates(self._vocabulary, settings.candidates, rng)
            loss = self._model.step(
                tuple(
                    tf.constant(part[chunk])
                    for part in (columns.inputs, columns.targets, columns.keep)
                ),
                tf.constant(drawn),
                tf.constant(tries, tf.float32),
                tf.constant(self._rate(self.step + 1)),
                tf.constant(float(self.step + 1)),
            )
            self.step += 1
            losses = [*losses[-49:], float(loss)]
            if not math.isfinite(losses[-1]):
                raise InputError(
                    "training diverged", found=f"step {self.step}", fix="lower learning_rate"
                )
            note = f"sampled perplexity {math.exp(sum(losses) / len(losses)):.0f}"
            self._report(Progress("train", self.step, self.total, note))
            over = settings.hold_s is not None and time.monotonic() - self._began > settings.hold_s
            if self._file is not None and (over or self._file.due):
                position = {"step": self.step, "seconds": self.seconds}
                self._file.write(self._identity, Snapshot(position, self._model.kept()))
            if over and self.step < self.total:
                return False
        return True

    def _begin(self, epoch: int) -> int:
        """Where an epoch's streams are cut: elsewhere each time, so that chunks differ."""
        if epoch == 0:
            return 0
        rng = np.random.default_rng((self._settings.seed, epoch))
        return int(rng.integers(len(self._stream.targets)))

    def _rate(self, step: int) -> float:
        """Up over the first steps, constant, then in a straight line down to 0."""
        settings = self._settings
        rising = min(1.0, step / settings.warmup)
        left = (self.total - step + 1) / max(1.0, (1 - settings.constant) * self.total)
        return settings.learning_rate * min(rising, 1.0, left)


def perplexity_of(model: LmLstm, stream: corpus.Stream, *, report: Report = silent) -> float:
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
        report(Progress("score", min(begin + steps, rows), rows))
    return math.exp(total / columns.targets.size)


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
    kept: dict[str, Any] = msgspec.to_builtins(settings)
    training = Training(
        data_name=data.name,
        data_sha256=data.sha256,
        n_train=len(data.train),
        seed=settings.seed,
        epochs=math.ceil(settings.epochs),
        settings=kept,
        seconds=round(seconds, 1),
        dev_score=score,
        tool_versions={tool: version(tool) for tool in _TOOLS},
    )
    manifest = ModelManifest(
        name=name,
        task=data.task,
        arch="lstm",
        labels=(),
        max_tokens=MAX_TOKENS,
        training=training,
        network=config,
    )
    return TrainedModel(manifest, weights, corpus.tokenizer_json(vocabulary))
