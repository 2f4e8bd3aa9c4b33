"""PyTorch weights and exported modules as networks: PyTorch's own answers."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from edgeseq.errors import CheckpointError
from edgeseq_converters.models.network import Network
from edgeseq_converters.models.network_layers import AttentionPool, Dense, Recurrent
from edgeseq_converters.models.read import read_network
from edgeseq_converters.models.reference_recurrent import answers

torch = pytest.importorskip("torch")
nn = torch.nn
VOCABULARY = 17
TEXTS = ([3], [5, 1, 4, 16, 2, 9, 11], [7, 7, 8])
SMALL = settings(
    deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


class Reader(nn.Module):  # type: ignore[misc]
    """Embedding, LSTM or GRU, any pooling, and a linear head."""

    def __init__(
        self,
        *,
        kind: str = "lstm",
        layers: int = 1,
        both: bool = False,
        hidden: int = 6,
        pooling: str = "last",
        bias: bool = True,
        units: int = 3,
    ) -> None:
        super().__init__()
        self.pooling, self.both = pooling, both
        self.words = nn.Embedding(VOCABULARY, 5, padding_idx=0)
        make = nn.LSTM if kind == "lstm" else nn.GRU
        self.reader = make(
            *(5, hidden, layers), bidirectional=both, batch_first=True, bias=bias, dropout=0.3
        )
        features = hidden * (2 if both else 1)
        self.hidden = nn.Linear(features, units)
        self.score = nn.Linear(units, 1)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(features, 4)

    def pool(self, out: Any, last: Any) -> Any:
        if self.pooling == "last":
            return torch.cat([last[-2], last[-1]], dim=1) if self.both else last[-1]
        if self.pooling == "last-token":
            return out[:, -1]
        if self.pooling == "max":
            return out.max(dim=1).values
        if self.pooling == "mean":
            return out.mean(1)
        scores = self.score(torch.tanh(self.hidden(out)))
        if self.pooling == "attention":
            return (out * torch.softmax(scores, dim=1)).sum(1)
        shares = torch.softmax(scores.squeeze(-1), dim=-1)
        return torch.bmm(shares.unsqueeze(1), out).squeeze(1)

    def forward(self, ids: Any) -> Any:
        out, state = self.reader(self.words(ids))
        last = state[0] if isinstance(state, tuple) else state
        if self.pooling == "tags":
            return torch.softmax(self.head(out), dim=-1)
        return self.head(torch.relu(self.drop(self.pool(out, last))))


def make(seed: int = 0, **options: Any) -> Any:
    torch.manual_seed(seed)
    module = Reader(**options).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.5)
    return module


def check(module: Any, network: Network, texts: Sequence[Sequence[int]] = TEXTS) -> None:
    for text, answer in zip(texts, answers(network, texts), strict=True):
        with torch.no_grad():
            expected = module(torch.tensor([text]))[0].numpy()
        np.testing.assert_allclose(answer, expected, atol=1e-5)


def describe(folder: Path, *, kind: str = "lstm", pooling: str = "last", head: str = "") -> Path:
    pools = {
        "tags": "",
        "attention": '[[layer]]\nkind = "attention"\nscore = "score"\nhidden = "hidden"\n',
    }
    pool = pools.get(pooling, f'[[layer]]\nkind = "pool"\nhow = "{pooling}"\n')
    if pooling != "tags":
        pool += '[[layer]]\nkind = "activation"\nactivation = "relu"\n'
    ignore = "" if pooling == "attention" else 'ignore = ["score.", "hidden."]\n'
    path = folder / "network.toml"
    activation = "softmax" if pooling == "tags" else "linear"
    path.write_text(
        f'name = "reviews"\n{ignore}[embedding]\nweight = "words.weight"\n'
        f'[[layer]]\nkind = "{kind}"\nprefix = "reader"\n{pool}'
        f'[[layer]]\nkind = "linear"\nprefix = "head"\nactivation = "{activation}"\n{head}'
    )
    return path


POOLINGS = ("last", "last-token", "max", "mean", "attention", "tags")


def test_random_state_dicts(tmp_path: Path) -> None:
    @settings(SMALL, max_examples=15)
    @given(
        kind=st.sampled_from(["lstm", "gru"]),
        layers=st.integers(1, 3),
        both=st.booleans(),
        hidden=st.integers(1, 64),
        pooling=st.sampled_from(POOLINGS),
        bias=st.booleans(),
        suffix=st.sampled_from([".pt", ".pth", ".safetensors"]),
        seed=st.integers(0, 99),
    )
    def run(kind: str, pooling: str, suffix: str, seed: int, **options: Any) -> None:
        module = make(seed, kind=kind, pooling=pooling, **options)
        path = save_state(module, tmp_path / f"weights{suffix}")
        description = describe(tmp_path, kind=kind, pooling=pooling)
        check(module, read_network(path, description=description))

    run()


def save_state(module: Any, path: Path) -> Path:
    state = module.state_dict()
    if path.suffix == ".safetensors":
        save_file({name: value.numpy() for name, value in state.items()}, path)
    else:
        torch.save(state, path)
    return path


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_random_exported_modules(tmp_path: Path) -> None:
    @settings(SMALL, max_examples=4)
    @given(
        kind=st.sampled_from(["lstm", "gru"]),
        layers=st.integers(1, 3),
        both=st.booleans(),
        hidden=st.integers(1, 64),
        pooling=st.sampled_from((*POOLINGS, "bmm")),
        bias=st.booleans(),
        seed=st.integers(0, 99),
    )
    def run(**options: Any) -> None:
        module = make(**options)
        check(module, read_network(export(module, tmp_path / "model.pt2")))

    run()


def export(module: Any, path: Path) -> Path:
    torch.export.save(torch.export.export(module, (torch.tensor([[5, 1, 4]]),)), path)
    return path


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("pooling", ["attention", "bmm"])
def test_attention_of_an_exported_module(tmp_path: Path, pooling: str) -> None:
    module = make(pooling=pooling, both=True)
    network = read_network(export(module, tmp_path / "model.pt2"))
    kinds = [type(layer).__name__ for layer in network.layers]
    assert kinds == ["Recurrent", "AttentionPool", "Activation", "Dense"]
    assert isinstance(network.layers[1], AttentionPool)
    check(module, network)


def test_the_last_token_is_not_the_last_state(tmp_path: Path) -> None:
    """Of a bidirectional layer `out[:, -1]` holds a backward state after one token only."""
    module = make(both=True, pooling="last-token")
    path = save_state(module, tmp_path / "weights.pt")
    token = read_network(path, description=describe(tmp_path, pooling="last-token"))
    state = read_network(path, description=describe(tmp_path, pooling="last"))
    check(module, token)
    assert np.abs(answers(token, TEXTS[1:2])[0] - answers(state, TEXTS[1:2])[0]).max() > 1e-3


def test_padding_is_cut_off_as_packing_does(tmp_path: Path) -> None:
    module = make(both=True, pooling="last")
    path = save_state(module, tmp_path / "weights.pt")
    described = (
        describe(tmp_path)
        .read_text()
        .replace('weight = "words.weight"', 'weight = "words.weight"\npadding_idx = 0')
    )
    (tmp_path / "network.toml").write_text(described)
    network = read_network(path, description=tmp_path / "network.toml")
    assert network.embedding.mask_zero
    length = max(map(len, TEXTS))
    batch = torch.zeros((len(TEXTS), length), dtype=torch.long)
    for row, text in zip(batch, TEXTS, strict=True):
        row[: len(text)] = torch.tensor(text)
    packed = nn.utils.rnn.pack_padded_sequence(
        module.words(batch), list(map(len, TEXTS)), batch_first=True, enforce_sorted=False
    )
    with torch.no_grad():
        last = module.reader(packed)[1][0]
        expected = module.head(torch.relu(torch.cat([last[-2], last[-1]], dim=1))).numpy()
    np.testing.assert_allclose(answers(network, batch.tolist()), expected, atol=1e-5)


def test_batch_norm_and_json(tmp_path: Path) -> None:
    class Normed(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(VOCABULARY, 5)
            self.gru = nn.GRU(5, 6, batch_first=True)
            self.norm = nn.BatchNorm1d(6)
            self.out = nn.Linear(6, 2)

        def forward(self, ids: Any) -> Any:
            return self.out(self.norm(self.gru(self.embedding(ids))[1].squeeze(0)))

    torch.manual_seed(1)
    module = Normed()
    module(torch.randint(0, VOCABULARY, (16, 4)))  # moves the running mean and variance
    module.eval()
    layers = [
        {"kind": "gru", "prefix": "gru", "layers": 1, "bidirectional": False},
        {"kind": "pool", "how": "last"},
        {"kind": "batch_norm", "prefix": "norm", "eps": 1e-5},
        {"kind": "linear", "prefix": "out"},
    ]
    (tmp_path / "n.json").write_text(json.dumps({"layer": layers, "state_dict": "model"}))
    torch.save({"model": module.state_dict(), "epoch": 3}, tmp_path / "checkpoint.pt")
    network = read_network(tmp_path / "checkpoint.pt", description=tmp_path / "n.json")
    check(module, network)
    check(module, read_network(export(module, tmp_path / "model.pt2")))
    assert isinstance(network.layers[-1], Dense)
    assert isinstance(network.layers[0], Recurrent)


class Pooled(nn.Module):  # type: ignore[misc]
    """Pooling as texts on the web write it, with an axis of batches that stays open."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, 5)
        self.reader = nn.LSTM(5, 6, batch_first=True, bidirectional=True)
        self.norm = nn.BatchNorm1d(12)
        self.largest = nn.AdaptiveMaxPool1d(1)
        self.head = nn.Sequential(nn.ReLU(inplace=True), nn.Dropout(0.1), nn.Linear(12, 2))

    def forward(self, ids: Any) -> Any:
        start = torch.zeros(2, ids.size(0), 6)
        out, _state = self.reader(self.words(ids.long()), (start, start))
        return self.head(self.largest(self.norm(out.permute(0, 2, 1))).squeeze(-1))


def test_an_exported_module_with_open_axes(tmp_path: Path) -> None:
    torch.manual_seed(2)
    module = Pooled().eval()
    axes = {"ids": {0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO}}
    ids = torch.tensor([[5, 1, 4], [1, 2, 3]])
    torch.export.save(
        torch.export.export(module, (ids,), dynamic_shapes=axes), tmp_path / "model.pt2"
    )
    network = read_network(tmp_path / "model.pt2")
    kinds = [type(layer).__name__ for layer in network.layers]
    assert kinds == ["Recurrent", "Scale", "Pool", "Activation", "Dense"]
    check(module, network)


class Variant(Reader):
    """A module that differs from `Reader` in one step, to be refused."""

    def __init__(self, step: Callable[[Any, Any, Any], Any], **options: Any) -> None:
        super().__init__(**options)
        self.step = step

    def forward(self, ids: Any) -> Any:
        return self.step(self, ids, self.words(ids))


def first(module: Any, ids: Any, words: Any) -> Any:
    return module.head(module.reader(words)[0][:, 0])


def cell_state(module: Any, ids: Any, words: Any) -> Any:
    return module.head(module.reader(words)[1][1][-1])


def fed(module: Any, ids: Any, words: Any) -> Any:
    state = torch.ones(1, 1, 6)
    return module.head(module.reader(words, (state, state))[0])


def length_of_both(module: Any, ids: Any, words: Any) -> Any:
    out = module.reader(words)[0]
    return module.head(torch.hypot(out, out))


def swapped(module: Any, ids: Any, words: Any) -> Any:
    last = module.reader(words)[1][0]
    return module.head(torch.cat([last[-1], last[-2]], dim=1))


def lower_layer(module: Any, ids: Any, words: Any) -> Any:
    return module.head(module.reader(words)[1][0][0])


def logs(module: Any, ids: Any, words: Any) -> Any:
    return torch.log_softmax(module.head(module.reader(words)[0]), dim=-1)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("step", "options", "message"),
    [
        (first, {}, r"operation select\.int takes something else than the last token"),
        (cell_state, {}, "operation select.int .*nothing known|something else"),
        (fed, {}, r"cannot be converted|initial state"),
        (length_of_both, {}, r"operation hypot\.default cannot be converted"),
        (swapped, {"both": True}, r"operation cat\.default joins something else"),
        (lower_layer, {"layers": 2}, "does not take the last layer.s state"),
        (logs, {}, "log_softmax.* cannot be converted; leave it out"),
    ],
)
def test_what_an_exported_module_may_not_do(
    tmp_path: Path, step: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message) as refusal:
        read_network(export(Variant(step, **options).eval(), tmp_path / "model.pt2"))
    assert "\n" not in str(refusal.value)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_training_mode_is_refused(tmp_path: Path) -> None:
    module = Reader(layers=2).train()
    with pytest.raises(
        CheckpointError, match=r"lstm\.input is in training mode; export model.eval"
    ):
        read_network(export(module, tmp_path / "model.pt2"))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_hostile_archives(tmp_path: Path) -> None:
    path = export(make(), tmp_path / "model.pt2")
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = next(name for name in members if name.endswith("weights_config.json"))

    def rewrite(change: Callable[[dict[str, Any]], None]) -> Path:
        content = json.loads(members[config])
        change(content["config"]["head.weight"])
        with zipfile.ZipFile(tmp_path / "hostile.pt2", "w") as archive:
            for name, member in members.items():
                archive.writestr(name, json.dumps(content) if name == config else member)
        return tmp_path / "hostile.pt2"

    def huge(entry: dict[str, Any]) -> None:
        entry["tensor_meta"]["sizes"] = [{"as_int": 1 << 40}, {"as_int": 6}]
        entry["tensor_meta"]["strides"] = [{"as_int": 0}, {"as_int": 0}]

    for change, message in (
        (huge, "claims more values"),
        (lambda entry: entry.update(use_pickle=True), "is not a plain array"),
        (lambda entry: entry.update(path_name="../../x"), "has no "),
        (lambda entry: entry["tensor_meta"].pop("strides"), "damaged exported module"),
    ):
        with pytest.raises(CheckpointError, match=message):
            read_network(rewrite(change))
    whole = path.read_bytes()
    (tmp_path / "short.pt2").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="is not a whole zip archive"):
        read_network(tmp_path / "short.pt2")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("argument", ["num_layers", "hx", "params"])
def test_an_operation_without_an_argument_is_damaged(tmp_path: Path, argument: str) -> None:
    path = export(make(), tmp_path / "model.pt2")
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    program = next(name for name in members if name.endswith("models/model.json"))
    content = json.loads(members[program])
    (lstm,) = (
        node
        for node in content["graph_module"]["graph"]["nodes"]
        if node["target"].startswith("torch.ops.aten.lstm")
    )
    lstm["inputs"] = [entry for entry in lstm["inputs"] if entry["name"] != argument]
    with zipfile.ZipFile(path, "w") as archive:
        for name, member in members.items():
            archive.writestr(name, json.dumps(content) if name == program else member)
    with pytest.raises(CheckpointError, match=f"is a damaged exported module: found '{argument}'"):
        read_network(path)


def test_a_pickle_with_code_is_not_run(tmp_path: Path) -> None:
    torch.save(make(), tmp_path / "module.pt")  # the whole module: it needs its class's code
    described = describe(tmp_path)
    with pytest.raises(CheckpointError, match=r"is not a file of weights alone.*state_dict"):
        read_network(tmp_path / "module.pt", description=described)
    (tmp_path / "broken.pt").write_bytes(b"no archive")
    with pytest.raises(CheckpointError, match="is not a file of weights alone"):
        read_network(tmp_path / "broken.pt", description=described)
    torch.save({"model": make().state_dict(), "epoch": 1}, tmp_path / "checkpoint.pt")
    with pytest.raises(CheckpointError, match="is not a state dict: found keys model, epoch"):
        read_network(tmp_path / "checkpoint.pt", description=described)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("how = ", "hwo = "), r"not a description.*hwo"),
        (('"last"', '"first"'), r"Invalid enum value 'first'.*layer"),
        (("[embedding]", "[embedding"), "not a description of layers"),
        (('"lstm"', '"conv"'), r"conv"),
        (('"reader"', '"other"'), "has no array other.weight_ih_l0"),
        (('"reader"', '"reader"\nlayers = 4'), "another number of layers.*found 1, expected 4"),
        (('ignore = ["score.", "hidden."]', ""), "names no layer for: found hidden.bias"),
        (('"words.weight"', '"words.weight"\npadding_idx = 7'), "the padding id is not 0"),
        (('"words.weight"', '"head.bias"'), "head.bias is not a table"),
    ],
)
def test_descriptions_that_do_not_fit(
    tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    path = save_state(make(), tmp_path / "weights.safetensors")
    description = describe(tmp_path)
    description.write_text(description.read_text().replace(*change))
    with pytest.raises(CheckpointError, match=message) as refusal:
        read_network(path, description=description)
    assert "\n" not in str(refusal.value)


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    path = save_state(make(), tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match="without a description of the layers"):
        read_network(path)
    projected = nn.LSTM(5, 6, proj_size=2, batch_first=True)
    state = {f"reader.{name}": value for name, value in projected.state_dict().items()}
    torch.save({**make().state_dict(), **state}, path)
    with pytest.raises(CheckpointError, match=r"reader has a projection \(proj_size\)"):
        read_network(path, description=describe(tmp_path))
    state = make().state_dict()
    state["reader.weight_hh_l0"] = torch.zeros(24, 5)
    torch.save(state, path)
    with pytest.raises(CheckpointError, match="reader: weights are not those of a plain LSTM"):
        read_network(path, description=describe(tmp_path))
    state = make().state_dict()
    state["head.bias"][0] = float("nan")
    torch.save(state, path)
    with pytest.raises(CheckpointError, match="layer head holds a value that is not a number"):
        read_network(path, description=describe(tmp_path))
