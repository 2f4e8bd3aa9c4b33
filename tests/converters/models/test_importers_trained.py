"""A trained-model folder as a network: the same answers as the model's own reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeseq.errors import CheckpointError
from edgeseq_converters.models.from_trained import network_of
from edgeseq_converters.models.reference import reference_logits
from edgeseq_converters.models.reference_recurrent import answers


@pytest.mark.parametrize("pooling", ["last", "max", "mean"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
def test_same_answers(make: Any, pooling: str, bidirectional: bool, layers: int) -> None:
    model = make.lstm(pooling=pooling, bidirectional=bidirectional, layers=layers)
    network = network_of(model)
    texts = [[5], [4, 0, 9, 9, 0], [7, 8, 1, 2], list(range(1, 30))]
    np.testing.assert_allclose(answers(network, texts), reference_logits(model, texts), atol=1e-5)
    assert network.parameters == model.parameters
    assert [layer.name for layer in network.layers][:1] == ["lstm.0"]
    assert network.bidirectional is bidirectional


def test_another_architecture_is_refused(make: Any) -> None:
    with pytest.raises(CheckpointError, match="is not an LSTM"):
        network_of(make.bert())
