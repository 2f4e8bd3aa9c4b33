"""Networks from PyTorch weights with a description and from ONNX files: the bundle in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edgeseq as es

torch = pytest.importorskip("torch")
DESCRIPTION = """
[input]
features = {features}
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


class Forecast(torch.nn.Module):  # type: ignore[misc, name-defined]
    """The last state of an LSTM, and a linear layer."""

    def __init__(self, features: int, hidden: int, layers: int, outputs: int) -> None:
        super().__init__()
        self.reader = torch.nn.LSTM(features, hidden, layers, batch_first=True)
        self.head = torch.nn.Linear(hidden, outputs)

    def forward(self, x: Any) -> Any:
        return self.head(self.reader(x)[0][:, -1])


@pytest.mark.parametrize("is_onnx", [False, True], ids=["described", "onnx"])
@settings(max_examples=2, deadline=None, derandomize=True)
@given(
    sizes=st.tuples(*map(st.integers, (1, 1, 1, 2), (4, 20, 2, 4))),
    steps=st.integers(1, 12),
)
def test_a_bundle_answers_as_pytorch(
    *,
    tmp_path_factory: pytest.TempPathFactory,
    sizes: tuple[int, int, int, int],
    steps: int,
    is_onnx: bool,
) -> None:
    folder = tmp_path_factory.mktemp("sequences")
    torch.manual_seed(sum(sizes))
    module = Forecast(*sizes).eval()
    x = torch.randn(24, steps, sizes[0])
    answer = module(x).detach().numpy()
    np.savez(folder / "data.npz", x=x.numpy(), y=answer + 0.1)
    bundle = es.convert(
        _saved(module, sizes[0], x, folder, is_onnx=is_onnx),
        folder / "data.npz",
        recipe="float32",
        out=folder / "bundle",
        progress=None,
    )
    predicted = bundle.predict_sequences(x.numpy())
    values = np.asarray([list(one.values.values()) for one in predicted])
    assert np.abs(values - answer).max() < 1e-5


def _saved(module: Any, features: int, x: Any, folder: Path, *, is_onnx: bool) -> es.Model:
    if is_onnx:
        path = folder / "module.onnx"
        torch.onnx.export(module, (x[:1],), str(path), dynamo=False)
        return es.load_model(path)
    torch.save(module.state_dict(), folder / "module.pt")
    description = folder / "network.toml"
    description.write_text(DESCRIPTION.format(features=features))
    return es.load_model(folder / "module.pt", description=description)
