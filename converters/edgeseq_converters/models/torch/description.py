"""The layers of a PyTorch module, in a few lines of TOML or JSON beside its weights.

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

docs/guides/sources.md has all of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from edgeseq.errors import CheckpointError
from edgeseq.formats.codec import decode_json, from_builtins
from edgeseq.formats.storage import read_bytes
from edgeseq.formats.toml_codec import decode_toml
from edgeseq_converters.models.network import Function

_LIMIT_BYTES = 1 << 20


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
    nonlinearity: Literal["tanh", "relu"]
    layers: int | None = None
    bidirectional: bool | None = None


class PoolPart(_Part, frozen=True, tag="pool"):
    """`last`: the last layer's h_n, its directions joined; `last-token`: `out[:, -1]`, where the
    backward direction has read one token only; `max` and `mean` over the tokens."""

    how: Literal["last", "last-token", "max", "mean"]


class LinearPart(_Part, frozen=True, tag="linear"):
    """nn.Linear, on each token where no pooling came before."""

    prefix: str
    activation: Function = "linear"


class BatchNormPart(_Part, frozen=True, tag="batch_norm"):
    """nn.BatchNorm1d by feature, in eval mode; `eps` is the module's."""

    prefix: str
    eps: float = 1e-5


class AttentionPart(_Part, frozen=True, tag="attention"):
    """Σ softmax(score(f(hidden(x))))·x; without `hidden`, softmax(f(score(x)))."""

    score: str
    hidden: str | None = None
    activation: Literal["tanh", "linear"] = "tanh"


class ActivationPart(_Part, frozen=True, tag="activation"):
    """A function by element; softmax over the features."""

    activation: Function


RecurrentPart = LstmPart | GruPart | RnnPart
Part = RecurrentPart | PoolPart | LinearPart | BatchNormPart | AttentionPart | ActivationPart


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


def read_description(path: Path) -> Description:
    """Reads the file, strictly.

    Raises `CheckpointError` naming the place (`$.layer[1].how`) that does not fit.
    """
    content = read_bytes(path, error=CheckpointError, limit_bytes=_LIMIT_BYTES)
    try:
        if path.suffix.lower() == ".json":
            return decode_json(content, Description)
        return from_builtins(decode_toml(content), Description)
    except (msgspec.MsgspecError, UnicodeDecodeError) as failure:
        raise CheckpointError(
            "is not a description of layers",
            where=path,
            found=failure,
            fix="docs/guides/sources.md has the format",
        ) from failure
