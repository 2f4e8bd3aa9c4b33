"""Keras models that cannot be converted, and files that are damaged or hostile: one line each."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest

from edgeseq.errors import CheckpointError
from edgeseq.formats.trained_model import TrainedModel
from edgeseq_converters.convert.import_model import ImportOptions, load_model
from edgeseq_converters.models.network import Network
from edgeseq_converters.models.read import read_network

VOCABULARY = 11


@pytest.fixture(scope="session")
def keras() -> ModuleType:
    return pytest.importorskip("keras")


def refused(path: Path, message: str) -> str:
    with pytest.raises(CheckpointError, match=message) as refusal:
        read_network(path)
    line = str(refusal.value)
    assert "\n" not in line
    assert line.startswith(str(path.parent)), line
    return line


def lstm(keras: ModuleType, **options: Any) -> list[Any]:
    layers = keras.layers
    return [layers.Embedding(VOCABULARY, 4), layers.LSTM(3, **options), layers.Dense(2)]


def sequential(keras: ModuleType, stack: list[Any], length: int | None = None) -> Any:
    return keras.Sequential([keras.Input((length,), dtype="int32"), *stack])


@pytest.fixture(scope="session")
def good(keras: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keras") / "good.keras"
    sequential(keras, lstm(keras)).save(path)
    return path


SETTINGS = [
    ({"activation": "elu"}, "has an unknown activation: found elu, expected linear, relu, tanh"),
    ({"recurrent_activation": "softmax"}, "has an unknown recurrent_activation: found softmax"),
    ({"go_backwards": True}, "reads the text from its end"),
]


@pytest.mark.parametrize(("options", "message"), SETTINGS)
def test_settings_that_change_the_cell(
    keras: ModuleType, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    layers = keras.layers
    for one in (layers.LSTM(3, **options), layers.GRU(3, name="gru_x", **options)):
        stack = [layers.Embedding(VOCABULARY, 4), one, layers.Dense(2)]
        sequential(keras, stack).save(tmp_path / "model.keras")
        refused(tmp_path / "model.keras", rf"layer {one.name} \({type(one).__name__}\) {message}")


LAYERS: list[tuple[Callable[[Any], list[Any]], str]] = [
    (
        lambda layers: [layers.UpSampling1D(2), layers.LSTM(3)],
        r"\(UpSampling1D\) cannot be converted",
    ),
    (lambda layers: [layers.LSTM(3), layers.UnitNormalization()], r"\(UnitNormalization\)"),
    (lambda layers: [layers.LSTM(3), layers.Dense(2, "gelu")], "unknown activation: found gelu"),
    (lambda layers: [layers.LSTM(3), layers.RepeatVector(3)], r"\(RepeatVector\)"),
    (
        lambda layers: [layers.Bidirectional(layers.LSTM(3, activation="elu"))],
        "has an unknown activation",
    ),
    (
        lambda layers: [
            layers.LSTM(3, return_sequences=True),
            layers.BatchNormalization(axis=1),
        ],
        "feature axis",
    ),
    (
        lambda layers: [
            layers.LSTM(3, return_sequences=True),
            layers.GlobalMaxPooling1D(keepdims=True),
        ],
        "keeps a sequence of one",
    ),
    (
        lambda layers: [layers.LSTM(3, return_sequences=True), layers.Softmax(axis=1)],
        "does not run over the feature axis",
    ),
    (lambda layers: [layers.LSTM(3), layers.ReLU(max_value=6)], "has a max_value"),
    (
        lambda layers: [layers.TimeDistributed(layers.LayerNormalization()), layers.LSTM(3)],
        "around a layer of class LayerNormalization",
    ),
]


@pytest.mark.parametrize(("stack", "message"), LAYERS)
def test_layers_that_have_no_place(
    keras: ModuleType, tmp_path: Path, stack: Callable[[Any], list[Any]], message: str
) -> None:
    layers = keras.layers
    whole = [layers.Embedding(VOCABULARY, 4), *stack(layers)]
    sequential(keras, whole, length=5).save(tmp_path / "model.keras")
    assert "layer " in refused(tmp_path / "model.keras", message)


def test_flattening_needs_one_length(keras: ModuleType, tmp_path: Path) -> None:
    layers = keras.layers
    stack = [layers.Embedding(VOCABULARY, 4), layers.Flatten(name="flat")]
    sequential(keras, stack).save(tmp_path / "model.keras")
    refused(tmp_path / "model.keras", r"layer flat \(Flatten\) reshapes a sequence")
    stack = [
        layers.Embedding(VOCABULARY, 4, mask_zero=True),
        layers.LSTM(3, return_sequences=True),
        layers.Flatten(name="flat"),
    ]
    sequential(keras, stack, length=5).save(tmp_path / "model.keras")
    refused(tmp_path / "model.keras", r"layer flat \(Flatten\) flattens .* masked padding")


def functional(keras: ModuleType, case: str) -> Any:  # noqa: PLR0911 - a case a line
    layers = keras.layers
    source = keras.Input((5,), dtype="int32", name="ids")
    words = layers.Embedding(VOCABULARY, 4)(source)
    if case == "shared":
        shared = layers.LSTM(4, return_sequences=True, name="twice")
        return keras.Model(source, layers.LSTM(3)(shared(shared(words))))
    if case == "state":
        state = layers.Dense(3, name="start")(layers.GlobalMaxPooling1D()(words))
        return keras.Model(source, layers.LSTM(3, name="fed")(words, initial_state=[state, state]))
    if case == "two inputs":
        other = keras.Input((3,))
        return keras.Model([source, other], layers.Add()([layers.LSTM(3)(words), other]))
    if case == "two outputs":
        states = layers.LSTM(3)(words)
        return keras.Model(source, [states, layers.Dense(2)(states)])
    if case == "returned state":
        return keras.Model(source, layers.LSTM(3, return_state=True, name="giver")(words)[1])
    if case == "skip":
        states = layers.LSTM(6, return_sequences=True)(words)
        return keras.Model(source, layers.LSTM(3)(keras.ops.stack([states, states], axis=1)[:, 0]))
    if case == "training":
        return keras.Model(
            source, layers.LSTM(3)(layers.Dropout(0.5, name="mc")(words, training=True))
        )
    if case == "mask":
        mask = keras.ops.not_equal(source, 5)
        return keras.Model(source, layers.LSTM(3, name="masked")(words, mask=mask))
    if case == "mean of shares":
        states = layers.LSTM(4, return_sequences=True)(words)
        shares = layers.Softmax(axis=1)(layers.Dense(1)(states))
        weighted = layers.Multiply()([states, shares])
        return keras.Model(source, layers.GlobalAveragePooling1D(name="mean")(weighted))
    inner = keras.Sequential([keras.Input((5, 4)), layers.LSTM(3)], name="inside")
    return keras.Model(source, inner(words))


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("shared", r"layer twice \(LSTM\) is used more than once"),
        ("state", r"layer fed \(LSTM\) is fed an initial state"),
        ("two inputs", "has several inputs: found .*, expected one; .* add --same-inputs"),
        ("two outputs", "has several outputs: found 2, expected one"),
        (
            "returned state",
            "another output of layer giver",
        ),
        ("skip", r"layer \S+ \(Stack\) takes several inputs"),
        ("training", r"layer mc \(Dropout\) acts as in training"),
        ("mask", r"layer masked \(LSTM\) is given a mask"),
        ("mean of shares", "layer mean .* does not sum over the tokens"),
        ("model in model", r"layer inside \(Sequential\) is a model inside the model"),
    ],
)
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_graphs_that_are_no_chain(
    keras: ModuleType, tmp_path: Path, case: str, message: str, suffix: str
) -> None:
    functional(keras, case).save(tmp_path / f"model{suffix}")
    refused(tmp_path / f"model{suffix}", message)


def test_code_in_a_lambda_is_not_run(keras: ModuleType, tmp_path: Path) -> None:
    layers = keras.layers
    stack = [*lstm(keras)[:2], layers.Lambda(lambda x: x * 2, name="doubled")]
    path = tmp_path / "model.keras"
    sequential(keras, stack).save(path)
    refused(path, r"layer doubled \(Lambda\) holds code, which is not run")


def test_a_class_of_somebodys_own_is_refused(keras: ModuleType, tmp_path: Path, good: Path) -> None:
    def own(config: dict[str, Any]) -> None:
        layer = config["config"]["layers"][2]
        layer.update(module="os", registered_name="system")

    refused(rewrite(good, tmp_path, config=own), r"is not one of Keras' own layers: found system")


def test_what_a_file_says_is_cut_short(tmp_path: Path, good: Path) -> None:
    def long(config: dict[str, Any]) -> None:
        config["config"]["layers"][2]["config"]["activation"] = "x\n" * 100_000

    assert len(refused(rewrite(good, tmp_path, config=long), "unknown activation")) < 800


def rewrite(
    good: Path,
    folder: Path,
    *,
    config: Callable[[dict[str, Any]], None] | None = None,
    members: dict[str, bytes] | None = None,
    without: str = "",
) -> Path:
    """A copy of a sound file with other members."""
    with zipfile.ZipFile(good) as archive:
        content = {name: archive.read(name) for name in archive.namelist() if name != without}
    if config:
        parsed = json.loads(content["config.json"])
        config(parsed)
        content["config.json"] = json.dumps(parsed).encode()
    path = folder / "hostile.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, member in (content | (members or {})).items():
            archive.writestr(name, member)
    return path


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"../../outside": b"x"}, r"member with a path out of it: found \.\./\.\./outside"),
        ({"/etc/passwd": b"x"}, "member with a path out of it"),
        ({"config.json": b"not json"}, "is not JSON"),
        ({"config.json": b"[1]"}, "is not a description of Keras layers"),
        ({"config.json": b"[" * 20_000}, "is not JSON"),
        ({"config.json": b'{"class_name": "Mine"}'}, "no description of its layers.*class Mine"),
        ({"model.weights.h5": b"short"}, "is not a whole HDF5 file"),
        ({"model.weights.h5": bytes(50 << 20)}, r"model\.weights\.h5 is too large"),
    ],
)
def test_hostile_archives(
    good: Path, tmp_path: Path, members: dict[str, bytes], message: str
) -> None:
    refused(rewrite(good, tmp_path, members=members), message)


def test_damaged_archives(good: Path, tmp_path: Path) -> None:
    refused(rewrite(good, tmp_path, without="model.weights.h5"), "has no model.weights.h5")
    refused(rewrite(good, tmp_path, without="config.json"), "has no config.json")
    content = good.read_bytes()
    for part in (0, 10, len(content) // 2, len(content) - 30):
        (tmp_path / "cut.keras").write_bytes(content[:part])
        refused(tmp_path / "cut.keras", "is not a whole zip archive")
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 255
    (tmp_path / "flipped.keras").write_bytes(flipped)
    refused(tmp_path / "flipped.keras", "is damaged")


def test_cut_off_h5(keras: ModuleType, tmp_path: Path) -> None:
    sequential(keras, lstm(keras)).save(tmp_path / "model.h5")
    content = (tmp_path / "model.h5").read_bytes()
    for part in (0, 100, len(content) // 2, len(content) - 1):
        (tmp_path / "cut.h5").write_bytes(content[:part])
        refused(tmp_path / "cut.h5", "HDF5 file")
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file["layer/kernel"] = np.zeros(3)
    refused(tmp_path / "weights.h5", "holds weights without a description of the layers")


def hostile_h5(keras: ModuleType, folder: Path, change: Callable[[Any, str], None]) -> Path:
    model = sequential(keras, lstm(keras))
    path = folder / "hostile.h5"
    model.save(path)
    with h5py.File(path, "r+") as file:
        group = file[f"model_weights/{model.layers[2].name}"]
        name = next(str(one) for one in group.attrs["weight_names"])
        del group[name]
        change(group, name)
    return path


def huge(group: Any, name: str) -> None:
    group.create_dataset(name, shape=(1 << 22, 1 << 22), dtype="f4", chunks=(64, 64))


def hollow(group: Any, name: str) -> None:
    group.create_dataset(name, shape=(3, 2), dtype="f4")


def elsewhere(group: Any, name: str) -> None:
    group[name] = h5py.ExternalLink("other.h5", "/secret")


def soft(group: Any, name: str) -> None:
    group[name] = h5py.SoftLink("/model_weights")


def outside(group: Any, name: str) -> None:
    group.create_dataset(name, shape=(3, 2), dtype="f4", external=[("/etc/hostname", 0, 24)])


def virtual(group: Any, name: str) -> None:
    layout = h5py.VirtualLayout((3, 2), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "secret", (3, 2))
    group.create_virtual_dataset(name, layout)


def texts(group: Any, name: str) -> None:
    group[name] = np.asarray([[1, 2], [3, 4], [5, 6]])


def missing(group: Any, name: str) -> None:
    return None


def wider(group: Any, name: str) -> None:
    group[name] = np.zeros((3, 9), np.float32)


def no_number(group: Any, name: str) -> None:
    group[name] = np.full((3, 2), np.nan, np.float32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (huge, "is too large"),
        (hollow, "has a shape and no values"),
        (elsewhere, "points elsewhere"),
        (soft, "points elsewhere"),
        (outside, "points at another file"),
        (virtual, "points at another file"),
        (texts, "is not of floats"),
        (missing, "has no array"),
        (wider, r"layer dense\S* \(Dense\) has a kernel that does not match the layer.*\[3, 9\]"),
        (no_number, "holds a value that is not a number"),
    ],
)
def test_hostile_h5(
    keras: ModuleType, tmp_path: Path, change: Callable[[Any, str], None], message: str
) -> None:
    refused(hostile_h5(keras, tmp_path, change), message)


def test_a_saved_model_without_layers_is_refused(tmp_path: Path) -> None:
    """Keras 3's `model.export` and `tf.saved_model.save` write operations alone (C.1, item 2)."""
    (tmp_path / "exported").mkdir()
    (tmp_path / "exported" / "saved_model.pb").write_bytes(b"\x08\x01")
    refused(tmp_path / "exported", "no description of the layers.*save the model as .keras or .h5")
    metadata = tmp_path / "exported" / "keras_metadata.pb"
    metadata.write_bytes(b"\x0a\xff\x01cut")
    refused(tmp_path / "exported", "is damaged")
    metadata.write_bytes(b"")
    refused(tmp_path / "exported", "has no description of its layers")


def test_detection(good: Path, tmp_path: Path, lstm_folder: Path) -> None:
    assert isinstance(load_model(good).model, Network)
    assert isinstance(load_model(lstm_folder).model, TrainedModel)
    for name, found in (
        ("model.pkl", "a pickle, which can hold code"),
        ("model.tflite", "a .tflite file that was converted already"),
        ("model", "another file"),
    ):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(CheckpointError, match=f"cannot be converted: found {found}"):
            load_model(tmp_path / name)
    with pytest.raises(CheckpointError, match="found nothing, expected a trained-model folder"):
        load_model(tmp_path / "absent.keras")
    with pytest.raises(CheckpointError, match="describes its layers itself"):
        load_model(good, ImportOptions(description=tmp_path / "network.toml"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            "LeakyReLU",
            r"layer odd \(LeakyReLU\) cannot be converted: it has a function .*; retrain",
        ),
        ("ZeroPadding1D", r"layer odd \(ZeroPadding1D\) .* number of steps .*; pad or cut"),
        (
            "UnitNormalization",
            r"layer odd \(UnitNormalization\) cannot .*expected.*; build the mod",
        ),
    ],
)
def test_a_refusal_says_what_would_convert(
    keras: ModuleType, tmp_path: Path, make: str, message: str
) -> None:
    layers = keras.layers
    odd = getattr(layers, make)(name="odd")
    stack = [layers.Embedding(7, 3), odd, layers.LSTM(3), layers.Dense(2)]
    sequential(keras, stack).save(tmp_path / "model.keras")
    refused(tmp_path / "model.keras", message)


@pytest.mark.parametrize(
    "class_name", ["Embedding", "LSTM", "BatchNormalization", "GlobalMaxPooling1D", "Dense"]
)
def test_a_setting_that_no_keras_has_is_refused(
    keras: ModuleType, class_name: str, tmp_path: Path
) -> None:
    """What an unknown setting does to the answer cannot be known, in whatever file it is."""
    layers = keras.layers
    stack = [
        layers.Embedding(VOCABULARY, 4),
        layers.LSTM(3, return_sequences=True),
        layers.BatchNormalization(),
        layers.GlobalMaxPooling1D(),
        layers.Dense(2),
    ]
    model = sequential(keras, stack)
    model.save(tmp_path / "plain.keras")
    model.save(tmp_path / "changed.h5")
    model.save_weights(tmp_path / "changed.weights.h5")
    description = json.loads(model.to_json())
    (changed,) = (
        layer for layer in description["config"]["layers"] if layer["class_name"] == class_name
    )
    changed["config"]["twist"] = 0.5
    text = json.dumps(description)
    (tmp_path / "changed.json").write_text(text)
    with h5py.File(tmp_path / "changed.h5", "r+") as file:
        file.attrs["model_config"] = text
    with zipfile.ZipFile(tmp_path / "plain.keras") as plain:
        contents = {name: plain.read(name) for name in plain.namelist()}
    with zipfile.ZipFile(tmp_path / "changed.keras", "w") as archive:
        for name, content in (contents | {"config.json": text.encode()}).items():
            archive.writestr(name, content)
    line = rf"\({class_name}\) has an unknown setting: found twist = 0.5"
    assert isinstance(read_network(tmp_path / "plain.keras"), Network)
    for path in ("changed.keras", "changed.h5"):
        refused(tmp_path / path, line)
    with pytest.raises(CheckpointError, match=line):
        read_network(tmp_path / "changed.weights.h5", description=tmp_path / "changed.json")
