"""Every family and head answers what transformers' PyTorch model answers, through the runtime.

Random weights; lengths from 1 to 512; PyTorch is asked text by text and, for the same texts, in
one padded batch with its mask.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from ai_edge_litert.interpreter import Interpreter
from tokenizers import BertWordPieceTokenizer

from edgeseq.errors import CheckpointError
from edgeseq.formats.tflite_file import is_table, parse_tflite
from edgeseq.formats.tflite_runtimes import runtime_support
from edgeseq.formats.trained_model import TrainedModel
from edgeseq_converters.convert.lower.encoder import encoder
from edgeseq_converters.convert.lower.encoder.static import linear_ranges
from edgeseq_converters.convert.quantize.gptq import round_rows_int4
from edgeseq_converters.convert.recipes import get_recipe
from edgeseq_converters.convert.tflite.quantization import pack_int4, quantize_rows_int4
from edgeseq_converters.models.encoder import WORD_TABLE
from edgeseq_converters.models.huggingface.checkpoint import read_model
from edgeseq_converters.models.reference_encoder import bert_answers

WORDS = 120
LENGTHS = (1, 2, 3, 17, 64, 128, 511, 512, 5)
"""Not in order: a graph that keeps the size of an earlier text answers wrongly."""
PADDED = (2, 17, 1, 64)
OLD = "tflite-runtime 2.14.0"
PADDING = {"Roberta": 1}
SIZES: dict[str, Any] = {
    "vocab_size": WORDS,
    "num_hidden_layers": 3,
    "hidden_size": 32,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,
    "num_labels": 5,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "Bert": {"hidden_size": 36, "num_attention_heads": 3, "layer_norm_eps": 1e-5},
    "DistilBert": {"num_attention_heads": 2, "num_hidden_layers": 1},
    "Electra": {"embedding_size": 20},
    "Roberta": {"max_position_embeddings": 514, "type_vocab_size": 1},
    # Nothing is normalized, so larger weights would make states of 10^5, and errors like them.
    "MobileBert": {
        "embedding_size": 20,
        "intra_bottleneck_size": 16,
        "num_feedforward_networks": 3,
        "initializer_range": 0.1,
    },
    "Albert": {"embedding_size": 20, "num_hidden_groups": 2, "inner_group_num": 2},
}
HEADS = {
    "sequence_classification": "ForSequenceClassification",
    "token_classification": "ForTokenClassification",
    "masked_lm": "ForMaskedLM",
    "feature_extraction": "Model",
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """PyTorch's threads spin while they wait: with other work beside them 10 times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_reference(family: str, head: str, **fields: Any) -> Any:
    """A PyTorch model of transformers with random weights, also where they start as 0 or 1."""
    torch.manual_seed(5)
    config = getattr(transformers, f"{family}Config")(**(SIZES | CONFIGS[family] | fields))
    reference = getattr(transformers, family + HEADS[head])(config).eval()
    for parameter in reference.parameters():
        if parameter.ndim == 1:
            with torch.no_grad():
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return reference


def save(reference: Any, folder: Path, **how: Any) -> Path:
    """A checkpoint folder as transformers writes it, with a small tokenizer."""
    reference.save_pretrained(folder, **how)
    vocabulary = {piece: n for n, piece in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a"))}
    BertWordPieceTokenizer(vocab=vocabulary).save(str(folder / "tokenizer.json"))
    return folder


def make_texts(lengths: tuple[int, ...]) -> list[list[int]]:
    rng = np.random.default_rng(1)
    return [rng.integers(4, WORDS, length).tolist() for length in lengths]


def torch_answers(reference: Any, texts: list[list[int]], padding: int) -> list[Any]:
    """Logits, or the mean of the states, of one batch padded to its longest text."""
    longest = max(map(len, texts))
    ids = torch.tensor([text + [padding] * (longest - len(text)) for text in texts])
    mask = torch.tensor([[1] * len(text) + [0] * (longest - len(text)) for text in texts])
    with torch.no_grad():
        answer = reference(input_ids=ids, attention_mask=mask)
    if "logits" in answer:
        logits = answer.logits.numpy()
        per_token = logits.ndim == 3
        return [
            one[: len(text)] if per_token else one for one, text in zip(logits, texts, strict=True)
        ]
    states = answer.last_hidden_state.numpy()
    return [one[: len(text)].mean(axis=0) for one, text in zip(states, texts, strict=True)]


def tflite_answers(model: TrainedModel, texts: list[list[int]], recipe: str = "float32") -> Any:
    """The answers of the model through the TFLite runtime, one text at a time."""
    assert model.manifest.bert is not None
    content = encoder.lower(model, get_recipe(recipe))
    runner = Interpreter(model_content=content, num_threads=1).get_signature_runner()
    name = encoder.output_name(model.manifest.bert.head)
    return [runner(input_ids=np.asarray([ids], np.int32))[name][0] for ids in texts]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("family", CONFIGS)
def test_equals_transformers(family: str, head: str, tmp_path: Path) -> None:
    reference = make_reference(family, head)
    model = read_model(save(reference, tmp_path / "checkpoint"))
    assert model.manifest.bert is not None
    assert model.manifest.bert.head == head
    assert model.manifest.max_tokens == 512
    assert len(model.manifest.labels) == (
        5 if head in ("sequence_classification", "token_classification") else 0
    )
    padding = PADDING.get(family, 0)
    texts = make_texts(LENGTHS)
    expected = [torch_answers(reference, [text], padding)[0] for text in texts]
    texts += make_texts(PADDED)
    expected += torch_answers(reference, texts[len(LENGTHS) :], padding)
    answers = tflite_answers(model, texts)
    for answer, wanted in zip(answers, expected, strict=True):
        assert answer.shape == wanted.shape
        np.testing.assert_allclose(answer, wanted, atol=1e-4)
    for answer, wanted in zip(bert_answers(model, texts[:5]), expected[:5], strict=True):
        np.testing.assert_allclose(answer, wanted, atol=1e-4)


@pytest.mark.parametrize("hidden_act", ["gelu", "gelu_new", "gelu_pytorch_tanh", "relu"])
def test_activation_is_the_checkpoints(hidden_act: str, tmp_path: Path) -> None:
    reference = make_reference("Bert", "masked_lm", hidden_act=hidden_act)
    model = read_model(save(reference, tmp_path / "checkpoint"))
    texts = make_texts((7,))
    (answer,) = tflite_answers(model, texts)
    np.testing.assert_allclose(answer, torch_answers(reference, texts, 0)[0], atol=1e-4)


@pytest.mark.parametrize("family", ["Bert", "Roberta"])
def test_a_decoder_of_its_own(family: str, tmp_path: Path) -> None:
    reference = make_reference(family, "masked_lm", tie_word_embeddings=False)
    model = read_model(save(reference, tmp_path / "checkpoint"))
    assert "decoder.weight" in model.weights
    texts = make_texts((9,))
    (answer,) = tflite_answers(model, texts)
    np.testing.assert_allclose(answer, torch_answers(reference, texts, 0)[0], atol=1e-4)


@pytest.mark.parametrize("recipe", ["float16", "dynamic_wi8_afp32"])
@pytest.mark.parametrize("family", CONFIGS)
def test_smaller_recipes_stay_close(family: str, recipe: str, tmp_path: Path) -> None:
    reference = make_reference(family, "masked_lm", initializer_range=0.1)
    model = read_model(save(reference, tmp_path / "checkpoint"))
    texts = make_texts((1, 30, 8))
    answers = tflite_answers(model, texts, recipe)
    for answer, wanted in zip(answers, bert_answers(model, texts), strict=True):
        error = np.abs(answer - wanted).max() / np.abs(wanted).max()
        assert error < {"float16": 1e-2, "dynamic_wi8_afp32": 0.15}[recipe]


def test_a_tied_decoder_is_stored_once(tmp_path: Path) -> None:
    reference = make_reference("Bert", "masked_lm", vocab_size=5000)
    model = read_model(save(reference, tmp_path / "checkpoint"))
    table = 5000 * 36
    for recipe, size in (("float32", 4 * table), ("dynamic_wi8_afp32", table)):
        assert len(encoder.lower(model, get_recipe(recipe))) < 1.8 * size + 300_000


@pytest.mark.parametrize(
    ("family", "field", "value"),
    [
        ("MobileBert", "use_bottleneck", False),
        ("MobileBert", "normalization_type", "layer_norm"),
        ("MobileBert", "trigram_input", False),
        ("Roberta", "is_decoder", True),
    ],
)
def test_refuses_by_the_fields_name(family: str, field: str, value: object, tmp_path: Path) -> None:
    reference = make_reference(family, "sequence_classification")
    reference.config.update({field: value})
    reference.config.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=f"{field} is not supported: found .*, expected"):
        read_model(tmp_path)


@pytest.mark.parametrize(
    ("recipe", "matrices", "words"),
    [
        ("dynamic_wi4_afp32", "INT4", "INT8"),
        ("dynamic_wi4_ei4_afp32", "INT4", "INT4"),
        ("weight_only_wi8_afp32", "INT8", "INT8"),
    ],
)
def test_weights_are_stored_as_the_recipe_says(
    recipe: str, matrices: str, words: str, tmp_path: Path
) -> None:
    reference = make_reference("Bert", "sequence_classification", initializer_range=0.1)
    model = read_model(save(reference, tmp_path / "checkpoint"))
    texts = make_texts((1, 30, 8))
    content = encoder.lower(model, get_recipe(recipe), make_texts((40, 12)))
    stored = parse_tflite(content, where=Path("model.tflite"))
    tables = []
    for tensor, readers in stored.constants():
        if ("FULLY_CONNECTED", 1) in readers or ("DEQUANTIZE", 0) in readers:
            assert tensor.dtype == matrices
        if is_table(tensor, readers) and tensor.shape[1] > 1:  # not the scales of its rows
            assert tensor.dtype == (words if tensor.name.startswith(WORD_TABLE) else "INT8")
            tables.append(tensor.name)
    assert len(tables) == 2  # words, and positions
    answers = tflite_answers(model, texts, recipe)
    for answer, wanted in zip(answers, bert_answers(model, texts), strict=True):
        error = np.abs(answer - wanted).max() / np.abs(wanted).max()
        assert error < (0.5 if matrices == "INT4" else 0.05)


def test_rounding_for_inputs_keeps_answers_better() -> None:
    rng = np.random.default_rng(3)
    weights = rng.normal(size=(48, 200)).astype(np.float32)
    # Inputs that go together, as real ones do: what one column lacks another can give.
    inputs = rng.normal(size=(400, 40)) @ rng.normal(size=(40, 200))
    moments = inputs.T @ inputs / len(inputs)

    def error(rounded: tuple[Any, Any]) -> float:
        stored, quantization = rounded
        values = stored * np.asarray(quantization.scales)[:, None]
        return float(np.square(inputs @ (values - weights).T).mean())

    plain, for_inputs = quantize_rows_int4(weights), round_rows_int4(weights, moments)
    assert abs(for_inputs[0]).max() <= 7
    assert error(for_inputs) < 0.5 * error(plain)


def test_int4_is_packed_as_the_runtime_reads_it() -> None:
    stored = np.array([[1, -7, 3], [-1, 0, 7]], np.int8)
    assert pack_int4(stored) == bytes([0x91, 0xF3, 0x70])


def bert_file(tmp_path: Path, recipe: str = "float32") -> bytes:
    model = read_model(
        save(make_reference("Bert", "sequence_classification"), tmp_path / "checkpoint")
    )
    return encoder.lower(model, get_recipe(recipe))


@pytest.mark.parametrize("recipe", ["float32", "dynamic_wi8_afp32"])
@pytest.mark.parametrize("token_id", [-1, WORDS, 2**31 - 1])
def test_an_id_beyond_the_table_is_an_error_and_no_guess(
    recipe: str, token_id: int, tmp_path: Path
) -> None:
    runner = Interpreter(model_content=bert_file(tmp_path, recipe)).get_signature_runner()
    with pytest.raises((RuntimeError, ValueError)):
        runner(input_ids=np.asarray([[2, token_id, 3]], np.int32))
    assert np.isfinite(runner(input_ids=np.asarray([[2, 3]], np.int32))["logits"]).all()


def test_only_the_runtimes_own_operators_and_no_mask(tmp_path: Path) -> None:
    stored = parse_tflite(bert_file(tmp_path), where=Path("model.tflite"))
    names = {use.name for use in stored.operator_uses()}
    # No Flex, no loop, one exact GELU in place of its parts (peers of 2020 got FlexErf here).
    assert not [name for name in names if ":" in name]
    assert {"GELU", "SOFTMAX", "FULLY_CONNECTED", "BATCH_MATMUL"} <= names
    assert "WHILE" not in names
    # Nothing is padded: no constant of −10,000 or −3.4e38 that a quantization could stumble over.
    (signature,) = stored.signatures
    assert {name: tensor.dtype for name, tensor in signature.inputs.items()} == {
        "input_ids": "INT32"
    }
    assert {name: tensor.shape for name, tensor in signature.outputs.items()} == {
        "logits": (1, SIZES["num_labels"])
    }


@pytest.mark.parametrize("family", ["Bert", "MobileBert", "Albert"])
def test_static_products_stay_close(family: str, tmp_path: Path) -> None:
    reference = make_reference(family, "sequence_classification", initializer_range=0.1)
    model = read_model(save(reference, tmp_path / "checkpoint"))
    calibrated = make_texts((40, 12, 25, 60))
    content = encoder.lower(model, get_recipe("static_wi8_ai8"), calibrated)
    stored = parse_tflite(content, where=Path("model.tflite"))
    assert {use.name for use in stored.operator_uses()} >= {"QUANTIZE", "DEQUANTIZE"}
    runner = Interpreter(model_content=content, num_threads=1).get_signature_runner()
    for text, wanted in zip(calibrated, bert_answers(model, calibrated), strict=True):
        answer = runner(input_ids=np.asarray([text], np.int32))["logits"][0]
        assert np.abs(answer - wanted).max() < 0.2 * np.abs(wanted).max()


def test_outliers_keep_a_product_dynamic(tmp_path: Path) -> None:
    reference = make_reference("Bert", "sequence_classification", initializer_range=0.1)
    model = read_model(save(reference, tmp_path / "checkpoint"))
    texts = make_texts((40, 12, 25, 60))
    name = "encoder.layer.1.output.dense"
    assert name in linear_ranges(model, texts)
    model.weights[f"{name}.bias"][3] = 500
    ranges = linear_ranges(model, texts)
    assert name not in ranges
    assert "encoder.layer.1.attention.self.key" in ranges


@pytest.mark.parametrize(
    ("recipe", "loads"),
    [
        ("float32", True),
        ("float16", True),
        ("dynamic_wi8_afp32", True),
        ("weight_only_wi8_afp32", True),
        ("static_wi8_ai8", True),
        ("dynamic_wi4_afp32", False),
    ],
)
def test_an_older_runtime_gets_one_scale_a_matrix(recipe: str, loads: bool, tmp_path: Path) -> None:
    reference = make_reference("Bert", "sequence_classification", initializer_range=0.1)
    model = read_model(save(reference, tmp_path / "checkpoint"))
    texts = make_texts((40, 12, 25, 60))
    content = encoder.lower(model, get_recipe(recipe), texts, row_scales=False)
    stored = parse_tflite(content, where=Path("model.tflite"))
    (support,) = (one for one in runtime_support(stored) if one.runtime == OLD)
    assert support.loads is loads, support.missing_operators
    runner = Interpreter(model_content=content, num_threads=1).get_signature_runner()
    for text, wanted in zip(texts, bert_answers(model, texts), strict=True):
        answer = runner(input_ids=np.asarray([text], np.int32))["logits"][0]
        assert np.abs(answer - wanted).max() < 0.3 * np.abs(wanted).max()
