"""What flows into an encoder's linear layers on real texts: what int4 weights are rounded for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeseq.formats.trained_model import TrainedModel
from edgeseq_converters.convert.quantize.gptq import Moments, Sums, first_tokens
from edgeseq_converters.models.arrays import FloatArray, ModelInput
from edgeseq_converters.models.reference_encoder import BertReference


def input_moments(model: TrainedModel, texts: Sequence[ModelInput]) -> Moments:
    """The moments of every linear layer's inputs over the first tokens of `texts` (token ids), by
    the layer's name."""
    sums = Sums()

    def observe(name: str, inputs: FloatArray, _outputs: FloatArray) -> None:
        sums.add(name, inputs)

    reference = BertReference(model, observe)
    for text in first_tokens(texts):
        reference(np.asarray([text], np.int32))
    return sums.moments()
