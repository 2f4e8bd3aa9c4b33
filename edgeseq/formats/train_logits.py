"""A fine-tuned model's logits for its training texts: an LSTM is distilled from them directly.

    DIR/train_logits.safetensors   optional file of a trained-model folder

It holds one array `logits` [texts, labels] float32, in the order of the data set's train split, and
the text fields of `TrainLogits` as metadata, with `format_version` 1 and the `weights_sha256` of
`weights.safetensors`. A teacher's logits are read from it where the hashes of data set, texts and
weights match, and computed otherwise. The file may be removed.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from edgeseq.errors import CheckpointError
from edgeseq.formats.arrays import array_bytes, arrays_from_bytes, read_metadata
from edgeseq.formats.storage import read_bytes, sha256_file, write_bytes
from edgeseq.tasks.examples import Dataset

FILE_NAME = "train_logits.safetensors"
FORMAT_VERSION = "1"


class TrainLogits(msgspec.Struct, frozen=True):
    """Logits [texts, labels] of the train split, with the hashes that identify it.

    `data_sha256` is the data set's hash, `texts_sha256` that of the train split's texts in their
    order (`texts_sha256`).
    """

    data_sha256: str
    texts_sha256: str
    logits: Any


def of_data(data: Dataset, logits: Any) -> TrainLogits:
    """Logits [texts, labels] of the train part of `data`, in its order."""
    return TrainLogits(data.sha256, texts_sha256(example.text for example in data.train), logits)


def texts_sha256(texts: Iterable[str]) -> str:
    """SHA-256 over the texts in UTF-8, each after its length in bytes (64 bits, little-endian)."""
    digest = hashlib.sha256()
    for text in texts:
        content = text.encode("utf-8")
        digest.update(struct.pack("<Q", len(content)))
        digest.update(content)
    return digest.hexdigest()


def write_train_logits(folder: Path, stored: TrainLogits) -> None:
    """Writes the file into `folder`, which holds `weights.safetensors` already.

    Raises `OutputError` when it cannot be written.
    """
    metadata = {
        "format_version": FORMAT_VERSION,
        "data_sha256": stored.data_sha256,
        "texts_sha256": stored.texts_sha256,
        "weights_sha256": sha256_file(folder / "weights.safetensors"),
    }
    write_bytes(folder / FILE_NAME, array_bytes({"logits": stored.logits}, metadata))


def read_train_logits(folder: Path, data: Dataset) -> Any:
    """The logits [texts, labels] float32 that `folder` keeps for the train part of `data`.

    None without the file, or where it belongs to other data, texts or weights. Raises
    `CheckpointError` when the file is damaged or of an unknown version.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return None
    content = read_bytes(path, error=CheckpointError)
    fix = "remove it: the labels are computed then"
    arrays = arrays_from_bytes(content, where=path, fix=fix)
    try:
        metadata = read_metadata(content)
    except (msgspec.MsgspecError, ValueError) as failure:
        raise CheckpointError(
            "is not a safetensors file", where=path, found=str(failure), fix=fix
        ) from failure
    if metadata.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            "unknown format version",
            where=path,
            found=metadata.get("format_version"),
            expected=FORMAT_VERSION,
            fix="update edgeseq, or remove it: the labels are computed then",
        )
    expected_metadata = {
        "data_sha256": data.sha256,
        "texts_sha256": texts_sha256(example.text for example in data.train),
        "weights_sha256": sha256_file(folder / "weights.safetensors"),
    }
    if any(metadata.get(name) != value for name, value in expected_metadata.items()):
        return None
    logits = arrays.get("logits")
    expected = (len(data.train), len(data.labels))
    if logits is None or logits.shape != expected or logits.dtype.name != "float32":
        description = "none" if logits is None else f"{logits.dtype} {logits.shape}"
        raise CheckpointError(
            "holds no logits of these texts",
            where=path,
            found=description,
            expected=f"float32 {expected}",
            fix=fix,
        )
    if not (abs(logits) < float("inf")).all():  # NaN compares false
        raise CheckpointError("holds NaN or infinite logits", where=path, fix=fix)
    return logits
