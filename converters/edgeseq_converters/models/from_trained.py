"""Our own trained-model folder as a network."""

from __future__ import annotations

from edgeseq.formats.trained_model import BagConfig, TrainedModel
from edgeseq_converters.models.arrays import (
    LstmCell,
    check_marks,
    lstm_cells,
    lstm_config,
    take_array,
    word_table,
)
from edgeseq_converters.models.network import Network
from edgeseq_converters.models.network_layers import (
    Cell,
    Dense,
    Embedding,
    Function,
    Layer,
    MarkedPool,
    Pool,
    Recurrent,
    marked_features,
)
from edgeseq_converters.models.stored_network import network_from_folder


def network_of(model: TrainedModel) -> Network:
    """The LSTM classifier as layers `lstm.0`, …, `pool`, `dense`; it answers logits [labels].

    Pooling `last` is the last recurrent layer without `sequences` (each direction's own last
    state), `markers` a `MarkedPool`, `none` nothing (logits [n, labels]), the others a `Pool`.
    No id is padding: such a model is given each text at its length.

    Raises `CheckpointError` for another architecture and for arrays that are missing or do not
    fit the configuration.
    """
    if model.manifest.network is not None:
        return network_from_folder(model)
    if model.manifest.bag is not None:
        return _bag_network(model, model.manifest.bag)
    config = lstm_config(model)
    table = take_array(model, "embedding.weight", config.vocabulary_size, config.embedding_size)
    layers: list[Layer] = []
    for number, directions in enumerate(lstm_cells(model)):
        forward, *backward = (_cell(direction) for direction in directions)
        layers.append(
            Recurrent(
                name=f"lstm.{number}",
                forward=forward,
                backward=backward[0] if backward else None,
                sequences=number + 1 < config.layers or config.pooling != "last",
            )
        )
    features = config.hidden_size * (2 if config.bidirectional else 1)
    if config.pooling == "markers":
        check_marks(config.marker_ids, config.vocabulary_size, where=model.manifest.name)
        layers.append(MarkedPool("pool", config.marker_ids))
        features = marked_features(features, len(config.marker_ids))
    # Two comparisons: mypy narrows by them, and not by membership.
    elif config.pooling != "last" and config.pooling != "none":  # noqa: PLR1714
        layers.append(Pool("pool", config.pooling))
    labels = len(model.manifest.labels)
    head = (
        take_array(model, "dense.kernel", features, labels),
        take_array(model, "dense.bias", labels),
    )
    layers.append(Dense("dense", *head))
    embedding = Embedding("embedding", table, word_features=word_table(model))
    return Network(model.manifest.name, embedding, tuple(layers))


def _bag_network(model: TrainedModel, config: BagConfig) -> Network:
    """Pooled embeddings, the layers `hidden` and `dense`."""
    sizes = (config.embedding_size, config.hidden_size, len(model.manifest.labels))
    table = take_array(model, "embedding.weight", config.vocabulary_size, sizes[0])

    def dense(name: str, rows: int, columns: int, function: Function) -> Dense:
        kernel = take_array(model, f"{name}.kernel", rows, columns)
        return Dense(name, kernel, take_array(model, f"{name}.bias", columns), function)

    layers = (
        Pool("pool", config.pooling),
        dense("hidden", sizes[0], sizes[1], "relu"),
        dense("dense", sizes[1], sizes[2], "linear"),
    )
    return Network(model.manifest.name, Embedding("embedding", table), layers)


def _cell(arrays: LstmCell) -> Cell:
    return Cell("lstm", arrays.kernel, arrays.recurrent_kernel, arrays.bias)
