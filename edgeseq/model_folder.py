"""The trained-model folder: what `edgeseq train` writes and `edgeseq convert` reads.

    DIR/model.json            this module's `ModelManifest`
    DIR/weights.safetensors   float32 arrays under the names that the architecture documents
    DIR/tokenizer.json        a `tokenizers` file, truncation and padding off

It is free of any framework, so that every converter starts from the same arrays.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from edgeseq.errors import CheckpointError
from edgeseq.files import new_folder, read_bytes, read_json, write_bytes, write_json

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Arch = Literal["lstm", "bert"]


class LstmConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Dimensions of an LSTM classifier.

    Arrays: `embedding.weight` [vocabulary, embedding]; for layer l and direction d (`forward`,
    and `backward` if bidirectional) `lstm.{l}.{d}.kernel` [in, 4·hidden], `.recurrent_kernel`
    [hidden, 4·hidden], `.bias` [4·hidden], gates in Keras' order i, f, c, o; `dense.kernel`
    [features, labels], `dense.bias` [labels]. `hidden_size` is per direction.
    """

    vocabulary_size: int
    embedding_size: int
    hidden_size: int
    layers: int
    bidirectional: bool
    pooling: Literal["max", "mean", "last"]


class BertConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Dimensions of a BERT encoder with a linear head over the pooled states.

    Arrays carry the Hugging Face names without the leading `bert.` (`embeddings.word_embeddings.
    weight`, `encoder.layer.0.attention.self.query.weight`, …; linear weights are [out, in]), and
    `classifier.weight` [labels, hidden], `classifier.bias` [labels].
    """

    vocabulary_size: int
    hidden_size: int
    intermediate_size: int
    layers: int
    attention_heads: int
    max_position_embeddings: int
    type_vocabulary_size: int
    hidden_act: Literal["gelu", "gelu_new", "relu"]
    layer_norm_eps: float
    pooling: Literal["mean", "first"]


class Training(msgspec.Struct, frozen=True):
    """How a model was trained, enough to repeat it; `dev_score` is the task's metric in 0..1."""

    data_name: str
    data_sha256: str
    n_train: int
    seed: int
    epochs: int
    settings: dict[str, Any]
    seconds: float
    dev_score: float
    test_score: float | None = None
    teacher: str | None = None
    initial_weights: str | None = None
    tool_versions: dict[str, str] = {}


class ModelManifest(msgspec.Struct, frozen=True):
    """`model.json`. Exactly one of `lstm` and `bert` is set, the one that `arch` names.

    `max_tokens` is the longest input, in tokens with the special ones, that the model takes.
    """

    name: str
    task: str
    arch: Arch
    labels: tuple[str, ...]
    max_tokens: int
    training: Training
    lstm: LstmConfig | None = None
    bert: BertConfig | None = None
    schema_version: int = 1


class TrainedModel(msgspec.Struct, frozen=True):
    """A trained model in memory: manifest, float32 arrays by name, tokenizer.json's content."""

    manifest: ModelManifest
    weights: dict[str, Any]
    tokenizer_json: str

    @property
    def parameters(self) -> int:
        """Number of weights in all arrays."""
        return sum(int(array.size) for array in self.weights.values())


def write_model_folder(path: Path, model: TrainedModel, *, replace: bool = False) -> None:
    """Writes the folder completely or not at all.

    Raises `OutputError` when it exists (without `replace`), or the disk is full.
    """
    from safetensors.numpy import save

    with new_folder(path, replace=replace) as draft:
        write_bytes(draft / "weights.safetensors", save(model.weights))
        write_bytes(draft / "tokenizer.json", model.tokenizer_json.encode())
        write_json(draft / "model.json", model.manifest)


def read_model_folder(path: Path) -> TrainedModel:
    """Reads the folder; raises `CheckpointError` naming the file that is missing or damaged."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if not path.is_dir():
        raise CheckpointError(
            "is not a trained-model folder", where=path, fix="name what `edgeseq train` wrote"
        )
    manifest = read_json(path / "model.json", ModelManifest, error=CheckpointError)
    if manifest.schema_version != 1:
        raise CheckpointError(
            "unknown schema version",
            where=path / "model.json",
            found=manifest.schema_version,
            expected=1,
            fix="update edgeseq",
        )
    if (manifest.lstm is None) == (manifest.bert is None) or (
        getattr(manifest, manifest.arch) is None
    ):
        raise CheckpointError(
            "dimensions do not go with arch", where=path / "model.json", found=manifest.arch
        )
    content = read_bytes(path / "weights.safetensors", error=CheckpointError)
    try:
        weights: dict[str, npt.NDArray[np.float32]] = load(content)
    except SafetensorError as failure:
        raise CheckpointError(
            "is not a safetensors file",
            where=path / "weights.safetensors",
            found=str(failure),
            fix="train again",
        ) from failure
    tokenizer_json = read_bytes(path / "tokenizer.json", error=CheckpointError).decode("utf-8")
    return TrainedModel(manifest=manifest, weights=weights, tokenizer_json=tokenizer_json)
