"""The encoder of BERT (Devlin et al. 2019) with a linear head, for batch 1 and an open axis.

Nothing is padded, so there is no mask; there is one segment, so its embedding is added to the
positions beforehand. Query, key and value are one product, and the scale 1/√(head size) is folded
into the query's weights. With pooling `first` the last layer computes its output for the first
token alone: exact, and 14 % less work in a six-layer model.

Layer norm is written with elementwise operators and MEAN, all of which run inside XNNPACK: at
MiniLM's size the five forms that were measured (also L2_NORMALIZATION, which leaves XNNPACK, and
none at all) differ by less than 2 %; the dense layers dominate. One transpose of query, key and
value together saves 2 to 5 % over three.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from edgeseq.model_folder import BertConfig, TrainedModel
from edgeseq_converters.arrays import FloatArray, take
from edgeseq_converters.bert_arrays import bert_config
from edgeseq_converters.graphs import rows
from edgeseq_converters.recipes import Recipe


def build(model: TrainedModel, recipe: Recipe) -> Any:
    """The module of a BERT (see `edgeseq_converters.graphs`).

    Raises `CheckpointError` when an array is missing or has the wrong shape.
    """
    config = bert_config(model)
    labels = len(model.manifest.labels)
    size = config.hidden_size
    module = tf.Module()
    words = take(model, "embeddings.word_embeddings.weight", config.vocabulary_size, size)
    module.words = rows.variables(words, recipe.weights)
    positions = _positions(model, config)
    in_full = recipe.weights == "float32"
    module.positions = tf.Variable(positions) if in_full else rows.half(positions)
    module.norm = _norm_weights(model, config, "embeddings.LayerNorm")
    module.layers = [_layer_weights(model, config, number) for number in range(config.layers)]
    module.head = {
        "kernel": tf.Variable(take(model, "classifier.weight", labels, size).T),
        "bias": tf.Variable(take(model, "classifier.bias", labels)),
    }

    def signature(input_ids: Any) -> dict[str, Any]:
        length = tf.shape(input_ids)[1]
        states = rows.lookup(module.words, tf.reshape(input_ids, [-1]))
        places = module.positions[:length]
        states += places if in_full else rows.from_half(places)
        states = _layer_norm(config, states, module.norm)
        for number, layer in enumerate(module.layers):
            only_first = config.pooling == "first" and number == config.layers - 1
            states = _layer(config, states, layer, only_first=only_first)
        pooled = states if config.pooling == "first" else tf.reduce_mean(states, 0, keepdims=True)
        return {"logits": tf.matmul(pooled, module.head["kernel"]) + module.head["bias"]}

    spec = tf.TensorSpec([1, None], tf.int32, name="input_ids")
    module.signature = tf.function(signature, input_signature=[spec])
    return module


def _positions(model: TrainedModel, config: BertConfig) -> FloatArray:
    """Positions and segment 0 in one table [max_tokens, hidden]; longer texts are never given."""
    size = config.hidden_size
    positions = take(
        model, "embeddings.position_embeddings.weight", config.max_position_embeddings, size
    )
    if not config.type_vocabulary_size:
        return positions[: model.manifest.max_tokens]
    segments = take(
        model, "embeddings.token_type_embeddings.weight", config.type_vocabulary_size, size
    )
    return np.asarray(positions[: model.manifest.max_tokens] + segments[0])


def _norm_weights(model: TrainedModel, config: BertConfig, name: str) -> dict[str, Any]:
    return {
        "scale": tf.Variable(take(model, f"{name}.weight", config.hidden_size)),
        "shift": tf.Variable(take(model, f"{name}.bias", config.hidden_size)),
    }


def _dense_weights(model: TrainedModel, name: str, inputs: int, outputs: int) -> dict[str, Any]:
    """A linear layer, turned from [out, in] to [in, out]."""
    return {
        "kernel": tf.Variable(take(model, f"{name}.weight", outputs, inputs).T),
        "bias": tf.Variable(take(model, f"{name}.bias", outputs)),
    }


def _layer_weights(model: TrainedModel, config: BertConfig, number: int) -> dict[str, Any]:
    size, prefix = config.hidden_size, f"encoder.layer.{number}."
    scale = np.float32((size // config.attention_heads) ** -0.5)
    kernels, biases = [], []
    for part in ("query", "key", "value"):
        factor = scale if part == "query" else np.float32(1)
        name = f"{prefix}attention.self.{part}"
        kernels.append(take(model, f"{name}.weight", size, size).T * factor)
        biases.append(take(model, f"{name}.bias", size) * factor)
    weights = {
        "projected": _dense_weights(model, prefix + "attention.output.dense", size, size),
        "attention_norm": _norm_weights(model, config, prefix + "attention.output.LayerNorm"),
        "up": _dense_weights(model, prefix + "intermediate.dense", size, config.intermediate_size),
        "down": _dense_weights(model, prefix + "output.dense", config.intermediate_size, size),
        "norm": _norm_weights(model, config, prefix + "output.LayerNorm"),
    }
    groups = {"query": slice(0, 1), "key_value": slice(1, 3)}
    if not (config.pooling == "first" and number == config.layers - 1):
        groups = {"query_key_value": slice(0, 3)}
    for name, group in groups.items():
        weights[name] = {
            "kernel": tf.Variable(np.concatenate(kernels[group], axis=1)),
            "bias": tf.Variable(np.concatenate(biases[group])),
        }
    return weights


def _dense(inputs: Any, weights: dict[str, Any]) -> Any:
    return tf.matmul(inputs, weights["kernel"]) + weights["bias"]


def _layer_norm(config: BertConfig, inputs: Any, weights: dict[str, Any]) -> Any:
    """Ba et al. 2016: (x − mean)/√(variance + ε) · scale + shift over the last axis."""
    centred = inputs - tf.reduce_mean(inputs, -1, keepdims=True)
    variance = tf.reduce_mean(centred * centred, -1, keepdims=True)
    normal = centred * tf.math.rsqrt(variance + config.layer_norm_eps)
    return normal * weights["scale"] + weights["shift"]


def _activation(config: BertConfig, inputs: Any) -> Any:
    """`gelu` is the exact one (erf), `gelu_new` the tanh form, as in Hugging Face's names."""
    if config.hidden_act == "relu":
        return tf.nn.relu(inputs)
    return tf.nn.gelu(inputs, approximate=config.hidden_act == "gelu_new")


def _heads(config: BertConfig, inputs: Any, parts: int) -> Any:
    """[n, parts·hidden] → `parts` tensors [heads, n, head size]; one transpose for all."""
    head_size = config.hidden_size // config.attention_heads
    split = tf.reshape(inputs, [-1, parts * config.attention_heads, head_size])
    return tf.split(tf.transpose(split, [1, 0, 2]), parts, axis=0)


def _layer(config: BertConfig, states: Any, weights: dict[str, Any], *, only_first: bool) -> Any:
    """states [n, hidden] → [n, hidden], or [1, hidden] with `only_first`."""
    if only_first:
        key, value = _heads(config, _dense(states, weights["key_value"]), 2)
        states = states[:1]
        (query,) = _heads(config, _dense(states, weights["query"]), 1)
    else:
        query, key, value = _heads(config, _dense(states, weights["query_key_value"]), 3)
    attention = tf.nn.softmax(tf.matmul(query, key, transpose_b=True))
    mixed = tf.transpose(tf.matmul(attention, value), [1, 0, 2])
    mixed = tf.reshape(mixed, [-1, config.hidden_size])
    attended = states + _dense(mixed, weights["projected"])
    states = _layer_norm(config, attended, weights["attention_norm"])
    inner = _activation(config, _dense(states, weights["up"]))
    return _layer_norm(config, states + _dense(inner, weights["down"]), weights["norm"])
