"""Models of given settings with random weights: as large, as fast and as hungry for memory as when
they are trained."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from edgeseq.formats.trained_model import (
    BagConfig,
    BertConfig,
    LstmConfig,
    ModelManifest,
    TrainedModel,
    not_trained_here,
)
from edgeseq.progress import ProgressCallback, no_progress
from edgeseq.tasks.examples import Dataset
from edgeseq.tasks.registry import task_of
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.training.initial_arrays import (
    glorot_uniform,
    initial_bag_arrays,
    initial_lstm_arrays,
)
from edgeseq_converters.training.initial_weights import InitialWeights, initial_weights
from edgeseq_converters.training.record import arch_of
from edgeseq_converters.training.settings import (
    AnyClassifierSettings,
    BertSettings,
    TrainerOptions,
)


def untrained_model(
    data: Dataset[Any],
    settings: AnyClassifierSettings,
    options: TrainerOptions,
    *,
    name: str,
    progress: ProgressCallback = no_progress,
) -> TrainedModel:
    """The model called `name` that a training of `data` with these settings begins with.

    An LSTM's and a bag's weights are random by `settings.seed`, as are those of a BERT's head; the
    tokenizer, and with it the vocabulary, is the trained model's. Raises as `initial_weights` does.
    """
    by_word = task_of(data.task).head == "token-classification"
    if not isinstance(settings, BertSettings):
        settings = msgspec.structs.replace(
            settings, pretrained_embeddings=False, token_state_weight=0.0
        )
    initial = initial_weights(
        data,
        settings,
        options,
        by_word=by_word,
        progress=progress,
    )
    config = initial.config
    manifest = ModelManifest(
        name=name,
        task=data.task,
        arch=arch_of(config),
        labels=data.labels,
        max_tokens=initial.settings.max_tokens,
        training=not_trained_here("random weights"),
        bert=config if isinstance(config, BertConfig) else None,
        lstm=config if isinstance(config, LstmConfig) else None,
        bag=config if isinstance(config, BagConfig) else None,
    )
    return TrainedModel(manifest, _arrays(initial, len(data.labels)), initial.tokenizer_json)


def _arrays(initial: InitialWeights, labels: int) -> dict[str, FloatArray]:
    generator = np.random.default_rng(initial.settings.seed)
    config = initial.config
    if isinstance(config, LstmConfig):
        return initial_lstm_arrays(config, labels, generator)
    if isinstance(config, BagConfig):
        return initial_bag_arrays(config, labels, generator)
    head = glorot_uniform(generator, labels, config.hidden_size)
    return {
        **initial.weights,
        "classifier.weight": head,
        "classifier.bias": np.zeros(labels, np.float32),
    }
