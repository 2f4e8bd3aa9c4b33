"""The encoder computes what transformers' PyTorch BertModel computes, at every length."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from edgeseq.formats.trained_model import TrainedModel
from edgeseq_converters.models.reference import reference_logits

LENGTHS = (1, 2, 17, 32, 128, 160)


def torch_logits(model: TrainedModel, texts: list[list[int]]) -> np.ndarray[Any, Any]:
    """Logits through transformers' BertModel with the same arrays."""
    import torch
    from transformers import BertConfig, BertModel

    config = model.manifest.bert
    assert config is not None
    encoder = BertModel(
        BertConfig(
            vocab_size=config.vocabulary_size,
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_hidden_layers=config.layers,
            num_attention_heads=config.attention_heads,
            max_position_embeddings=config.max_position_embeddings,
            type_vocab_size=config.type_vocabulary_size,
            hidden_act=config.hidden_act,
            layer_norm_eps=config.layer_norm_eps,
        ),
        add_pooling_layer=False,
    )
    arrays = {
        name: torch.from_numpy(array)
        for name, array in model.weights.items()
        if not name.startswith("classifier")
    }
    assert not encoder.load_state_dict(arrays, strict=False).missing_keys
    encoder.eval()
    answers = []
    for token_ids in texts:
        with torch.no_grad():
            states = encoder(torch.tensor([token_ids])).last_hidden_state[0].numpy()
        pooled = states[0] if config.pooling == "cls" else states.mean(axis=0)
        answers.append(
            pooled @ model.weights["classifier.weight"].T + model.weights["classifier.bias"]
        )
    return np.stack(answers)


@pytest.mark.parametrize(
    ("hidden_act", "pooling"),
    [("gelu", "mean"), ("gelu", "cls"), ("gelu_new", "mean"), ("relu", "cls")],
)
def test_equals_transformers_at_every_length(hidden_act: str, pooling: str, make: Any) -> None:
    model = make.bert(hidden_act=hidden_act, pooling=pooling)
    runner = Interpreter(model_content=make.export(model)).get_signature_runner()
    rng = np.random.default_rng(1)
    texts = [rng.integers(0, 30, length).tolist() for length in LENGTHS]
    expected = torch_logits(model, texts)
    answers = [runner(input_ids=np.asarray([ids], np.int32))["logits"][0] for ids in texts]
    np.testing.assert_allclose(np.stack(answers), expected, atol=1e-4)
    np.testing.assert_allclose(reference_logits(model, texts), expected, atol=1e-4)


@pytest.mark.parametrize("recipe", ["float16", "dynamic_wi8_afp32"])
def test_smaller_recipes_stay_close(recipe: str, make: Any) -> None:
    model = make.bert(hidden=64, intermediate=128)
    runner = Interpreter(model_content=make.export(model, recipe)).get_signature_runner()
    rng = np.random.default_rng(2)
    texts = [rng.integers(0, 30, length).tolist() for length in LENGTHS]
    expected = reference_logits(model, texts)
    answers = [runner(input_ids=np.asarray([ids], np.int32))["logits"][0] for ids in texts]
    error = np.abs(np.stack(answers) - expected).max() / np.abs(expected).max()
    assert error < {"float16": 1e-2, "dynamic_wi8_afp32": 0.15}[recipe]
