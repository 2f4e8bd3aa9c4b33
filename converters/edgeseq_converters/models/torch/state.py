"""Reads a PyTorch state dict (`.pt`, `.pth`, `.bin` or `.safetensors`) by a description."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from edgeseq.errors import CheckpointError
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.description import (
    DESCRIBE,
    ActivationPart,
    AttentionPart,
    BatchNormPart,
    Description,
    EmbeddingPart,
    How,
    LayerNormPart,
    LinearPart,
    LstmPart,
    PoolPart,
    RecurrentPart,
    RnnPart,
    known,
    read_description,
)
from edgeseq_converters.models.directions import backward_states
from edgeseq_converters.models.network import Network
from edgeseq_converters.models.network_layers import (
    Activation,
    AttentionPool,
    Embedding,
    FloatInput,
    Join,
    Kind,
    Layer,
    LayerNorm,
    Pool,
    Recurrent,
    Scale,
)
from edgeseq_converters.models.torch.cells import dense_of, recurrent_layers
from edgeseq_converters.models.torch.files import read_arrays

_EPSILON = 1e-5
"""torch.nn.BatchNorm1d's and LayerNorm's own."""
_POOLS: dict[str, Literal["max", "mean", "last"]] = {
    "max": "max",
    "mean": "mean",
    "last-token": "last",
    "sum-max": "max",
    "sum-mean": "mean",
}
_ASIDE = (".num_batches_tracked",)


def read_torch_state(path: Path, description: Path | None) -> Network:
    """The network that `description` names the layers of, with the weights at `path`.

    Raises `CheckpointError` without a description, for arrays that are missing, do not fit or
    are not described, and for files that hold more than weights.
    """
    if description is None:
        raise CheckpointError(
            "holds weights without a description of the layers",
            where=path,
            fix=DESCRIBE,
        )
    described = read_description(description)
    state = read_arrays(path, described.state_dict)
    return network_of_state(state, described, path)


def network_of_state(
    state: Mapping[str, FloatArray], described: Description, path: Path
) -> Network:
    """The network of arrays by name; raises `CheckpointError` as `read_torch_state` does."""
    return _Reader(state, described, path).network()


class _Reader:
    def __init__(self, state: Mapping[str, FloatArray], described: Description, path: Path) -> None:
        self._state = state
        self._described = described
        self._path = path
        self._used: set[str] = set()
        self._fed_by: dict[str, tuple[str, ...]] = {}
        self._input_name = ""

    def network(self) -> Network:
        entry = self._input()
        self._input_name = entry.name
        layers: list[Layer] = []
        for number, described in enumerate(self._described.layer):
            if isinstance(described, PoolPart):
                self._pool(described, layers, number)
            elif isinstance(described, RecurrentPart):
                layers += self._recurrent(described)
            elif isinstance(described, LinearPart):
                linear = self._linear(described.prefix)
                function = known(described.activation)
                layers.append(dense_of(described.prefix, *linear, function))
            elif isinstance(described, BatchNormPart):
                layers.append(self._scale(described))
            elif isinstance(described, LayerNormPart):
                layers.append(self._layer_norm(described))
            elif isinstance(described, AttentionPart):
                layers.append(self._attention(described))
            elif isinstance(described, ActivationPart):
                name = f"activation.{number}"
                layers.append(Activation(name, known(described.activation)))
        ignore = self._described.ignore
        unread = [
            name
            for name in self._state
            if name not in self._used and not name.startswith(ignore) and not name.endswith(_ASIDE)
        ]
        if unread:
            raise CheckpointError(
                "holds weights that the description names no layer for",
                where=self._path,
                found=", ".join(sorted(unread)[:4]),
                fix="describe their layers, or list the names under ignore",
            )
        return Network(
            self._described.name or self._path.stem, entry, tuple(layers), fed_by=self._fed_by
        )

    def _input(self) -> Embedding | FloatInput:
        described = self._described
        if described.input is not None:
            if described.embedding is not None:
                raise CheckpointError(
                    "has both an embedding and an input of numbers",
                    where=self._path,
                    fix="leave one of them out of the description",
                )
            return FloatInput("input", described.input.features)
        part = described.embedding or EmbeddingPart()
        if part.padding_idx not in (None, 0):
            raise CheckpointError(
                "the padding id is not 0",
                where=self._path,
                found=f"padding_idx = {part.padding_idx}",
                fix="leave padding_idx out and give texts without padding",
            )
        table = self._take_array(part.weight)
        if table.ndim != 2:
            raise self._error(f"{part.weight} is not a table", list(table.shape))
        return Embedding(
            part.weight.rpartition(".")[0] or "embedding", table, part.padding_idx == 0
        )

    def _take_array(self, name: str) -> FloatArray:
        if name not in self._state:
            raise CheckpointError(
                f"has no array {name}",
                where=self._path,
                found=", ".join(sorted(self._state)[:8]) or "none",
                fix="correct the name in the description",
            )
        self._used.add(name)
        return self._state[name]

    def _recurrent(self, part: RecurrentPart) -> tuple[Recurrent, ...]:
        prefix = part.prefix
        if f"{prefix}.weight_hr_l0" in self._state:
            raise CheckpointError(
                f"layer {prefix} has a projection (proj_size), which cannot be converted",
                where=self._path,
            )
        both = f"{prefix}.weight_ih_l0_reverse" in self._state
        count = 0
        while f"{prefix}.weight_ih_l{count}" in self._state:
            count += 1
        count = max(count, 1)  # a missing first layer is named by `_take`
        for what, described, actual in (
            ("layers", part.layers, count),
            ("bidirectional", part.bidirectional, both),
        ):
            if described is not None and described != actual:
                raise CheckpointError(
                    f"layer {prefix} has another number of {what} than the description says",
                    where=self._path,
                    found=actual,
                    expected=described,
                )
        patterns = [
            f"{prefix}.{{}}_l{number}{end}"
            for number in range(count)
            for end in (("", "_reverse") if both else ("",))
        ]
        if f"{prefix}.weight_ih" in self._state:
            patterns = [f"{prefix}.{{}}"]  # nn.LSTMCell and others, called token by token
        cells = [self._cell(pattern) for pattern in patterns]
        if isinstance(part, RnnPart):
            function = known(part.nonlinearity)
            return recurrent_layers(
                "rnn", cells, bidirectional=both, name=prefix, function=function
            )
        kind: Kind = "lstm" if isinstance(part, LstmPart) else "gru"
        return recurrent_layers(kind, cells, bidirectional=both, name=prefix)

    def _cell(self, pattern: str) -> list[FloatArray]:
        names = ["weight_ih", "weight_hh"]
        if pattern.format("bias_ih") in self._state:
            names += ["bias_ih", "bias_hh"]
        return [self._take_array(pattern.format(name)) for name in names]

    def _linear(self, prefix: str) -> tuple[FloatArray, FloatArray | None]:
        bias = f"{prefix}.bias"
        weight = self._take_array(f"{prefix}.weight")
        return weight, self._take_array(bias) if bias in self._state else None

    def _pool(self, part: PoolPart, layers: list[Layer], number: int) -> None:
        how: How = known(part.how)
        if "+" in how:
            self._pool_several(how.split("+"), layers, number)
            return
        if how in ("max", "mean", "last-token"):
            layers.append(Pool(f"pool.{number}", _POOLS[how]))
            return
        before = layers[-1] if layers else None
        if not isinstance(before, Recurrent):
            raise CheckpointError(
                f"pool `{how}` is about a recurrent layer's own states",
                where=f"layer {number} of the description",
                fix="put it right after the lstm or gru, or use last-token",
            )
        if how == "last":
            layers[-1] = replace(before, sequences=False)
            return
        if before.backward is None:
            raise CheckpointError(
                f"pool `{how}` is about a layer of two directions",
                where=f"layer {number} of the description",
                found=f"{before.name}, of one",
                fix="use last, max or mean",
            )
        if how == "last-backward":
            layers[-1] = replace(before, sequences=False)
            layers.append(backward_states(before))
            return
        layers[-1] = replace(before, merge="sum", sequences=how != "sum-last")
        if how != "sum-last":
            layers.append(Pool(f"pool.{number}", _POOLS[how]))

    def _pool_several(self, kinds: Sequence[str], layers: list[Layer], number: int) -> None:
        """Several pooled vectors of the same states side by side."""
        before = layers[-1].name if layers else self._input_name
        names = []
        for kind in kinds:
            names.append(f"pool.{number}.{kind}")
            layers.append(Pool(names[-1], _POOLS[kind]))
            self._fed_by[names[-1]] = (before,)
        layers.append(Join(f"join.{number}", "concat"))
        self._fed_by[layers[-1].name] = tuple(names)

    def _layer_norm(self, part: LayerNormPart) -> LayerNorm:
        scale = self._take_array(f"{part.prefix}.weight")
        bias = f"{part.prefix}.bias"
        offset = self._take_array(bias) if bias in self._state else np.zeros_like(scale)
        if scale.ndim != 1 or offset.shape != scale.shape:
            raise self._error(f"layer {part.prefix} is not over the features", list(scale.shape))
        epsilon = _EPSILON if part.eps is None else part.eps
        return LayerNorm(part.prefix, scale, offset, epsilon)

    def _scale(self, part: BatchNormPart) -> Scale:
        """As in Ioffe and Szegedy 2015, with the running mean and variance."""
        prefix = part.prefix
        mean = self._take_array(f"{prefix}.running_mean").astype(np.float64)
        variance = self._take_array(f"{prefix}.running_var").astype(np.float64)
        variance = variance + (_EPSILON if part.eps is None else part.eps)
        affine = f"{prefix}.weight" in self._state
        weight = self._take_array(f"{prefix}.weight") if affine else np.ones(mean.shape)
        bias = self._take_array(f"{prefix}.bias") if affine else np.zeros(mean.shape)
        if len({array.shape for array in (mean, variance, weight, bias)}) > 1:
            raise self._error(f"layer {prefix} has arrays of several shapes", list(mean.shape))
        if not (variance > 0).all():
            raise self._error(f"layer {prefix} has a variance that is not positive", variance.min())
        factor = weight / np.sqrt(variance)
        return Scale(prefix, factor.astype(np.float32), (bias - mean * factor).astype(np.float32))

    def _attention(self, part: AttentionPart) -> AttentionPool:
        """A bias of the score is the same for every token and leaves the softmax as it is."""
        function = known(part.activation)
        if part.hidden is None and part.score in self._state:
            vector = self._take_array(part.score).reshape(-1)
            kernel, bias = np.eye(vector.size, dtype=np.float32), np.zeros_like(vector)
            return AttentionPool(part.score, kernel, bias, vector, function)
        score = dense_of(part.score, *self._linear(part.score))
        if score.bias.size != 1:
            raise self._error(f"layer {part.score} gives several scores a token", score.bias.size)
        if part.hidden is None:
            query = np.ones(1, np.float32)
            return AttentionPool(part.score, score.kernel, score.bias, query, function)
        hidden = dense_of(part.hidden, *self._linear(part.hidden))
        query = np.ascontiguousarray(score.kernel[:, 0])
        return AttentionPool(part.score, hidden.kernel, hidden.bias, query, function)

    def _error(self, what: str, actual: object) -> CheckpointError:
        return CheckpointError(what, where=self._path, found=actual)
