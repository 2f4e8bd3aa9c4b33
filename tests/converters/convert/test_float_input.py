"""Networks over numeric sequences: files that Keras and PyTorch wrote, in every lowering."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from edgeseq.datasets.sequence_arrays import read_arrays
from edgeseq.errors import ConversionError, DataError
from edgeseq.formats.bundle_manifest import Lowering
from edgeseq.formats.trained_model import TrainedModel
from edgeseq.runtime.interpreter import SignatureNames, TfliteModel
from edgeseq_converters.convert.bare_file import convert_to_file
from edgeseq_converters.convert.import_model import ImportedModel
from edgeseq_converters.convert.lower.dispatch import Target, network_to_tflite, recipes_of
from edgeseq_converters.convert.plan import ConversionOptions
from edgeseq_converters.convert.recipes import get_recipe
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.network import Network
from edgeseq_converters.models.network_layers import Dense, FloatInput, Recurrent
from edgeseq_converters.models.read import read_network
from edgeseq_converters.models.reference_recurrent import answers
from edgeseq_converters.models.stored_network import network_from_folder, network_to_folder

from ..conftest import make_cell, make_manifest

torch = pytest.importorskip("torch")
STEPS, FEATURES = 9, 3
TOLERANCE = 1e-5
LOWERINGS: tuple[Lowering, ...] = ("loop", "unrolled", "fused")


def keras_layers(keras: Any) -> dict[str, list[Any]]:
    layers = keras.layers
    both = layers.Bidirectional
    return {
        "stack": [
            keras.Input((STEPS, FEATURES)),
            layers.LSTM(7, return_sequences=True),
            layers.Dropout(0.2),
            layers.LSTM(5),
            layers.Dense(4, activation="relu"),
            layers.Dense(2),
        ],
        "steps": [
            keras.Input((None, FEATURES)),
            both(layers.LSTM(4, return_sequences=True), merge_mode="ave"),
            both(layers.GRU(3, return_sequences=True)),
            layers.TimeDistributed(layers.Dense(2)),
        ],
        "projected first": [
            keras.Input((STEPS, FEATURES)),
            layers.Dense(6, activation="tanh"),
            layers.BatchNormalization(),
            layers.GRU(5, return_sequences=True),
            layers.GlobalAveragePooling1D(),
            layers.Dense(3, activation="softmax"),
        ],
    }


@pytest.fixture(scope="module")
def sequences() -> FloatArray:
    return np.random.default_rng(3).normal(size=(6, STEPS, FEATURES)).astype(np.float32)


Written = dict[str, tuple[Path, FloatArray]]


@pytest.fixture(scope="module")
def keras_files(tmp_path_factory: pytest.TempPathFactory, sequences: FloatArray) -> Written:
    """Files that Keras wrote, with its own answers to `sequences`."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    keras = pytest.importorskip("keras")
    folder = tmp_path_factory.mktemp("keras")
    written = {}
    for suffix, (name, layers) in zip(
        (".keras", ".h5", ".keras"), keras_layers(keras).items(), strict=True
    ):
        model = keras.Sequential(layers)
        rng = np.random.default_rng(len(name))
        model.set_weights([rng.uniform(0.1, 0.5, w.shape) for w in model.get_weights()])
        path = folder / f"{name}{suffix}"
        model.save(path)
        written[name] = (path, np.asarray(model(sequences)))
    return written


class Forecaster(torch.nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.reader = torch.nn.LSTM(FEATURES, 6, 2, batch_first=True)
        self.head = torch.nn.Linear(6, 2)

    def forward(self, numbers: Any) -> Any:
        return self.head(self.reader(numbers)[0][:, -1, :])


DESCRIPTION = """
[input]
features = 3
[[layer]]
kind = "lstm"
prefix = "reader"
[[layer]]
kind = "pool"
how = "last-token"
[[layer]]
kind = "linear"
prefix = "head"
"""


@pytest.fixture(scope="module")
def torch_files(tmp_path_factory: pytest.TempPathFactory, sequences: FloatArray) -> Written:
    folder = tmp_path_factory.mktemp("torch")
    torch.manual_seed(0)
    module = Forecaster().eval()
    numbers = torch.from_numpy(sequences)
    with torch.no_grad():
        expected = module(numbers).numpy()
    torch.save(module.state_dict(), folder / "state.pt")
    (folder / "network.toml").write_text(DESCRIPTION)
    axes = {"numbers": {0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO}}
    program = torch.export.export(module, (numbers,), dynamic_shapes=axes)
    torch.export.save(program, folder / "module.pt2")
    return {name: (folder / name, expected) for name in ("state.pt", "module.pt2")}


def lowered(network: Network, lowering: Any, recipe: str, inputs: Sequence[FloatArray]) -> bytes:
    target = Target(lowering, STEPS if lowering == "unrolled" else None)
    return network_to_tflite(network, get_recipe(recipe), target, inputs, output="logits")


def run(content: bytes, folder: Path, inputs: Sequence[FloatArray]) -> list[FloatArray]:
    path = folder / "model.tflite"
    path.write_bytes(content)
    names = SignatureNames(input="input_features")
    model = TfliteModel(path, signature=names, features=inputs[0].shape[1])
    return [model.infer(values) for values in inputs]


def largest_error(actual: Any, expected: Any) -> float:
    return float(np.abs(np.asarray(actual) - np.asarray(expected)).max())


def check_lowerings(
    network: Network, expected: FloatArray, sequences: FloatArray, folder: Path
) -> None:
    assert largest_error(answers(network, list(sequences)), expected) < TOLERANCE
    has_gru = any(isinstance(x, Recurrent) and x.forward.kind == "gru" for x in network.layers)
    for lowering in LOWERINGS[:2] if has_gru else LOWERINGS:
        content = lowered(network, lowering, "float32", ())
        assert largest_error(run(content, folder, sequences), expected) < TOLERANCE, lowering


@pytest.mark.parametrize("name", ["stack", "steps", "projected first"])
def test_a_keras_file_answers_as_keras_in_every_lowering(
    name: str, keras_files: Written, sequences: FloatArray, tmp_path: Path
) -> None:
    path, expected = keras_files[name]
    check_lowerings(read_network(path), expected, sequences, tmp_path)


@pytest.mark.parametrize("name", ["state.pt", "module.pt2"])
def test_a_pytorch_file_answers_as_pytorch_in_every_lowering(
    name: str, torch_files: Written, sequences: FloatArray, tmp_path: Path
) -> None:
    path, expected = torch_files[name]
    description = path.with_name("network.toml") if name == "state.pt" else None
    network = read_network(path, description=description)
    check_lowerings(network, expected, sequences, tmp_path)


def make_network(*, both: bool = False, scale: float = 1.0, head: bool = True) -> Network:
    rng = np.random.default_rng(5)
    cells = [make_cell(rng, "lstm", FEATURES, 8) for _ in range(1 + both)]
    bottom = Recurrent("bottom", *cells, sequences=True)
    features = 16 if both else 8
    top = Recurrent("top", make_cell(rng, "lstm", features, 8), sequences=not head)
    kernel = rng.normal(size=(8, 2)).astype(np.float32)
    last = Dense("dense", kernel, np.asarray([0.1, -0.2], np.float32) * np.float32(scale))
    return Network("numbers", FloatInput("input", FEATURES), (bottom, top, last))


BOUNDS = {
    "float16": 2e-3,
    "dynamic_wi8_afp32": 0.03,
    "dynamic_wi4_afp32": 0.25,
    "weight_only_wi8_afp32": 0.03,
    "static_wi8_ai8": 0.1,
}
"""Largest error of each recipe over the largest output."""


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize(
    ("recipe", "lowering"),
    [
        (name, lowering)
        for lowering in LOWERINGS
        for name in recipes_of("lstm", lowering)
        if name in BOUNDS
    ],
)
def test_every_recipe_stays_near_the_float_network(
    recipe: str, lowering: str, both: bool, sequences: FloatArray, tmp_path: Path
) -> None:
    network, inputs = make_network(both=both), list(sequences)
    expected = answers(network, inputs)
    actual = run(lowered(network, lowering, recipe, inputs), tmp_path, inputs)
    assert largest_error(actual, expected) < BOUNDS[recipe] * np.abs(expected).max()


@pytest.mark.parametrize("lowering", ["loop", "unrolled"])
def test_static_ranges_are_each_features_own(
    lowering: str, sequences: FloatArray, tmp_path: Path
) -> None:
    """A feature a thousand times larger than another, and one far from zero, cost no other its
    resolution."""
    network = make_network()
    factor = np.asarray([1000.0, 1.0, 1.0], np.float32)
    offset = np.asarray([0.0, 0.0, 40.0], np.float32)
    bottom = network.layers[0]
    assert isinstance(bottom, Recurrent)
    kernel = bottom.forward.kernel / factor[:, None]
    moved = Recurrent(
        "bottom",
        type(bottom.forward)(
            "lstm",
            kernel,
            bottom.forward.recurrent_kernel,
            bottom.forward.bias - offset @ kernel,
        ),
        sequences=True,
    )
    network = Network("moved", network.input, (moved, *network.layers[1:]))
    inputs = [values * factor + offset for values in sequences]
    expected = answers(network, inputs)
    actual = run(lowered(network, lowering, "static_wi8_ai8", inputs), tmp_path, inputs)
    assert largest_error(actual, expected) < 0.1 * np.abs(expected).max()


def test_a_stream_in_pieces_answers_as_the_whole(sequences: FloatArray) -> None:
    network = make_network(head=False)
    content = network_to_tflite(
        network, get_recipe("float32"), Target("loop"), output="logits", streaming=True
    )
    stream = Interpreter(model_content=content).get_signature_runner("stream")
    state = {name: np.zeros((1, 8), np.float32) for name in ("h0", "c0", "h1", "c1")}
    rows = []
    for piece in np.split(sequences[0], [1, 4]):
        result = stream(input_features=piece[None], **state)
        rows.append(result["logits"][0])
        state = {name: result[f"{name}_next"] for name in state}
    assert largest_error(np.concatenate(rows), answers(network, [sequences[0]])[0]) < TOLERANCE


def test_a_network_of_numbers_comes_back_from_a_folder(sequences: FloatArray) -> None:
    network = make_network(both=True)
    config, arrays = network_to_folder(network)
    model = TrainedModel(make_manifest("lstm", 64, network=config), dict(arrays), "")
    again = network_from_folder(model)
    assert again.input == network.input
    assert largest_error(answers(again, sequences), answers(network, sequences)) == 0


def test_the_lowering_projected_needs_a_table() -> None:
    with pytest.raises(ConversionError, match="found an input of numbers; choose --lowering loop"):
        lowered(make_network(), "projected", "float32", ())


def convert(folder: Path, **options: Any) -> Any:
    imported = ImportedModel(folder / "numbers.keras", make_network())
    out = folder / "numbers.tflite"
    return convert_to_file(imported, out, ConversionOptions(overwrite=True, **options))


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv", ""])
def test_a_bare_file_is_compared_on_arrays(
    suffix: str, sequences: FloatArray, tmp_path: Path
) -> None:
    path, count = tmp_path / f"given{suffix}", len(sequences)
    if suffix == ".npz":
        lengths = [4, 5] * count
        np.savez(path, x=sequences.reshape(-1, FEATURES), lengths=lengths)
        count *= 2
    elif suffix == ".npy":
        np.save(path, sequences)
    elif suffix == ".csv":
        rows = "\n".join(",".join(map(str, row)) for row in sequences[0])
        path.write_text(f"a,b,c\n{rows}\n")
        count = 1
    else:
        path.mkdir()
        np.save(path / "x.npy", sequences)
    file = convert(tmp_path, token_ids=path, recipes=("dynamic_wi8_afp32",))
    assert (file.n_examples, file.shape) == (count, (1, 2))
    assert 0 < file.relative_error < BOUNDS["dynamic_wi8_afp32"]


def test_a_fixed_length_takes_exactly_so_many_steps(sequences: FloatArray, tmp_path: Path) -> None:
    assert convert(tmp_path, length=STEPS, recipes=("float32",)).relative_error < TOLERANCE
    path = tmp_path / "numbers.tflite"
    names = SignatureNames(input="input_features", output="logits")
    model = TfliteModel(path, signature=names, features=FEATURES)
    assert model.fixed_length == STEPS
    np.save(tmp_path / "short.npy", sequences[:, :4])
    with pytest.raises(DataError, match=r"found 4, expected 9; choose another --length"):
        convert(tmp_path, length=STEPS, token_ids=tmp_path / "short.npy")


def save_pickled(path: Path) -> None:
    np.savez(path, x=np.asarray([{"a": 1}], object), allow_pickle=True)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (save_pickled, "is not an array of numbers"),
        (lambda path: np.savez(path, y=np.zeros(3)), "has no array x"),
        (lambda path: np.savez(path, x=np.zeros((3, 4))), r"found \[3, 4\], expected \[N, steps"),
        (lambda path: np.savez(path, x=np.full((1, 2, 3), np.nan)), "x holds NaN or infinity"),
        (lambda path: np.savez(path, x=np.zeros((3, 4, 1)), y=np.zeros(2)), "y does not go with x"),
        (
            lambda path: np.savez(path, x=np.zeros((5, 1)), lengths=[2, 2]),
            "lengths do not add up to the rows of x: found 4, expected 5",
        ),
        (lambda path: np.savez(path, x=np.asarray([["a"]])), "x does not hold numbers"),
        (lambda path: path.write_bytes(b"PK"), "is not an .npz file"),
    ],
)
def test_arrays_that_are_no_sequences_are_refused(
    write: Callable[[Path], Any], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "given.npz"
    write(path)
    with pytest.raises(DataError, match=message):
        read_arrays(path)


def test_a_table_of_steps_names_the_line_that_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "given.csv"
    path.write_text("1,2\n3,4\n5\n")
    with pytest.raises(DataError, match=r"given.csv:3: wrong number of columns: found 1, exp"):
        read_arrays(path)
