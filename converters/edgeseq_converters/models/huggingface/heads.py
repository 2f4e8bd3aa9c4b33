"""What a checkpoint answers: from its architecture, or its files of sentence-transformers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, cast, get_args

import msgspec

from edgeseq.errors import CheckpointError, InputError
from edgeseq.formats.trained_model import BertHead
from edgeseq_converters.models.huggingface.config import Described, Pooling
from edgeseq_converters.models.huggingface.files import Files, inside

HeadName = Literal[
    "auto", "sequence_classification", "token_classification", "masked_lm", "feature_extraction"
]

_ARCHITECTURES: tuple[tuple[str, BertHead], ...] = (
    ("ForSequenceClassification", "sequence_classification"),
    ("ForTokenClassification", "token_classification"),
    ("ForMaskedLM", "masked_lm"),
    ("Model", "feature_extraction"),
)
"""Endings of `architectures` in config.json, and the head that each has."""


class Head(msgspec.Struct, frozen=True):
    """A head: what it answers, how states are pooled, whether an embedding has length 1, and the
    longest text that the checkpoint's own files allow (None: as long as there are positions)."""

    kind: BertHead
    pooling: Pooling
    normalized: bool
    labels: tuple[str, ...]
    max_tokens: int | None


def check_head(name: str) -> HeadName:
    """`name` as the name of a head; raises `InputError` listing the known ones."""
    for known in get_args(HeadName):
        if name == known:
            return cast(HeadName, known)
    raise InputError(
        "unknown head", found=repr(name), expected=" or ".join(get_args(HeadName)), fix="name one"
    )


def choose_head(described: Described, files: Files, requested: HeadName = "auto") -> Head:
    """The head that `wanted` names, or with `auto` the one that the checkpoint was made with.

    A sentence embedding is pooled as the checkpoint's `modules.json` says; without one by the
    mean, with any length. Raises `CheckpointError` naming field, found and expected when the
    checkpoint has another head, or pools in a way that the graphs do not.
    """
    kind = _kind(described, files) if requested == "auto" else requested
    pooling: Pooling = "cls"
    normalized = False
    if kind == "feature_extraction":
        pooling, normalized = _sentence(files)
    labels: tuple[str, ...] = ()
    if kind in ("sequence_classification", "token_classification"):
        # transformers fills it in: LABEL_0 and LABEL_1 where the file names none.
        names = described.config.id2label
        labels = tuple(str(names[number]) for number in sorted(names))
        if sorted(names) != list(range(len(names))) or len(set(labels)) != len(labels):
            raise CheckpointError(
                "id2label does not number different labels from 0",
                where=described.where,
                found=str(names)[:200],
            )
    return Head(kind, pooling, normalized, labels, _max_tokens(files))


def _kind(described: Described, files: Files) -> BertHead:
    names = described.fields.get("architectures") or []
    for name in names:
        for ending, kind in _ARCHITECTURES:
            if str(name).endswith(ending):
                return kind
    if not names and files.has("modules.json"):
        return "feature_extraction"
    raise CheckpointError(
        "architectures is not supported",
        where=described.where,
        found=repr(names),
        expected=" or ".join(f"…{ending}" for ending, _ in _ARCHITECTURES),
        fix=f"name the head: {' or '.join(get_args(HeadName)[1:])}",
    )


def _sentence(files: Files) -> tuple[Pooling, bool]:
    """Pooling and normalization as the files of sentence-transformers say."""
    if not files.has("modules.json"):
        return "mean", False
    where = files.where / "modules.json"
    pooling: Pooling = "mean"
    normalized = False
    for module in files.read_json("modules.json", list[dict[str, Any]]):
        kind = str(module.get("type", "")).rsplit(".", 1)[-1]
        if kind == "Transformer":
            continue
        if kind == "Pooling":
            folder = inside(module.get("path"), where=where)
            pooling = _pooling(files, f"{folder}/config.json")
        elif kind == "Normalize":
            normalized = True
        else:
            raise CheckpointError(
                "has a module that is not supported",
                where=where,
                found=kind,
                expected="Transformer, Pooling, Normalize",
            )
    return pooling, normalized


def _pooling(files: Files, name: str) -> Pooling:
    settings: Mapping[str, Any] = files.read_json(name)
    modes = [
        field.removeprefix("pooling_mode_")
        for field, value in settings.items()
        if field.startswith("pooling_mode_") and value is True
    ]
    if isinstance(settings.get("pooling_mode"), str):
        modes = [settings["pooling_mode"]]
    kinds: dict[str, Pooling] = {
        "mean_tokens": "mean",
        "cls_token": "cls",
        "mean": "mean",
        "cls": "cls",
    }
    if len(modes) != 1 or modes[0] not in kinds:
        raise CheckpointError(
            "pooling mode is not supported",
            where=files.where / name,
            found=", ".join(modes) or "none",
            expected="mean_tokens or cls_token",
        )
    return kinds[modes[0]]


def _max_tokens(files: Files) -> int | None:
    """The smallest sound limit among the checkpoint's own files."""
    limits = []
    for name, field in (
        ("sentence_bert_config.json", "max_seq_length"),
        ("tokenizer_config.json", "model_max_length"),
    ):
        value = files.read_json(name).get(field) if files.has(name) else None
        # Tokenizers without a limit have int(1e30).
        if isinstance(value, int) and 1 < value < 1_000_000:
            limits.append(value)
    return min(limits, default=None)


def short_name(source: str) -> str:
    """A model's name made of a folder's or hub id's last part: letters, digits, `.`, `_`, `-`."""
    source = source.partition("@")[0] or source
    return re.sub(r"[^\w.-]+", "-", source.rstrip("/\\").replace("\\", "/").rsplit("/", 1)[-1])
