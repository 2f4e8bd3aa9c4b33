"""Seeded weights, networks and encoders of tiny sizes, and token ids to calibrate on."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgeseq.formats.trained_model import (
    BertConfig,
    LstmConfig,
    ModelManifest,
    TrainedModel,
    not_trained_here,
)
from edgeseq_converters.models.encoder import encoder_shapes, head_shapes
from edgeseq_converters.models.network import Network
from edgeseq_converters.models.network_layers import (
    GATES,
    Activation,
    AttentionPool,
    Cell,
    Dense,
    Embedding,
    Layer,
    MarkedPool,
    Pool,
    Recurrent,
    Scale,
)

VOCABULARY_SIZE = 40
LABELS = ("negative", "neutral", "positive")
MARKERS = (5, 7, 9)
"""Token ids of the mention markers."""


def generator(name: str) -> np.random.Generator:
    """The random numbers that belong to a name, whatever else was drawn."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def array(name: str, *shape: int, scale: float = 0.3) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Normally distributed float32 numbers."""
    return generator(name).normal(size=shape, scale=scale).astype(np.float32)


def token_ids(texts: int = 12, vocabulary_size: int = VOCABULARY_SIZE) -> list[list[int]]:
    """Token ids of texts of 1 to 12 tokens, each with every mention marker."""
    draw = generator("token ids")
    return [
        [*draw.integers(1, vocabulary_size, int(draw.integers(1, 10))).tolist(), *MARKERS]
        for _ in range(texts)
    ]


def cell(name: str, kind: Any, inputs: int, hidden: int, *, reset_after: bool = True) -> Cell:
    """One direction of a recurrent layer."""
    gates = GATES[kind] * hidden
    return Cell(
        kind,
        array(f"{name} kernel", inputs, gates),
        array(f"{name} recurrent", hidden, gates, scale=0.2),
        array(f"{name} bias", gates, scale=0.1),
        array(f"{name} recurrent bias", gates, scale=0.1)
        if kind == "gru" and reset_after
        else None,
    )


def network(
    *,
    kind: Any = "lstm",
    layers: int = 1,
    bidirectional: bool = False,
    head: Any = "final",
    merge: Any = "concat",
    mask_zero: bool = False,
    reset_after: bool = True,
    function: Any = "linear",
    more_layers: bool = False,
    hidden: int = 8,
) -> Network:
    """A recurrent network. `head`: final, max, mean, last, attention, marks or tokens;
    `more_layers` adds a batch normalization, a dense layer and an activation."""
    features, body = 6, list[Layer]()
    for index in range(layers):
        first, second = (
            cell(f"{kind} {index} {direction}", kind, features, hidden, reset_after=reset_after)
            for direction in ("forward", "backward")
        )
        layer = Recurrent(
            f"{kind}.{index}",
            first,
            second if bidirectional else None,
            merge=merge,
            sequences=index < layers - 1 or head != "final",
        )
        body.append(layer)
        features = layer.features
    if head in ("max", "mean", "last"):
        body.append(Pool("pool", head))
    elif head == "attention":
        kernel, query = array("attention", features, 5), array("query", 5)
        body.append(AttentionPool("attention", kernel, array("attention bias", 5), query))
    elif head == "marks":
        body.append(MarkedPool("pool", MARKERS))
        features *= 2 * len(MARKERS) - 1
    if more_layers:
        body.append(Scale("scale", array("factor", features), array("offset", features)))
        body.append(Dense("hidden", array("hidden", features, 7), array("hidden bias", 7), "relu"))
        body.append(Activation("tanh", "tanh"))
        features = 7
    kernel, bias = array("dense", features, len(LABELS)), array("dense bias", len(LABELS))
    body.append(Dense("dense", kernel, bias, function))
    table = array("table", VOCABULARY_SIZE, 6, scale=0.5)
    return Network("seeded", Embedding("embedding", table, mask_zero), tuple(body))


def next_word_network(kind: Any, *, layers: int = 1) -> Network:
    """A language model whose last matrix is the embedding table."""
    table = array("table", VOCABULARY_SIZE, 6, scale=0.5)
    body: list[Layer] = [
        Recurrent(
            f"{kind}.{index}",
            cell(f"{kind} lm {index}", kind, 8 if index else 6, 8),
            sequences=True,
        )
        for index in range(layers)
    ]
    body.append(Dense("project", array("project", 8, 6), array("project bias", 6)))
    kernel = np.ascontiguousarray(table.T)
    body.append(Dense("words", kernel, array("word bias", VOCABULARY_SIZE)))
    return Network("seeded", Embedding("embedding", table), tuple(body))


def trained_model(
    task: str,
    arch: Any,
    weights: dict[str, Any],
    *,
    labels: Sequence[str] = LABELS,
    max_tokens: int = 24,
    tokenizer_json: str = "{}",
    **dimensions: Any,
) -> TrainedModel:
    """A model in memory; `dimensions` is one of lstm, network and bert."""
    manifest = ModelManifest(
        name="seeded",
        task=task,
        arch=arch,
        labels=tuple(labels),
        max_tokens=max_tokens,
        training=not_trained_here("seeded"),
        **dimensions,
    )
    return TrainedModel(manifest, weights, tokenizer_json)


def lstm_model(
    task: str = "sentiment",
    *,
    layers: int = 1,
    bidirectional: bool = False,
    pooling: Any = "max",
    hidden: int = 16,
    vocabulary_size: int = VOCABULARY_SIZE,
    **options: Any,
) -> TrainedModel:
    """A model as edgeseq trains it; matrices have the size at which int8 begins to matter."""
    directions = ("forward", "backward") if bidirectional else ("forward",)
    features = hidden * len(directions)
    pooled = features * (2 * len(MARKERS) - 1) if pooling == "markers" else features
    weights = {
        "embedding.weight": array("embedding", vocabulary_size, 12, scale=1.0),
        "dense.kernel": array("dense.kernel", pooled, len(LABELS)),
        "dense.bias": array("dense.bias", len(LABELS)),
    }
    for layer in range(layers):
        inputs = 12 if layer == 0 else features
        for direction in directions:
            prefix = f"lstm.{layer}.{direction}."
            weights[prefix + "kernel"] = array(prefix + "kernel", inputs, 4 * hidden)
            weights[prefix + "recurrent_kernel"] = array(prefix + "rec", hidden, 4 * hidden)
            weights[prefix + "bias"] = array(prefix + "bias", 4 * hidden)
    config = LstmConfig(
        vocabulary_size=vocabulary_size,
        embedding_size=12,
        hidden_size=hidden,
        layers=layers,
        bidirectional=bidirectional,
        pooling=pooling,
        marker_ids=MARKERS if pooling == "markers" else (),
    )
    return trained_model(task, "lstm", weights, lstm=config, **options)


def encoder_model(task: str = "sentiment", **options: Any) -> TrainedModel:
    """An encoder with the fields of `BertConfig` in `options`, the others at tiny defaults."""
    model = {
        name: options.pop(name) for name in ("tokenizer_json", "max_tokens") if name in options
    }
    dimensions: dict[str, Any] = {
        "vocabulary_size": VOCABULARY_SIZE,
        "hidden_size": 32,
        "intermediate_size": 48,
        "layers": 2,
        "attention_heads": 4,
        "max_position_embeddings": 24,
        "type_vocabulary_size": 2,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "pooling": "mean",
    }
    config = BertConfig(**(dimensions | options))
    labels = () if task == "lm" else LABELS
    shapes = encoder_shapes(config) | head_shapes(config, len(labels))
    weights = {name: _encoder_array(name, shape) for name, shape in shapes.items()}
    return trained_model(task, "bert", weights, labels=labels, bert=config, **model)


def _encoder_array(name: str, shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.float32]]:
    drawn = array(name, *shape, scale=0.2)
    return drawn + np.float32(1) if name.endswith("LayerNorm.weight") else drawn
