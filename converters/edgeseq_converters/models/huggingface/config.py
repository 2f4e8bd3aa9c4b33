"""config.json: the dimensions, and a refusal by name of what the graphs do not compute.

Every field that would change what the model answers is either honoured or refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec

from edgeseq.errors import CheckpointError
from edgeseq.formats.codec import decode_json
from edgeseq.formats.trained_model import LAYERS_LIMIT, BertConfig, BertHead
from edgeseq_converters.models.encoder import check_config
from edgeseq_converters.models.huggingface.families import FAMILIES, Family

Pooling = Literal["mean", "cls"]

_ACTIVATIONS: dict[str, Literal["gelu", "gelu_new", "relu"]] = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_new",
    # The same formula under other names.
    "gelu_pytorch_tanh": "gelu_new",
    "gelu_fast": "gelu_new",
    "relu": "relu",
}
_MUST_BE: dict[str, object] = {
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "pruned_heads": {},
    "quantization_config": None,
}
"""Fields that change the answers, and the only value that the graphs honour."""

_SIZES = {
    "vocabulary_size": "vocab_size",
    "hidden_size": "hidden_size",
    "intermediate_size": "intermediate_size",
    "layers": "num_hidden_layers",
    "attention_heads": "num_attention_heads",
    "max_position_embeddings": "max_position_embeddings",
    "type_vocabulary_size": "type_vocab_size",
}
_MORE_SIZES = (
    "embedding_size",
    "intra_bottleneck_size",
    "num_feedforward_networks",
    "num_hidden_groups",
    "inner_group_num",
)
"""Sizes that only some families have."""


SIZE_LIMIT = 10_000_000
_LAYERS = ("layer", "groups", "inner_group_num", "networks")
"""Parts of the names of fields that count layers, which are listed before arrays are read."""


class Described(msgspec.Struct, frozen=True):
    """What a config.json says: its family, its fields with transformers' defaults filled in
    (`config`, an object of transformers), and the fields as written in the file."""

    family: Family
    config: Any
    fields: dict[str, Any]
    where: Path


def describe(content: bytes, *, where: Path) -> Described:
    """Reads a config.json; defaults of missing fields are those of transformers.

    Raises `CheckpointError` naming the field when the model is of another family or does
    something that the graphs do not.
    """
    from transformers import AutoConfig  # noqa: PLC0415 - takes a second; most models need none of it

    try:
        fields = decode_json(content, dict[str, Any])
    except msgspec.DecodeError as failure:
        raise CheckpointError("is not JSON", where=where, found=str(failure)) from failure
    _check_layers(fields, where)
    family = FAMILIES.get(str(fields.get("model_type")))
    if family is None:
        raise CheckpointError(
            "model_type is not supported",
            where=where,
            found=repr(fields.get("model_type")),
            expected=" or ".join(FAMILIES),
            fix="choose a checkpoint of the BERT family",
        )
    for field, value in (_MUST_BE | dict(family.must_be)).items():
        _require(where, field, fields.get(field, value), value)
    try:
        config = AutoConfig.for_model(**fields)
    except Exception as failure:  # whatever its own checks of types raise
        raise CheckpointError(
            "transformers does not accept it",
            where=where,
            found=(str(failure).strip() or type(failure).__name__).splitlines()[0],
        ) from failure
    return Described(family=family, config=config, fields=fields, where=where)


def parse_config(content: bytes, *, pooling: Pooling, where: Path) -> BertConfig:
    """The encoder of a `config.json` with a linear classifier on its pooled states.

    Raises `CheckpointError` as `describe` and `dimensions` do.
    """
    return dimensions(describe(content, where=where), pooling=pooling)


def dimensions(
    described: Described,
    *,
    pooling: Pooling,
    head: BertHead = "sequence_classification",
    own_head: bool = False,
    normalized: bool = False,
) -> BertConfig:
    """The dimensions of the encoder and of `head`.

    With `own_head` the classifier is the family's, with the dense layer that it has before it;
    without, it is linear. Raises `CheckpointError` naming a field that is not a size, or sizes that
    do not go together.
    """
    family, config, where = described.family, described.config, described.where
    sizes: dict[str, Any] = {}
    for name, usual in _SIZES.items():
        field = family.fields.get(name, usual)
        sizes[name] = 0 if field is None else _size(config, field, where)
    for field in _MORE_SIZES:
        if hasattr(config, field):
            _size(config, field, where)
    act = _activation(described)
    if family.name != "mobilebert" and sizes["hidden_size"] % sizes["attention_heads"]:
        heads = family.fields.get("attention_heads", "num_attention_heads")
        raise CheckpointError(
            f"{heads} does not divide {family.fields.get('hidden_size', 'hidden_size')}",
            where=where,
            found=f"{sizes['attention_heads']} heads of {sizes['hidden_size']}",
        )
    skipped = family.first_position(config)
    fields: dict[str, Any] = sizes | {
        "hidden_act": act,
        "layer_norm_eps": float(family.layer_norm_eps or config.layer_norm_eps),
        "pooling": pooling,
        "family": family.name,
        "head": head,
        "normalized": normalized,
        "tied_decoder": bool(getattr(config, "tie_word_embeddings", True)),
        "max_position_embeddings": sizes["max_position_embeddings"] - skipped,
    }
    fields |= family.extra_fields(config)
    if head == "masked_lm":
        fields["head_act"] = family.word_act or act
    elif head == "sequence_classification" and own_head:
        fields["head_act"] = family.class_act(config)
    answer = BertConfig(**fields)
    check_config(answer, where=str(where))
    return answer


def _activation(described: Described) -> Literal["gelu", "gelu_new", "relu"]:
    field = described.family.fields.get("hidden_act") or "hidden_act"
    name = getattr(described.config, field)
    if name not in _ACTIVATIONS:
        raise CheckpointError(
            f"{field} is not supported",
            where=described.where,
            found=repr(name),
            expected=" or ".join(_ACTIVATIONS),
        )
    return _ACTIVATIONS[name]


def _check_layers(fields: dict[str, Any], where: Path) -> None:
    for field, value in fields.items():
        is_count = isinstance(value, int) and any(part in field for part in _LAYERS)
        if is_count and value > LAYERS_LIMIT:
            raise CheckpointError(
                f"{field} is too large", where=where, found=value, expected=f"<= {LAYERS_LIMIT}"
            )


def _size(config: Any, field: str, where: Path) -> int:
    size = getattr(config, field)
    if not isinstance(size, int) or not 1 <= size <= SIZE_LIMIT:
        raise CheckpointError(
            f"{field} is not a size", where=where, found=size, expected=f"1 to {SIZE_LIMIT}"
        )
    return size


def _require(where: Path, field: str, actual: object, expected: object) -> None:
    # JSON has no empty pruned_heads but {} and null, which mean the same.
    if actual != expected and (actual or expected):
        raise CheckpointError(
            f"{field} is not supported",
            where=where,
            found=repr(actual),
            expected=repr(expected),
            fix="choose a checkpoint of the plain BERT family",
        )
