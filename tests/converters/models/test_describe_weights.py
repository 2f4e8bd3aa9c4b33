"""Layers told by names and shapes: PyTorch's own answers, and what is left to be chosen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import edgeseq as es
from edgeseq.errors import CheckpointError, DataError, InputError, OutputError
from edgeseq.tasks.examples import Dataset
from edgeseq_converters.models.describe.candidates import agreed, candidates
from edgeseq_converters.models.describe.read import draft_weights
from edgeseq_converters.models.describe.text import description_text
from edgeseq_converters.models.description import read_description
from edgeseq_converters.models.read import read_network
from edgeseq_converters.models.reference_recurrent import answers

from ..conftest import VOCABULARY as WORD_IDS
from ..conftest import make_dataset, make_tokenizer

torch = pytest.importorskip("torch")
nn = torch.nn
VOCABULARY = 17
TEXTS = ([3], [5, 1, 4, 16, 2, 9, 11], [7, 7, 8])


class Module(nn.Module):  # type: ignore[misc]
    """Children and parameters by name; `run` is somebody's forward()."""

    def __init__(self, run: Any, **children: Any) -> None:
        super().__init__()
        self.run = run
        for name, child in children.items():
            setattr(self, name, child)

    def forward(self, ids: Any) -> Any:
        return self.run(self, ids)


def table(size: int = 5, **options: Any) -> Any:
    return nn.Embedding(VOCABULARY, size, **options)


def plain(m: Any, ids: Any) -> Any:
    return m.fc(m.lstm(m.embedding(ids))[1][0][-1])


def stacked(m: Any, ids: Any) -> Any:
    out = m.gru_layers(m.word_embeddings(ids))[0].max(1).values
    return m.classifier[2](torch.relu(m.classifier[0](out)))


def joined(m: Any, ids: Any) -> Any:
    last = m.rnn(m.emb(ids))[1][0]
    return m.out(torch.tanh(m.hidden(torch.cat([last[-2], last[-1]], 1))))


def backward(m: Any, ids: Any) -> Any:
    return m.linear(m.encoder_lstm(m.embed(ids))[1][0][-1])


def added(m: Any, ids: Any) -> Any:
    out = m.bilstm(m.lookup(ids))[0]
    return m.fc(out[:, :, :4] + out[:, :, 4:]).mean(1)


def attended(m: Any, ids: Any) -> Any:
    out = m.lstm(m.embedding(ids))[0]
    shares = torch.softmax(m.attention(torch.tanh(m.projection(out))), dim=1)
    return m.fc((out * shares).sum(1))


def vector(m: Any, ids: Any) -> Any:
    out = m.lstm(m.embedding(ids))[0]
    shares = torch.softmax(torch.matmul(torch.tanh(out), m.w), dim=1).unsqueeze(-1)
    return m.fc1(torch.sum(out * shares, 1))


def normalized(m: Any, ids: Any) -> Any:
    states = m.b(m.a(m.table(ids))[0])[0][:, -1]
    return m.d(torch.relu(m.norm(m.c(states))))


def elman(m: Any, ids: Any) -> Any:
    return m.i2o(m.rnn(m.embeddings(ids))[1][-1])


def tagger(m: Any, ids: Any) -> Any:
    return m.decoder(m.drop(m.rnn(m.encoder(ids))[0]))


def binary(m: Any, ids: Any) -> Any:
    return torch.sigmoid(m.module.fc(m.module.lstm(m.module.embedding(ids))[1][0][-1]))


def projected(m: Any, ids: Any) -> Any:
    return m.head(m.seq(m.inputs(m.embed_tokens(ids)))[0].mean(dim=1))


def two_pools(m: Any, ids: Any) -> Any:
    out, _ = m.lstm(m.emb(ids))
    pooled = torch.cat([out.mean(1), out.max(1).values], 1)
    return m.fc(m.norm(pooled))


def cell(m: Any, ids: Any) -> Any:
    state = None
    for step in m.emb(ids).transpose(0, 1):
        state = m.cell(step, state)
    return m.out(state[0])


def numbers(m: Any, ids: Any) -> Any:
    return m.linear(m.lstm(ids)[0][:, -1])


def lstm(*sizes: int, **options: Any) -> Any:
    return nn.LSTM(*sizes, batch_first=True, **options)


MODULES: dict[str, tuple[Any, dict[str, Any], dict[str, str]]] = {
    "plain": (
        *(plain, {"embedding": table(), "lstm": lstm(5, 6), "fc": nn.Linear(6, 3)}),
        {"how of layer 2": "last"},
    ),
    "stacked": (
        stacked,
        {
            "word_embeddings": table(padding_idx=0),
            "gru_layers": nn.GRU(5, 7, 3, batch_first=True, bidirectional=True),
            "classifier": nn.Sequential(nn.Linear(14, 9), nn.ReLU(), nn.Linear(9, 4)),
        },
        {"how of layer 2": "max", "activation of hidden layers": "relu"},
    ),
    "joined": (
        joined,
        {
            "emb": table(3),
            "rnn": lstm(3, 4, 2, bidirectional=True, bias=False),
            "hidden": nn.Linear(8, 6),
            "out": nn.Linear(6, 2, bias=False),
        },
        {"how of layer 2": "last", "activation of hidden layers": "tanh"},
    ),
    "backward": (
        backward,
        {
            "embed": table(),
            "encoder_lstm": lstm(5, 4, bidirectional=True),
            "linear": nn.Linear(4, 3),
        },
        {"how of layer 2": "last-backward"},
    ),
    "added": (
        added,
        {"lookup": table(), "bilstm": lstm(5, 4, bidirectional=True), "fc": nn.Linear(4, 3)},
        {"how of layer 2": "sum-mean"},
    ),
    "attended": (
        attended,
        {
            "embedding": table(),
            "lstm": lstm(5, 6),
            "projection": nn.Linear(6, 4),
            "attention": nn.Linear(4, 1, bias=False),
            "fc": nn.Linear(6, 3),
        },
        {"activation of layer 2": "tanh"},
    ),
    "vector": (
        vector,
        {
            "embedding": table(),
            "lstm": lstm(5, 6, bidirectional=True),
            "w": nn.Parameter(torch.zeros(12)),
            "fc1": nn.Linear(12, 3),
        },
        {"activation of layer 2": "tanh"},
    ),
    "normalized": (
        normalized,
        {
            "table": table(4),
            "d": nn.Linear(8, 3),  # made before the layers that it follows
            "a": lstm(4, 5),
            "b": nn.GRU(5, 6, batch_first=True),
            "c": nn.Linear(6, 8),
            "norm": nn.BatchNorm1d(8),
        },
        {"how of layer 3": "last", "activation of hidden layers": "relu"},
    ),
    "elman": (
        elman,
        {
            "embeddings": table(),
            "rnn": nn.RNN(5, 6, batch_first=True, nonlinearity="relu"),
            "i2o": nn.Linear(6, 3),
        },
        {"nonlinearity of layer 1": "relu", "how of layer 2": "last"},
    ),
    "tagger": (
        tagger,
        {
            "drop": nn.Dropout(0.5),
            "encoder": table(),
            "rnn": lstm(5, 6, 2),
            "decoder": nn.Linear(6, VOCABULARY),
        },
        {},
    ),
    "binary": (
        binary,
        {
            "module": nn.ModuleDict(
                {"embedding": table(), "lstm": lstm(5, 6), "fc": nn.Linear(6, 1)}
            )
        },
        {"how of layer 2": "last", "activation of layer 3": "sigmoid"},
    ),
    "projected": (
        projected,
        {
            "embed_tokens": table(9),
            "inputs": nn.Linear(9, 5),
            "seq": lstm(5, 6),
            "head": nn.Linear(6, 3),
        },
        {"activation of hidden layers": "linear", "how of layer 3": "mean"},
    ),
    "two pools": (
        two_pools,
        {
            "emb": table(),
            "lstm": lstm(5, 4, bidirectional=True),
            "norm": nn.LayerNorm(16),
            "fc": nn.Linear(16, 3),
        },
        {"how of layer 2": "mean+max"},
    ),
    "cell": (
        *(cell, {"emb": table(), "cell": nn.LSTMCell(5, 6), "out": nn.Linear(6, 2)}),
        {"how of layer 2": "last"},
    ),
}


DESCRIPTION = """
[embedding]
weight = "emb.weight"
[[layer]]
kind = "lstm"
prefix = "lstm"
[[layer]]
kind = "pool"
how = "last"
[[layer]]
kind = "linear"
prefix = "out"
"""


def randomized(run: Any, children: dict[str, Any], seed: int = 0) -> Any:
    torch.manual_seed(seed)
    module = Module(run, **children).eval()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.normal_(std=0.5)
            if name == "word_embeddings.weight":
                parameter[0] = 0
        for buffer in module.buffers():
            if buffer.is_floating_point():
                buffer.uniform_(0.5, 2.0)
    return module


@pytest.mark.parametrize("case", list(MODULES))
def test_modules_are_told_by_names_and_shapes(tmp_path: Path, case: str) -> None:
    run, children, truth = MODULES[case]
    module = randomized(run, children)
    path = tmp_path / "weights.pt"
    torch.save({"epoch": 3, "model_state_dict": module.state_dict()}, path)
    drafted = draft_weights(path)
    assert set(drafted.labels) == set(truth)
    (found,) = [description for values, description in candidates(drafted.draft) if values == truth]
    for text, answer in zip(TEXTS, answers(drafted.network(found), TEXTS), strict=True):
        with torch.no_grad():
            expected = module(torch.tensor([text]))[0].numpy()
        np.testing.assert_allclose(answer, expected, atol=1e-5)


def test_the_text_is_the_description(tmp_path: Path) -> None:
    run, children, truth = MODULES["stacked"]
    path = tmp_path / "weights.pt"
    torch.save({"model_state_dict": randomized(run, children).state_dict()}, path)
    described = es.describe_weights(path, out=tmp_path / "network.toml")
    assert set(described.unknown) == set(truth)
    assert "# one of last, last-token, max, mean" in described.text
    assert "row 0 is all zeros: padding_idx = 0" in described.text
    with pytest.raises(CheckpointError, match=r"how of layer 2 is still to be chosen: found how"):
        read_network(path, description=tmp_path / "network.toml")
    with pytest.raises(OutputError, match="already exists"):
        es.describe_weights(path, out=tmp_path / "network.toml")
    text = described.text.replace('how = "?"', 'how = "max"').replace('"?"', '"relu"')
    (tmp_path / "network.toml").write_text(text)
    drafted = draft_weights(path)
    (expected,) = [d for values, d in candidates(drafted.draft) if values == truth]
    assert read_description(tmp_path / "network.toml") == expected
    network = read_network(path, description=tmp_path / "network.toml")
    assert network.name == "weights"


def test_numbers_have_no_table(tmp_path: Path) -> None:
    module = randomized(numbers, {"lstm": lstm(3, 8, 2), "linear": nn.Linear(8, 1)})
    path = tmp_path / "prices.pt"
    torch.save(module.state_dict(), path)
    drafted = draft_weights(path)
    truth = {"how of layer 2": "last", "activation of layer 3": "linear"}
    (found,) = [d for values, d in candidates(drafted.draft) if values == truth]
    assert found.input is not None
    assert found.input.features == 3
    assert "[input]\nfeatures = 3 " in description_text(drafted.draft)
    assert drafted.network(found).outputs == 1


EMPTY = {
    "emb.weight": (0, 5),
    "lstm.weight_hh_l0": (24, 0),
    "out.weight": (0, 6),
}


@pytest.mark.parametrize("name", EMPTY)
def test_empty_arrays_are_refused(tmp_path: Path, name: str) -> None:
    children = {"emb": table(), "lstm": lstm(5, 6), "out": nn.Linear(6, 2)}
    weights = randomized(plain, children).state_dict() | {name: torch.zeros(EMPTY[name])}
    torch.save(weights, tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match=r"empty weight|another number of gates"):
        draft_weights(tmp_path / "weights.pt")
    if name == "out.weight":
        torch.save(weights | {"out.bias": torch.zeros(0)}, tmp_path / "weights.pt")
    (tmp_path / "network.toml").write_text(DESCRIPTION)
    with pytest.raises(CheckpointError, match=r"has an empty array|not those of a plain LSTM"):
        read_network(tmp_path / "weights.pt", description=tmp_path / "network.toml")


@pytest.mark.parametrize("epsilon", ["-1.0", "nan"])
def test_an_epsilon_that_is_no_small_number_is_refused(tmp_path: Path, epsilon: str) -> None:
    children = {"emb": table(), "lstm": lstm(5, 6), "out": nn.Linear(6, 2), "n": nn.LayerNorm(2)}
    torch.save(randomized(plain, children).state_dict(), tmp_path / "weights.pt")
    last = f'[[layer]]\nkind = "layer_norm"\nprefix = "n"\neps = {epsilon}\n'
    (tmp_path / "network.toml").write_text(DESCRIPTION + last)
    with pytest.raises(CheckpointError, match="layer n has an epsilon that is negative or not a"):
        read_network(tmp_path / "weights.pt", description=tmp_path / "network.toml")


def test_what_cannot_be_told_is_refused(tmp_path: Path) -> None:
    def refused(message: str, **children: Any) -> None:
        path = tmp_path / "weights.pt"
        torch.save(Module(plain, **children).state_dict(), path)
        with pytest.raises(CheckpointError, match=message) as refusal:
            draft_weights(path)
        assert "\n" not in str(refusal.value)

    good = {"embedding": table(), "lstm": lstm(5, 6)}
    refused("conv looks like a convolution", conv=nn.Conv1d(5, 6, 3), **good)
    refused(r"lstm has a projection", embedding=table(), lstm=lstm(5, 6, proj_size=2))
    refused("no order of its modules.*fc .*60 to 3.*flatten", fc=nn.Linear(60, 3), **good)
    refused("no order of its modules", embedding=table(), fc=nn.Linear(5, 3))
    torch.save(Module(plain, **good), tmp_path / "module.pt")
    with pytest.raises(CheckpointError, match="is not a file of weights alone"):
        draft_weights(tmp_path / "module.pt")
    (tmp_path / "model.onnx").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"not a file of weights without layers.*as it is"):
        draft_weights(tmp_path / "model.onnx")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Dataset]:
    """Weights, their tokenizer, and texts labelled by the module itself: by its maximum."""
    folder = tmp_path_factory.mktemp("labelled")
    children = {
        "embedding": nn.Embedding(len(WORD_IDS), 8),
        "lstm": lstm(8, 6, bidirectional=True),
        "fc1": nn.Linear(12, 10),
        "fc2": nn.Linear(10, 3),
    }

    def run(m: Any, ids: Any) -> Any:
        return m.fc2(torch.relu(m.fc1(m.lstm(m.embedding(ids))[0].max(1).values)))

    module = randomized(run, children, seed=4)
    dataset = make_dataset(80)
    texts = [[WORD_IDS[word] for word in example.text.split()] for example in dataset.dev]
    with torch.no_grad():  # so that every label occurs
        logits = torch.cat([module(torch.tensor([text])) for text in texts])
        module.fc2.bias -= logits.mean(0)
    torch.save(module.state_dict(), folder / "weights.pt")
    (folder / "tokenizer.json").write_text(make_tokenizer(special=False))

    def label(example: Any) -> Any:
        ids = [WORD_IDS[word] for word in example.text.split()]
        with torch.no_grad():
            best = int(module(torch.tensor([ids])).argmax())
        return msgspec.structs.replace(example, label=dataset.labels[best])

    parts = {part: tuple(map(label, getattr(dataset, part))) for part in ("train", "dev", "test")}
    return (
        *(folder / "weights.pt", folder / "tokenizer.json"),
        msgspec.structs.replace(dataset, **parts),
    )


def test_numeric_sequences_are_not_compared_on(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    layers = {"lstm": torch.nn.LSTM(3, 4), "head": torch.nn.Linear(4, 2)}
    weights, arrays = tmp_path / "weights.pt", tmp_path / "windows.npz"
    torch.save(torch.nn.ModuleDict(layers).state_dict(), weights)
    np.savez(arrays, x=np.ones((40, 5, 3), np.float32), y=np.ones((40, 2), np.float32))
    with pytest.raises(DataError, match=r"no development texts .* the task sequence"):
        es.describe_weights(weights, es.load_dataset(arrays))


def test_candidates_are_scored_on_data(labelled: tuple[Path, Path, Dataset]) -> None:
    weights, tokenizer, dataset = labelled
    with pytest.raises(InputError, match="needs the model's tokenizer"):
        es.describe_weights(weights, dataset)
    model = es.load_model(weights, tokenizer=tokenizer)
    described = es.describe_weights(model, dataset)
    assert len(described.candidates) == 4 * 4
    best = described.candidates[0]
    assert best.score == 1.0
    assert best.values["how of layer 2"] == "max"
    assert described.proposed["how of layer 2"] == "max"
    assert described.candidates[-1].score is not None
    assert described.candidates[-1].score < 1
    assert 'how = "max"' in described.text
    assert "#   1.0000  how of layer 2 = max" in described.text


def test_nothing_is_proposed_of_a_tie() -> None:
    values = {"how of layer 2": "max", "activation of hidden layers": "relu"}
    assert agreed([values]) == values
    other = {**values, "activation of hidden layers": "tanh"}
    assert agreed([values, other]) == {"how of layer 2": "max"}


def test_a_labels_worth_of_chance_is_not_proposed(labelled: tuple[Path, Path, Dataset]) -> None:
    """Data of other labels: no combination is better than the commonest label."""
    weights, tokenizer, dataset = labelled
    first, second, _ = dataset.labels
    dev = tuple(
        msgspec.structs.replace(example, label=first if number else second)
        for number, example in enumerate(dataset.dev)
    )
    chance = msgspec.structs.replace(dataset, dev=dev)
    described = es.describe_weights(es.load_model(weights, tokenizer=tokenizer), chance)
    assert described.proposed == {}
    assert set(described.unknown) == {"how of layer 2", "activation of hidden layers"}
    assert "Nothing is proposed" in described.text
