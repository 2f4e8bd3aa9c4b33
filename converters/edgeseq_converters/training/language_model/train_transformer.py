"""Trains the next-word transformer: windows of running text, in another order each epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import tensorflow as tf

from edgeseq.datasets.wikitext import EOS
from edgeseq.formats.trained_model import ModelManifest, TrainedModel, write_model_folder
from edgeseq.progress import ProgressCallback, ProgressUpdate, no_progress
from edgeseq.tasks.context_windows import half_overlapping
from edgeseq.tasks.examples import Dataset, StreamExample
from edgeseq_converters.models.huggingface.checkpoint import DEFAULT_CHECKPOINT, read_checkpoint
from edgeseq_converters.training.checkpoints import identity_of, training_file
from edgeseq_converters.training.language_model import corpus
from edgeseq_converters.training.language_model.loop import Chunk, Loop, Paused, begin_of_epoch
from edgeseq_converters.training.language_model.settings import LmBertSettings
from edgeseq_converters.training.language_model.training import (
    facts_of,
    prepare,
    record,
    refuse_teacher,
)
from edgeseq_converters.training.language_model.transformer import LmTransformer, initial_arrays
from edgeseq_converters.training.language_model.word_vectors import reduced_vectors
from edgeseq_converters.training.place import check_place

_SCORED_WORDS = 2048
"""Words of windows that are scored together, about half of them counted: 1,024 words of logits
are 136 MB."""


def train_lm_bert(
    data: Dataset[StreamExample],
    out: Path,
    *,
    settings: LmBertSettings | None = None,
    teacher: Path | None = None,
    checkpoint: str | Path | None = None,
    name: str | None = None,
    data_dir: Path | None = None,
    overwrite: bool = False,
    keep_every_s: float | None = 60.0,
    progress: ProgressCallback = no_progress,
) -> TrainedModel | Paused:
    """Trains on `data.train`, starting from `checkpoint`, and writes the trained-model folder
    `out`; its score is the perplexity per word on `data.dev`, each word having at least half a
    window before it (`edgeseq.tasks.context_windows`).

    A training that was ended, by `hold_s` or otherwise, goes on where its file beside `out`
    (`OUT.training.safetensors`) says. Raises `OutputError` when `out` is in the way, `InputError`
    when the text is too short for a step, training diverges, or a `teacher` is named (nobody
    teaches this), `FetchError` and `CheckpointError` for the weights to start from.
    """
    settings = settings or LmBertSettings()
    refuse_teacher(teacher)
    check_place(out, overwrite=overwrite)
    vocabulary, frequencies, stream = prepare(
        data, settings, words=settings.batch_size * settings.window, what="batch_size · window"
    )
    rng = np.random.default_rng(settings.seed)
    source = read_checkpoint(checkpoint or DEFAULT_CHECKPOINT, data_dir=data_dir, progress=progress)
    reduced = reduced_vectors(source, vocabulary, frequencies, settings.embedding_size, rng)
    config, start = initial_arrays(source, reduced, frequencies, settings, rng)
    model = LmTransformer(config, start, settings)
    file = training_file(out, every_s=keep_every_s)
    loop = Loop(
        model,
        Windows(stream, settings),
        settings,
        vocabulary=len(vocabulary),
        file=file,
        identity=identity_of(facts_of(settings, data), start.values()),
        progress=progress,
    )
    if not loop.run():
        return loop.paused()
    documents = corpus.encode(data.dev, vocabulary)
    score = perplexity_of(model, documents, vocabulary.index(EOS), progress=progress)
    training = record(data, settings, seconds=loop.seconds, score=score)
    manifest = ModelManifest(
        name=name or out.name,
        task=data.task,
        arch="bert",
        labels=(),
        max_tokens=settings.window,
        training=msgspec.structs.replace(training, initial_weights=source.identity),
        bert=config,
    )
    trained = TrainedModel(manifest, model.arrays(), corpus.tokenizer_json(vocabulary))
    write_model_folder(out, trained, overwrite=overwrite)
    if file is not None:
        file.remove()
    return trained


class Windows:
    """A stream in windows, `batch_size` of them at a time, in a random order each epoch."""

    def __init__(self, stream: corpus.Stream, settings: LmBertSettings) -> None:
        """`stream` has the words of one step at least."""
        self._settings = settings
        self._stream = stream
        self._count = len(stream.targets) // settings.window
        self.per_epoch = self._count // settings.batch_size
        self._epoch = -1
        self._turned, self._order = stream, np.zeros(0, np.int64)

    def chunk(self, epoch: int, place: int) -> Chunk:
        """Inputs, targets and keep [batch, window]."""
        settings = self._settings
        if epoch != self._epoch:
            begin = begin_of_epoch(epoch, len(self._stream.targets), settings.seed)
            self._turned = self._stream.columns(self._count, begin=begin)
            rng = np.random.default_rng((settings.seed, epoch, 1))
            self._order = rng.permutation(self._count)
            self._epoch = epoch
        own = self._order[place * settings.batch_size : (place + 1) * settings.batch_size]
        turned = self._turned
        # Columns of the stream may be longer than a window by what an epoch leaves out.
        inputs, targets, keep = (
            np.ascontiguousarray(part[: settings.window, own].T)
            for part in (turned.inputs, turned.targets, turned.keep)
        )
        return inputs, targets, keep


def perplexity_of(
    model: LmTransformer,
    documents: Sequence[corpus.IdArray],
    eos: int,
    *,
    progress: ProgressCallback = no_progress,
) -> float:
    """Perplexity per word of all words of the documents, under the whole vocabulary; before a
    document's first word stands `eos`."""
    window = model.config.max_position_embeddings
    inputs, targets, counted = _in_windows(documents, eos, window)
    batch = max(1, _SCORED_WORDS // window)
    total = 0.0
    for begin in range(0, len(inputs), batch):
        own = slice(begin, begin + batch)
        parts = (tf.constant(part[own]) for part in (inputs, targets, counted))
        total += float(model.surprise(*parts))
        progress(ProgressUpdate("score", min(begin + batch, len(inputs)), len(inputs)))
    return math.exp(total / int(counted.sum()))


def _in_windows(
    documents: Sequence[corpus.IdArray], eos: int, window: int
) -> tuple[corpus.IdArray, corpus.IdArray, np.ndarray[tuple[int, ...], np.dtype[np.bool_]]]:
    """Words in, words out and which of them are scored: [windows, window], filled with `eos`."""
    places = [
        (ids, one) for ids in documents for one in half_overlapping(len(ids), window) if len(ids)
    ]
    inputs = np.full((len(places), window), eos, np.int32)
    targets = np.full((len(places), window), eos, np.int32)
    counted = np.zeros((len(places), window), bool)
    for row, (ids, (begin, first, end)) in enumerate(places):
        before = np.concatenate([[eos], ids[:-1]])
        inputs[row, : end - begin] = before[begin:end]
        targets[row, : end - begin] = ids[begin:end]
        counted[row, first - begin : end - begin] = True
    return inputs, targets, counted
