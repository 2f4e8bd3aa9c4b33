"""The training LSTM against `keras.layers.LSTM`, with padding, in values and gradients."""

from __future__ import annotations

from typing import Any, Literal

import keras
import numpy as np
import pytest
import tensorflow as tf

from edgeseq.formats.trained_model import LstmConfig
from edgeseq_converters.training.batching import TokenTexts
from edgeseq_converters.training.initial_arrays import initial_lstm_arrays
from edgeseq_converters.training.lstm_model import LstmClassifier
from edgeseq_converters.training.predictor import Predictor

IDS = np.array([[5, 3, 8, 1, 2], [7, 7, 0, 0, 0], [4, 9, 2, 6, 0]], dtype=np.int32)
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 1, 0]], dtype=np.float32)


def make_config(
    *, layers: int, bidirectional: bool, pooling: Literal["max", "mean", "last"]
) -> LstmConfig:
    return LstmConfig(
        vocabulary_size=10,
        embedding_size=6,
        hidden_size=4,
        layers=layers,
        bidirectional=bidirectional,
        pooling=pooling,
    )


def keras_states(arrays: dict[str, Any], config: LstmConfig, *, last: bool) -> Any:
    """What Keras' own layers give for the same arrays: [batch, time, n], or [batch, n] if last."""
    states = tf.gather(arrays["embedding.weight"], IDS)
    mask = tf.cast(MASK, tf.bool)
    for layer in range(config.layers):
        only_last = last and layer == config.layers - 1
        cell = keras.layers.LSTM(config.hidden_size, return_sequences=not only_last)
        module = keras.layers.Bidirectional(cell) if config.bidirectional else cell
        module.build(states.shape)
        directions = ("forward", "backward") if config.bidirectional else ("forward",)
        names = ("kernel", "recurrent_kernel", "bias")
        module.set_weights([arrays[f"lstm.{layer}.{d}.{n}"] for d in directions for n in names])
        states = module(states, mask=mask)
    return states


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("pooling", ["max", "mean", "last"])
def test_equals_keras(
    layers: int, bidirectional: bool, pooling: Literal["max", "mean", "last"]
) -> None:
    config = make_config(layers=layers, bidirectional=bidirectional, pooling=pooling)
    model = LstmClassifier(config, 3, seed=1)
    arrays = model.arrays()
    expected = keras_states(arrays, config, last=pooling == "last").numpy()
    if pooling == "max":
        expected = np.where(MASK[:, :, None] == 1, expected, -np.inf).max(axis=1)
    elif pooling == "mean":
        expected = (expected * MASK[:, :, None]).sum(axis=1) / MASK.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.pooled(IDS, MASK), expected, atol=1e-6)
    logits = expected @ arrays["dense.kernel"] + arrays["dense.bias"]
    np.testing.assert_allclose(model(IDS, MASK), logits, atol=1e-6)


def test_gradient_equals_what_tensorflow_derives_from_keras() -> None:
    config = make_config(layers=1, bidirectional=True, pooling="mean")
    model = LstmClassifier(config, 3, seed=2)
    weights = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(model.pooled(IDS, MASK) * weights)
    cell = model.cells[0]
    ours = tape.gradient(value, [cell[n].value for n in ("kernel", "recurrent_kernel", "bias")])
    arrays = model.arrays()
    layer = keras.layers.Bidirectional(keras.layers.LSTM(4, return_sequences=True))
    layer.build((3, 5, 6))
    names = ("kernel", "recurrent_kernel", "bias")
    layer.set_weights([arrays[f"lstm.0.{d}.{n}"] for d in ("forward", "backward") for n in names])
    with tf.GradientTape() as tape:
        states = layer(tf.gather(arrays["embedding.weight"], IDS), mask=tf.cast(MASK, tf.bool))
        pooled = tf.reduce_sum(states * MASK[:, :, None], 1) / MASK.sum(axis=1, keepdims=True)
        value = tf.reduce_sum(pooled * weights)
    theirs = tape.gradient(value, layer.trainable_variables)
    for number, ours_of in enumerate(ours):
        for direction in (0, 1):
            expected = theirs[3 * direction + number].numpy()
            np.testing.assert_allclose(
                ours_of[direction].numpy().reshape(expected.shape), expected, atol=1e-6
            )


def test_padding_changes_nothing() -> None:
    model = LstmClassifier(make_config(layers=2, bidirectional=True, pooling="max"), 3, seed=3)
    alone = model(IDS[1:2, :2], MASK[1:2, :2])
    np.testing.assert_allclose(model(IDS, MASK)[1:2], alone, atol=1e-6)


def test_arrays_have_the_documented_names_and_return_unchanged() -> None:
    config = make_config(layers=2, bidirectional=True, pooling="max")
    arrays = initial_lstm_arrays(config, 3, np.random.default_rng(5))
    model = LstmClassifier(config, 3)
    model.fill(arrays)
    assert set(model.arrays()) == set(arrays)
    assert arrays["embedding.weight"].shape == (10, 6)
    assert arrays["lstm.1.backward.kernel"].shape == (8, 16)
    assert arrays["lstm.1.backward.recurrent_kernel"].shape == (4, 16)
    assert arrays["lstm.0.forward.bias"].shape == (16,)
    assert arrays["dense.kernel"].shape == (8, 3)
    for name, array in model.arrays().items():
        np.testing.assert_array_equal(array, arrays[name])


def test_dropout_acts_in_training_alone_and_follows_the_seed() -> None:
    config = make_config(layers=1, bidirectional=True, pooling="max")
    first, second = (
        LstmClassifier(config, 3, dropout=0.5, token_dropout=0.3, seed=7) for _ in range(2)
    )
    np.testing.assert_array_equal(first(IDS, MASK), second(IDS, MASK))
    dropped = first(IDS, MASK, training=True)
    np.testing.assert_array_equal(dropped, second(IDS, MASK, training=True))
    assert not np.allclose(dropped, first(IDS, MASK))


def test_one_direction_is_compiled_for_texts_of_any_length() -> None:
    model = LstmClassifier(make_config(layers=2, bidirectional=False, pooling="max"), 3, seed=8)
    lengths = MASK.sum(axis=1).astype(int)
    texts = TokenTexts([row[:length].tolist() for row, length in zip(IDS, lengths, strict=True)])
    np.testing.assert_allclose(Predictor(model.call)(texts), model(IDS, MASK), atol=1e-6)
