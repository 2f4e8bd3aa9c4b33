"""Models to convert: trained here, or from Keras, PyTorch and Hugging Face."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from edgeseq.errors import CheckpointError
from edgeseq.formats.drafts import owner_prefix, sweep
from edgeseq.formats.storage import new_folder, read_json
from edgeseq.formats.trained_model import ModelManifest, read_model_folder
from edgeseq.html import html_table
from edgeseq_converters.convert.import_model import check_source


@dataclass(frozen=True)
class Model:
    """A model that `convert` takes.

    Attributes:
        source: A file, a folder or a hub id.
        name: What its bundles are called; None: the source's name.
        tokenizer: The tokenizer.json of a recurrent network from elsewhere, or Keras' own
            vocabulary (docs/guides/sources.md).
        description: The layers of PyTorch weights (TOML).
        max_tokens: The longest input in tokens; None: the model's own limit.
        same_inputs: A Keras model with several inputs is given the same in each.
    """

    source: Path
    name: str | None = None
    tokenizer: Path | None = None
    description: Path | None = None
    max_tokens: int | None = None
    same_inputs: bool = False
    _folder: tempfile.TemporaryDirectory[str] | None = field(
        default=None, repr=False, compare=False
    )

    @property
    def manifest(self) -> ModelManifest | None:
        """What `model.json` says of a model that `train` wrote; None for one from elsewhere."""
        path = self.source / "model.json"
        return read_json(path, ModelManifest, error=CheckpointError) if path.is_file() else None

    @property
    def parameters(self) -> int | None:
        """Number of weights; None for a model from elsewhere."""
        return None if self.manifest is None else read_model_folder(self.source).parameters

    @property
    def dev_score(self) -> float | None:
        """The task's metric on the validation split, in 0..1 (perplexity: 1 or more)."""
        manifest = self.manifest
        return None if manifest is None else manifest.training.dev_score

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Model:
        """Copy the trained-model folder, as `edgeseq train --out` writes it.

        Raises:
            OutputError: The folder exists (without `overwrite`) or cannot be written.
            CheckpointError: The model was not trained here.
        """
        if self.manifest is None:
            raise CheckpointError(
                "only a model that edgeseq trained can be saved", where=self.source
            )
        with new_folder(Path(folder), overwrite=overwrite, marker="model.json") as draft:
            shutil.copytree(self.source, draft, dirs_exist_ok=True)
        return Model(Path(folder), name=self.name)

    def _repr_html_(self) -> str:
        manifest = self.manifest
        rows = [("source", str(self.source))]
        if manifest is not None:
            training = manifest.training
            rows = [
                ("name", manifest.name),
                ("task", manifest.task),
                ("architecture", manifest.arch),
                ("labels", ", ".join(manifest.labels)),
                ("validation score", f"{training.dev_score:.4g}"),
                ("trained in", f"{training.seconds:.0f} s, {training.epochs} epochs"),
            ]
        return html_table(("model", ""), rows)


def load_model(
    source: str | Path,
    *,
    name: str | None = None,
    tokenizer: str | Path | None = None,
    description: str | Path | None = None,
    max_tokens: int | None = None,
    same_inputs: bool = False,
) -> Model:
    """Load a model: a folder that `train` wrote, a Keras file or SavedModel, PyTorch weights or an
    exported module (.pt2), an ONNX file, a Hugging Face folder or hub id.

    Args:
        source: The file, folder or hub id. Its arrays are read by `convert`.
        name: What its bundles are called.
        tokenizer: The tokenizer.json of a recurrent network from elsewhere, or Keras' own
            vocabulary: the JSON of a Tokenizer, its word_index, or a TextVectorization layer.
        description: The layers of PyTorch weights (TOML).
        max_tokens: The longest input in tokens.
        same_inputs: A Keras model with several inputs is given the same in each.

    Raises:
        CheckpointError: `source` is not a model that can be read.

    Examples:
        >>> model = es.load_model("sentiment.keras", tokenizer="tokenizer.json")
    """

    path = Path(source)
    check_source(path)
    return Model(
        path,
        name=name,
        tokenizer=None if tokenizer is None else Path(tokenizer),
        description=None if description is None else Path(description),
        max_tokens=max_tokens,
        same_inputs=same_inputs,
    )


def resolve_model(source: Model | str | Path) -> Model:
    """The model itself, or the one that `load_model` makes of a path."""
    return source if isinstance(source, Model) else load_model(source)


@contextmanager
def output_folder(
    out: str | Path | None, name: str
) -> Iterator[tuple[Path, tempfile.TemporaryDirectory[str] | None]]:
    """Gives the folder to write and, without `out`, the temporary one that it is in.

    An error or Ctrl-C in the block removes the temporary folder.
    """
    if out is not None:
        yield Path(out), None
        return
    sweep(Path(tempfile.gettempdir()))
    folder = tempfile.TemporaryDirectory(prefix=owner_prefix())
    try:
        yield Path(folder.name) / name, folder
    except BaseException:
        folder.cleanup()
        raise
