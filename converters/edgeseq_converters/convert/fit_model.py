"""Fits a loaded model to a data set: its task, labels and vocabulary."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from edgeseq.errors import CheckpointError, DataError, InputError
from edgeseq.formats.storage import sha256_file
from edgeseq.formats.trained_model import ModelManifest, TrainedModel, not_trained_here
from edgeseq.tasks.examples import AnyDataset
from edgeseq.tasks.registry import task_of
from edgeseq_converters.convert.choose_padding import (
    choose_padding,
    refuse_padding,
    with_padding,
)
from edgeseq_converters.convert.import_model import ImportedModel
from edgeseq_converters.convert.plan import ConversionOptions
from edgeseq_converters.models.arrays import vocabulary_size
from edgeseq_converters.models.keras.vocabularies import read_vocabulary
from edgeseq_converters.models.network import Network, TextInput
from edgeseq_converters.models.network_layers import Activation, Dense, FloatInput
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


class FittedModel(msgspec.Struct, frozen=True):
    """A model of the data set's task, what trimming did to its vocabulary, and the scores that its
    padding was chosen by, if it was."""

    model: TrainedModel
    vocabulary: VocabularyTrim
    padding_scores: dict[str, float] = {}


def fit_to_dataset(
    imported: ImportedModel, dataset: AnyDataset, options: ConversionOptions
) -> FittedModel:
    """The model as a trained model of the data set's task, with its labels, trimmed if asked.

    Raises `CheckpointError` when the model does not fit the task or its labels, `InputError` when
    it has no tokenizer, and `DataError` for data of other labels or without test examples.
    """
    model = imported.model
    if isinstance(model, Network):
        if isinstance(model.input, FloatInput):
            refuse_padding(options.padding, where=imported.source)
            model = _sequence_model(model, imported, dataset)
            _check_dataset(dataset, model)
            return FittedModel(*_trim(model, dataset, options))
        text_input = _text_input(model, imported)
        model = _classifier(model, text_input, imported, dataset)
        _check_dataset(dataset, model)
        max_tokens = imported.options.max_tokens
        chosen = choose_padding(model, text_input, options.padding, dataset, max_tokens=max_tokens)
        model = with_padding(model, chosen.padding)
        return FittedModel(*_trim(model, dataset, options), chosen.scores)
    refuse_padding(options.padding, where=imported.source)
    if not imported.is_trained_here:
        model = _fit_checkpoint(model, imported.source, dataset)
    _check_dataset(dataset, model)
    return FittedModel(*_trim(model, dataset, options))


def _fit_checkpoint(model: TrainedModel, source: Path, dataset: AnyDataset) -> TrainedModel:
    """The checkpoint's classes under the data's names (`LABEL_0`, … tell nothing) and in the data's
    order.

    Raises `CheckpointError` for a head or a `problem_type` of another task.
    """
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
    trained_for = model.manifest.task
    if trained_for and task_of(trained_for).is_multilabel != task_of(dataset.task).is_multilabel:
        raise CheckpointError(
            "was trained for another task, as its problem_type says",
            where=source,
            found=trained_for,
            expected=dataset.task,
            fix=f"name data for it, or add --task {trained_for}",
        )
    labels = model.manifest.labels
    numbered = tuple(f"LABEL_{index}" for index in range(len(dataset.labels)))
    if tuple(label.upper() for label in labels) == numbered:
        labels = dataset.labels
    model = _with_manifest(model, task=dataset.task, labels=labels)
    is_other_order = labels != dataset.labels and sorted(labels) == sorted(dataset.labels)
    return _with_labels_as(model, dataset.labels) if is_other_order else model


def _with_labels_as(model: TrainedModel, labels: tuple[str, ...]) -> TrainedModel:
    """The model with its classes in the order of `labels`, which are its own."""
    order = [model.manifest.labels.index(label) for label in labels]
    classifier = {
        name: np.ascontiguousarray(model.weights[name][order])
        for name in ("classifier.weight", "classifier.bias")
    }
    model = msgspec.structs.replace(model, weights={**model.weights, **classifier})
    return _with_manifest(model, labels=labels)


def _text_input(network: Network, imported: ImportedModel) -> TextInput:
    """What is known of the network's texts, by its own file and by that of its tokenizer.

    Raises `InputError` without a tokenizer, `CheckpointError` for one that cannot be read or pads
    to a length that the network does not take.
    """
    own, path = network.text_input, imported.options.tokenizer
    if path is None:
        if own.tokenizer_json is not None:
            return own
        raise InputError(
            "a bundle needs the model's tokenizer",
            where=imported.source,
            fix="name it with --tokenizer (tokenizer.json, or Keras' own vocabulary), or convert "
            "to --out MODEL.tflite",
        )
    if own.tokenizer_json is not None:
        raise InputError(
            "the model holds its own vocabulary",
            where=imported.source,
            found=f"--tokenizer {path}",
            fix="remove it",
        )
    named = read_vocabulary(path, network.embedding.vocabulary_size)
    lengths = {length for length in (own.length, named.length) if length is not None}
    if len(lengths) > 1:
        raise CheckpointError(
            "pads to a length that the model does not take",
            where=path,
            found=named.length,
            expected=own.length,
        )
    return replace(named, length=own.length or named.length)


def _classifier(
    network: Network, text_input: TextInput, imported: ImportedModel, dataset: AnyDataset
) -> TrainedModel:
    """The network as a trained model, its classes in the order of the data's labels."""
    if dataset.rows is not None:
        raise DataError(
            "holds numeric sequences, and the model takes token ids",
            where=dataset.name,
            fix="name the texts that the model was trained on with --data",
        )
    with_task_logits = with_label_logits if task_of(dataset.task).is_multilabel else with_logits
    return _trained_model(
        with_task_logits(network),
        imported,
        dataset,
        max_tokens=imported.options.max_tokens or text_input.length or DEFAULT_MAX_TOKENS,
        tokenizer_json=text_input.tokenizer_json or "",
    )


def _sequence_model(network: Network, imported: ImportedModel, dataset: AnyDataset) -> TrainedModel:
    """The network over numbers as a trained model, its outputs in the order of the data's labels;
    numbers to predict are its outputs as they are."""
    if dataset.rows is None:
        raise DataError(
            "holds texts, and the model takes numeric sequences",
            where=dataset.name,
            fix="name the sequences with --data (.npz with x and y, or a table with --window)",
        )
    for name in ("tokenizer", "max_tokens"):
        if getattr(imported.options, name) is not None:
            raise InputError(
                f"--{name.replace('_', '-')} is for models that read texts",
                where=imported.source,
                fix="remove it",
            )
    if task_of(dataset.task).head == "sequence-classification" or network.per_token:
        network = with_logits(network)
    parts = (dataset.train, dataset.dev, dataset.test)
    longest = max(example.steps for part in parts for example in part)
    return _trained_model(network, imported, dataset, max_tokens=longest, tokenizer_json="")


def _trained_model(
    network: Network,
    imported: ImportedModel,
    dataset: AnyDataset,
    *,
    max_tokens: int,
    tokenizer_json: str,
) -> TrainedModel:
    source, name = imported.source, imported.options.name
    if network.outputs != len(dataset.labels):
        fix = "name the data that the model was trained on with --data"
        if dataset.rows is not None:
            fix += "; y holds floats where numbers are predicted, whole numbers where classes are"
        raise CheckpointError(
            "the number of outputs is not that of the labels",
            where=source,
            found=network.outputs,
            expected=f"{len(dataset.labels)} ({', '.join(dataset.labels)})",
            fix=fix,
        )
    config, arrays = network_to_folder(network)
    file = source if source.is_file() else source / "saved_model.pb"
    manifest = ModelManifest(
        name=name or source.stem,
        task=dataset.task,
        arch=network.arch,
        labels=dataset.labels,
        max_tokens=max_tokens,
        training=not_trained_here(f"{source.name} (sha256 {sha256_file(file)})"),
        network=config,
    )
    return TrainedModel(manifest, dict(arrays), tokenizer_json)


def with_logits(network: Network) -> Network:
    """The same classifier with logits as outputs: a last softmax is removed, and a single sigmoid
    output z becomes the two logits (0, z), whose softmax is (1 − σ(z), σ(z)).

    Raises `CheckpointError` for a network with outputs per token.
    """
    _check_per_text(network)
    *layers, last = network.layers
    if isinstance(last, Activation) and last.function == "softmax":
        return _without_activation(network)
    if isinstance(last, Dense) and last.function == "softmax":
        last = replace(last, function="linear")
    elif isinstance(last, Dense) and last.function == "sigmoid" and last.bias.size == 1:
        kernel = np.concatenate([np.zeros_like(last.kernel), last.kernel], axis=1)
        bias = np.concatenate([np.zeros(1, np.float32), last.bias])
        last = Dense(last.name, kernel, bias)
    return replace(network, layers=(*layers, last))


def with_label_logits(network: Network) -> Network:
    """The same classifier of any number of labels per text with logits as outputs: a last sigmoid
    is removed.

    Raises `CheckpointError` for a network with outputs per token, and for outputs that are not a
    probability or logit of each label by itself.
    """
    _check_per_text(network)
    *layers, last = network.layers
    if not isinstance(last, (Activation, Dense)) or last.function == "linear":
        return network
    if last.function != "sigmoid":
        raise CheckpointError(
            "does not have an output for each label by itself",
            where=f"{network.name}, layer {last.name}",
            found=last.function,
            expected="sigmoid, or no activation",
            fix="name data with one label per text (--task text-classification)",
        )
    if isinstance(last, Activation):
        return _without_activation(network)
    return replace(network, layers=(*layers, replace(last, function="linear")))


def _without_activation(network: Network) -> Network:
    """The network without its last layer's function, by element or over the features."""
    *layers, last = network.layers
    if isinstance(last, Activation) and last.name in network.fed_by:
        return replace(network, layers=(*layers, replace(last, function="linear")))
    return replace(network, layers=tuple(layers))


def _check_per_text(network: Network) -> None:
    if network.per_token:
        raise CheckpointError(
            "has outputs for each token, not for the text",
            where=network.name,
            fix="convert it to a bare file: --out MODEL.tflite",
        )


def _trim(
    model: TrainedModel, dataset: AnyDataset, options: ConversionOptions
) -> tuple[TrainedModel, VocabularyTrim]:
    rows = vocabulary_size(model)
    if not options.trim_vocabulary:
        return model, VocabularyTrim(rows, rows)
    if dataset.rows is not None:
        raise InputError("a model of numbers has no vocabulary to trim", fix="remove --trim-vocab")
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
