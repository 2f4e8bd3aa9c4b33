"""Makes somebody else's model an ordinary model of edgeseq: with a name, labels, a tokenizer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from edgeseq.errors import CheckpointError
from edgeseq.formats.storage import read_bytes, sha256_file
from edgeseq.formats.trained_model import ModelManifest, TrainedModel, not_trained_here
from edgeseq_converters.models.network import Activation, Dense, Layer, Network
from edgeseq_converters.models.stored_network import network_to_folder

DEFAULT_MAX_TOKENS = 256


def as_logits(network: Network) -> Network:
    """The same classifier with logits for answers: a last softmax is taken off, and a single
    sigmoid output z becomes the two logits (0, z), whose softmax is (1 − σ(z), σ(z)).

    Raises `CheckpointError` for a network that answers for each token.
    """
    if network.per_token:
        raise CheckpointError(
            "answers for each token, not for the text",
            where=network.name,
            fix="convert it to a bare file: --out MODEL.tflite",
        )
    *before, last = network.layers
    if isinstance(last, Activation) and last.function == "softmax":
        return replace(network, layers=tuple(before))
    if isinstance(last, Dense) and last.function == "softmax":
        last = replace(last, function="linear")
    elif isinstance(last, Dense) and last.function == "sigmoid" and last.bias.size == 1:
        kernel = np.concatenate([np.zeros_like(last.kernel), last.kernel], axis=1)
        bias = np.concatenate([np.zeros(1, np.float32), last.bias])
        last = Dense(last.name, kernel, bias)
    layers: tuple[Layer, ...] = (*before, last)
    return replace(network, layers=layers)


def classifier(
    network: Network,
    *,
    source: Path,
    task: str,
    labels: tuple[str, ...],
    tokenizer: Path,
    max_tokens: int | None,
) -> TrainedModel:
    """The network as a trained model, its classes in the order of `labels`.

    `tokenizer` is a `tokenizers` file (tokenizer.json). Raises `CheckpointError` when the number
    of labels is not that of the outputs, and for a network that is no text classifier.
    """
    network = as_logits(network)
    if network.outputs != len(labels):
        raise CheckpointError(
            "has another number of outputs than the data has labels",
            where=source,
            found=network.outputs,
            expected=f"{len(labels)} ({', '.join(labels)})",
            fix="name the data that the model was trained on with --data",
        )
    config, arrays = network_to_folder(network)
    manifest = ModelManifest(
        name=source.stem,
        task=task,
        arch="lstm",
        labels=labels,
        max_tokens=max_tokens or DEFAULT_MAX_TOKENS,
        training=not_trained_here(_identity(source)),
        network=config,
    )
    content = read_bytes(tokenizer, error=CheckpointError)
    return TrainedModel(manifest, dict(arrays), content.decode("utf-8", errors="replace"))


def _identity(source: Path) -> str:
    where = source if source.is_file() else source / "saved_model.pb"
    return f"{source.name} (sha256 {sha256_file(where)})"
