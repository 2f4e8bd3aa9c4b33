"""Reads what Keras 2 and 3 save: `.keras`, whole-model `.h5`, and Keras 2's SavedModel folder.

No Keras is imported and no class of a file is made, so the Keras version does not matter and
nothing in a file is run.
"""

from __future__ import annotations

from pathlib import Path

from edgeseq.errors import CheckpointError
from edgeseq_converters.models.description import DESCRIBE
from edgeseq_converters.models.keras.config import parse_json, parse_model
from edgeseq_converters.models.keras.hdf5 import open_hdf5
from edgeseq_converters.models.keras.keras_1 import Keras1Weights, in_keras_2, is_keras_1
from edgeseq_converters.models.keras.network import network_of
from edgeseq_converters.models.keras.vocabularies import with_vocabulary
from edgeseq_converters.models.keras.weights import KerasFileWeights, LegacyWeights, folders_of
from edgeseq_converters.models.keras.weights_file import network_of_weights
from edgeseq_converters.models.network import Network
from edgeseq_converters.models.zip_archive import Archive

_CONFIG, _WEIGHTS, _METADATA = "config.json", "model.weights.h5", "metadata.json"


def read_keras(path: Path, *, same_inputs: bool = False) -> Network:
    """A `.keras` file (Keras 3, or tf_keras 2.13 and later).

    Raises `CheckpointError` for a damaged or hostile archive and for what `network_of` refuses.
    """
    with Archive(path) as archive:
        config = parse_json(archive.text(_CONFIG), f"{path}: {_CONFIG}")
        version = None
        if archive.holds(_METADATA):
            metadata = parse_json(archive.text(_METADATA), f"{path}: {_METADATA}")
            version = metadata.get("keras_version")
        model = with_vocabulary(parse_model(config, str(path), version), archive)
        if not archive.holds(_WEIGHTS):
            raise CheckpointError(
                f"has no {_WEIGHTS}", where=path, fix="save it again, in one piece (no shards)"
            )
        content = archive.content(_WEIGHTS)
    with open_hdf5(content, f"{path}: {_WEIGHTS}") as file:
        return network_of(model, KerasFileWeights(file, folders_of(model)), same_inputs=same_inputs)


def read_h5(path: Path, description: Path | None = None, *, same_inputs: bool = False) -> Network:
    """A whole-model `.h5` file (Keras 2 and 3), with the layers in its attribute `model_config`;
    or a file of weights alone with the layers in `description` (see `network_of_weights`).

    Raises `CheckpointError` for weights without a description, a damaged file, and for what
    `network_of` refuses.
    """
    with open_hdf5(path, path) as file:
        config = file.texts("", "model_config")
        if config is None:
            if description is None:
                raise CheckpointError(
                    "holds weights without a description of the layers",
                    where=path,
                    fix=f"give model.to_json()'s text with --description model.json; or {DESCRIBE}",
                )
            return network_of_weights(file, description, same_inputs=same_inputs)
        if description is not None:
            raise CheckpointError(
                "describes its layers itself", where=path, fix="leave the description out"
            )
        version = "".join(file.texts("", "keras_version") or ()) or None
        described = parse_json("".join(config), str(path))
        if is_keras_1(version):
            model = parse_model(in_keras_2(described), str(path), version)
            return network_of(model, Keras1Weights(file), same_inputs=same_inputs)
        model = parse_model(described, str(path), version)
        return network_of(model, LegacyWeights(file), same_inputs=same_inputs)
