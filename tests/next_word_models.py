"""Models of the next word with random weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeseq.tasks.examples import EOS, UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeseq.formats.trained_model import Arch, TrainedModel
    from edgeseq_converters.models.network import Network

VOCABULARY = (*(f"w{number}" for number in range(38)), UNKNOWN, EOS)
WINDOW = 16
ENDLESS_TOKENS = 1 << 20


def stream_of_network(
    network: Network, name: str, vocabulary: Sequence[str] = VOCABULARY
) -> TrainedModel:
    """A network that carries its state from word to word, as a trained model."""
    from edgeseq_converters.models.stored_network import network_to_folder

    config, weights = network_to_folder(network)
    return _trained_model(name, "lstm", ENDLESS_TOKENS, weights, vocabulary, network=config)


def causal_transformer(name: str) -> TrainedModel:
    """A transformer that sees a window of `WINDOW` words."""
    from edgeseq.formats.trained_model import BertConfig
    from edgeseq_converters.models.encoder import encoder_shapes, head_shapes

    config = BertConfig(
        vocabulary_size=len(VOCABULARY),
        hidden_size=16,
        intermediate_size=32,
        layers=2,
        attention_heads=4,
        max_position_embeddings=WINDOW,
        type_vocabulary_size=0,
        hidden_act="gelu",
        layer_norm_eps=1e-12,
        pooling="mean",
        head="causal_lm",
        embedding_size=8,
    )
    generator = np.random.default_rng(0)
    shapes = encoder_shapes(config) | head_shapes(config, 0)
    weights = {
        array: generator.normal(size=shape, scale=0.5).astype(np.float32)
        for array, shape in shapes.items()
    }
    return _trained_model(name, "bert", WINDOW, weights, VOCABULARY, bert=config)


def _trained_model(
    name: str,
    arch: Arch,
    max_tokens: int,
    weights: dict[str, Any],
    vocabulary: Sequence[str],
    **config: Any,
) -> TrainedModel:
    from edgeseq.formats.trained_model import ModelManifest, TrainedModel, not_trained_here
    from edgeseq_converters.training.language_model.corpus import tokenizer_json

    manifest = ModelManifest(
        name=name,
        task="lm",
        arch=arch,
        labels=(),
        max_tokens=max_tokens,
        training=not_trained_here("random"),
        **config,
    )
    return TrainedModel(manifest, weights, tokenizer_json(vocabulary))
