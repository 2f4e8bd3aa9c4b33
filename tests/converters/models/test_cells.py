"""Recurrent cells of every kind and function: each lowering gives the framework's own answers."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from edgeseq.errors import CheckpointError, ConversionError
from edgeseq.formats.trained_model import TrainedModel
from edgeseq.runtime.interpreter import TfliteModel
from edgeseq_converters.convert.lower.dispatch import (
    Target,
    network_to_tflite,
    unsupported_lowerings,
)
from edgeseq_converters.convert.plan import ConversionOptions, plan_bundles
from edgeseq_converters.convert.recipes import get_recipe
from edgeseq_converters.models.network import Network
from edgeseq_converters.models.network_layers import Recurrent
from edgeseq_converters.models.read import read_network
from edgeseq_converters.models.reference_recurrent import answers
from edgeseq_converters.models.stored_network import network_from_folder, network_to_folder

VOCABULARY = 17
TEXT = [5, 1, 4, 16, 2, 9]
TOLERANCE = 1e-5
SMALL = settings(
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],  # each example saves a model: shrinking one takes minutes
    suppress_health_check=list(HealthCheck),
)
KERAS = {3: "keras", 2: "tf_keras"}


@pytest.fixture(scope="module", params=KERAS)
def keras(request: pytest.FixtureRequest) -> ModuleType:
    return pytest.importorskip(KERAS[request.param])


def check_lowerings(network: Network, expected: np.ndarray[Any, Any], folder: Path) -> None:
    """The network itself and its float32 file of each lowering that it has."""
    np.testing.assert_allclose(answers(network, [TEXT])[0], expected, atol=TOLERANCE)
    lowerings = ["loop", "projected", "unrolled"]
    if all(
        layer.forward.kind == "lstm" and layer.forward.is_published
        for layer in network.layers
        if isinstance(layer, Recurrent)
    ):
        lowerings.append("fused")
    for lowering in lowerings:
        target = Target(lowering, len(TEXT) if lowering == "unrolled" else None)  # type: ignore[arg-type]
        content = network_to_tflite(network, get_recipe("float32"), target, output="logits")
        path = folder / "model.tflite"
        path.write_bytes(content)
        found = TfliteModel(path).infer(TEXT)
        np.testing.assert_allclose(found, expected, atol=TOLERANCE, err_msg=lowering)


def randomized(model: Any, seed: int) -> Any:
    """Weights that take gates beyond their middle and let states of a relu stay finite."""
    rng = np.random.default_rng(seed)
    model.set_weights(
        [rng.normal(scale=0.35, size=array.shape) for array in model.get_weights()],
    )
    return model


FUNCTIONS = ["tanh", "relu", "linear", None, "sigmoid", "softsign", "hard_sigmoid"]
GATE_FUNCTIONS = ["hard_sigmoid", "sigmoid", "hard_sigmoid", "tanh"]


def draw_keras(keras: ModuleType, draw: Any) -> Any:
    """One or two recurrent layers of any cell, in one or both directions."""
    layers = keras.layers
    count, pooled = draw(st.integers(1, 2)), draw(st.booleans())
    stack = [keras.Input((None,), dtype="int32"), layers.Embedding(VOCABULARY, 5)]
    for number in range(count):
        options: dict[str, Any] = {
            "activation": draw(st.sampled_from(FUNCTIONS)),
            "use_bias": draw(st.booleans()),
            "return_sequences": number + 1 < count or pooled,
        }
        kind = draw(st.sampled_from(["LSTM", "GRU", "SimpleRNN"]))
        if kind != "SimpleRNN":
            options["recurrent_activation"] = draw(st.sampled_from(GATE_FUNCTIONS))
        if kind == "GRU":
            options["reset_after"] = draw(st.booleans())
        layer = getattr(layers, kind)(draw(st.integers(1, 12)), **options)
        if draw(st.booleans()):
            merge = draw(st.sampled_from(["concat", "sum", "mul", "ave"]))
            layer = layers.Bidirectional(layer, merge_mode=merge)
        stack.append(layer)
    if pooled:
        stack.append(layers.GlobalMaxPooling1D())
    stack.append(layers.Dense(3, activation=draw(st.sampled_from([*FUNCTIONS, "softmax"]))))
    return randomized(keras.Sequential(stack), draw(st.integers(0, 99)))


def test_keras_cells(keras: ModuleType, tmp_path: Path) -> None:
    @settings(SMALL, max_examples=12)
    @given(st.data())
    def run(data: st.DataObject) -> None:
        model = draw_keras(keras, data.draw)
        path = tmp_path / data.draw(st.sampled_from(["model.keras", "model.h5"]))
        model.save(path)
        expected = np.asarray(model(np.asarray([TEXT], np.int32)))[0]
        check_lowerings(read_network(path), expected, tmp_path)

    run()


def hard(keras: ModuleType) -> Any:
    layers = keras.layers
    stack = [
        keras.Input((None,), dtype="int32"),
        layers.Embedding(VOCABULARY, 4),
        layers.LSTM(3, recurrent_activation="hard_sigmoid"),
        layers.Dense(2),
    ]
    return randomized(keras.Sequential(stack), 0)


def test_the_slope_is_that_of_the_version_that_wrote_the_file(
    keras: ModuleType, tmp_path: Path
) -> None:
    hard(keras).save(tmp_path / "model.h5")
    layer = read_network(tmp_path / "model.h5").layers[0]
    assert isinstance(layer, Recurrent)
    slopes = {"3": "hard_sigmoid_sixth", "2": "hard_sigmoid_fifth"}
    assert layer.forward.gate_function == slopes[keras.__version__[0]]


def test_keras_2s_saved_model_has_keras_2s_slope(tmp_path: Path) -> None:
    model = hard(pytest.importorskip("tf_keras"))
    model.save(tmp_path / "folder", save_format="tf", save_traces=False)
    expected = np.asarray(model(np.asarray([TEXT], np.int32)))[0]
    network = read_network(tmp_path / "folder")
    np.testing.assert_allclose(answers(network, [TEXT])[0], expected, atol=TOLERANCE)


def test_a_file_that_hides_its_version_has_no_slope(tmp_path: Path) -> None:
    hard(pytest.importorskip("keras")).save(tmp_path / "model.keras")
    with (
        zipfile.ZipFile(tmp_path / "model.keras") as before,
        zipfile.ZipFile(tmp_path / "anonymous.keras", "w") as after,
    ):
        for name in before.namelist():
            if name != "metadata.json":
                after.writestr(name, before.read(name))
    with pytest.raises(CheckpointError, match="whose slope depends on the version of Keras"):
        read_network(tmp_path / "anonymous.keras")


@pytest.mark.parametrize(
    ("setting", "value"), [("recurrent_activation", "harder_sigmoid"), ("peephole", True)]
)
def test_a_setting_of_keras_that_is_not_known_is_refused(
    setting: str, value: object, tmp_path: Path
) -> None:
    hard(pytest.importorskip("keras")).save(tmp_path / "model.keras")
    with (
        zipfile.ZipFile(tmp_path / "model.keras") as before,
        zipfile.ZipFile(tmp_path / "changed.keras", "w") as after,
    ):
        for name in before.namelist():
            content = before.read(name)
            if name == "config.json":
                config = json.loads(content)
                (cell,) = (
                    layer["config"]
                    for layer in config["config"]["layers"]
                    if layer["class_name"] == "LSTM"
                )
                cell[setting] = value
                content = json.dumps(config).encode()
            after.writestr(name, content)
    with pytest.raises(CheckpointError, match=rf"unknown .*{setting}.*{value}"):
        read_network(tmp_path / "changed.keras")


def torch_module(torch: ModuleType, *, nonlinearity: str, layers: int, both: bool) -> Any:
    nn = torch.nn

    class Elman(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(VOCABULARY, 5)
            self.reader = nn.RNN(
                *(5, 7, layers), nonlinearity=nonlinearity, bidirectional=both, batch_first=True
            )
            self.head = nn.Linear(14 if both else 7, 3)

        def forward(self, ids: Any) -> Any:
            out, _ = self.reader(self.words(ids))
            return self.head(out.max(dim=1).values)

    torch.manual_seed(layers)
    module = Elman().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.4)
    return module


RNN_TOML = """[embedding]
weight = "words.weight"
[[layer]]
kind = "rnn"
prefix = "reader"
nonlinearity = "{nonlinearity}"
[[layer]]
kind = "pool"
how = "max"
[[layer]]
kind = "linear"
prefix = "head"
"""


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("nonlinearity", "layers", "both"), [("tanh", 2, True), ("relu", 2, False), ("relu", 1, True)]
)
def test_pytorchs_rnn(nonlinearity: str, layers: int, both: bool, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    module = torch_module(torch, nonlinearity=nonlinearity, layers=layers, both=both)
    ids = torch.tensor([TEXT])
    with torch.no_grad():
        expected = module(ids)[0].numpy()
    torch.save(module.state_dict(), tmp_path / "weights.pt")
    description = tmp_path / "network.toml"
    description.write_text(RNN_TOML.format(nonlinearity=nonlinearity))
    check_lowerings(
        read_network(tmp_path / "weights.pt", description=description), expected, tmp_path
    )
    torch.export.save(torch.export.export(module, (ids,)), tmp_path / "model.pt2")
    check_lowerings(read_network(tmp_path / "model.pt2"), expected, tmp_path)
    for wrong, message in (
        (RNN_TOML.replace('nonlinearity = "{nonlinearity}"\n', ""), "nonlinearity"),
        (RNN_TOML.replace("{nonlinearity}", "softsign"), "softsign"),
        (RNN_TOML.replace('prefix = "reader"', 'prefix = "reader"\nclip = 3'), "clip"),
    ):
        description.write_text(wrong.format(nonlinearity=nonlinearity))
        with pytest.raises(CheckpointError, match=message):
            read_network(tmp_path / "weights.pt", description=description)


OTHER_FUNCTIONS = {"gate_function": "hard_sigmoid_fifth", "function": "softsign"}


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("functions", [{}, OTHER_FUNCTIONS])
def test_a_stored_network_keeps_its_cells(kind: str, functions: dict[str, str], make: Any) -> None:
    network = make.network(kind=kind, bidirectional=True, cell_functions=functions)
    model = stored(network, make)
    again = network_from_folder(model)
    np.testing.assert_array_equal(answers(again, [TEXT])[0], answers(network, [TEXT])[0])


@pytest.mark.parametrize(
    ("option", "value"),
    [("cell", "mogrifier"), ("function", "elu"), ("gate_function", "softmax"), ("clip", "3")],
)
def test_an_option_of_a_stored_cell_that_is_not_known_is_refused(
    option: str, value: str, make: Any
) -> None:
    model = stored(make.network(cell_functions=OTHER_FUNCTIONS), make)
    assert model.manifest.network is not None
    model.manifest.network.layers[0].options[option] = value
    with pytest.raises(CheckpointError, match=value if option != "clip" else option):
        network_from_folder(model)


def test_a_conversion_of_each_lowering_leaves_out_the_fused_one(make: Any, tmp_path: Path) -> None:
    model = stored(make.network(kind="rnn"), make)
    unsupported = unsupported_lowerings(model)
    assert list(unsupported) == ["fused"]
    options = ConversionOptions(recipes=("float32",), lowerings=("auto",))
    plans, skipped = plan_bundles(model.manifest, tmp_path / "out", options, unsupported)
    assert [plan.target.lowering for (plan,) in plans] == ["loop", "projected", "unrolled"]
    assert "layer rnn.0 is a simple RNN" in skipped["float32 fused"]
    assert unsupported_lowerings(stored(make.network(), make)) == {}


def stored(network: Network, make: Any) -> TrainedModel:
    config, weights = network_to_folder(network)
    manifest = make.manifest("lstm", 64, network=config)
    return TrainedModel(manifest, dict(weights), "{}")


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"kind": "rnn"}, "layer rnn.0 is a simple RNN"),
        ({"cell_functions": {"function": "relu"}}, "layer lstm.0 has sigmoid and relu"),
    ],
)
def test_the_fused_operator_has_the_published_cell_alone(
    options: dict[str, Any], found: str, make: Any
) -> None:
    with pytest.raises(ConversionError, match=found):
        network_to_tflite(
            make.network(**options), get_recipe("float32"), Target("fused"), output="logits"
        )
