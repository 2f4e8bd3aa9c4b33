"""A PyTorch module made of torch.nn's own layers, from weights and the description of them.

It reads the description by itself, so that an error in how `edgeseq convert` reads it shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from edgeseq.formats.toml_codec import decode_toml

Part = Mapping[str, Any]
_RECURRENT: dict[str, Callable[..., Any]] = {
    "lstm": torch.nn.LSTM,
    "gru": torch.nn.GRU,
    "rnn": torch.nn.RNN,
}
_FUNCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "linear": lambda x: x,
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softmax": lambda x: torch.softmax(x, -1),
}


class DescribedModule(torch.nn.Module):
    """The layers of a description with the weights at `path`, in eval mode.

    `features` of a step of the input, None for token ids, which are below `vocabulary`.
    """

    def __init__(self, path: Path, description: Path) -> None:
        super().__init__()
        described = decode_toml(description.read_bytes())
        state = torch.load(path, map_location="cpu", weights_only=True)
        key = described.get("state_dict")
        self.state = dict(state if key is None else state[key])
        table = described.get("embedding", {}).get("weight", "embedding.weight")
        self.table = self.state.get(table)
        self.vocabulary = 0 if self.table is None else len(self.table)
        self.features: int | None = None
        self.parts = [self._part(part) for part in described["layer"]]
        if self.table is None:
            first = next(part["prefix"] for part in described["layer"] if "prefix" in part)
            self.features = int(self.state[f"{first}.weight_ih_l0"].shape[1])
        self.eval()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """ids [batch, n], or numbers [batch, n, features], to [batch, out] or [batch, n, out]."""
        values = inputs if self.table is None else self.table[inputs.long()]
        last: torch.Tensor | None = None
        for part, layer in self.parts:
            if part["kind"] in _RECURRENT:
                values, states = layer(values)
                hidden = states[0] if isinstance(states, tuple) else states
                directions = hidden[-2:] if layer.bidirectional else hidden[-1:]
                last = torch.cat(list(directions), dim=1)
            elif part["kind"] == "pool":
                values = _pooled(part["how"], values, last)
            else:
                values = layer(values)
        return values

    def answer(self, inputs: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """The outputs of a batch of arrays."""
        with torch.no_grad():
            return np.asarray(self(torch.from_numpy(inputs)), np.float32)

    def _part(self, part: Part) -> tuple[Part, Any]:
        kind = part["kind"]
        if kind in _RECURRENT:
            return part, self._recurrent(part)
        if kind == "linear":
            return part, self._linear(part["prefix"], part.get("activation", "linear"))
        if kind == "activation":
            return part, _FUNCTIONS[part["activation"]]
        if kind == "attention":
            return part, self._attention(part)
        if kind != "pool":
            raise ValueError(f"no {kind} in this reference")
        return part, None

    def _recurrent(self, part: Part) -> Any:
        prefix = f"{part['prefix']}."
        arrays = {
            name.removeprefix(prefix): array
            for name, array in self.state.items()
            if name.startswith(prefix)
        }
        inputs = arrays["weight_ih_l0"].shape[1]
        hidden = arrays["weight_hh_l0"].shape[1]
        layer = _RECURRENT[part["kind"]](
            inputs,
            hidden,
            num_layers=sum(name.startswith("weight_ih") for name in arrays)
            // (1 + ("weight_ih_l0_reverse" in arrays)),
            bidirectional="weight_ih_l0_reverse" in arrays,
            bias="bias_ih_l0" in arrays,
            batch_first=True,
        )
        layer.load_state_dict(arrays)
        return layer.eval()

    def _linear(self, prefix: str, activation: str) -> Callable[[torch.Tensor], torch.Tensor]:
        weight, bias = self.state[f"{prefix}.weight"], self.state.get(f"{prefix}.bias")
        function = _FUNCTIONS[activation]
        return lambda x: function(torch.nn.functional.linear(x, weight, bias))

    def _attention(self, part: Part) -> Callable[[torch.Tensor], torch.Tensor]:
        score = self._linear(part["score"], "linear")
        function = _FUNCTIONS[part.get("activation", "tanh")]
        hidden = self._linear(part["hidden"], "linear") if "hidden" in part else None

        def attend(x: torch.Tensor) -> torch.Tensor:
            scores = function(score(x)) if hidden is None else score(function(hidden(x)))
            return (torch.softmax(scores, 1) * x).sum(1)

        return attend


def _pooled(how: str, values: torch.Tensor, last: torch.Tensor | None) -> torch.Tensor:
    if how == "last":
        if last is None:
            raise ValueError("the last state of no recurrent layer")
        return last
    if how == "last-token":
        return values[:, -1]
    return values.max(dim=1).values if how == "max" else values.mean(dim=1)
