"""The layers of a network, in a few lines of TOML or JSON beside its weights.

    name = "reviews"
    [embedding]
    weight = "embedding.weight"       # the array's name in the state dict
    [[layer]]
    kind = "lstm"                     # or "gru", "rnn"; layers and directions are counted
    prefix = "lstm"
    [[layer]]
    kind = "pool"
    how = "last"                      # h_n; or "last-token", "max", "mean"
    [[layer]]
    kind = "linear"
    prefix = "classifier"
    activation = "softmax"

docs/guides/sources.md has all of it. "?" marks what weights do not tell: `edgeseq convert
--describe` writes it, and reading refuses it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from edgeseq.errors import CheckpointError
from edgeseq.formats.codec import decode_json, from_builtins
from edgeseq.formats.storage import read_bytes
from edgeseq.formats.toml_codec import decode_toml
from edgeseq_converters.models.network_layers import Function

TORCH_ENDINGS = (".pt", ".pth", ".bin", ".safetensors")
KERAS_ENDINGS = (".h5", ".hdf5")
"""Of the files that may be weights alone, whose layers a description has."""
_LIMIT_BYTES = 1 << 20
UNKNOWN: Literal["?"] = "?"
Unknown = Literal["?"]
How = Literal[
    "last",
    "last-token",
    "max",
    "mean",
    "last-backward",
    "sum-last",
    "sum-max",
    "sum-mean",
    "max+mean",
    "mean+max",
    "last-token+max+mean",
]


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    pass


class EmbeddingPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`padding_idx = 0`: zeros at a text's end are cut off, as `pack_padded_sequence` does."""

    weight: str = "embedding.weight"
    padding_idx: int | None = None


class InputPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """In place of an embedding: sequences of numbers, `features` at each step."""

    features: Annotated[int, msgspec.Meta(ge=1)]


class LstmPart(_Part, frozen=True, tag="lstm"):
    """nn.LSTM with batch_first or without: a text is one sequence. `layers` and `bidirectional`
    are checked against the weights when they are given."""

    prefix: str
    layers: int | None = None
    bidirectional: bool | None = None


class GruPart(_Part, frozen=True, tag="gru"):
    """nn.GRU, like `LstmPart`."""

    prefix: str
    layers: int | None = None
    bidirectional: bool | None = None


class RnnPart(_Part, frozen=True, tag="rnn"):
    """nn.RNN, like `LstmPart`; its weights do not say the `nonlinearity`."""

    prefix: str
    nonlinearity: Literal["tanh", "relu"] | Unknown
    layers: int | None = None
    bidirectional: bool | None = None


class PoolPart(_Part, frozen=True, tag="pool"):
    """`last`: the last layer's h_n, its directions joined; `last-token`: `out[:, -1]`, where the
    backward direction has read one token only; `max` and `mean` over the tokens. Of a layer of
    two directions `last-backward` is `h_n[-1]` alone, and `sum-last`, `sum-max` and `sum-mean`
    add the directions up first. `max+mean` and others lay several pooled vectors side by side."""

    how: How | Unknown


class LinearPart(_Part, frozen=True, tag="linear"):
    """nn.Linear, on each token where no pooling came before."""

    prefix: str
    activation: Function | Unknown = "linear"


class BatchNormPart(_Part, frozen=True, tag="batch_norm"):
    """A batch normalization by feature, in eval mode; `eps` is the module's, by default that of
    its framework (PyTorch 1e-5, Keras 1e-3)."""

    prefix: str
    eps: float | None = None


class LayerNormPart(_Part, frozen=True, tag="layer_norm"):
    """A layer normalization over the features; `eps` as in `BatchNormPart`."""

    prefix: str
    eps: float | None = None


class AttentionPart(_Part, frozen=True, tag="attention"):
    """Σ softmax(score(f(hidden(x))))·x; without `hidden`, softmax(f(score(x))), or where `score`
    is an array w of as many numbers as features, softmax(f(x)·w)."""

    score: str
    hidden: str | None = None
    activation: Literal["tanh", "linear"] | Unknown = "tanh"


class ActivationPart(_Part, frozen=True, tag="activation"):
    """A function by element; softmax over the features."""

    activation: Function | Unknown


RecurrentPart = LstmPart | GruPart | RnnPart
NormPart = BatchNormPart | LayerNormPart
Part = RecurrentPart | PoolPart | LinearPart | NormPart | AttentionPart | ActivationPart


class Description(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file; without `embedding` and `input` the embedding is `EmbeddingPart()`.
    `state_dict` is the key of the weights in a checkpoint that holds more;
    `ignore` lists beginnings of names that belong to no layer, such as a loss's weights."""

    layer: tuple[Part, ...]
    embedding: EmbeddingPart | None = None
    input: InputPart | None = None
    name: str | None = None
    state_dict: str | None = None
    ignore: tuple[str, ...] = ()


DESCRIBE = (
    "let `edgeseq convert FILE --describe network.toml` write the layers that names and shapes "
    "tell, complete it, and give --description network.toml"
)
"""What to do about weights without layers."""


def known(value: Any) -> Any:
    """A value that is not "?"; raises `CheckpointError` for one that is."""
    if value == UNKNOWN:
        raise CheckpointError("a value of the description is still to be chosen")
    return value


def read_description(path: Path) -> Description:
    """Reads the file, strictly.

    Raises `CheckpointError` naming the place (`$.layer[1].how`) that does not fit.
    """
    content = read_bytes(path, error=CheckpointError, limit_bytes=_LIMIT_BYTES)
    try:
        if path.suffix.lower() == ".json":
            described = decode_json(content, Description)
        else:
            described = from_builtins(decode_toml(content), Description)
    except (msgspec.MsgspecError, UnicodeDecodeError) as failure:
        raise CheckpointError(
            "is not a description of layers",
            where=path,
            found=failure,
            fix="docs/guides/sources.md has the format",
        ) from failure
    _check_known(described, path)
    return described


def _check_known(described: Description, path: Path) -> None:
    """Raises `CheckpointError` for the first value that is still to be chosen."""
    for number, part in enumerate(described.layer):
        for field in part.__struct_fields__:
            if getattr(part, field) == UNKNOWN:
                raise CheckpointError(
                    f"{field} of layer {number + 1} is still to be chosen",
                    where=path,
                    found=f'{field} = "?"',
                    fix="choose what the model's code says, or let --describe with --data "
                    "compare the possible values",
                )
