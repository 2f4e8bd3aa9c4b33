"""A causal transformer language model to be trained, initialized from a BERT.

    x_t = norm(project · table[word_t] + position_t); x = layers(x), each token attending to itself
    and those before it; logits = table · (transform · x_t + shift) + bias

The layers are the checkpoint's lowest ones, and so are positions and norm. The embedding table is
as narrow as the LSTM's and starts as the same word pieces projected down; `project` starts as the
inverse projection, so that the first layer's inputs are about those it was trained on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edgeseq.errors import CheckpointError
from edgeseq.formats.trained_model import BertConfig
from edgeseq.progress import ProgressCallback, ProgressUpdate, no_progress
from edgeseq.tasks.context_windows import half_overlapping
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.huggingface.checkpoint import BertCheckpoint
from edgeseq_converters.training.bert_model import (
    EncoderLayer,
    fill_layer,
    layer_arrays,
    layer_norm,
    require_tensorflow_backend,
)
from edgeseq_converters.training.language_model.base import LanguageModel
from edgeseq_converters.training.language_model.corpus import IdArray, Stream, StreamWindows
from edgeseq_converters.training.language_model.word_vectors import ReducedTable
from edgeseq_converters.training.settings import LmBertSettings

Arrays = dict[str, FloatArray]
_NEGATIVE = -1e9
"""Added to the attention scores of masked tokens: exp(-1e9) is 0 in float32."""
_EVALUATION_WORDS = 2048
"""Words of windows that are evaluated together, about half of them counted: 1,024 words of logits
are 136 MB."""
_NAMES = {
    "table": "embeddings.word_embeddings.weight",
    "positions": "embeddings.position_embeddings.weight",
    "norm_scale": "embeddings.LayerNorm.weight",
    "norm_shift": "embeddings.LayerNorm.bias",
    "project": "embeddings.project.weight",
    "project_bias": "embeddings.project.bias",
    "transform": "transform.dense.weight",
    "transform_bias": "transform.dense.bias",
    "word_bias": "decoder.bias",
}
"""Names of the variables in a trained-model folder."""
_TRANSPOSED = ("project", "transform")
"""Linear weights, which are [in, out] here."""


def initial_arrays(
    source: BertCheckpoint,
    reduced: ReducedTable,
    frequencies: FloatArray,
    settings: LmBertSettings,
    rng: np.random.Generator,
) -> tuple[BertConfig, Arrays]:
    """Dimensions and initial weights, under the names of a trained-model folder.

    `reduced` is the projected table, `frequencies` [V] are shares of the training words: the words'
    bias starts at their logarithm. Raises `CheckpointError` for a checkpoint that is
    not of BERT's form, or with fewer layers or positions than the settings need.
    """
    config = source.config
    _check(config, source.identity, settings)
    size, hidden = settings.embedding_size, config.hidden_size
    limit = 0.5 * np.sqrt(6 / (size + hidden))
    positions = source.weights[_NAMES["positions"]][: settings.context_length]
    if config.type_vocabulary_size:
        positions = positions + source.weights["embeddings.token_type_embeddings.weight"][0]
    arrays: Arrays = {
        "embeddings.word_embeddings.weight": reduced.vectors,
        "embeddings.position_embeddings.weight": positions,
        "embeddings.project.weight": np.ascontiguousarray(reduced.axes.T),
        "embeddings.project.bias": reduced.mean,
        "transform.dense.weight": rng.uniform(-limit, limit, (size, hidden)).astype(np.float32),
        "transform.dense.bias": np.zeros(size, np.float32),
        "decoder.bias": np.log(np.maximum(frequencies, 1e-9)),
    }
    prefixes = tuple(f"encoder.layer.{number}." for number in range(settings.layers))
    for name, array in source.weights.items():
        if name.startswith((*prefixes, "embeddings.LayerNorm.")):
            arrays[name] = array
    lm_config = BertConfig(
        vocabulary_size=len(reduced.vectors),
        hidden_size=hidden,
        intermediate_size=config.intermediate_size,
        layers=settings.layers,
        attention_heads=config.attention_heads,
        max_position_embeddings=settings.context_length,
        type_vocabulary_size=0,
        hidden_act=config.hidden_act,
        layer_norm_eps=config.layer_norm_eps,
        pooling="mean",
        family=config.family,
        head="causal_lm",
        embedding_size=size,
    )
    return lm_config, {name: np.array(array, np.float32) for name, array in arrays.items()}


def _check(config: BertConfig, where: str, settings: LmBertSettings) -> None:
    is_plain = config.norm == "layer" and config.bottleneck_size is None
    is_plain = is_plain and not config.layer_sources and not config.trigram
    if not is_plain or config.embedding_size is not None:
        raise CheckpointError(
            "encoders of this family cannot become a language model",
            where=where,
            found=config.family,
            expected="one of BERT's own form",
            fix="name another --checkpoint",
        )
    limits = config.layers, config.max_position_embeddings
    if settings.layers > limits[0] or settings.context_length > limits[1]:
        raise CheckpointError(
            "has fewer layers or positions than requested",
            where=where,
            found=f"{limits[0]} layers, {limits[1]} positions",
            expected=f"{settings.layers} layers, {settings.context_length} positions",
            fix="set layers and context_length",
        )


class LmTransformer(LanguageModel):
    """The model with its optimizer."""

    def __init__(self, config: BertConfig, arrays: Arrays, settings: LmBertSettings) -> None:
        """`arrays` are those of `initial_arrays`."""
        require_tensorflow_backend()
        self.config = config
        weights = {
            name: tf.Variable(arrays[key].T if name in _TRANSPOSED else arrays[key])
            for name, key in _NAMES.items()
        }
        self._layers = []
        for number in range(config.layers):
            layer = EncoderLayer(config, dropout=0.0, seed=0, trainable=True)
            fill_layer(layer, number, arrays)
            self._layers.append(layer)
            for kind in ("kernels", "biases", "scales", "shifts"):
                for name, variable in getattr(layer, kind).items():
                    weights[f"{number}.{kind}.{name}"] = variable.value
        super().__init__(weights, settings, table_lr_multiplier=settings.embedding_lr_multiplier)

    def chunks(self, stream: Stream) -> StreamWindows:
        """The stream in shuffled windows."""
        settings = self.settings
        return StreamWindows(
            stream,
            batch_size=settings.batch_size,
            window=self.config.max_position_embeddings,
            seed=settings.seed,
        )

    def arrays(self) -> Arrays:
        """The weights under the names of a trained-model folder."""
        arrays: Arrays = {}
        for name, key in _NAMES.items():
            array = np.array(self.weights[name].numpy(), np.float32)
            arrays[key] = np.ascontiguousarray(array.T) if name in _TRANSPOSED else array
        for number, layer in enumerate(self._layers):
            arrays |= layer_arrays(layer, number)
        return arrays

    def features(self, embedded: Any, carry: Any, step: Any | None) -> tuple[Any, tuple[Any, ...]]:
        """See `LanguageModel`; carry is [batch, window]."""
        weights, settings, length = self.weights, self.settings, tf.shape(carry)[1]
        embedded = self._dropped(embedded, settings.embedding_dropout, step, 0)
        states = tf.matmul(embedded, weights["project"]) + weights["project_bias"]
        states += tf.tile(weights["positions"][:length], [tf.shape(carry)[0], 1])
        epsilon = self.config.layer_norm_eps
        states = layer_norm(states, weights["norm_scale"], weights["norm_shift"], epsilon)
        bias = causal_bias(carry)
        for layer in self._layers:
            states = layer(states, bias)
        states = self._dropped(states, settings.output_dropout, step, 1)
        return tf.matmul(states, weights["transform"]) + weights["transform_bias"], ()

    def _dropped(self, x: Any, rate: float, step: Any | None, index: int) -> Any:
        if step is None or not rate:
            return x
        return x * self.dropout_mask(tf.shape(x), rate, step, index)

    def window_features(self, inputs: Any, carry: Any) -> Any:
        """Features [batch · length, size] of windows [batch, length], without dropout."""
        embedded = tf.gather(self.weights["table"], tf.reshape(inputs, [-1]))
        return self.features(embedded, carry, None)[0]

    def logits(self, inputs: Any) -> Any:
        """Logits [batch, length, vocabulary] of windows int32 [batch, length]."""
        features = self.window_features(inputs, tf.ones_like(inputs, tf.float32))
        return tf.reshape(self.word_logits(features), [*inputs.shape, self.config.vocabulary_size])

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator, unused-ignore]
    def window_loss(self, inputs: Any, targets: Any, counted: Any) -> Any:
        """Sum of −ln p over windows [batch, length] under the whole vocabulary, at the positions
        where `counted` (bool) is true."""
        features = self.window_features(inputs, tf.ones_like(inputs, tf.float32))
        features = tf.boolean_mask(features, tf.reshape(counted, [-1]))
        return tf.reduce_sum(self.word_losses(features, tf.boolean_mask(targets, counted)))

    def perplexity(
        self, documents: Sequence[IdArray], eos: int, *, progress: ProgressCallback = no_progress
    ) -> float:
        """Perplexity per word of the documents under the whole vocabulary; before a document's
        first word stands `eos`. Each word has at least half a window before it
        (`edgeseq.tasks.context_windows`)."""
        window = self.config.max_position_embeddings
        inputs, targets, counted = _overlapping_windows(documents, eos, window)
        batch = max(1, _EVALUATION_WORDS // window)
        total = 0.0
        for begin in range(0, len(inputs), batch):
            rows = slice(begin, begin + batch)
            parts = (tf.constant(part[rows]) for part in (inputs, targets, counted))
            total += float(self.window_loss(*parts))
            progress(ProgressUpdate("score", min(begin + batch, len(inputs)), len(inputs)))
        return math.exp(total / int(counted.sum()))


def _overlapping_windows(
    documents: Sequence[IdArray], eos: int, window: int
) -> tuple[IdArray, IdArray, np.ndarray[tuple[int, ...], np.dtype[np.bool_]]]:
    """Words in, words out and which of them are scored: [windows, window], filled with `eos`."""
    spans = [
        (ids, span) for ids in documents for span in half_overlapping(len(ids), window) if len(ids)
    ]
    inputs = np.full((len(spans), window), eos, np.int32)
    targets = np.full((len(spans), window), eos, np.int32)
    counted = np.zeros((len(spans), window), bool)
    for row, (ids, (begin, first, end)) in enumerate(spans):
        previous = np.concatenate([[eos], ids[:-1]])
        inputs[row, : end - begin] = previous[begin:end]
        targets[row, : end - begin] = ids[begin:end]
        counted[row, first - begin : end - begin] = True
    return inputs, targets, counted


def causal_bias(carry: Any) -> Any:
    """What is added to attention scores [batch, 1, length, length]: 0 for a token itself and the
    earlier ones of its document; `carry` [batch, length] is 0 where a document begins."""
    document = tf.cumsum(1 - carry, axis=1)
    length = tf.shape(carry)[1]
    is_earlier = tf.linalg.band_part(tf.ones([length, length], tf.bool), -1, 0)
    is_visible = (document[:, :, None] == document[:, None, :]) & is_earlier
    return tf.where(is_visible, 0.0, _NEGATIVE)[:, None]
