"""Loads a model from anything that can be converted, and fits it to a data set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from edgeseq.errors import CheckpointError, InputError
from edgeseq.formats.storage import read_bytes, sha256_file
from edgeseq.formats.trained_model import (
    ModelManifest,
    TrainedModel,
    not_trained_here,
    read_model_folder,
)
from edgeseq.progress import ProgressCallback, no_progress
from edgeseq.tasks.examples import AnyDataset
from edgeseq.tasks.registry import task_of
from edgeseq_converters.models import read as network_files
from edgeseq_converters.models.huggingface.checkpoint import (
    HeadName,
    is_checkpoint,
    names_checkpoint,
    read_model,
)
from edgeseq_converters.models.network import Activation, Dense, Network
from edgeseq_converters.models.stored_network import network_to_folder

DEFAULT_MAX_TOKENS = 256
ACCEPTED = (
    "a trained-model folder (with model.json), as `edgeseq train` writes it, "
    f"{network_files.ACCEPTED}, or a Hugging Face checkpoint"
)
# Named in the refusal.
_UNREADABLE_SUFFIXES = {
    ".onnx": "an ONNX file",
    ".pkl": "a pickle, which can hold code",
    ".tflite": "a .tflite file that was converted already",
}


class ImportOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a model from elsewhere lacks.

    `tokenizer` (a `tokenizers` file) and `description` (the layers of PyTorch weights) are for
    recurrent networks, `head` for Hugging Face checkpoints; `max_tokens` is the longest text of
    either; `name` renames any model.
    """

    name: str | None = None
    tokenizer: Path | None = None
    description: Path | None = None
    max_tokens: int | None = None
    head: HeadName = "auto"


class ImportedModel(msgspec.Struct, frozen=True):
    """A model in memory: a trained model, or the bare network of a Keras or PyTorch file.

    `is_trained_here`: it comes from a trained-model folder, with its task, labels and data.
    """

    source: Path
    model: TrainedModel | Network
    options: ImportOptions = ImportOptions()
    is_trained_here: bool = False


def check_source(source: Path) -> None:
    """Raises `CheckpointError` saying what is at `source` and what is accepted, going by its kind
    alone."""
    is_folder = (source / "model.json").is_file()
    if not (is_folder or network_files.reads(source) or names_checkpoint(source)):
        raise CheckpointError(
            "cannot be converted",
            where=source,
            found=_kind(source),
            expected=ACCEPTED,
            fix="train the model with `edgeseq train`, or save it as .keras",
        )


def load_model(
    source: Path,
    options: ImportOptions = ImportOptions(),  # noqa: B008 - frozen
    *,
    progress: ProgressCallback = no_progress,
) -> ImportedModel:
    """Reads the model at `source`: a trained-model folder, a Keras or PyTorch file with an LSTM or
    GRU, a Hugging Face folder or hub id.

    Raises `CheckpointError` saying what was found and what is accepted, or which layer cannot be
    converted and why; `InputError` for options that do not apply to the kind of source; and
    `FetchError` when the hub does not give the checkpoint.
    """
    check_source(source)
    if (source / "model.json").is_file():
        _refuse_options(source, options)
        model = read_model_folder(source)
        if options.name is not None:
            model = _with_manifest(model, name=options.name)
        return ImportedModel(source, model, options, is_trained_here=True)
    if is_checkpoint(source) or not network_files.reads(source):
        model = read_model(
            source.as_posix(),
            head=options.head,
            name=options.name,
            max_tokens=options.max_tokens,
            progress=progress,
        )
        return ImportedModel(source, model, options)
    network = network_files.read_network(source, description=options.description)
    return ImportedModel(source, network, options)


def _refuse_options(source: Path, options: ImportOptions) -> None:
    for name in ("tokenizer", "description", "max_tokens"):
        if getattr(options, name) is not None:
            raise InputError(
                f"--{name.replace('_', '-')} is for models from elsewhere",
                where=source,
                found="a trained-model folder",
                fix="remove it",
            )


def _kind(path: Path) -> str:
    if path.is_dir():
        is_bundle = (path / "bundle.json").is_file()
        return "a bundle that was converted already" if is_bundle else "another folder"
    if not path.exists():
        return "nothing"
    return _UNREADABLE_SUFFIXES.get(path.suffix.lower(), "another file")


def _with_manifest(model: TrainedModel, **fields: object) -> TrainedModel:
    manifest = msgspec.structs.replace(model.manifest, **fields)
    return msgspec.structs.replace(model, manifest=manifest)


def fit_to_dataset(imported: ImportedModel, dataset: AnyDataset) -> TrainedModel:
    """The model as a trained model of the data set's task, with its labels.

    Raises `CheckpointError` when the model does not fit the task or its labels, and `InputError`
    when it has no tokenizer.
    """
    model = imported.model
    if isinstance(model, Network):
        return _classifier(model, imported.source, imported.options, dataset)
    if imported.is_trained_here:
        return model
    return _fit_checkpoint(model, imported.source, dataset)


def _fit_checkpoint(model: TrainedModel, source: Path, dataset: AnyDataset) -> TrainedModel:
    """The checkpoint's classes under the data's names: `LABEL_0`, … tell nothing."""
    by_word = task_of(dataset.task).head == "token-classification"
    head = "token_classification" if by_word else "sequence_classification"
    if model.manifest.bert is not None and model.manifest.bert.head != head:
        raise CheckpointError(
            "has another head than the task needs",
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
            "has another number of outputs than the data has labels",
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
