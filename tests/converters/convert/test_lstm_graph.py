"""The loop lowering computes what Keras computes, at every length, in one open-axis file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from edgeseq.formats.trained_model import TrainedModel
from edgeseq_converters.models.reference import reference_logits

LENGTHS = (1, 2, 3, 7, 16, 40)
# (layers, bidirectional, pooling): every pooling of every kind of loop.
SHAPES = [
    *((1, False, "max"), (1, False, "mean"), (1, False, "last")),
    *((1, True, "max"), (1, True, "mean"), (1, True, "last")),
    *((2, False, "last"), (3, False, "max"), (2, True, "mean"), (3, True, "last")),
]


def keras_logits(model: TrainedModel, token_ids: list[int]) -> np.ndarray[Any, Any]:
    """The same model built from keras.layers, filled with the arrays as they are."""
    import keras

    config = model.manifest.lstm
    assert config is not None
    states: Any = model.weights["embedding.weight"][None, token_ids]
    for number in range(config.layers):
        last = number == config.layers - 1
        sequences = not last or config.pooling != "last"
        layer: Any = keras.layers.LSTM(config.hidden_size, return_sequences=sequences)
        directions = ["forward"]
        if config.bidirectional:
            layer = keras.layers.Bidirectional(layer)
            directions.append("backward")
        layer.build(states.shape)
        parts = ("kernel", "recurrent_kernel", "bias")
        layer.set_weights(
            [model.weights[f"lstm.{number}.{one}.{part}"] for one in directions for part in parts]
        )
        states = np.asarray(layer(states))
    pooled = {"max": lambda s: s.max(1), "mean": lambda s: s.mean(1), "last": lambda s: s}
    features = pooled[config.pooling](states)
    return np.asarray(features @ model.weights["dense.kernel"] + model.weights["dense.bias"])[0]


@pytest.mark.parametrize(("layers", "bidirectional", "pooling"), SHAPES)
def test_equals_keras_at_every_length(
    layers: int, bidirectional: bool, pooling: str, make: Any
) -> None:
    model = make.lstm(layers=layers, bidirectional=bidirectional, pooling=pooling)
    runner = Interpreter(model_content=make.export(model)).get_signature_runner()
    rng = np.random.default_rng(1)
    for length in LENGTHS:
        token_ids = rng.integers(0, model.manifest.lstm.vocabulary_size, length).tolist()
        expected = keras_logits(model, token_ids)
        answer = runner(input_ids=np.asarray([token_ids], np.int32))["logits"][0]
        np.testing.assert_allclose(answer, expected, atol=1e-5)
        np.testing.assert_allclose(reference_logits(model, [token_ids])[0], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("layers", "bidirectional", "recipe"),
    [
        (1, True, "float16"),
        (1, True, "dynamic_wi8_afp32"),
        (2, False, "dynamic_wi8_afp32"),
        (2, True, "dynamic_wi8_afp32"),
    ],
)
def test_smaller_recipes_stay_close(
    layers: int, bidirectional: bool, recipe: str, make: Any
) -> None:
    model = make.lstm(layers=layers, bidirectional=bidirectional, hidden=32, embedding=32)
    runner = Interpreter(model_content=make.export(model, recipe)).get_signature_runner()
    rng = np.random.default_rng(2)
    texts = [rng.integers(0, 30, length).tolist() for length in LENGTHS]
    expected = reference_logits(model, texts)
    answers = [runner(input_ids=np.asarray([ids], np.int32))["logits"][0] for ids in texts]
    error = np.abs(np.stack(answers) - expected).max() / np.abs(expected).max()
    assert error < {"float16": 5e-3, "dynamic_wi8_afp32": 0.08}[recipe]


def test_the_state_does_not_leak_from_one_text_to_the_next(make: Any) -> None:
    interpreter = Interpreter(model_content=make.export(make.lstm(layers=2)))
    runner: Callable[..., Any] = interpreter.get_signature_runner()
    first = np.asarray([[5, 6, 7]], np.int32)
    before = np.array(runner(input_ids=first)["logits"])
    runner(input_ids=np.asarray([[9] * 30], np.int32))
    np.testing.assert_array_equal(runner(input_ids=first)["logits"], before)
