"""Loads a model from anything that can be converted."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edgeseq.errors import CheckpointError, InputError
from edgeseq.formats.storage import check_path
from edgeseq.formats.trained_model import (
    TrainedModel,
    read_model_folder,
)
from edgeseq.progress import ProgressCallback, no_progress
from edgeseq_converters.models import read as network_files
from edgeseq_converters.models.huggingface.checkpoint import (
    HeadName,
    is_checkpoint,
    names_checkpoint,
    read_model,
)
from edgeseq_converters.models.network import Network

ACCEPTED = (
    "a trained-model folder (with model.json), as `edgeseq train` writes it, "
    f"{network_files.ACCEPTED}, or a Hugging Face checkpoint"
)
# Named in the refusal.
_UNREADABLE_SUFFIXES = {
    ".pkl": "a pickle, which can hold code",
    ".tflite": "a .tflite file that was converted already",
}


class ImportOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What completes a model from elsewhere.

    `tokenizer` (a `tokenizers` file, or a vocabulary of Keras) and `description` (the layers of
    PyTorch weights) are for recurrent networks, `head` for Hugging Face checkpoints; `max_tokens`
    is the longest text of either; `name` renames any model. `same_inputs`: a Keras model with
    several inputs is given the same in each.
    """

    name: str | None = None
    tokenizer: Path | None = None
    description: Path | None = None
    max_tokens: int | None = None
    same_inputs: bool = False
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
    check_path(source, error=CheckpointError)
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
    """Reads the model at `source`: a trained-model folder, a Keras, PyTorch or ONNX file with an
    LSTM or GRU, a Hugging Face folder or hub id.

    Raises `CheckpointError` saying what was found and what is accepted, or which layer cannot be
    converted and why; `InputError` for options that do not apply to the kind of source; and
    `FetchError` when the hub does not give the checkpoint.
    """
    check_source(source)
    if (source / "model.json").is_file():
        _refuse_options(source, options)
        model = read_model_folder(source)
        if options.name is not None:
            manifest = msgspec.structs.replace(model.manifest, name=options.name)
            model = msgspec.structs.replace(model, manifest=manifest)
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
    network = network_files.read_network(
        source, description=options.description, same_inputs=options.same_inputs
    )
    return ImportedModel(source, network, options)


def _refuse_options(source: Path, options: ImportOptions) -> None:
    for name in ("tokenizer", "description", "max_tokens", "same_inputs"):
        if getattr(options, name) not in (None, False):
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
