"""The frozen layers' states of all texts, computed once for all epochs."""

from __future__ import annotations

from collections.abc import Sequence

from edgeseq.progress import ProgressCallback
from edgeseq_converters.training.batching import StateTexts, TokenTexts
from edgeseq_converters.training.bert_model import BertClassifier
from edgeseq_converters.training.loop import Predictor
from edgeseq_converters.training.settings import BertSettings
from edgeseq_converters.training.tagger_models import BertTagger

STATES_LIMIT_BYTES = 1 << 30
"""What the frozen layers' states of all texts may take: 1 GiB is 1.4 million tokens of MiniLM."""


def lower_states(
    model: BertClassifier | BertTagger,
    parts: Sequence[TokenTexts],
    settings: BertSettings,
    progress: ProgressCallback,
) -> list[StateTexts] | None:
    """The states [all tokens, hidden] of each part's texts behind the model's frozen layers.

    None where that saves nothing (one epoch, no frozen layer) or needs more memory than
    `STATES_LIMIT_BYTES`.
    """
    hidden = model.config.hidden_size
    size_bytes = sum(StateTexts.size_bytes(one.lengths, hidden) for one in parts)
    if settings.epochs == 1 or not model.frozen_layers or size_bytes > STATES_LIMIT_BYTES:
        return None
    predictor = Predictor(model.lower)
    kept = []
    for one in parts:
        states = StateTexts(one.lengths, hidden)
        for batch, values in predictor.batches(
            one, stage="run the frozen layers", progress=progress
        ):
            states.put(batch, values)
        kept.append(states)
    return kept
