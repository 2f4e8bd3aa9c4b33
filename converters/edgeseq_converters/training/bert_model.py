"""A BERT classifier to be trained in Keras, filled from a checkpoint and turned back into arrays.

The graph is BERT's (Devlin et al. 2019) with a linear head on the pooled states
(`sequence_classification`), or on the state of every token (`token_classification`). It is written
for batches of texts of about the same length on a CPU: tokens of a batch are the rows of one
matrix, and query, key and value are one product. The embedding tables are never trained: they are
half of MiniLM's parameters, would need Adam's two moments for each, and a word that the training
texts lack would be left behind by those that move.

All families are trained but MobileBERT; layers that share arrays (ALBERT) learn them together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from edgeseq.errors import CheckpointError, InputError
from edgeseq.formats.trained_model import BertConfig
from edgeseq.tasks.word_features import WordFeatures
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.encoder import encoder_shapes, layer_sources, pooled_size
from edgeseq_converters.training.word_tables import WordTable, split_rows

_NEGATIVE = -1e9
"""Added to the attention scores of padding: exp(-1e9) is 0 in float32."""


class EncoderLayer(keras.layers.Layer):  # type: ignore[misc, unused-ignore]
    """One layer: self-attention and feed-forward, each with residual and layer norm after it."""

    def __init__(self, config: BertConfig, *, dropout: float, seed: int, trainable: bool) -> None:
        super().__init__(trainable=trainable)
        self.config = config
        size, inner = config.hidden_size, config.intermediate_size
        shapes = {
            "query_key_value": (size, 3 * size),
            "projected": (size, size),
            "up": (size, inner),
            "down": (inner, size),
        }
        self.kernels = {}
        self.biases = {}
        for name, shape in shapes.items():
            self.kernels[name] = self.add_weight(shape=shape, name=f"{name}_kernel")
            self.biases[name] = self.add_weight(shape=shape[1:], name=f"{name}_bias")
        self.scales = {}
        self.shifts = {}
        for name in ("attention_norm", "norm"):
            self.scales[name] = self.add_weight(shape=(size,), name=f"{name}_scale")
            self.shifts[name] = self.add_weight(shape=(size,), name=f"{name}_shift")
        # Layers only with a rate: even a dropout of 0 would cost a random mask.
        self.drop = [keras.layers.Dropout(dropout, seed=seed + n) for n in (0, 1) if dropout > 0]
        self.built = True

    def call(self, states: Any, mask_bias: Any, training: bool = False) -> Any:
        """States [batch·length, hidden] → the same; `mask_bias` is [batch, 1, 1 or length, length],
        added to the attention scores."""
        attended = self._dense(self._attention(states, mask_bias), "projected")
        states = self._norm(states + self._dropped(attended, 0, training), "attention_norm")
        hidden = _activation(self.config, self._dense(states, "up"))
        output = self._dense(hidden, "down")
        return self._norm(states + self._dropped(output, 1, training), "norm")

    def _attention(self, states: Any, mask_bias: Any) -> Any:
        heads = self.config.attention_heads
        size = self.config.hidden_size // heads
        batch, length = tf.shape(mask_bias)[0], tf.shape(mask_bias)[3]

        def by_head(rows: Any) -> Any:
            return tf.transpose(tf.reshape(rows, [batch, length, heads, size]), [0, 2, 1, 3])

        # Split, not indexed: the gradient of an index fills a whole tensor for each part.
        parts = tf.split(self._dense(states, "query_key_value"), 3, axis=1)
        query, key, value = (by_head(part) for part in parts)
        scores = tf.matmul(query, key, transpose_b=True) * (1 / math.sqrt(size)) + mask_bias
        attended = tf.matmul(tf.nn.softmax(scores), value)
        return tf.reshape(tf.transpose(attended, [0, 2, 1, 3]), [-1, heads * size])

    def _dense(self, inputs: Any, name: str) -> Any:
        product = tf.matmul(inputs, tf.convert_to_tensor(self.kernels[name]))
        return tf.nn.bias_add(product, tf.convert_to_tensor(self.biases[name]))

    def _norm(self, inputs: Any, name: str) -> Any:
        return layer_norm(inputs, self.scales[name], self.shifts[name], self.config.layer_norm_eps)

    def _dropped(self, inputs: Any, index: int, training: bool) -> Any:
        return self.drop[index](inputs, training=training) if self.drop else inputs


class BertClassifier(keras.Model):  # type: ignore[misc, unused-ignore]
    """Encoder and head.

    `weights_by_name` holds the arrays of `encoder_shapes(config)`, and optionally
    `classifier.weight` [labels, hidden] and `classifier.bias` [labels] (else the head starts at
    0, so that the first steps move it and not the encoder). The lowest `frozen_layers` layers,
    and with any of them the embedding's layer norm and projection, are not trained.

    Raises `CheckpointError` for MobileBERT, and `InputError` when layers are to be frozen that
    others share.
    """

    def __init__(
        self,
        config: BertConfig,
        labels: int,
        weights_by_name: dict[str, FloatArray],
        *,
        frozen_layers: int = 0,
        dropout: float = 0.0,
        seed: int = 0,
        word_features: WordFeatures | None = None,
    ) -> None:
        super().__init__()
        require_tensorflow_backend()
        _check(config, frozen_layers)
        self.config = config
        self.frozen_layers = frozen_layers
        self.initial_arrays = {name: weights_by_name[name] for name in encoder_shapes(config)}
        size = config.hidden_size
        words = config.embedding_size or size
        free = frozen_layers == 0
        self.word_table = None
        if word_features is not None:
            self.word_table = WordTable(word_features, outputs=words, seed=seed)
            self.word_table.trainable = free
        self.words = self.add_weight(
            shape=(config.vocabulary_size, words), name="words", trainable=False
        )
        self.positions = self.add_weight(
            shape=(config.max_position_embeddings, words), name="positions", trainable=False
        )
        self.norm_scale = self.add_weight(shape=(words,), name="norm_scale", trainable=free)
        self.norm_shift = self.add_weight(shape=(words,), name="norm_shift", trainable=free)
        self.project_kernel = self.project_bias = None
        if config.embedding_size is not None:
            self.project_kernel = self.add_weight(
                shape=(words, size), name="project_kernel", trainable=free
            )
            self.project_bias = self.add_weight(shape=(size,), name="project_bias", trainable=free)
        self.layers_by_source = {
            number: EncoderLayer(
                config,
                dropout=0.0 if number < frozen_layers else dropout,
                seed=seed + 10 * number,
                trainable=number >= frozen_layers,
            )
            for number in sorted(set(layer_sources(config)))
        }
        self.encoder_layers = [self.layers_by_source[number] for number in layer_sources(config)]
        pooled = pooled_size(config)
        self.head_kernel = self.add_weight(shape=(pooled, labels), name="head_kernel")
        self.head_bias = self.add_weight(shape=(labels,), name="head_bias")
        self.built = True
        self._fill(weights_by_name, labels)

    def lower(self, ids: Any, mask: Any) -> Any:
        """Ids and mask [batch, length] → states after the frozen layers [batch, length, hidden].

        `mask` is float32 with 1 for real tokens, all of which come before the padding. Without
        frozen layers these are the embeddings after their layer norm. With word features the ids
        are rows [batch, length, 4].
        """
        ids, features = split_rows(ids, self.word_table)
        batch, length = tf.shape(ids)[0], tf.shape(ids)[1]
        states = tf.gather(tf.convert_to_tensor(self.words), ids)
        states += tf.convert_to_tensor(self.positions)[:length]
        if self.word_table is not None:
            states += self.word_table(features)
        states = tf.reshape(states, [-1, self.config.embedding_size or self.config.hidden_size])
        states = layer_norm(states, self.norm_scale, self.norm_shift, self.config.layer_norm_eps)
        if self.project_kernel is not None and self.project_bias is not None:
            states = tf.matmul(states, tf.convert_to_tensor(self.project_kernel))
            states = tf.nn.bias_add(states, tf.convert_to_tensor(self.project_bias))
        for layer in self.encoder_layers[: self.frozen_layers]:
            states = layer(states, mask_bias(mask))
        states = tf.reshape(states, [batch, length, self.config.hidden_size])
        return tf.stop_gradient(states) if self.frozen_layers else states

    def upper(self, states: Any, mask: Any, training: bool = False, ids: Any = None) -> Any:
        """States from `lower` through the trained layers → pooled states [batch, pooled], or with
        the head `token_classification` all of them [batch, length, hidden].

        The pooling `markers` finds its tokens in `ids` [batch, length]."""
        *_, states = self._layer_states(states, mask, training)
        if self.config.head == "token_classification":
            return states
        if self.config.pooling == "markers":
            return pool_mentions(self.config.marker_ids, ids, states)
        if self.config.pooling == "cls":
            return states[:, 0]
        total = tf.reduce_sum(states * mask[:, :, None], 1)
        return total / tf.reduce_sum(mask, 1, keepdims=True)

    def layer_means(self, states: Any, mask: Any, training: bool = False) -> list[Any]:
        """States from `lower` through the trained layers → after each, the mean over the tokens
        [batch, hidden]."""
        weights = (mask / tf.reduce_sum(mask, 1, keepdims=True))[:, :, None]
        layers = list(self._layer_states(states, mask, training))[1:]
        return [tf.reduce_sum(by_text * weights, 1) for by_text in layers]

    def _layer_states(self, states: Any, mask: Any, training: bool) -> Iterator[Any]:
        """The states before the trained layers and after each [batch, length, hidden]."""
        shape = [tf.shape(states)[0], tf.shape(states)[1], self.config.hidden_size]
        yield states
        states = tf.reshape(states, [-1, self.config.hidden_size])
        for layer in self.encoder_layers[self.frozen_layers :]:
            states = layer(states, mask_bias(mask), training=training)
            yield tf.reshape(states, shape)

    def pooled(self, ids: Any, mask: Any, training: bool = False) -> Any:
        """Ids and mask [batch, length] → pooled states (see `upper`)."""
        return self.upper(self.lower(ids, mask), mask, training, ids)

    def head(self, pooled: Any) -> Any:
        """Pooled states [batch, pooled] → logits [batch, labels]; with the head
        `token_classification` [batch, length, hidden] → [batch, length, labels]."""
        return dense_head(pooled, self.head_kernel, self.head_bias)

    def call(self, ids: Any, mask: Any, training: bool = False) -> Any:
        """Ids and mask [batch, length] → logits (see `head`)."""
        return self.head(self.pooled(ids, mask, training))

    def arrays(self) -> dict[str, FloatArray]:
        """All weights under the names of `edgeseq.formats.trained_model.BertConfig`, linear [out,
        in]."""
        arrays = dict(self.initial_arrays)
        arrays["embeddings.LayerNorm.weight"] = _array(self.norm_scale)
        arrays["embeddings.LayerNorm.bias"] = _array(self.norm_shift)
        if self.project_kernel is not None:
            arrays["embeddings.project.weight"] = np.ascontiguousarray(
                _array(self.project_kernel).T
            )
            arrays["embeddings.project.bias"] = _array(self.project_bias)
        for number, layer in self.layers_by_source.items():
            arrays |= layer_arrays(layer, number)
        arrays["classifier.weight"] = np.ascontiguousarray(_array(self.head_kernel).T)
        arrays["classifier.bias"] = _array(self.head_bias)
        return arrays if self.word_table is None else arrays | self.word_table.arrays()

    def _fill(self, arrays: dict[str, FloatArray], labels: int) -> None:
        self.words.assign(arrays["embeddings.word_embeddings.weight"])
        if self.word_table is not None:
            self.word_table.fill(arrays)
        # One segment only: its embedding is the same for every token.
        positions = arrays["embeddings.position_embeddings.weight"]
        if self.config.type_vocabulary_size:
            positions = positions + arrays["embeddings.token_type_embeddings.weight"][0]
        self.positions.assign(positions)
        if self.project_kernel is not None and self.project_bias is not None:
            self.project_kernel.assign(arrays["embeddings.project.weight"].T)
            self.project_bias.assign(arrays["embeddings.project.bias"])
        self.norm_scale.assign(arrays["embeddings.LayerNorm.weight"])
        self.norm_shift.assign(arrays["embeddings.LayerNorm.bias"])
        for number, layer in self.layers_by_source.items():
            fill_layer(layer, number, arrays)
        size = pooled_size(self.config)
        kernel = arrays.get("classifier.weight", np.zeros((labels, size), np.float32))
        self.head_kernel.assign(kernel.T)
        self.head_bias.assign(arrays.get("classifier.bias", np.zeros(labels, np.float32)))


def _check(config: BertConfig, frozen_layers: int) -> None:
    if config.norm != "layer" or config.bottleneck_size is not None or config.trigram:
        raise CheckpointError(
            "encoders of this family can be converted but not trained",
            where="train",
            found=config.family,
            expected="bert, distilbert, electra, roberta or albert",
            fix="fine-tune it with transformers and convert what that saves",
        )
    sources = layer_sources(config)
    if not set(sources[:frozen_layers]).isdisjoint(sources[frozen_layers:]):
        raise InputError(
            "cannot freeze layers whose weights others share",
            where="frozen_layers",
            found=frozen_layers,
            expected=0,
            fix="set frozen_layers=0",
        )


def require_tensorflow_backend() -> None:
    """Raises `InputError` when Keras' backend is not TensorFlow."""
    if keras.config.backend() != "tensorflow":
        raise InputError(
            "Keras uses another backend",
            where="KERAS_BACKEND",
            found=keras.config.backend(),
            expected="tensorflow",
            fix="unset KERAS_BACKEND and set no backend in ~/.keras/keras.json",
        )


def fill_layer(layer: EncoderLayer, number: int, arrays: dict[str, FloatArray]) -> None:
    """Gives `layer` the arrays that carry `number`."""
    fused: dict[str, list[FloatArray]] = {}
    for array_name, variable, part in _variables(layer, number):
        if part is None:
            variable.assign(arrays[array_name].T)
        else:
            fused.setdefault(array_name.rsplit(".", 1)[1], []).append(arrays[array_name].T)
    layer.kernels["query_key_value"].assign(np.concatenate(fused["weight"], axis=-1))
    layer.biases["query_key_value"].assign(np.concatenate(fused["bias"], axis=-1))


def layer_arrays(layer: EncoderLayer, number: int) -> dict[str, FloatArray]:
    """The arrays of `layer` under the names that carry `number`."""
    arrays: dict[str, FloatArray] = {}
    for array_name, variable, part in _variables(layer, number):
        array = _array(variable)
        if part is not None:
            array = np.split(array, 3, axis=-1)[part]
        arrays[array_name] = np.ascontiguousarray(array.T)
    return arrays


def _variables(layer: EncoderLayer, number: int) -> list[tuple[str, Any, int | None]]:
    """Array name, variable and, for query, key and value, the third of it that the array is."""
    prefix = f"encoder.layer.{number}."
    dense: list[tuple[str, str, int | None]] = [
        ("attention.self.query", "query_key_value", 0),
        ("attention.self.key", "query_key_value", 1),
        ("attention.self.value", "query_key_value", 2),
        ("attention.output.dense", "projected", None),
        ("intermediate.dense", "up", None),
        ("output.dense", "down", None),
    ]
    variables: list[tuple[str, Any, int | None]] = []
    for array_name, name, part in dense:
        variables.append((f"{prefix}{array_name}.weight", layer.kernels[name], part))
        variables.append((f"{prefix}{array_name}.bias", layer.biases[name], part))
    for array_name, name in (("attention.output", "attention_norm"), ("output", "norm")):
        variables.append((f"{prefix}{array_name}.LayerNorm.weight", layer.scales[name], None))
        variables.append((f"{prefix}{array_name}.LayerNorm.bias", layer.shifts[name], None))
    return variables


def dense_head(states: Any, kernel: Any, bias: Any) -> Any:
    """States [batch, n] or [batch, length, n] through a dense layer → [..., out]."""
    kernel, bias = tf.convert_to_tensor(kernel), tf.convert_to_tensor(bias)
    if len(states.shape) == 2:
        return tf.matmul(states, kernel) + bias
    shape = tf.shape(states)
    logits = tf.matmul(tf.reshape(states, [-1, kernel.shape[0]]), kernel) + bias
    return tf.reshape(logits, [shape[0], shape[1], kernel.shape[1]])


def pool_mentions(marker_ids: Sequence[int], ids: Any, states: Any) -> Any:
    """Ids [batch, n] and states [batch, n, features] → [batch, (2·markers − 1)·features].

    `edgeseq_converters.models.network_layers.MarkedPool` defines it.
    """
    selected = tf.cast(
        tf.equal(ids[:, None, :], tf.constant(marker_ids)[None, :, None]), tf.float32
    )
    rows = tf.unstack(tf.matmul(selected, states), num=len(marker_ids), axis=1)
    return tf.concat([*rows, *(rows[0] * row for row in rows[1:])], -1)


def mask_bias(mask: Any) -> Any:
    """Mask [batch, length] → what is added to attention scores [batch, 1, 1, length]."""
    return ((1 - mask) * _NEGATIVE)[:, None, None, :]


def _array(variable: Any) -> FloatArray:
    return np.array(variable.numpy(), dtype=np.float32)


def layer_norm(inputs: Any, scale: Any, shift: Any, epsilon: float) -> Any:
    """Ba et al. 2016: (x − mean)/√(variance + ε) · scale + shift over the last axis."""
    centred = inputs - tf.reduce_mean(inputs, -1, keepdims=True)
    variance = tf.reduce_mean(centred * centred, -1, keepdims=True)
    normal = centred * tf.math.rsqrt(variance + epsilon)
    return normal * tf.convert_to_tensor(scale) + tf.convert_to_tensor(shift)


def _activation(config: BertConfig, inputs: Any) -> Any:
    """`gelu` is the exact one (erf), `gelu_new` the tanh form, as in Hugging Face's names."""
    if config.hidden_act == "relu":
        return tf.nn.relu(inputs)
    return tf.nn.gelu(inputs, approximate=config.hidden_act == "gelu_new")
