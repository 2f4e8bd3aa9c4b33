"""The weights that an LSTM and a bag of embeddings start from, as Keras draws them; no framework
takes part."""

from __future__ import annotations

import numpy as np

from edgeseq.formats.trained_model import BagConfig, LstmConfig
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.network_layers import marked_features


def initial_lstm_arrays(
    config: LstmConfig, labels: int, generator: np.random.Generator, *, word_width: int = 0
) -> dict[str, FloatArray]:
    """Initial weights as Keras draws them: embeddings uniform in ±0.05, kernels Glorot uniform,
    recurrent kernels orthogonal, biases 0 but 1 for the forget gate. `word_width` numbers of word
    features reach the first layer behind each token's."""
    hidden = config.hidden_size
    table = initial_table(generator, config.vocabulary_size, config.embedding_size)
    arrays: dict[str, FloatArray] = {"embedding.weight": table}
    inputs = config.embedding_size + word_width
    for layer in range(config.layers):
        for direction in directions_of(config):
            prefix = f"lstm.{layer}.{direction}."
            arrays[prefix + "kernel"] = glorot_uniform(generator, inputs, 4 * hidden)
            arrays[prefix + "recurrent_kernel"] = recurrent_kernel(generator, hidden)
            arrays[prefix + "bias"] = lstm_bias(hidden)
        inputs = hidden * len(directions_of(config))
    arrays["dense.kernel"] = glorot_uniform(generator, pooled_size(config), labels)
    arrays["dense.bias"] = np.zeros(labels, np.float32)
    return arrays


def initial_table(generator: np.random.Generator, rows: int, columns: int) -> FloatArray:
    """An embedding table [rows, columns], uniform in ±0.05."""
    return generator.uniform(-0.05, 0.05, (rows, columns)).astype(np.float32)


def glorot_uniform(generator: np.random.Generator, rows: int, columns: int) -> FloatArray:
    """A kernel [rows, columns] (Glorot & Bengio 2010)."""
    limit = np.sqrt(6 / (rows + columns))
    return generator.uniform(-limit, limit, (rows, columns)).astype(np.float32)


def recurrent_kernel(generator: np.random.Generator, hidden: int) -> FloatArray:
    """An orthogonal kernel [hidden, 4·hidden] (Saxe et al. 2014)."""
    orthogonal, upper = np.linalg.qr(generator.normal(size=(4 * hidden, hidden)))
    # The signs make the distribution uniform over orthogonal matrices (Mezzadri 2007).
    return np.ascontiguousarray((orthogonal * np.sign(np.diag(upper))).T, np.float32)


def lstm_bias(hidden: int) -> FloatArray:
    """The bias [4·hidden], 1 for the forget gate (Jozefowicz et al. 2015)."""
    bias = np.zeros(4 * hidden, np.float32)
    bias[hidden : 2 * hidden] = 1
    return bias


def pooled_size(config: LstmConfig) -> int:
    """The width of what the head reads."""
    features = config.hidden_size * len(directions_of(config))
    if config.pooling == "markers":
        return marked_features(features, len(config.marker_ids))
    return features


def directions_of(config: LstmConfig) -> tuple[str, ...]:
    """The names of the directions, forward first."""
    return ("forward", "backward") if config.bidirectional else ("forward",)


def initial_bag_arrays(
    config: BagConfig, labels: int, generator: np.random.Generator
) -> dict[str, FloatArray]:
    """Initial weights as Keras draws them: embeddings uniform in ±0.05, kernels Glorot uniform,
    biases 0."""
    sizes = (config.embedding_size, config.hidden_size, labels)
    return {
        "embedding.weight": initial_table(generator, config.vocabulary_size, sizes[0]),
        "hidden.kernel": glorot_uniform(generator, sizes[0], sizes[1]),
        "hidden.bias": np.zeros(sizes[1], np.float32),
        "dense.kernel": glorot_uniform(generator, sizes[1], sizes[2]),
        "dense.bias": np.zeros(sizes[2], np.float32),
    }
