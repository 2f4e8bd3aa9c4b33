"""Keras files of weights alone, with their layers in another file: Keras' own answers."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeseq.errors import CheckpointError
from edgeseq_converters.models.describe.candidates import candidates
from edgeseq_converters.models.describe.read import draft_weights
from edgeseq_converters.models.describe.text import description_text
from edgeseq_converters.models.read import read_network
from edgeseq_converters.models.reference_recurrent import answers

from .test_importers_keras import SMALL, TEXTS, VOCABULARY, check, draw_model, randomize, settings


@pytest.fixture(scope="session")
def keras3() -> ModuleType:
    return pytest.importorskip("keras")


@pytest.fixture(scope="session")
def keras2() -> ModuleType:
    return pytest.importorskip("tf_keras")


def save(model: Any, folder: Path, suffix: str) -> tuple[Path, Path]:
    """Weights and, beside them, the layers as Keras writes both."""
    model.save_weights(folder / f"reviews{suffix}")
    (folder / "layers.json").write_text(model.to_json())
    return folder / f"reviews{suffix}", folder / "layers.json"


def test_random_networks(keras3: ModuleType, keras2: ModuleType, tmp_path: Path) -> None:
    @settings(SMALL, max_examples=6)
    @given(st.data())
    def run(data: st.DataObject) -> None:
        keras = data.draw(st.sampled_from([keras3, keras2]))
        suffixes = [".weights.h5"] if keras is keras3 else [".weights.h5", ".h5", ".hdf5"]
        model = draw_model(keras, data.draw, masked=data.draw(st.booleans()))
        weights, layers = save(model, tmp_path, data.draw(st.sampled_from(suffixes)))
        check(model, read_network(weights, description=layers), TEXTS[1:2])

    run()


def network(keras: ModuleType, *, pooled: bool, cell: str = "LSTM") -> Any:
    layers = keras.layers
    reader = getattr(layers, cell)(6, return_sequences=pooled)
    model = keras.Sequential(
        [
            layers.Embedding(VOCABULARY, 5, name="words"),
            layers.SpatialDropout1D(0.2),
            layers.Bidirectional(reader) if pooled else reader,
            *([layers.GlobalMaxPooling1D()] if pooled else []),
            layers.Dense(4, activation="relu", name="thinking"),
            layers.BatchNormalization(),
            layers.Dropout(0.1),
            layers.Dense(3),
        ]
    )
    model.build((None, None))
    return randomize(model)


@pytest.mark.parametrize(
    ("version", "suffix"), [(3, ".weights.h5"), (2, ".weights.h5"), (2, ".h5")]
)
@pytest.mark.parametrize("pooled", [True, False])
def test_layers_are_told_by_names_and_shapes(
    request: pytest.FixtureRequest, tmp_path: Path, version: int, suffix: str, *, pooled: bool
) -> None:
    cell = "LSTM" if pooled else "GRU"
    model = network(request.getfixturevalue(f"keras{version}"), pooled=pooled, cell=cell)
    weights, _ = save(model, tmp_path, suffix)
    drafted = draft_weights(weights)
    how = "max" if pooled else "last"
    assert f'how = "{how}"' in description_text(drafted.draft)
    assert drafted.labels == ("activation of hidden layers",)
    relu = {"activation of hidden layers": "relu"}
    (description,) = [found for values, found in candidates(drafted.draft) if values == relu]
    check(model, drafted.network(description))
    text = description_text(drafted.draft).replace('"?"', '"relu"')
    (tmp_path / "network.toml").write_text(text)
    again = read_network(weights, description=tmp_path / "network.toml")
    np.testing.assert_array_equal(
        np.stack(answers(again, TEXTS)), np.stack(answers(drafted.network(description), TEXTS))
    )


def test_layers_of_another_session_have_other_names(keras2: ModuleType, tmp_path: Path) -> None:
    """Keras itself loads weights by the order of the layers."""
    model = network(keras2, pooled=True)
    weights, layers = save(model, tmp_path, ".h5")
    content = layers.read_text()
    for name in ("bidirectional", "dense", "batch_normalization"):
        content = content.replace(f'"{name}"', f'"{name}_7"').replace(f'"{name}_1"', f'"{name}_8"')
    layers.write_text(content)
    check(model, read_network(weights, description=layers))


@pytest.fixture
def saved(keras2: ModuleType, tmp_path: Path) -> tuple[Path, Path, Path]:
    weights, layers = save(network(keras2, pooled=True), tmp_path, ".h5")
    description = tmp_path / "network.toml"
    text = description_text(draft_weights(weights).draft).replace('"?"', '"relu"')
    description.write_text(text)
    return weights, layers, description


def refused(weights: Path, description: Path | None, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as refusal:
        read_network(weights, description=description)
    assert "\n" not in str(refusal.value)


def test_without_layers(saved: tuple[Path, Path, Path]) -> None:
    weights, _, _ = saved
    refused(weights, None, r"without a description.*--description model\.json; or let .*--describe")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('kind = "lstm"', 'kind = "gru"'), r"kernel that does not match"),
        (("bidirectional = true", "bidirectional = false"), "not have the arrays.*bidirectional"),
        (("layers = 1", "layers = 2"), "not have the arrays of the description"),
        (("layers = 1", "units = 6"), r"not a description of layers.*units"),
        (('prefix = "thinking"', 'prefix = "thought"'), "has no layer thought: found .*thinking"),
        (('weight = "words"', 'weight = "thinking"'), "thinking does not have.*expected embedding"),
        (('how = "max"', 'how = "last-token"'), "pool `last-token` of layer 2 is not one of Keras"),
        (('[[layer]]\nkind = "pool"', '[[layer]]\nkind = "attention"'), "not a description"),
    ],
)
def test_descriptions_that_do_not_fit(
    saved: tuple[Path, Path, Path], change: tuple[str, str], message: str
) -> None:
    weights, _, description = saved
    text = description.read_text()
    assert change[0] in text
    description.write_text(text.replace(*change))
    refused(weights, description, message)


def test_forgotten_layers(saved: tuple[Path, Path, Path]) -> None:
    weights, _, description = saved
    head, *parts = description.read_text().split("[[layer]]")
    rest = [part for part in parts if "batch_normalization" not in part]
    description.write_text("[[layer]]".join([head, *rest]))
    refused(weights, description, "names no layer for: found batch_normalization")


def test_changed_layers(saved: tuple[Path, Path, Path]) -> None:
    weights, layers, _ = saved
    content = layers.read_text()
    for change, message in (
        (('"units": 6', '"units": 7'), "does not match the layer's config"),
        (('"activation": "relu"', '"activation": "swoosh"'), "unknown activation|found swoosh"),
        (('"go_backwards": false', '"go_backwards": true'), "go_backwards"),
    ):
        assert change[0] in content
        layers.write_text(content.replace(*change))
        refused(weights, layers, message)
    layers.write_text("{}")
    refused(weights, layers, "not a description of layers")


def test_damaged_weights(saved: tuple[Path, Path, Path], tmp_path: Path) -> None:
    weights, layers, _ = saved
    with h5py.File(weights, "r+") as file:
        del file["thinking/thinking/bias:0"]
    refused(weights, layers, "has no array")
    (tmp_path / "other.h5").write_bytes(b"no HDF5")
    refused(tmp_path / "other.h5", layers, "is not a whole HDF5 file")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.zeros(3)
    refused(tmp_path / "other.h5", layers, "is not a file of Keras weights")


def test_a_last_state_belongs_to_a_recurrent_layer(saved: tuple[Path, Path, Path]) -> None:
    """Keras has no layer that takes it, so nothing would be pooled behind another layer."""
    weights, _, description = saved
    head, states, pool, *rest = description.read_text().split("[[layer]]")
    assert 'kind = "lstm"' in states
    assert 'how = "max"' in pool
    last = pool.replace("max", "last")
    description.write_text("[[layer]]".join([head, states, rest[0], last, *rest[1:]]))
    refused(weights, description, "pool `last` of layer 3 is not right after a recurrent layer")


@pytest.mark.parametrize("version", ["2.2.4", "2.2.4-tf"])
def test_gates_of_an_old_keras_are_not_guessed(
    saved: tuple[Path, Path, Path], version: str
) -> None:
    weights, layers, description = saved
    with h5py.File(weights, "r+") as file:
        file.attrs["keras_version"] = version
    refused(weights, description, r"does not say layer .*'s recurrent_activation .*model\.to_json")
    read_network(weights, description=layers)


def test_the_reset_gate_of_a_gru_without_biases_is_not_guessed(
    keras2: ModuleType, tmp_path: Path
) -> None:
    layers = keras2.layers
    stack = [layers.Embedding(VOCABULARY, 5, name="words"), layers.GRU(6, use_bias=False)]
    model = keras2.Sequential(stack)
    model.build((None, None))
    weights, described = save(randomize(model), tmp_path, ".h5")
    check(model, read_network(weights, description=described))
    description = tmp_path / "network.toml"
    description.write_text(description_text(draft_weights(weights).draft))
    refused(weights, description, r"does not say layer gru.*'s reset_after.*model\.to_json")


def test_a_version_that_is_no_text_is_that_of_the_weights(saved: tuple[Path, Path, Path]) -> None:
    weights, layers, _ = saved
    expected = answers(read_network(weights, description=layers), TEXTS)
    model = json.loads(layers.read_text())
    layers.write_text(json.dumps({**model, "keras_version": 2}))
    actual = answers(read_network(weights, description=layers), TEXTS)
    np.testing.assert_array_equal(np.stack(actual), np.stack(expected))


@pytest.mark.parametrize("version", [3, 2])
def test_several_inputs_that_are_given_the_same(
    request: pytest.FixtureRequest, tmp_path: Path, version: int
) -> None:
    keras = request.getfixturevalue(f"keras{version}")
    layers = keras.layers
    sources = [keras.Input((None,), dtype="int32") for _ in range(2)]
    pooled = [
        layers.GlobalMaxPooling1D()(layers.Embedding(VOCABULARY, 4)(source)) for source in sources
    ]
    model = randomize(keras.Model(sources, layers.Dense(2)(layers.Concatenate()(pooled))))
    weights, description = save(model, tmp_path, ".weights.h5")
    refused(weights, description, "has several inputs.*add --same-inputs")
    network = read_network(weights, description=description, same_inputs=True)
    text = np.asarray([[3, 1, 4, 1, 5]], np.int32)
    expected = np.asarray(model([text, text]))
    np.testing.assert_allclose(answers(network, text.tolist()), expected, atol=1e-6)
