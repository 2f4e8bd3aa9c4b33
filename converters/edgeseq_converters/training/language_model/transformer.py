"""A causal transformer of the next word to be trained, started from a BERT.

    x_t = norm(project · table[word_t] + position_t); x = layers(x), each token seeing itself and
    those before it; logits = table · (transform · x_t + shift) + bias

The layers are the checkpoint's lowest ones, and so are positions and norm. The table of words is as
narrow as the LSTM's and starts as the same word pieces projected down; `project` starts as the way
back, so that the first layer is given about what it was trained on. The softmax of a training step
and the updates of the table are the LSTM's (`edgeseq_converters.training.language_model.sampling`,
`….lm.adam`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from edgeseq.errors import CheckpointError
from edgeseq.formats.trained_model import BertConfig
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.huggingface.checkpoint import BertCheckpoint
from edgeseq_converters.training.bert_model import (
    EncoderLayer,
    fill_layer,
    layer_arrays,
    layer_norm,
    require_tensorflow_backend,
)
from edgeseq_converters.training.language_model.adam import TABLES, LazyAdam
from edgeseq_converters.training.language_model.sampling import log_count, sampled_loss
from edgeseq_converters.training.language_model.settings import LmBertSettings
from edgeseq_converters.training.language_model.word_vectors import Reduced

Arrays = dict[str, FloatArray]
_NEGATIVE = -1e9
"""Added to the attention scores of what a token may not see: exp(-1e9) is 0 in float32."""
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
"""What the variables are called in a trained-model folder."""
_TURNED = ("project", "transform")
"""Linear weights, which are [in, out] here."""


def initial_arrays(
    source: BertCheckpoint,
    reduced: Reduced,
    frequencies: FloatArray,
    settings: LmBertSettings,
    rng: np.random.Generator,
) -> tuple[BertConfig, Arrays]:
    """Dimensions and weights to start from, under the names of a trained-model folder.

    `reduced` is the table with its way back, `frequencies` [V] are shares of the training words:
    the words' bias starts at their logarithm. Raises `CheckpointError` for a checkpoint of another
    form than BERT's, with fewer layers or fewer positions than the settings ask for.
    """
    given = source.config
    _check(given, source.identity, settings)
    size, hidden = settings.embedding_size, given.hidden_size
    limit = 0.5 * np.sqrt(6 / (size + hidden))
    positions = source.weights[_NAMES["positions"]][: settings.window]
    if given.type_vocabulary_size:
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
    kept = tuple(f"encoder.layer.{number}." for number in range(settings.layers))
    for name, array in source.weights.items():
        if name.startswith((*kept, "embeddings.LayerNorm.")):
            arrays[name] = array
    config = BertConfig(
        vocabulary_size=len(reduced.vectors),
        hidden_size=hidden,
        intermediate_size=given.intermediate_size,
        layers=settings.layers,
        attention_heads=given.attention_heads,
        max_position_embeddings=settings.window,
        type_vocabulary_size=0,
        hidden_act=given.hidden_act,
        layer_norm_eps=given.layer_norm_eps,
        pooling="mean",
        family=given.family,
        head="causal_lm",
        embedding_size=size,
    )
    return config, {name: np.array(array, np.float32) for name, array in arrays.items()}


def _check(given: BertConfig, where: str, settings: LmBertSettings) -> None:
    plain = given.norm == "layer" and given.bottleneck_size is None and not given.layer_sources
    if not plain or given.embedding_size is not None or given.trigram:
        raise CheckpointError(
            "encoders of this family do not become a model of the next word",
            where=where,
            found=given.family,
            expected="one of BERT's own form",
            fix="name another --checkpoint",
        )
    most = given.layers, given.max_position_embeddings
    if settings.layers > most[0] or settings.window > most[1]:
        raise CheckpointError(
            "has fewer layers or positions than are asked for",
            where=where,
            found=f"{most[0]} layers, {most[1]} positions",
            expected=f"{settings.layers} layers, {settings.window} positions",
            fix="set layers and window",
        )


class LmTransformer:
    """The model with its optimizer's moments."""

    def __init__(self, config: BertConfig, arrays: Arrays, settings: LmBertSettings) -> None:
        """`arrays` are those of `initial_arrays`."""
        require_tensorflow_backend()
        self.config = config
        self._settings = settings
        self._own = {
            name: tf.Variable(arrays[at].T if name in _TURNED else arrays[at])
            for name, at in _NAMES.items()
        }
        self._layers = []
        weights = dict(self._own)
        for number in range(config.layers):
            layer = EncoderLayer(config, dropout=0.0, seed=0, trainable=True)
            fill_layer(layer, number, arrays)
            self._layers.append(layer)
            for kind in ("kernels", "biases", "scales", "shifts"):
                for name, variable in getattr(layer, kind).items():
                    weights[f"{number}.{kind}.{name}"] = variable.value
        self._weights = weights
        self._dense = [name for name in weights if name not in TABLES]
        self._adam = LazyAdam(
            weights,
            weight_decay=settings.weight_decay,
            clip_norm=settings.clip_norm,
            table_rate=settings.table_rate,
        )

    def restart(self) -> None:
        """Nothing is carried from one window to the next."""

    def kept(self) -> dict[str, Any]:
        """Everything that the next step depends on, by name."""
        return self._adam.kept()

    def restore(self, kept: dict[str, Any]) -> None:
        """Takes over what `kept` gave."""
        self._adam.restore(kept)

    def arrays(self) -> Arrays:
        """The weights under the names of a trained-model folder."""
        arrays: Arrays = {}
        for name, at in _NAMES.items():
            array = np.array(self._own[name].numpy(), np.float32)
            arrays[at] = np.ascontiguousarray(array.T) if name in _TURNED else array
        for number, layer in enumerate(self._layers):
            arrays |= layer_arrays(layer, number)
        return arrays

    @tf.function  # type: ignore[untyped-decorator, unused-ignore]
    def step(
        self, chunk: tuple[Any, Any, Any], drawn: Any, tries: Any, rate: Any, number: Any
    ) -> Any:
        """One update on windows: inputs, targets and keep [batch, window]; `number` counts from 1.

        `drawn` [k] and `tries` are from `draw_candidates`. Returns the mean loss in nats over the
        sampled words.
        """
        inputs, targets, keep = chunk
        right = tf.reshape(targets, [-1])
        # Every row that this step reads, once: their gradient is small and dense.
        asked, places = tf.unique(tf.concat([tf.reshape(inputs, [-1]), right, drawn], 0))
        rows = {name: tf.gather(self._own[name], asked) for name in TABLES}
        size = self.config.vocabulary_size
        counts = tuple(log_count(words, tries, size) for words in (right, drawn))
        dense = [self._weights[name] for name in self._dense]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([*rows.values(), *dense])
            embedded = tf.gather(rows["table"], places[: tf.size(inputs)])
            features = self._features(embedded, keep, number)
            loss = sampled_loss(rows, features, (right, drawn), places, counts)
        found = tape.gradient(loss, [*rows.values(), *dense])
        gradients = dict(zip([*TABLES, *self._dense], found, strict=True))
        self._adam.apply(gradients, rows, asked, rate, number)
        return loss

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator, unused-ignore]
    def surprise(self, inputs: Any, targets: Any, counted: Any) -> Any:
        """Sum of −ln p under the whole vocabulary over windows [batch, length], of the places
        where `counted` (bool) is true."""
        features = self.features(inputs, tf.ones_like(inputs, tf.float32))
        chosen = tf.boolean_mask(features, tf.reshape(counted, [-1]))
        logits = tf.matmul(chosen, self._own["table"], transpose_b=True) + self._own["word_bias"]
        right = tf.boolean_mask(targets, counted)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(right, logits)
        return tf.reduce_sum(losses)

    def features(self, inputs: Any, keep: Any) -> Any:
        """Features [batch · length, size] for the softmax of windows [batch, length]."""
        embedded = tf.gather(self._own["table"], tf.reshape(inputs, [-1]))
        return self._features(embedded, keep, None)

    def logits(self, inputs: Any) -> Any:
        """Logits [batch, length, vocabulary] of windows int32 [batch, length]."""
        features = self.features(inputs, tf.ones_like(inputs, tf.float32))
        rows = tf.matmul(features, self._own["table"], transpose_b=True) + self._own["word_bias"]
        return tf.reshape(rows, [*inputs.shape, self.config.vocabulary_size])

    def _features(self, embedded: Any, keep: Any, number: Any | None) -> Any:
        """`embedded` [batch · length, size] and keep [batch, length] → features of one shape with
        `embedded`; `number` is the training step, for its dropout."""
        own, length = self._own, tf.shape(keep)[1]
        embedded = self._dropped(embedded, self._settings.dropout_in, number, 0)
        states = tf.matmul(embedded, own["project"]) + own["project_bias"]
        states += tf.tile(own["positions"][:length], [tf.shape(keep)[0], 1])
        epsilon = self.config.layer_norm_eps
        states = layer_norm(states, own["norm_scale"], own["norm_shift"], epsilon)
        bias = causal_bias(keep)
        for layer in self._layers:
            states = layer(states, bias)
        states = self._dropped(states, self._settings.dropout_out, number, 1)
        return tf.matmul(states, own["transform"]) + own["transform_bias"]

    def _dropped(self, x: Any, rate: float, number: Any | None, place: int) -> Any:
        """Dropout by seed and step number, so that a training that was held goes on the same."""
        if number is None or not rate:
            return x
        seed = tf.stack([self._settings.seed * 2 + place, tf.cast(number, tf.int32)])
        drawn = tf.random.stateless_uniform(tf.shape(x), seed)
        return x * (tf.cast(drawn >= rate, tf.float32) / (1 - rate))


def causal_bias(keep: Any) -> Any:
    """What is added to attention scores [batch, 1, length, length]: 0 where a token may be seen,
    by itself and later ones of its document; `keep` [batch, length] is 0 where one begins."""
    document = tf.cumsum(1 - keep, axis=1)
    length = tf.shape(keep)[1]
    before = tf.linalg.band_part(tf.ones([length, length], tf.bool), -1, 0)
    seen = (document[:, :, None] == document[:, None, :]) & before
    return tf.where(seen, 0.0, _NEGATIVE)[:, None]
