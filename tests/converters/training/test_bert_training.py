"""The training BERT against PyTorch's of transformers, at random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import save

from edgeseq.errors import CheckpointError, InputError
from edgeseq.formats.trained_model import BertConfig
from edgeseq_converters.models.encoder import encoder_shapes
from edgeseq_converters.models.huggingface.collect import collect
from edgeseq_converters.models.huggingface.config import describe, dimensions
from edgeseq_converters.models.huggingface.weights import CheckpointWeights, parse_safetensors
from edgeseq_converters.training.bert_model import BertClassifier

IDS = np.array([[2, 5, 9, 17, 3], [2, 44, 3, 0, 0]], dtype=np.int32)
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], dtype=np.float32)


def make_reference(hidden_act: str) -> Any:
    torch.manual_seed(11)
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=24,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=40,
        max_position_embeddings=16,
        hidden_act=hidden_act,
        initializer_range=0.3,
    )
    reference = transformers.BertModel(config).eval()
    for name, parameter in reference.named_parameters():
        if "LayerNorm" in name or name.endswith("bias"):
            # What starts as 1 or 0 would hide a mistake.
            torch.nn.init.normal_(parameter, mean=0.5, std=0.3)
    return reference


def from_reference(
    reference: Any, pooling: Literal["mean", "cls"]
) -> tuple[BertConfig, dict[str, Any]]:
    where = Path("somewhere")
    described = describe(reference.config.to_json_string().encode(), where=where)
    config = dimensions(described, pooling=pooling)
    content = save({n: t.numpy().copy() for n, t in reference.state_dict().items()})
    weights = CheckpointWeights(parse_safetensors(content, where=where), "", where)
    return config, collect(described, config, weights, labels=None)


@pytest.mark.parametrize("hidden_act", ["gelu", "gelu_new", "gelu_pytorch_tanh", "relu"])
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_equals_pytorch(hidden_act: str, pooling: Literal["mean", "cls"]) -> None:
    reference = make_reference(hidden_act)
    config, weights = from_reference(reference, pooling)
    model = BertClassifier(config, 3, weights, frozen_layers=1)
    with torch.no_grad():
        states = reference(
            input_ids=torch.tensor(IDS), attention_mask=torch.tensor(MASK)
        ).last_hidden_state.numpy()
    if pooling == "cls":
        expected = states[:, 0]
    else:
        expected = (states * MASK[:, :, None]).sum(axis=1) / MASK.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.pooled(IDS, MASK), expected, atol=2e-5)


FAMILIES = {
    "DistilBert": transformers.DistilBertConfig(
        vocab_size=50, dim=24, n_layers=2, n_heads=4, hidden_dim=40, max_position_embeddings=16
    ),
    "Electra": transformers.ElectraConfig(
        vocab_size=50,
        hidden_size=24,
        embedding_size=12,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=40,
        max_position_embeddings=16,
    ),
    "Roberta": transformers.RobertaConfig(
        vocab_size=50,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=40,
        max_position_embeddings=18,
    ),
    "Albert": transformers.AlbertConfig(
        vocab_size=50,
        hidden_size=24,
        embedding_size=12,
        num_hidden_layers=4,
        num_hidden_groups=2,
        num_attention_heads=4,
        intermediate_size=40,
        max_position_embeddings=16,
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_other_families_equal_pytorch(family: str) -> None:
    torch.manual_seed(2)
    reference = getattr(transformers, f"{family}Model")(FAMILIES[family]).eval()
    config, weights = from_reference(reference, "cls")
    model = BertClassifier(config, 3, weights)
    ids = np.where(MASK > 0, IDS, FAMILIES[family].pad_token_id)
    with torch.no_grad():
        given = {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(MASK)}
        expected = reference(**given).last_hidden_state.numpy()[:, 0]
    np.testing.assert_allclose(model.pooled(ids, MASK), expected, atol=2e-5)
    arrays = model.arrays()
    assert set(arrays) == {*encoder_shapes(config), "classifier.weight", "classifier.bias"}
    for name, array in weights.items():
        np.testing.assert_array_equal(arrays[name], array)
    unique = {id(variable) for variable in model.trainable_variables}
    layers = len(set(config.layer_sources or range(config.layers)))
    project = 2 if config.embedding_size else 0
    assert len(unique) == len(model.trainable_variables) == 2 + project + 12 * layers + 2


def test_refuses_to_freeze_a_part_of_shared_layers() -> None:
    config, weights = from_reference(transformers.AlbertModel(FAMILIES["Albert"]), "cls")
    with pytest.raises(InputError, match="whose weights others share: found 1, expected 0"):
        BertClassifier(config, 3, weights, frozen_layers=1)


def test_mobilebert_is_not_trained() -> None:
    tiny = transformers.MobileBertConfig(num_hidden_layers=1, vocab_size=20)
    config, weights = from_reference(transformers.MobileBertModel(tiny), "cls")
    with pytest.raises(CheckpointError, match="can be converted but not trained: found mobilebert"):
        BertClassifier(config, 3, weights)


def test_arrays_return_unchanged() -> None:
    config, weights = from_reference(make_reference("gelu"), "mean")
    arrays = BertClassifier(config, 3, weights).arrays()
    assert set(arrays) == {*encoder_shapes(config), "classifier.weight", "classifier.bias"}
    for name, array in weights.items():
        np.testing.assert_array_equal(arrays[name], array)
    assert arrays["classifier.weight"].shape == (3, 24)


def test_takes_a_classifier_over() -> None:
    config, weights = from_reference(make_reference("gelu"), "mean")
    weights["classifier.weight"] = np.full((3, 24), 0.25, np.float32)
    weights["classifier.bias"] = np.array([1, 2, 3], np.float32)
    model = BertClassifier(config, 3, weights)
    expected = model.pooled(IDS, MASK).numpy().sum(axis=1, keepdims=True) * 0.25 + [1, 2, 3]
    np.testing.assert_allclose(model(IDS, MASK), expected, atol=1e-5)


@pytest.mark.parametrize(("frozen", "trained"), [(0, 2 + 3 * 12 + 2), (2, 12 + 2), (3, 2)])
def test_frozen_layers_are_not_trained(frozen: int, trained: int) -> None:
    config, weights = from_reference(make_reference("gelu"), "mean")
    model = BertClassifier(config, 3, weights, frozen_layers=frozen)
    assert len(model.trainable_variables) == trained


def test_dropout_acts_in_training_alone() -> None:
    config, weights = from_reference(make_reference("gelu"), "mean")
    plain = BertClassifier(config, 3, weights)
    dropping = BertClassifier(config, 3, weights, dropout=0.5)
    np.testing.assert_array_equal(plain.pooled(IDS, MASK), dropping.pooled(IDS, MASK))
    assert not np.allclose(plain.pooled(IDS, MASK), dropping.pooled(IDS, MASK, training=True))
