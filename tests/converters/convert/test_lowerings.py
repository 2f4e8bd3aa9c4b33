"""Every lowering answers as the float network does: any shape, any length, padded or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeseq.errors import ConversionError
from edgeseq.formats.tflite_file import is_table, parse_tflite
from edgeseq.runtime.interpreter import TfliteModel
from edgeseq_converters.convert.lower.dispatch import (
    LOWERINGS,
    Target,
    network_to_tflite,
    recipes_of,
)
from edgeseq_converters.convert.recipes import get_recipe
from edgeseq_converters.models.network import Network
from edgeseq_converters.models.network_layers import Dense, Function
from edgeseq_converters.models.reference_recurrent import answers

STEPS = 12
LENGTHS = (1, 2, 7, STEPS)
TOLERANCE = 1e-5


def texts_for(network: Network, lengths: Any = LENGTHS) -> list[list[int]]:
    """Random token ids of these lengths; 0 is left to padding."""
    rng = np.random.default_rng(1)
    size = network.embedding.vocabulary_size
    return [rng.integers(1, size, length).tolist() for length in lengths]


def lowered(network: Network, lowering: Any, recipe: str = "float32", **more: Any) -> bytes:
    steps = STEPS if lowering == "unrolled" else None
    texts = texts_for(network, range(3, 40))
    target = Target(lowering, steps)
    return network_to_tflite(network, get_recipe(recipe), target, texts, output="logits", **more)


def ask(content: bytes, folder: Path, texts: list[list[int]]) -> list[np.ndarray[Any, Any]]:
    path = folder / "model.tflite"
    path.write_bytes(content)
    model = TfliteModel(path)
    return [model.infer(text) for text in texts]


CELL_FUNCTIONS: tuple[dict[str, str], ...] = (
    {},
    {"gate_function": "hard_sigmoid_fifth"},
    {"gate_function": "hard_sigmoid_sixth", "function": "softsign"},
    {"function": "relu"},
    {"function": "linear", "gate_function": "hard_sigmoid_fifth"},
    {"function": "sigmoid", "gate_function": "tanh"},
)


@st.composite
def networks(draw: Any) -> dict[str, Any]:
    """Arguments of `make.network`, over all that a network may be."""
    bidirectional = draw(st.booleans())
    merges = ["concat", "sum", "mul", "ave"] if bidirectional else ["concat"]
    return {
        "kind": draw(st.sampled_from(["lstm", "gru", "rnn"])),
        "layers": draw(st.integers(1, 3)),
        "bidirectional": bidirectional,
        "hidden": draw(st.sampled_from([1, 2, 7, 16, 64, 256])),
        "embedding": draw(st.sampled_from([1, 5, 32])),
        "head": draw(st.sampled_from(["final", "max", "mean", "last", "attention", "tokens"])),
        "mask_zero": draw(st.booleans()),
        "merge": draw(st.sampled_from(merges)),
        "reset_after": draw(st.booleans()),
        "function": draw(st.sampled_from(get_args(Function))),
        "cell_functions": draw(st.sampled_from(CELL_FUNCTIONS)),
        "seed": draw(st.integers(0, 2**16)),
    }


@pytest.mark.parametrize("lowering", ["loop", "projected", "unrolled", "fused"])
@settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(options=networks())
def test_float32_is_the_network(
    lowering: str, options: dict[str, Any], make: Any, tmp_path: Path
) -> None:
    if lowering == "fused":
        options = options | {"kind": "lstm", "cell_functions": {}}
    network = make.network(**options)
    content = lowered(network, lowering)
    texts = texts_for(network)
    expected = answers(network, texts)
    for found, wanted in zip(ask(content, tmp_path, texts), expected, strict=True):
        np.testing.assert_allclose(found[: len(wanted)], wanted, atol=TOLERANCE)
    if network.embedding.mask_zero:
        padded = [[*text, *[0] * 5][:STEPS] for text in texts]
        for found, wanted in zip(ask(content, tmp_path, padded), expected, strict=True):
            np.testing.assert_allclose(found[: len(wanted)], wanted, atol=TOLERANCE)


ALL = [
    (lowering, recipe)
    for lowering in LOWERINGS["lstm"]
    for recipe in recipes_of("lstm", lowering)
    if recipe != "float32"
]


@pytest.mark.parametrize(("lowering", "recipe"), ALL)
@pytest.mark.parametrize(
    "options",
    [
        {"head": "final"},
        {"head": "max", "bidirectional": True},
        {"head": "mean", "layers": 2},
        {"head": "tokens", "layers": 2, "bidirectional": True},
        {"head": "attention", "mask_zero": True, "function": "softmax"},
    ],
    ids=lambda options: options["head"],
)
def test_smaller_recipes_stay_close(
    lowering: str, recipe: str, options: dict[str, Any], make: Any, tmp_path: Path
) -> None:
    network = make.network(**options, hidden=32, embedding=32)
    texts = texts_for(network)
    expected = answers(network, texts)
    found = ask(lowered(network, lowering, recipe), tmp_path, texts)
    largest = max(np.abs(wanted).max() for wanted in expected)
    error = max(
        np.abs(one[: len(wanted)] - wanted).max()
        for one, wanted in zip(found, expected, strict=True)
    )
    limit = {"float16": 5e-3, "static_wi8_ai8": 0.15}
    # An int4 step is 18 times an int8 one. That no more is lost than such steps cost is shown in
    # test_int4_recurrent.py, with weights that int4 holds exactly.
    limit |= {"dynamic_wi4_afp32": 0.15, "dynamic_wi4_ei4_afp32": 0.2}
    assert 0 < error / largest < limit.get(recipe, 0.05)


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn"])
def test_static_recipes_compute_in_integers(kind: str, make: Any) -> None:
    functions = {"gate_function": "hard_sigmoid_fifth", "function": "relu"}
    network = make.network(kind=kind, head="max", bidirectional=True, cell_functions=functions)
    for lowering in ("loop", "unrolled"):
        model = parse_tflite(lowered(network, lowering, "static_wi8_ai8"), where=lowering)
        floats = {
            use.name
            for graph in model.subgraphs
            for use in graph.operators
            for number in (*use.inputs, *use.outputs)
            if number >= 0 and graph.tensors[number].dtype == "FLOAT32"
        }
        # `padded_flow`'s mask is float where a network may be padded; nothing else but the answer.
        assert floats <= {"DEQUANTIZE", "RESHAPE", "CAST"}


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("kind", ["lstm", "gru"])
@pytest.mark.parametrize("head", ["final", "tokens"])
@pytest.mark.parametrize("lowering", ["loop", "projected"])
def test_a_stream_in_pieces_answers_as_the_whole(
    lowering: str, layers: int, kind: str, head: str, make: Any
) -> None:
    from ai_edge_litert.interpreter import Interpreter

    network = make.network(layers=layers, kind=kind, head=head, mask_zero=True)
    content = lowered(network, lowering, streaming=True)
    stream = Interpreter(model_content=content).get_signature_runner("stream")
    [text] = texts_for(network, [20])
    [wanted] = answers(network, [text])
    names = [name for name in stream.get_input_details() if name != "input_ids"]
    assert len(names) == layers * (2 if kind == "lstm" else 1)
    state = {name: np.zeros((1, 8), np.float32) for name in names}
    pieces = []
    for begin, end in ((0, 1), (1, 4), (4, 5), (5, 20)):
        given = np.asarray([text[begin:end]], np.int32)
        answer = stream(input_ids=given, **state)
        state = {name: answer[f"{name}_next"] for name in names}
        pieces.append(answer["logits"][0])
    whole = np.concatenate(pieces) if head == "tokens" else pieces[-1]
    np.testing.assert_allclose(whole, wanted, atol=TOLERANCE)


def test_large_cell_states_are_not_clipped(make: Any, tmp_path: Path) -> None:
    """TensorFlow's converter writes a clip at 10 into its fused LSTM, which no framework has."""
    network = make.network(hidden=2, embedding=2)
    cell = network.layers[0].forward
    cell.recurrent_kernel[:], cell.kernel[:] = 0, 0
    # Input and forget gates are open; the candidate is +1 for token 1 and −1 for token 2, so the
    # state counts: 30 up and 15 down leave +15, and −5 if it had been clipped at 10.
    cell.kernel[0, 4:6] = 20
    cell.bias[:] = [20, 20, 20, 20, 0, 0, 0, 0]
    network.embedding.table[1:3, 0] = 1, -1
    texts = [[1] * 30 + [2] * 15]
    expected = answers(network, texts)
    np.testing.assert_allclose(ask(lowered(network, "fused"), tmp_path, texts), expected, atol=1e-5)
    dense = network.layers[-1]
    clipped = np.full(2, 0.5 * np.tanh(-5), np.float32) @ dense.kernel + dense.bias
    assert np.abs(clipped - expected[0]).max() > 0.1


@pytest.mark.parametrize(
    "case",
    [
        ({"kind": "gru"}, "fused", "float32", {}, "layer gru.0 is a GRU"),
        ({"bidirectional": True}, "loop", "float32", {"streaming": True}, "layer lstm.0, which"),
        ({"head": "max"}, "loop", "float32", {"streaming": True}, "layer pool, which needs"),
        ({}, "fused", "float32", {"streaming": True}, "only a lowering that is a loop streams"),
        ({}, "projected", "static_wi8_ai8", {}, "there is nothing to look up"),
        ({}, "fused", "dynamic_wi4_afp32", {}, "takes no int4 weights"),
    ],
)
def test_what_a_lowering_cannot_do_is_said(case: Any, make: Any) -> None:
    options, lowering, recipe, more, said = case
    with pytest.raises(ConversionError) as caught:
        lowered(make.network(**options), lowering, recipe, **more)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_projected_table_has_no_input_product_left(make: Any) -> None:
    network = make.network(bidirectional=True, hidden=16, embedding=32)
    loop, projected = (
        parse_tflite(lowered(network, name), where=name) for name in ("loop", "projected")
    )
    products = [
        sum(use.count for use in model.operator_uses() if use.name == "FULLY_CONNECTED")
        for model in (loop, projected)
    ]
    assert products[0] - products[1] == 1
    (table,) = (tensor for tensor, readers in projected.constants() if is_table(tensor, readers))
    assert table.shape == (network.embedding.vocabulary_size, 2 * 4 * 16)


def test_a_layer_before_the_recurrent_one_is_named(make: Any) -> None:
    whole = make.network()
    size = whole.embedding.size
    between = Dense("mixing", np.eye(size, dtype=np.float32), np.zeros(size, np.float32))
    network = Network(whole.name, whole.embedding, (between, *whole.layers))
    with pytest.raises(ConversionError, match=r"found layer mixing between them"):
        lowered(network, "projected")
