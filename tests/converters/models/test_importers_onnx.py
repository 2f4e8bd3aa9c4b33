"""ONNX files as networks: the answers of ONNX Runtime to the files of three exporters."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from edgeseq_converters.models.network import Network
from edgeseq_converters.models.network_layers import (
    AttentionPool,
    Dense,
    FloatInput,
    Pool,
    Recurrent,
)
from edgeseq_converters.models.read import read_network
from edgeseq_converters.models.reference_recurrent import answers

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
nn = torch.nn
VOCABULARY = 17
TEXTS = ([3], [5, 1, 4, 16, 2, 9, 11], [7, 7, 8])
POOLINGS = ("last", "last-token", "max", "mean", "adaptive", "attention", "bmm", "tags", "halves")


class Reader(nn.Module):  # type: ignore[misc]
    """Embedding, LSTM or GRU, any pooling, batch normalization and a head."""

    def __init__(
        self,
        *,
        kind: str = "lstm",
        layers: int = 1,
        both: bool = False,
        hidden: int = 6,
        pooling: str = "last",
        bias: bool = True,
        batch_first: bool = True,
    ) -> None:
        super().__init__()
        self.pooling, self.both, self.batch_first = pooling, both, batch_first
        self.words = nn.Embedding(VOCABULARY, 5)
        make = nn.LSTM if kind == "lstm" else nn.GRU
        options = {"bidirectional": both, "batch_first": batch_first, "bias": bias}
        self.reader = make(5, hidden, layers, dropout=0.3 if layers > 1 else 0, **options)
        features = hidden * (2 if both else 1)
        self.hidden, self.score = nn.Linear(features, 3), nn.Linear(3, 1)
        self.norm, self.drop = nn.BatchNorm1d(features), nn.Dropout(0.2)
        self.inner, self.head = nn.Linear(features, 5), nn.Linear(5, 4)

    def pool(self, out: Any, last: Any) -> Any:  # noqa: PLR0911 - one for each pooling
        half = self.reader.hidden_size
        if self.pooling == "last":
            return torch.cat([last[-2], last[-1]], dim=1) if self.both else last[-1]
        if self.pooling == "last-token":
            return out[:, -1, :]
        if self.pooling == "halves":  # both directions' last states, cut out of all states
            return torch.cat([out[:, -1, :half], out[:, 0, half:]], 1) if self.both else out[:, -1]
        if self.pooling == "max":
            return out.max(dim=1).values
        if self.pooling == "mean":
            return out.mean(1)
        if self.pooling == "adaptive":
            return nn.functional.adaptive_max_pool1d(out.transpose(1, 2), 1).squeeze(2)
        scores = self.score(torch.tanh(self.hidden(out)))
        if self.pooling == "attention":
            return (out * torch.softmax(scores, dim=1)).sum(1)
        shares = torch.softmax(scores.squeeze(-1), dim=-1)
        return torch.bmm(shares.unsqueeze(1), out).squeeze(1)

    def forward(self, ids: Any) -> Any:
        words = self.words(ids)
        out, state = self.reader(words if self.batch_first else words.transpose(0, 1))
        out = out if self.batch_first else out.transpose(0, 1)
        if self.pooling == "tags":
            return torch.softmax(self.head(torch.tanh(self.inner(out))), dim=-1)
        last = state[0] if isinstance(state, tuple) else state
        pooled = self.norm(self.drop(self.pool(out, last)))
        return self.head(torch.relu(self.inner(pooled)))


def randomize(module: Any, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.5)
        for buffer in module.buffers():
            if buffer.is_floating_point():
                buffer.uniform_(0.5, 2.0)
    return module.eval()


def export(module: Any, path: Path, *, length: int | None = None, newer: bool = False) -> Path:
    """By PyTorch's exporter, the one of TorchScript or the newer; a `length` fixes the text's."""
    ids = torch.tensor([[5, 1, 4, *range(9, 6 + (length or 3))]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if newer:
            # A named axis is fixed without a word by a second export in the same process.
            shapes = None if length else ({1: torch.export.Dim.AUTO},)
            torch.onnx.export(
                module, (ids,), path, dynamo=True, dynamic_shapes=shapes, verbose=False
            )
        else:
            axes = None if length else {"ids": {0: "texts", 1: "tokens"}}
            torch.onnx.export(
                module, (ids,), path, dynamo=False, input_names=["ids"], dynamic_axes=axes
            )
    return path


def check(path: Path, texts: Sequence[Sequence[int]] = TEXTS) -> Network:
    """ONNX Runtime's answer to each text is the network's."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (given_ids,) = session.get_inputs()
    dtype = np.int32 if given_ids.type == "tensor(int32)" else np.int64
    network = read_network(path)
    for text, answer in zip(texts, answers(network, texts), strict=True):
        (expected,) = session.run(None, {given_ids.name: np.asarray([text], dtype)})
        np.testing.assert_allclose(answer, expected[0], atol=1e-5)
    return network


def small(examples: int) -> Any:
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


MODULES = {
    "kind": st.sampled_from(["lstm", "gru"]),
    "layers": st.integers(1, 3),
    "both": st.booleans(),
    "hidden": st.integers(1, 24),
    "pooling": st.sampled_from(POOLINGS),
    "bias": st.booleans(),
    "batch_first": st.booleans(),
    "seed": st.integers(0, 99),
}


def test_random_modules(tmp_path: Path) -> None:
    @small(25)
    @given(fixed=st.booleans(), **MODULES)
    def run(*, seed: int, fixed: bool, **options: Any) -> None:
        module = randomize(Reader(**options), seed)
        path = export(module, tmp_path / "model.onnx", length=7 if fixed else None)
        check(path, TEXTS[1:2] if fixed else TEXTS)

    run()


@pytest.mark.parametrize(
    "options",
    [
        {"both": True, "layers": 2, "pooling": "last"},
        {"kind": "gru", "pooling": "max"},
    ],
)
def test_modules_of_the_newer_exporter(tmp_path: Path, options: dict[str, Any]) -> None:
    pytest.importorskip("onnxscript")
    check(export(randomize(Reader(**options)), tmp_path / "model.onnx", newer=True))


def test_layers_keep_their_nodes_names(tmp_path: Path) -> None:
    network = check(export(randomize(Reader(both=True, layers=2)), tmp_path / "reviews.onnx"))
    kinds = [type(layer) for layer in network.layers]
    assert network.name == "reviews"
    assert kinds[:2] == [Recurrent, Recurrent]
    assert [layer.name for layer in network.layers][-2:] == ["inner.Gemm", "head.Gemm"]
    network = check(export(randomize(Reader(pooling="attention")), tmp_path / "model.onnx"))
    assert [type(layer) for layer in network.layers][:2] == [Recurrent, AttentionPool]


class Variant(nn.Module):  # type: ignore[misc]
    """A bidirectional LSTM and one step of somebody's own."""

    def __init__(self, step: Callable[..., Any], **options: Any) -> None:
        super().__init__()
        self.step = step
        self.words = nn.Embedding(VOCABULARY, 5)
        self.reader = nn.LSTM(5, 6, batch_first=True, bidirectional=True, **options)
        self.head = nn.Linear(6, 2)
        self.filters = nn.Parameter(torch.zeros(5, 5, 3))

    def forward(self, ids: Any) -> Any:
        return self.step(self, ids, self.words(ids))


def backward_end(module: Any, ids: Any, words: Any) -> Any:
    return module.head(module.reader(words)[1][0][-1])


def summed(module: Any, ids: Any, words: Any) -> Any:
    out = module.reader(words)[0]
    return module.head((out[:, :, :6] + out[:, :, 6:]).max(1).values)


def product(module: Any, ids: Any, words: Any) -> Any:
    last = module.reader(words)[1][0]
    return module.head(last[0] * last[1])


def normalized(module: Any, ids: Any, words: Any) -> Any:
    return module.head((module.reader(words * 2.0 - 0.5)[0][:, :, :6] / 3.0).mean(1))


def reversed_pair(module: Any, ids: Any, words: Any) -> Any:
    last = module.reader(words)[1][0]
    return torch.cat([last[-1], last[-2]], dim=1)


def skip(module: Any, ids: Any, words: Any) -> Any:
    out = module.reader(words)[0]
    return (out * 0.5 - torch.tanh(out)).sum(1)


def two_pools(module: Any, ids: Any, words: Any) -> Any:
    out, (last, _) = module.reader(words)
    pooled = torch.cat([out.mean(1), out.max(1).values, last[-1]], dim=1)
    return torch.nn.functional.layer_norm(pooled, (30,), pooled.new_ones(30))


def convolved(module: Any, ids: Any, words: Any) -> Any:
    turned = torch.nn.functional.conv1d(words.transpose(1, 2), module.filters, padding=1)
    pooled = torch.nn.functional.max_pool1d(torch.relu(turned), 2)
    return module.head(module.reader(pooled.transpose(1, 2))[0][:, :, :6].mean(1))


@pytest.mark.parametrize(
    "step", [convolved, backward_end, summed, product, normalized, reversed_pair, skip, two_pools]
)
def test_directions_taken_apart(tmp_path: Path, step: Any) -> None:
    texts = TEXTS[1:] if step is convolved else TEXTS  # windows of two
    check(export(randomize(Variant(step)), tmp_path / "model.onnx", length=None), texts)


def test_layout_with_the_texts_first(tmp_path: Path) -> None:
    """`layout=1` takes [texts, tokens, features]; ONNX Runtime does not run it."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> Any:
        return rng.normal(scale=0.5, size=shape).astype(np.float32)

    arrays = {"table": draw(9, 4), "w": draw(2, 9, 4), "r": draw(2, 9, 3), "b": draw(2, 18)}

    def model(layout: int) -> Path:
        make = onnx.helper.make_node
        turned = [("Transpose", ["x"], ["turned"], {"perm": [1, 0, 2]})]
        read = {"direction": "bidirectional", "hidden_size": 3, "linear_before_reset": 1}
        nodes = [
            make("Gather", ["table", "ids"], ["x"]),
            *([] if layout else [make(op, i, o, **a) for op, i, o, a in turned]),
            make("GRU", ["x" if layout else "turned", "w", "r", "b"], ["all", "end"], **read),
            make("Split", ["end"], ["f", "g"], axis=1 if layout else 0),
            make("Squeeze", ["f", "place"], ["forward"]),
            make("Squeeze", ["g", "place"], ["backward"]),
            make("Concat", ["forward", "backward"], ["answer"], axis=1),
        ]
        if layout:
            node = nodes[1]
            node.attribute.append(onnx.helper.make_attribute("layout", 1))
        place = np.asarray([1 if layout else 0])
        graph = onnx.helper.make_graph(
            nodes,
            "read",
            [onnx.helper.make_tensor_value_info("ids", 7, ["texts", "tokens"])],
            [onnx.helper.make_tensor_value_info("answer", 1, ["texts", 6])],
            [onnx.numpy_helper.from_array(a, n) for n, a in (*arrays.items(), ("place", place))],
        )
        path = tmp_path / f"layout{layout}.onnx"
        onnx.save(
            onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]), path
        )
        return path

    texts = [[1, 2, 3], [8]]
    expected = answers(check(model(0), texts), texts)
    np.testing.assert_array_equal(answers(read_network(model(1)), texts), expected)


@pytest.fixture(scope="module")
def from_keras() -> Callable[[Any, Path], Path]:
    tf2onnx = pytest.importorskip("tf2onnx")
    import tensorflow as tf

    def convert(model: Any, path: Path) -> Path:
        spec = (tf.TensorSpec((None, None), tf.int32, name="ids"),)
        tf2onnx.convert.from_keras(model, input_signature=spec, output_path=str(path))
        return path

    return convert


def test_networks_of_keras(from_keras: Callable[[Any, Path], Path], tmp_path: Path) -> None:
    """tf2onnx makes one operation of each direction of a layer."""
    keras = pytest.importorskip("tf_keras")
    layers = keras.layers

    def model(*stack: Any) -> Any:
        made = keras.Sequential([layers.Embedding(VOCABULARY, 5), *stack])
        made.build((None, None))
        rng = np.random.default_rng(0)
        made.set_weights([rng.normal(size=w.shape, scale=0.5) ** 2 for w in made.weights])
        return made

    last = model(
        layers.Bidirectional(layers.GRU(4, return_sequences=True), merge_mode="sum"),
        layers.LSTM(6, return_sequences=True),
        layers.GlobalMaxPooling1D(),
        layers.Dense(3, activation="relu"),
        layers.Dense(1, activation="sigmoid"),
    )
    network = check(from_keras(last, tmp_path / "last.onnx"))
    assert [type(layer) for layer in network.layers] == [Recurrent, Recurrent, Pool, Dense, Dense]


class Series(nn.Module):  # type: ignore[misc]
    """Numbers [sequences, steps, 3], a recurrent layer and one number."""

    def __init__(self, kind: str, *, batch_first: bool = True, relu: bool = False) -> None:
        super().__init__()
        make = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[kind]
        options = {"nonlinearity": "relu"} if relu else {}
        self.reader = make(3, 5, 2, batch_first=batch_first, **options)
        self.head = nn.Linear(5, 1)
        self.batch_first = batch_first

    def forward(self, numbers: Any) -> Any:
        out, _ = self.reader(numbers)
        return self.head(out[:, -1] if self.batch_first else out[-1])


@pytest.mark.parametrize(
    ("kind", "options"),
    [("lstm", {}), ("lstm", {"batch_first": False}), ("gru", {}), ("rnn", {"relu": True})],
)
def test_an_input_of_numbers(kind: str, options: dict[str, bool], tmp_path: Path) -> None:
    module = randomize(Series(kind, **options))
    rng = np.random.default_rng(2)
    rows = [rng.normal(size=(8, 3)).astype(np.float32) for _ in range(3)]
    given = torch.from_numpy(rows[0][None] if module.batch_first else rows[0][:, None])
    path = tmp_path / "series.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (given,), path, dynamo=False, input_names=["numbers"])
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    network = read_network(path)
    assert network.input == FloatInput("input", 3)
    for row, answer in zip(rows, answers(network, rows), strict=True):
        batch = row[None] if module.batch_first else row[:, None]
        (expected,) = session.run(None, {"numbers": batch})
        np.testing.assert_allclose(answer, expected[0], atol=1e-5)
