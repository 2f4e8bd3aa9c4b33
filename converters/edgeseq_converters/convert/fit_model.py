"""Fits a loaded model to a data set: its task, labels and vocabulary."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from edgeseq.errors import CheckpointError, DataError, InputError
from edgeseq.formats.storage import read_bytes, sha256_file
from edgeseq.formats.trained_model import ModelManifest, TrainedModel, not_trained_here
from edgeseq.tasks.examples import AnyDataset
from edgeseq.tasks.registry import task_of
from edgeseq_converters.convert.import_model import ImportedModel, ImportOptions
from edgeseq_converters.convert.plan import ConversionOptions
from edgeseq_converters.models.arrays import vocabulary_size
from edgeseq_converters.models.network import Activation, Dense, Network
from edgeseq_converters.models.stored_network import network_to_folder
from edgeseq_converters.models.trim_encoder import trim_model
from edgeseq_converters.models.trim_recurrent import trim_trained
from edgeseq_converters.models.vocabulary import changed_tokenization

DEFAULT_MAX_TOKENS = 256


class VocabularyTrim(msgspec.Struct, frozen=True):
    """Rows of the embedding table before and after trimming, and how many of the development texts
    are tokenized differently since (their predictions may differ)."""

    rows_before: int
    rows_after: int
    changed_tokenization: int = 0


def fit_to_dataset(
    imported: ImportedModel, dataset: AnyDataset, options: ConversionOptions
) -> tuple[TrainedModel, VocabularyTrim]:
    """The model as a trained model of the data set's task, with its labels, trimmed if asked.

    Raises `CheckpointError` when the model does not fit the task or its labels, `InputError` when
    it has no tokenizer, and `DataError` for data of other labels or without test examples.
    """
    model = imported.model
    if isinstance(model, Network):
        model = _classifier(model, imported.source, imported.options, dataset)
    elif not imported.is_trained_here:
        model = _fit_checkpoint(model, imported.source, dataset)
    _check_dataset(dataset, model)
    return _trim(model, dataset, options)


def _fit_checkpoint(model: TrainedModel, source: Path, dataset: AnyDataset) -> TrainedModel:
    """The checkpoint's classes under the data's names: `LABEL_0`, … tell nothing."""
    by_word = task_of(dataset.task).head == "token-classification"
    head = "token_classification" if by_word else "sequence_classification"
    if model.manifest.bert is not None and model.manifest.bert.head != head:
        raise CheckpointError(
            "does not have the head that the task needs",
            where=source,
            found=f"a head for {model.manifest.bert.head}",
            expected=f"a head for {'token' if by_word else 'sequence'} classification",
            fix="fine-tune it first: edgeseq train --arch bert --checkpoint",
        )
    labels = model.manifest.labels
    numbered = tuple(f"LABEL_{index}" for index in range(len(dataset.labels)))
    if tuple(label.upper() for label in labels) == numbered:
        labels = dataset.labels
    return _with_manifest(model, task=dataset.task, labels=labels)


def _classifier(
    network: Network, source: Path, options: ImportOptions, dataset: AnyDataset
) -> TrainedModel:
    """The network as a trained model, its classes in the order of the data's labels."""
    if options.tokenizer is None:
        raise InputError(
            "a bundle needs the model's tokenizer",
            where=source,
            fix="name its tokenizer.json with --tokenizer, or convert to --out MODEL.tflite",
        )
    network = with_logits(network)
    if network.outputs != len(dataset.labels):
        raise CheckpointError(
            "the number of outputs is not that of the labels",
            where=source,
            found=network.outputs,
            expected=f"{len(dataset.labels)} ({', '.join(dataset.labels)})",
            fix="name the data that the model was trained on with --data",
        )
    config, arrays = network_to_folder(network)
    file = source if source.is_file() else source / "saved_model.pb"
    manifest = ModelManifest(
        name=options.name or source.stem,
        task=dataset.task,
        arch="lstm",
        labels=dataset.labels,
        max_tokens=options.max_tokens or DEFAULT_MAX_TOKENS,
        training=not_trained_here(f"{source.name} (sha256 {sha256_file(file)})"),
        network=config,
    )
    tokenizer = read_bytes(options.tokenizer, error=CheckpointError)
    return TrainedModel(manifest, dict(arrays), tokenizer.decode("utf-8", errors="replace"))


def with_logits(network: Network) -> Network:
    """The same classifier with logits as outputs: a last softmax is removed, and a single sigmoid
    output z becomes the two logits (0, z), whose softmax is (1 − σ(z), σ(z)).

    Raises `CheckpointError` for a network with outputs per token.
    """
    if network.per_token:
        raise CheckpointError(
            "has outputs for each token, not for the text",
            where=network.name,
            fix="convert it to a bare file: --out MODEL.tflite",
        )
    *layers, last = network.layers
    if isinstance(last, Activation) and last.function == "softmax":
        return replace(network, layers=tuple(layers))
    if isinstance(last, Dense) and last.function == "softmax":
        last = replace(last, function="linear")
    elif isinstance(last, Dense) and last.function == "sigmoid" and last.bias.size == 1:
        kernel = np.concatenate([np.zeros_like(last.kernel), last.kernel], axis=1)
        bias = np.concatenate([np.zeros(1, np.float32), last.bias])
        last = Dense(last.name, kernel, bias)
    return replace(network, layers=(*layers, last))


def _trim(
    model: TrainedModel, dataset: AnyDataset, options: ConversionOptions
) -> tuple[TrainedModel, VocabularyTrim]:
    rows = vocabulary_size(model)
    if not options.trim_vocabulary:
        return model, VocabularyTrim(rows, rows)
    # Of the training texts alone: what a test text needs must not be known beforehand.
    trim = trim_model if model.manifest.arch == "bert" else trim_trained
    texts = [example.text for example in dataset.train]
    trimmed = trim(model, texts, min_count=options.min_piece_count)
    dev_texts = [example.text for example in dataset.dev]
    changed = changed_tokenization(model.tokenizer_json, trimmed.tokenizer_json, dev_texts)
    return trimmed, VocabularyTrim(rows, vocabulary_size(trimmed), changed)


def _check_dataset(dataset: AnyDataset, model: TrainedModel) -> None:
    if dataset.labels != model.manifest.labels:
        raise DataError(
            f"its labels are not those of the model {model.manifest.name}",
            where=dataset.name,
            found=", ".join(dataset.labels),
            expected=", ".join(model.manifest.labels),
            fix="name the data that the model was trained on",
        )
    if not dataset.test:
        raise DataError("has no test examples to score on a device", where=dataset.name)


def _with_manifest(model: TrainedModel, **fields: object) -> TrainedModel:
    manifest = msgspec.structs.replace(model.manifest, **fields)
    return msgspec.structs.replace(model, manifest=manifest)
