"""A teacher's outputs for texts, kept by content for its next student and for a resumed one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, Protocol

import msgspec
import numpy as np

import edgeseq
from edgeseq.errors import CheckpointError
from edgeseq.formats.arrays import array_bytes, arrays_from_bytes
from edgeseq.formats.train_logits import texts_sha256
from edgeseq.formats.trained_model import TrainedModel
from edgeseq_converters.models.arrays import FloatArray

_ROWS = "rows"


class TeacherCache(Protocol):
    """Contents by key; what cannot be read or written costs time alone."""

    def read(self, key: str) -> bytes | None:
        """The content that was written under `key`, if it is there."""

    def write(self, key: str, content: bytes) -> None:
        """Keeps the content."""


def cached_rows(
    cache: TeacherCache | None,
    kind: Literal["logits", "tag_probabilities"],
    teacher: TrainedModel,
    texts: Sequence[str],
    compute: Callable[[], FloatArray],
) -> FloatArray:
    """What `compute` gives for the texts, one row each or (tags) one per word: read from `cache`
    if the same teacher was asked before."""
    if cache is None or not texts:
        return compute()
    key = _key(kind, teacher, texts)
    content = cache.read(key)
    if content is not None:
        rows = _rows(content, key)
        if rows is not None:
            return rows
    rows = compute()
    cache.write(key, array_bytes({_ROWS: rows}))
    return rows


def _rows(content: bytes, key: str) -> FloatArray | None:
    """None where the content is damaged."""
    try:
        rows = arrays_from_bytes(content, where=Path(key), fix="").get(_ROWS)
    except CheckpointError:
        return None
    if rows is None or rows.dtype != np.float32 or not np.isfinite(rows).all():
        return None
    kept: FloatArray = rows
    return kept


def _key(kind: str, teacher: TrainedModel, texts: Sequence[str]) -> str:
    """Hash of the texts, of what reads them (the manifest, the tokenizer and this version), and of
    the teacher's weights."""
    manifest = msgspec.json.encode(teacher.manifest, order="deterministic")
    identity = (kind, edgeseq.__version__, texts_sha256(texts))
    digest = hashlib.sha256(msgspec.json.encode((*identity, teacher.tokenizer_json)))
    digest.update(manifest)
    for name in sorted(teacher.weights):
        array = np.ascontiguousarray(teacher.weights[name])
        digest.update(f"{name} {array.dtype} {array.shape};".encode())
        digest.update(array.data)
    return digest.hexdigest()
