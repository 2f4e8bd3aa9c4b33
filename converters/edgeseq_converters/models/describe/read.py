"""Drafts a description for a file of weights, and reads it under any description."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgeseq.errors import CheckpointError
from edgeseq_converters.models.describe.candidates import labels
from edgeseq_converters.models.describe.chain import Draft, draft_of
from edgeseq_converters.models.describe.keras_modules import keras_weights
from edgeseq_converters.models.describe.torch_modules import torch_weights
from edgeseq_converters.models.description import KERAS_ENDINGS, TORCH_ENDINGS, Description
from edgeseq_converters.models.keras.hdf5 import open_hdf5
from edgeseq_converters.models.keras.weights_file import network_of_description
from edgeseq_converters.models.network import Network
from edgeseq_converters.models.torch.state import network_of_state


@dataclass(frozen=True)
class DraftedWeights:
    """The draft for a file of weights; `network` reads them under a complete description."""

    draft: Draft
    network: Callable[[Description], Network]

    @property
    def labels(self) -> tuple[str, ...]:
        """What is unknown."""
        return tuple(labels(self.draft))


def draft_weights(path: Path) -> DraftedWeights:
    """Tells the layers of the weights at `path`.

    Raises `CheckpointError` for a file that describes its layers itself, a damaged one, and for
    weights whose layers cannot be told.
    """
    suffix, name = path.suffix.lower(), path.name.partition(".")[0]
    if path.is_file() and suffix in TORCH_ENDINGS:
        weights, arrays = torch_weights(path)
        draft = draft_of(weights, name, path)
        return DraftedWeights(
            draft, lambda description: network_of_state(arrays, description, path)
        )
    if path.is_file() and suffix in KERAS_ENDINGS:
        with open_hdf5(path, path) as file:
            if file.texts("", "model_config") is None:
                draft = draft_of(keras_weights(file), name, path)
                return DraftedWeights(draft, lambda description: _keras_network(path, description))
    raise CheckpointError(
        "is not a file of weights without layers",
        where=path,
        found="nothing" if not path.exists() else path.suffix or "a folder",
        expected=f"PyTorch weights ({', '.join(TORCH_ENDINGS)}) or Keras weights "
        f"({', '.join(KERAS_ENDINGS)})",
        fix="convert it as it is, without --describe",
    )


def _keras_network(path: Path, description: Description) -> Network:
    with open_hdf5(path, path) as file:
        return network_of_description(file, description)
