"""Bundles: what `convert` writes and a device runs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeseq.api.inspection import Inspection, inspect
from edgeseq.errors import BundleError
from edgeseq.formats.bundle_manifest import BundleManifest
from edgeseq.formats.bundle_zip import MANIFEST, open_bundle, pack_bundle
from edgeseq.formats.storage import new_folder
from edgeseq.html import html_table
from edgeseq.tasks.registry import task_of
from edgeseq.units import format_bytes
from edgeseq_benchmarks.bench.predictor import (
    Continuation,
    Prediction,
    SequencePrediction,
    continue_texts,
    predict,
)

_LANGUAGE_MODEL = "language-modeling"


@dataclass(frozen=True, repr=False)
class Bundle:
    """A converted model with its tokenizer, labels and test examples: a folder or a .zip.

    Attributes:
        path: The folder or .zip file.
        manifest: `bundle.json`: signature, fidelity to the float model, provenance.
        labels: The classes in the order of the model's outputs.
        size_bytes: What a device must store: model, tokenizer and labels.
    """

    path: Path
    manifest: BundleManifest
    labels: tuple[str, ...]
    size_bytes: int
    _folder: tempfile.TemporaryDirectory[str] | None = None

    @property
    def name(self) -> str:
        """The name in tables and results."""
        return self.manifest.name

    @property
    def recipe(self) -> str:
        """How weights and activations are quantized, such as `dynamic_wi8_afp32`."""
        return self.manifest.recipe

    @property
    def lowering(self) -> str:
        """How the network is written as operators, such as `loop`."""
        return self.manifest.lowering

    @property
    def head(self) -> str:
        """`text-classification`, `multilabel-classification`, `token-classification`,
        `language-modeling`, `sequence-classification` or `sequence-regression`."""
        return task_of(self.manifest.task).head

    def predict(self, texts: Sequence[str], *, threads: int = 1) -> list[Prediction]:
        """Predict the label of each text with the TFLite runtime, in a child process.

        Args:
            texts: The texts; those of the task `coref` mark the pronoun and two names.
            threads: Threads of the runtime.

        Returns:
            One prediction per text: `label`, and `scores`, the probability (0..1) of each label.
            With any number of labels per text, `labels` are those whose score reaches the bundle's
            threshold. A token classifier has `words`, `tags` and `tag_scores` instead of `scores`.

        Raises:
            DataError: A text is empty or lacks what the task needs.
            BundleError: The bundle is damaged, or is a language model (see `continue_texts`).

        Examples:
            >>> bundle.predict(["The battery died."])[0].label
            'negative'
        """

        if self.head == _LANGUAGE_MODEL:
            raise BundleError(
                "a language model has no labels to predict",
                where=self.path,
                fix="call continue_texts",
            )
        return list(predict(self.path, texts, threads=threads))

    def continue_texts(
        self, texts: Sequence[str], *, count: int = 3, threads: int = 1
    ) -> list[Continuation]:
        """Predict the `count` most probable next words after each text with a language model.

        Raises:
            DataError: A text is empty.
            BundleError: The bundle is damaged, or is not a language model (see `predict`).
        """

        if self.head != _LANGUAGE_MODEL:
            raise BundleError(
                "only a language model continues texts", where=self.path, fix="call predict"
            )
        return list(continue_texts(self.path, texts, count=count, threads=threads))

    def predict_sequences(
        self, sequences: Sequence[Any] | str | Path, *, threads: int = 1
    ) -> list[SequencePrediction]:
        """Predict the numbers, or the label, of each numeric sequence.

        Args:
            sequences: Arrays [steps, features], one per sequence, or a file of them: .npy, .npz
                or .csv (`load_dataset`).
            threads: Threads of the runtime.

        Returns:
            One prediction per sequence: `values` by name, and `label` where it is a class.

        Raises:
            DataError: They are not sequences of numbers, or of others than the model takes.
            BundleError: The bundle is damaged, or reads texts (see `predict`).
        """
        from edgeseq_benchmarks.bench.sequence_predictor import predict_sequences  # noqa: PLC0415 - loads NumPy, which what measures must not

        return list(predict_sequences(self.path, sequences, threads=threads))

    def inspect(self, *, profile: bool = False) -> Inspection:
        """Read operators, signatures and sizes from the model file (see `edgeseq.inspect`)."""
        return inspect(self.path, profile=profile)

    def save(self, path: str | Path, *, overwrite: bool = False) -> Bundle:
        """Copy the bundle to a new folder, or pack it if `path` ends in .zip.

        Raises:
            OutputError: `path` exists (without `overwrite`) or cannot be written.
        """
        path = Path(path)
        with open_bundle(self.path) as opened:
            if path.suffix.lower() == ".zip":
                pack_bundle(opened.path, path)
            else:
                with new_folder(path, overwrite=overwrite, marker=MANIFEST) as draft:
                    for name in (MANIFEST, *opened.manifest.file_names):
                        shutil.copyfile(opened.path / name, draft / name)
            return Bundle(path, opened.manifest, opened.labels, opened.size_bytes)

    def __repr__(self) -> str:
        return f"Bundle({self.name}: {self.recipe}, {format_bytes(self.size_bytes)}, {self.path})"

    def _repr_html_(self) -> str:
        agreement = self.manifest.fidelity.label_agreement
        rows = (
            ("task", self.manifest.task),
            ("architecture", f"{self.manifest.arch}, {self.lowering}"),
            ("recipe", self.recipe),
            ("size", format_bytes(self.size_bytes)),
            ("labels", ", ".join(self.labels)),
            ("same label as the float model", f"{agreement:.1%}" if agreement is not None else "-"),
            ("path", str(self.path)),
        )
        return html_table((self.name, ""), rows)


def load_bundle(path: str | Path) -> Bundle:
    """Load a bundle: a folder that `convert` wrote, or a .zip of one.

    Args:
        path: The folder or .zip file; every file's SHA-256 is checked.

    Raises:
        BundleError: A file is missing, damaged or unsafe, or its schema version is unknown.

    Examples:
        >>> bundle = es.load_bundle("bundles/lstm")
    """
    return _read(Path(path), verify_hashes=True)


def converted_bundle(path: Path, folder: tempfile.TemporaryDirectory[str] | None = None) -> Bundle:
    """A bundle that was just written, whose hashes need no check."""
    return _read(path, verify_hashes=False, folder=folder)


def _read(
    path: Path, *, verify_hashes: bool, folder: tempfile.TemporaryDirectory[str] | None = None
) -> Bundle:
    with open_bundle(path, verify_hashes=verify_hashes) as opened:
        return Bundle(path, opened.manifest, opened.labels, opened.size_bytes, folder)


def bundle_path(source: Bundle | str | Path) -> Path:
    """Where a bundle is."""
    return source.path if isinstance(source, Bundle) else Path(source)
