"""From whatever a user names to a trained-model folder that can be converted."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from edgeseq.errors import CheckpointError, InputError
from edgeseq.formats.trained_model import TrainedModel, read_model_folder, write_model_folder
from edgeseq.progress import ProgressCallback, no_progress
from edgeseq.tasks.examples import AnyDataset
from edgeseq.tasks.registry import task_of
from edgeseq_converters.convert.foreign import classifier
from edgeseq_converters.convert.sources import refuse
from edgeseq_converters.models import read as importers
from edgeseq_converters.models.arrays import vocabulary_size
from edgeseq_converters.models.huggingface.checkpoint import is_checkpoint, read_model
from edgeseq_converters.models.trim_encoder import trim_model
from edgeseq_converters.models.trim_recurrent import trim_trained
from edgeseq_converters.models.vocabulary import changed_tokenization


class Wanted(msgspec.Struct, frozen=True):
    """What a foreign model lacks to become a bundle, and what is to be changed before converting.

    `tokenizer` (a `tokenizers` file) and `description` (the layers of PyTorch weights) are for
    recurrent networks; `name` and `max_tokens` for every foreign model; `trim_vocabulary` drops
    the tokens that the training texts of the data use fewer than `min_piece_count` times.
    """

    name: str | None = None
    tokenizer: Path | None = None
    description: Path | None = None
    max_tokens: int | None = None
    trim_vocabulary: bool = False
    min_piece_count: int = 1


class Prepared(msgspec.Struct, frozen=True):
    """A trained-model folder, the rows of its table before and after trimming, and how many of
    the development texts are split into other tokens since (their answers may differ)."""

    path: Path
    name: str
    rows_before: int
    rows_after: int
    split_otherwise: int = 0


@contextmanager
def prepared(
    source: Path, dataset: AnyDataset, wanted: Wanted, *, progress: ProgressCallback = no_progress
) -> Iterator[Prepared]:
    """The folder that `source` is, or a temporary one that it was imported or trimmed into.

    Raises `CheckpointError` for what cannot be read or does not fit the data, and `InputError`
    for settings that do not go with the kind of source.
    """
    model = read_any(source, dataset, wanted, progress=progress)
    before, other = vocabulary_size(model), 0
    unchanged = not wanted.trim_vocabulary and wanted.name is None
    if (source / "model.json").is_file() and unchanged:
        yield Prepared(source, model.manifest.name, before, before)
        return
    if wanted.trim_vocabulary:
        # Of the training texts alone: what a test text needs must not be known beforehand.
        trim = trim_model if model.manifest.arch == "bert" else trim_trained
        whole = model.tokenizer_json
        texts = [example.text for example in dataset.train]
        model = trim(model, texts, min_count=wanted.min_piece_count)
        dev = [example.text for example in dataset.dev]
        other = changed_tokenization(whole, model.tokenizer_json, dev)
    if wanted.name is not None:
        manifest = msgspec.structs.replace(model.manifest, name=wanted.name)
        model = msgspec.structs.replace(model, manifest=manifest)
    with tempfile.TemporaryDirectory(prefix="edgeseq-import-") as folder:
        path = Path(folder) / source.name
        write_model_folder(path, model)
        yield Prepared(path, model.manifest.name, before, vocabulary_size(model), other)


def read_any(
    source: Path, dataset: AnyDataset, wanted: Wanted, *, progress: ProgressCallback = no_progress
) -> TrainedModel:
    """The model at `source`: a trained-model folder, a Hugging Face checkpoint, or a file with an
    LSTM or GRU, as a trained model.

    Raises `CheckpointError` and `InputError` as `prepared` does.
    """
    if (source / "model.json").is_file():
        for name in ("tokenizer", "description", "max_tokens"):
            if getattr(wanted, name) is not None:
                raise InputError(
                    f"--{name.replace('_', '-')} is for models from elsewhere",
                    where=source,
                    found="a trained-model folder",
                    fix="leave it out",
                )
        return read_model_folder(source)
    if importers.reads(source) and not is_checkpoint(source):
        network = importers.read_network(source, description=wanted.description)
        if wanted.tokenizer is None:
            raise InputError(
                "a bundle needs the model's tokenizer",
                where=source,
                fix="name its tokenizer.json with --tokenizer, or convert to --out MODEL.tflite",
            )
        return classifier(
            network,
            source=source,
            task=dataset.task,
            labels=dataset.labels,
            tokenizer=wanted.tokenizer,
            max_tokens=wanted.max_tokens,
        )
    if source.exists() and not is_checkpoint(source):
        refuse(source)
    model = read_model(
        str(source),
        task=dataset.task,
        name=wanted.name,
        max_tokens=wanted.max_tokens,
        progress=progress,
    )
    return _with_labels(model, dataset, source)


def _with_labels(model: TrainedModel, dataset: AnyDataset, source: Path) -> TrainedModel:
    """The checkpoint's classes under the data's names: `LABEL_0`, … tell nothing."""
    labels = model.manifest.labels
    by_word = task_of(dataset.task).head == "token-classification"
    wanted = "token_classification" if by_word else "sequence_classification"
    if model.manifest.bert is not None and model.manifest.bert.head != wanted:
        raise CheckpointError(
            "does not answer what the task asks",
            where=source,
            found=f"a head for {model.manifest.bert.head}",
            expected=f"a head for {'token' if by_word else 'sequence'} classification",
            fix="fine-tune it first: edgeseq train --arch bert --checkpoint",
        )
    numbered = tuple(f"LABEL_{number}" for number in range(len(dataset.labels)))
    if tuple(label.upper() for label in labels) == numbered:
        manifest = msgspec.structs.replace(model.manifest, labels=dataset.labels)
        return msgspec.structs.replace(model, manifest=manifest)
    return model
