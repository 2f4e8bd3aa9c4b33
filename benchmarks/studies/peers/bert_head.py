"""A classifier that has learnt something, for the checkpoint that all tools convert.

Labels of a head at random hang on next to nothing: a rounding that no application would notice
changes one in ten of them. So the last layer is fitted to labelled texts, in closed form.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import load

from edgeseq.formats.arrays import array_bytes
from edgeseq.formats.storage import write_bytes
from edgeseq_converters.models.huggingface.checkpoint import read_model
from edgeseq_converters.models.reference_encoder import BertReference
from studies.peers.inputs import FloatArray, Ids

HEAD_TEXTS = 1000
"""Labelled texts that the head is fitted to."""
_RIDGE = 0.1
"""Added to the features' moments, as a fraction of their mean: more features than a few hundred
texts can tell apart would overfit those texts."""
_LARGEST_LOGIT = 3.0


def fit_head(checkpoint: Path, texts: Sequence[Ids], labels: Sequence[int]) -> float:
    """Fits the classifier of the Hugging Face folder `checkpoint` to `texts` (token ids) with
    `labels` (class numbers), by ridge regression (Hoerl and Kennard 1970) on what flows into it,
    and writes it there. Returns the fraction of these texts that get their label.
    """
    path = checkpoint / "model.safetensors"
    arrays = load(path.read_bytes())
    classes = len(arrays["classifier.bias"])
    features = _features(checkpoint, texts)
    targets = np.eye(classes)[list(labels)]
    mean, shares = features.mean(0), targets.mean(0)
    centred = features - mean
    moments = centred.T @ centred / len(texts)
    moments += _RIDGE * np.mean(np.diag(moments)) * np.eye(len(moments))
    weight = np.linalg.solve(moments, centred.T @ (targets - shares) / len(texts))
    # One number for all logits and a factor change no label.
    logits = centred @ weight + shares - 1 / classes
    factor = _LARGEST_LOGIT / np.abs(logits).max()
    bias = factor * (shares - 1 / classes - mean @ weight)
    arrays["classifier.weight"] = (factor * weight.T).astype(np.float32)
    arrays["classifier.bias"] = bias.astype(np.float32)
    write_bytes(path, array_bytes(arrays, {"format": "pt"}))
    return float(np.mean(np.argmax(logits, axis=1) == np.asarray(labels)))


def _features(checkpoint: Path, texts: Sequence[Ids]) -> FloatArray:
    """What flows into the classifier, [texts, width] in double precision."""
    rows: list[FloatArray] = []

    def observe(name: str, inputs: FloatArray, _outputs: FloatArray) -> None:
        if name == "classifier":
            rows.append(inputs.reshape(-1))

    reference = BertReference(read_model(checkpoint, head="sequence_classification"), observe)
    for text in texts:
        reference(np.asarray([text], np.int32))
    return np.asarray(rows, np.float64)
