"""Training of language models: chunks of running text with a sampled softmax."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import tensorflow as tf

from edgeseq.errors import InputError
from edgeseq.formats.trained_model import BertConfig, NetworkConfig
from edgeseq.progress import ProgressCallback
from edgeseq.tasks.examples import EOS, Dataset, StreamExample
from edgeseq.tasks.perplexity import perplexity
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.huggingface.checkpoint import DEFAULT_CHECKPOINT, read_checkpoint
from edgeseq_converters.models.stored_network import network_to_folder
from edgeseq_converters.training.language_model import corpus, lstm, transformer
from edgeseq_converters.training.language_model.fit_word_cache import fit_word_cache
from edgeseq_converters.training.language_model.sampling import sample_words
from edgeseq_converters.training.language_model.word_vectors import reduced_vectors
from edgeseq_converters.training.loop import Objective
from edgeseq_converters.training.optimizer import constant_then_decay
from edgeseq_converters.training.record import FinalScore, PreparedTraining, TrainingSources
from edgeseq_converters.training.settings import LmBertSettings, LmLstmSettings, TrainerOptions

MAX_TOKENS = 1 << 20
"""An LSTM has no longest input; texts are truncated here so that nothing grows without end."""

Model = lstm.LmLstm | transformer.LmTransformer


def prepare_language_model(
    data: Dataset[StreamExample],
    settings: LmLstmSettings | LmBertSettings,
    options: TrainerOptions,
    progress: ProgressCallback,
) -> PreparedTraining:
    """Reads the words and the initial weights.

    Raises `InputError` when the text is shorter than one chunk, `FetchError` and `CheckpointError`
    for the initial weights.
    """
    counts = corpus.count_words(data.train)
    vocabulary = corpus.choose_vocabulary(counts, min_count=settings.min_word_count)
    eos = vocabulary.index(EOS)
    stream = corpus.join(corpus.encode(data.train, vocabulary), eos)
    _check_length(data.name, len(stream.targets), settings)
    frequencies = np.bincount(stream.targets, minlength=len(vocabulary)) + 0.5
    frequencies = (frequencies / frequencies.sum()).astype(np.float32)
    rng = np.random.default_rng(settings.seed)
    dev = corpus.encode(data.dev, vocabulary)
    model: Any
    identity = table = None
    if isinstance(settings, LmBertSettings) or settings.pretrained_embeddings:
        source = read_checkpoint(
            options.checkpoint or DEFAULT_CHECKPOINT, data_dir=options.data_dir, progress=progress
        )
        reduced = reduced_vectors(source, vocabulary, frequencies, settings.embedding_size, rng)
        table = reduced.vectors
    if isinstance(settings, LmBertSettings):
        config, arrays = transformer.initial_arrays(source, reduced, frequencies, settings, rng)
        model = transformer.LmTransformer(config, arrays, settings)
        identity = source.identity
    else:
        arrays = lstm.initial_arrays(
            frequencies, settings.hidden_size, settings.embedding_size, rng, table=table
        )
        model = lstm.LmLstm(arrays, settings)

    def export() -> tuple[BertConfig | NetworkConfig, dict[str, FloatArray]]:
        if isinstance(model, transformer.LmTransformer):
            return model.config, model.arrays()
        return network_to_folder(lstm.network_of_arrays("language-model", model.arrays()))

    def final_score(progress: ProgressCallback) -> FinalScore:
        if isinstance(model, transformer.LmTransformer):
            return FinalScore(model.perplexity(dev, eos, progress=progress))
        size = settings.word_cache_size if isinstance(settings, LmLstmSettings) else 0
        text = model.read(corpus.join(dev, eos), keeps_states=size > 0, progress=progress)
        if size:
            fitted = fit_word_cache(size, text)
            return FinalScore(fitted.perplexity, fitted.cache)
        return FinalScore(perplexity(float(text.nats.sum(dtype=np.float64)), text.nats.size))

    return PreparedTraining(
        LanguageModelObjective(model, stream),
        settings,
        corpus.tokenizer_json(vocabulary),
        settings.context_length if isinstance(settings, LmBertSettings) else MAX_TOKENS,
        export,
        sources=TrainingSources(initial_weights=identity),
        final_score=final_score,
    )


def _check_length(name: str, words: int, settings: LmLstmSettings | LmBertSettings) -> None:
    if isinstance(settings, LmBertSettings):
        chunk, product = (
            settings.batch_size * settings.context_length,
            "batch_size · context_length",
        )
    else:
        chunk, product = settings.batch_size * settings.bptt_steps, "batch_size · bptt_steps"
    if words < chunk:
        raise InputError(
            "the train split is shorter than one chunk of text",
            where=name,
            found=f"{words} words",
            expected=f"{chunk} ({product})",
            fix=f"use a longer text, or smaller {product.replace(' · ', ' and ')}",
        )


class LanguageModelObjective(Objective):
    """An objective over chunks of running text.

    Epochs are not scored: the perplexity on the development split is computed after training.
    """

    def __init__(self, model: Model, stream: corpus.Stream) -> None:
        self._model, self._settings = model, model.settings
        self._chunks = model.chunks(stream)
        self._vocabulary = model.weights["table"].shape[0]
        self.epochs, self.steps_per_epoch = model.settings.epochs, self._chunks.per_epoch
        self.variables = [*model.optimizer.state, *model.state]

    def identity(self) -> tuple[dict[str, Any], list[Any]]:
        """Settings but `epochs`: a training may be resumed for longer."""
        return {"settings": msgspec.to_builtins(self._settings) | {"epochs": 0}}, []

    def learning_rate(self, step: int, total: int) -> float:
        """Warm-up, constant, linear decay."""
        settings = self._settings
        return constant_then_decay(
            step,
            total,
            peak=settings.learning_rate,
            warmup_steps=settings.warmup_steps,
            constant_ratio=settings.constant_ratio,
        )

    def begin_epoch(self) -> None:
        """Resets the state that is carried from chunk to chunk."""
        self._model.reset_state()

    def run_step(
        self, position: tuple[int, int], learning_rate: float, step: int
    ) -> tuple[float, None]:
        """See `Objective`; the sampled words depend on the seed and the step alone."""
        settings = self._settings
        rng = np.random.default_rng((settings.seed, step - 1))
        sampled, draws = sample_words(self._vocabulary, settings.num_sampled, rng)
        loss = self._model.step(
            tuple(tf.constant(part) for part in self._chunks.chunk(*position)),
            tf.constant(sampled),
            tf.constant(draws, tf.float32),
            tf.constant(learning_rate),
            tf.constant(float(step)),
        )
        return float(loss), None

    def format_loss(self, loss: float) -> str:
        """The perplexity among the sampled words."""
        return f"sampled perplexity {math.exp(loss):.0f}"
