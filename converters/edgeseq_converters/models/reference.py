"""The float reference of a trained model: NumPy, straight from the published equations.

It shares no code with what is converted, so an error in one of them cannot hide in both. Texts of
equal length are computed together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeseq.formats.trained_model import TrainedModel
from edgeseq.tasks.word_cache import WordCache
from edgeseq_converters.models import reference_recurrent as network_reference
from edgeseq_converters.models.arrays import FloatArray, ModelInput, token_ids_of
from edgeseq_converters.models.from_trained import network_of
from edgeseq_converters.models.network import Network
from edgeseq_converters.models.reference_encoder import BertReference
from edgeseq_converters.models.reference_word_cache import with_word_cache


def reference_answers(model: TrainedModel, texts: Sequence[ModelInput]) -> list[FloatArray]:
    """For each input the float model's logits: [labels], or [tokens, labels] of a tagger.

    Raises `CheckpointError` when the model's arrays do not fit its configuration.
    """
    if model.manifest.word_cache is not None:
        return _with_cache(network_of(model), model.manifest.word_cache, texts)
    if model.manifest.arch != "bert":
        return network_reference.answers(network_of(model), texts)
    forward = BertReference(model)
    predictions: list[FloatArray] = [np.zeros(0, np.float32)] * len(texts)
    for positions in network_reference.batches(texts):
        rows = forward(np.asarray([texts[position] for position in positions], np.int32))
        for position, row in zip(positions, rows, strict=True):
            predictions[position] = row
    return predictions


def _with_cache(
    network: Network, cache: WordCache, texts: Sequence[ModelInput]
) -> list[FloatArray]:
    """The logits [tokens, vocabulary] of each text with a cache of its words."""
    (source,) = network.sources(network.layers[-1])
    predictions = []
    for text in texts:
        outputs: dict[str, FloatArray] = {}
        (logits,) = network_reference.answers(network, [text], outputs.__setitem__)
        states = outputs[f"{source}/output"][0]
        predictions.append(with_word_cache(cache, logits, states, token_ids_of(text)))
    return predictions


def reference_logits(model: TrainedModel, texts: Sequence[Sequence[int]]) -> FloatArray:
    """Logits float32 [texts, labels] of the float model for texts given as token ids.

    Raises `CheckpointError` when the model's arrays do not fit its configuration.
    """
    return np.stack(reference_answers(model, texts))
