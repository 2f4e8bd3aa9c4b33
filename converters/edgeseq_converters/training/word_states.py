"""What each word piece means to a fine-tuned BERT on its own: a table for a student to start from.

A BERT's table of word pieces holds what they meant before fine-tuning; what its last layer makes of
a piece that stands alone between the special tokens holds what the task made of it. The idea is
that of static tables distilled from sentence encoders (Tulkens & van Dongen 2024, "Model2Vec").
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tokenizers import Tokenizer

from edgeseq.errors import CheckpointError
from edgeseq.formats.trained_model import TrainedModel
from edgeseq.progress import ProgressCallback, no_progress
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.training.batching import TokenTexts
from edgeseq_converters.training.bert_model import BertClassifier
from edgeseq_converters.training.loop import Predictor


def word_states(
    teacher: TrainedModel, pieces: Any, *, progress: ProgressCallback = no_progress
) -> FloatArray:
    """The teacher's last state of each of `pieces` (ids [n]) on its own: [n, hidden].

    Raises `CheckpointError` when the teacher is no BERT.
    """
    config = teacher.manifest.bert
    if config is None:
        raise CheckpointError("cannot be a teacher", where=teacher.manifest.name, expected="bert")
    labels = len(teacher.manifest.labels)
    # All layers frozen: `lower` runs them all and gives the states of every token.
    model = BertClassifier(config, labels, teacher.weights, frozen_layers=config.layers)
    before, after = special_tokens(teacher.tokenizer_json)
    place = len(before)

    def state(ids: Any, mask: Any) -> Any:
        return model.lower(ids, mask)[:, place]

    texts = TokenTexts([[*before, int(piece), *after] for piece in pieces])
    return Predictor(state)(
        texts, stage=f"ask {teacher.manifest.name} for words", progress=progress
    )


def special_tokens(tokenizer_json: str) -> tuple[list[int], list[int]]:
    """The ids that the tokenizer puts before and behind every text."""
    tokenizer = Tokenizer.from_str(tokenizer_json)
    tokenizer.no_padding()
    encoding = tokenizer.encode("a")
    own = [place for place, special in enumerate(encoding.special_tokens_mask) if not special]
    if not own:
        return list(encoding.ids), []
    return list(encoding.ids[: own[0]]), list(encoding.ids[own[-1] + 1 :])


def side_by_side(table: FloatArray, states: FloatArray, *, weight: float) -> FloatArray:
    """Both [n, hidden] as one [n, 2·hidden], each centred and of deviation 1, the states times
    `weight`: projected by principal components, neither outweighs the other by its size alone."""
    parts = [
        factor * (part - part.mean(axis=0)) / max(float((part - part.mean(axis=0)).std()), 1e-12)
        for part, factor in ((table, 1.0), (states, weight))
    ]
    joined: FloatArray = np.concatenate(parts, axis=1).astype(np.float32)
    return joined
