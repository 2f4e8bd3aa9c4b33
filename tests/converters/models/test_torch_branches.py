"""Exported PyTorch modules with convolutions, joins, layer norms, and without recurrence."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edgeseq.errors import CheckpointError
from edgeseq_converters.models.network import Network
from edgeseq_converters.models.network_layers import (
    Convolution,
    Join,
    LayerNorm,
    Pool,
    WindowPool,
)
from edgeseq_converters.models.read import read_network
from edgeseq_converters.models.reference_recurrent import answers

VOCABULARY = 19
LENGTHS = (4, 5, 9, 16)


@pytest.fixture(scope="module")
def torch() -> ModuleType:
    return pytest.importorskip("torch")


def module(torch: ModuleType, forward: Any, **parts: Any) -> Any:
    """A module of these parts, in eval mode."""

    class Module(torch.nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            for name, part in parts.items():
                setattr(self, name, part)

        def forward(self, ids: Any) -> Any:
            return forward(self, ids)

    torch.manual_seed(0)
    return Module().eval()


def export(torch: ModuleType, model: Any, path: Path) -> Network:
    ids = torch.ones((1, 9), dtype=torch.long)
    shapes = ({1: torch.export.Dim.AUTO},)
    torch.export.save(torch.export.export(model, (ids,), dynamic_shapes=shapes), path)
    return read_network(path)


def check(torch: ModuleType, model: Any, network: Network) -> None:
    rng = np.random.default_rng(0)
    for length in LENGTHS:
        text = rng.integers(0, VOCABULARY, length).tolist()
        expected = model(torch.tensor([text]))[0].detach().numpy()
        np.testing.assert_allclose(answers(network, [text])[0], expected, atol=1e-5)


def text_cnn(torch: ModuleType) -> Any:
    nn = torch.nn

    def forward(self: Any, ids: Any) -> Any:
        words = self.words(ids).transpose(1, 2)
        pooled = [torch.relu(layer(words)).max(dim=2).values for layer in self.windows]
        return self.head(self.dropout(torch.cat(pooled, dim=1)))

    return module(
        torch,
        forward,
        words=nn.Embedding(VOCABULARY, 6),
        windows=nn.ModuleList([nn.Conv1d(6, 4, size, groups=2) for size in (2, 3, 4)]),
        dropout=nn.Dropout(0.5),
        head=nn.Linear(12, 2),
    )


def convolution_then_lstm(torch: ModuleType) -> Any:
    nn = torch.nn

    def forward(self: Any, ids: Any) -> Any:
        words = self.words(ids).permute(0, 2, 1)
        rows = self.pool(torch.relu(self.windows(words))).permute(0, 2, 1)
        states = self.norm(self.states(rows)[0])
        return self.head(torch.cat([states.mean(dim=1), states.amax(dim=1)], dim=-1))

    return module(
        torch,
        forward,
        words=nn.Embedding(VOCABULARY, 6),
        windows=nn.Conv1d(6, 4, 3, padding=1),
        pool=nn.MaxPool1d(2),
        states=nn.LSTM(4, 5, batch_first=True, bidirectional=True),
        norm=nn.LayerNorm(10),
        head=nn.Linear(20, 2),
    )


def skips(torch: ModuleType) -> Any:
    nn = torch.nn

    def forward(self: Any, ids: Any) -> Any:
        words = self.words(ids)
        below = self.below(words)[0] + words
        above = self.above(torch.cat([words, below], dim=2))[0]
        return self.head((above - below).mean(dim=1))

    return module(
        torch,
        forward,
        words=nn.Embedding(VOCABULARY, 6),
        below=nn.GRU(6, 6, batch_first=True),
        above=nn.GRU(12, 6, batch_first=True),
        head=nn.Linear(6, 2),
    )


def all_pools(torch: ModuleType) -> Any:
    nn = torch.nn

    def forward(self: Any, ids: Any) -> Any:
        states, (last, _) = self.states(self.words(ids))
        pooled = [last[-1], states.mean(dim=1), states[:, -1], states.amax(dim=1)]
        return self.head(torch.cat(pooled, dim=1))

    return module(
        torch,
        forward,
        words=nn.Embedding(VOCABULARY, 6),
        states=nn.LSTM(6, 5, batch_first=True, num_layers=2),
        head=nn.Linear(20, 2),
    )


def bag(torch: ModuleType) -> Any:
    return module(
        torch,
        lambda self, ids: self.head(self.words(ids).mean(dim=1)),
        words=torch.nn.Embedding(VOCABULARY, 6),
        head=torch.nn.Linear(6, 2),
    )


@pytest.mark.parametrize(
    ("build", "kinds"),
    [
        (text_cnn, {Convolution, Join}),
        (convolution_then_lstm, {Convolution, WindowPool, LayerNorm, Join}),
        (skips, {Join}),
        (all_pools, {Join, Pool}),
        (bag, set()),
    ],
)
def test_the_answers_are_those_of_pytorch(
    torch: ModuleType, tmp_path: Path, build: Any, kinds: set[type[Any]]
) -> None:
    model = build(torch)
    network = export(torch, model, tmp_path / "model.pt2")
    assert kinds <= {type(layer) for layer in network.layers}
    check(torch, model, network)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"padding": 2}, "conv1d.* found padding 2 of windows of 3, .*expected padding 0, or 1"),
        ({"padding": 1, "stride": 2}, "conv1d.* do not keep the number of tokens"),
    ],
)
def test_zeros_that_no_border_has_are_refused(
    torch: ModuleType, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    model = module(
        torch,
        lambda self, ids: self.windows(self.words(ids).transpose(1, 2)).amax(dim=2),
        words=torch.nn.Embedding(VOCABULARY, 6),
        windows=torch.nn.Conv1d(6, 4, 3, **options),
    )
    with pytest.raises(CheckpointError, match=message) as refusal:
        export(torch, model, tmp_path / "model.pt2")
    assert "\n" not in str(refusal.value)


def test_a_layer_that_is_used_in_two_ways_is_refused(torch: ModuleType, tmp_path: Path) -> None:
    def forward(self: Any, ids: Any) -> Any:
        values = self.layer(self.words(ids))
        return (torch.relu(values) + values).mean(dim=1)

    words, layer = torch.nn.Embedding(VOCABULARY, 6), torch.nn.Linear(6, 6)
    model = module(torch, forward, words=words, layer=layer)
    with pytest.raises(CheckpointError, match=r"layer linear\.1 is used in two ways.*state dict"):
        export(torch, model, tmp_path / "model.pt2")
