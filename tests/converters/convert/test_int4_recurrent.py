"""Recurrent networks in 4 bits: exact where 4 bits hold the weights, rounded for what flows in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeseq.errors import ConversionError
from edgeseq.formats.tflite_file import TfliteFile, is_table, parse_tflite, read_tflite
from edgeseq.runtime.interpreter import TfliteModel
from edgeseq.tasks.examples import Dataset
from edgeseq_converters.convert.import_model import load_model
from edgeseq_converters.convert.lower.dispatch import (
    LOWERINGS,
    Target,
    network_to_tflite,
    recipes_of,
)
from edgeseq_converters.convert.pipeline import convert
from edgeseq_converters.convert.plan import ConversionOptions
from edgeseq_converters.convert.quantize.recurrent_moments import input_moments
from edgeseq_converters.convert.recipes import get_recipe
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.network import Network, tied_decoder
from edgeseq_converters.models.network_layers import Dense, Embedding, Recurrent
from edgeseq_converters.models.reference_recurrent import answers

MATRICES, WORDS_TOO = "dynamic_wi4_afp32", "dynamic_wi4_ei4_afp32"
STEPS = 12
ALL = [
    (lowering, recipe)
    for lowering in LOWERINGS["lstm"]
    for recipe in (MATRICES, WORDS_TOO)
    if recipe in recipes_of("lstm", lowering)
]


def texts_for(network: Network, lengths: Any = (1, 2, 7, STEPS)) -> list[list[int]]:
    rng = np.random.default_rng(1)
    size = network.embedding.vocabulary_size
    return [rng.integers(1, size, length).tolist() for length in lengths]


def lowered(network: Network, lowering: Any, recipe: str, texts: Any = (), **more: Any) -> bytes:
    target = Target(lowering, STEPS if lowering == "unrolled" else None)
    return network_to_tflite(network, get_recipe(recipe), target, texts, output="logits", **more)


def ask(content: bytes, folder: Path, texts: list[list[int]]) -> list[FloatArray]:
    path = folder / "model.tflite"
    path.write_bytes(content)
    model = TfliteModel(path)
    return [model.infer(text) for text in texts]


def relative_error(found: list[FloatArray], wanted: list[FloatArray]) -> float:
    largest = max(np.abs(one).max() for one in wanted)
    cut = [one[: len(other)] for one, other in zip(found, wanted, strict=True)]
    return float(max(np.abs(a - b).max() for a, b in zip(cut, wanted, strict=True)) / largest)


def on_grid(network: Network) -> Network:
    """The network with weights that int4 holds exactly: −7 to 7 steps, a step a row."""
    rng = np.random.default_rng(2)

    def steps(*shape: int) -> FloatArray:
        whole = rng.integers(-7, 8, shape).astype(np.float32)
        whole[..., 0] = 7  # the last axis has one scale, whose largest number must occur
        return whole

    def layer(one: Any) -> Any:
        if isinstance(one, Dense):
            outputs, inputs = one.bias.size, one.kernel.shape[0]
            scales = rng.uniform(0.02, 0.06, (outputs, 1)).astype(np.float32)
            return replace(one, kernel=(steps(outputs, inputs) * scales).T)
        if not isinstance(one, Recurrent):
            return one
        cells = []
        for cell in one.cells:
            outputs = cell.bias.size
            # A stacked layer multiplies its input and its state at once: one scale for both.
            scales = rng.uniform(0.01, 0.03, (outputs, 1)).astype(np.float32)
            kernel = (steps(outputs, cell.inputs) * scales).T
            recurrent = (steps(outputs, cell.hidden_size) * scales).T
            cells.append(replace(cell, kernel=kernel, recurrent_kernel=recurrent))
        return replace(one, forward=cells[0], backward=cells[1] if len(cells) > 1 else None)

    shape = network.embedding.table.shape
    table = steps(*shape) * rng.uniform(0.02, 0.2, (shape[0], 1)).astype(np.float32)
    embedding = Embedding("embedding", table, network.embedding.mask_zero)
    return Network(network.name, embedding, tuple(layer(one) for one in network.layers))


@pytest.mark.parametrize(("lowering", "recipe"), ALL)
@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    kind=st.sampled_from(["lstm", "gru"]),
    layers=st.integers(1, 3),
    bidirectional=st.booleans(),
    hidden=st.sampled_from([2, 7, 33, 64]),
    embedding=st.sampled_from([1, 5, 32]),
    head=st.sampled_from(["final", "max", "mean", "last", "tokens"]),
    mask_zero=st.booleans(),
    reset_after=st.booleans(),
)
def test_weights_that_fit_are_exact(
    lowering: str, recipe: str, make: Any, tmp_path: Path, **options: Any
) -> None:
    """What is left is the rounding of activations, as with int8; odd sizes are packed as even
    ones. `projected` multiplies its words, so theirs would not stay on the grid."""
    network = on_grid(make.network(**options))
    texts = texts_for(network)
    given = recipe if lowering != "projected" else MATRICES
    found = ask(lowered(network, lowering, given), tmp_path, texts)
    assert relative_error(found, answers(network, texts)) < 0.05


def stored(model: TfliteFile, dtype: str) -> tuple[set[str], set[str]]:
    """Names of the matrices and of the tables of a type."""
    matrices, tables = set(), set()
    for tensor, readers in model.constants():
        if tensor.dtype == dtype:
            name = tensor.name.rpartition(":")[0]
            if is_table(tensor, readers):
                tables.add(name)
            elif ("FULLY_CONNECTED", 1) in readers:
                matrices.add(name)
    return matrices, tables


@pytest.mark.parametrize("lowering", ["loop", "projected", "unrolled"])
@pytest.mark.parametrize(
    "options",
    [
        {"layers": 2, "bidirectional": True, "head": "attention"},
        {"layers": 3, "head": "tokens"},
        {"kind": "gru", "layers": 2, "reset_after": False},
        {"kind": "gru", "layers": 2, "head": "max"},
    ],
)
def test_every_matrix_is_rounded_for_its_inputs(
    lowering: str, options: dict[str, Any], make: Any
) -> None:
    network = make.network(**options)
    moments = input_moments(network, texts_for(network))
    for recipe, table in ((MATRICES, "INT8"), (WORDS_TOO, "INT4")):
        content = lowered(network, lowering, recipe, texts_for(network))
        model = parse_tflite(content, where=lowering)
        matrices, _ = stored(model, "INT4")
        assert matrices
        assert matrices <= set(moments)
        assert stored(model, table)[1] == {"embedding"}
        assert not stored(model, "INT8")[0]


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_moments_are_those_of_the_inputs(kind: str, make: Any) -> None:
    network = make.network(kind=kind, reset_after=False, head="tokens")
    text = texts_for(network, [9])
    seen: dict[str, FloatArray] = {}
    answers(network, text, lambda name, values: seen.update({name: values}))
    moments = input_moments(network, text)
    states = seen[f"{kind}.0/forward/hidden"][0]
    words = network.embedding.table[np.asarray(text[0])]
    expected = {
        f"{kind}.0/kernel": words,
        f"{kind}.0/forward/recurrent": states[:-1],  # the last one is multiplied no more
        f"{kind}.0/both": np.concatenate([words, states[:-1]], axis=1),
        "dense": states[1:],
    }
    for name, rows in expected.items():
        np.testing.assert_allclose(moments[name], rows.T @ rows / len(rows), rtol=1e-4, atol=1e-7)
    assert (f"{kind}.0/forward/candidate" in moments) == (kind == "gru")


def test_texts_make_answers_better(make: Any, tmp_path: Path) -> None:
    """On texts that the weights were not rounded for."""
    plain, for_inputs = [], []
    for seed in range(4):
        network = make.network(
            hidden=48, embedding=48, bidirectional=True, head="max", vocabulary=60, seed=seed
        )
        texts = texts_for(network, [9] * 60)
        wanted = np.stack(answers(network, texts[30:]))
        for errors, known in ((plain, ()), (for_inputs, texts[:30])):
            found = ask(lowered(network, "loop", MATRICES, known), tmp_path, texts[30:])
            errors.append(float(np.square(np.stack(found) - wanted).mean()))
    assert sum(for_inputs) < 0.8 * sum(plain)


def test_a_stream_in_four_bits_answers_as_the_whole(make: Any, tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    network = make.network(layers=2)
    [text] = texts_for(network, [20])
    content = lowered(network, "loop", WORDS_TOO, texts_for(network), streaming=True)
    stream = Interpreter(model_content=content).get_signature_runner("stream")
    state = {
        name: np.zeros((1, 8), np.float32)
        for name in stream.get_input_details()
        if name != "input_ids"
    }
    for begin, end in ((0, 1), (1, 4), (4, 20)):
        answer = stream(input_ids=np.asarray([text[begin:end]], np.int32), **state)
        state = {name: answer[f"{name}_next"] for name in state}
    [whole] = ask(content, tmp_path, [text])
    np.testing.assert_allclose(answer["logits"][0], whole, rtol=0.02, atol=1e-3)


def test_bundles_in_four_bits(lstm_folder: Path, invented_dataset: Dataset, tmp_path: Path) -> None:
    sizes = []
    for recipe in ("dynamic_wi8_afp32", MATRICES, WORDS_TOO):
        bundle = convert(
            load_model(lstm_folder),
            invented_dataset,
            tmp_path / recipe,
            ConversionOptions(recipes=(recipe,)),
        ).bundles[0][1]
        assert bundle.recipe == recipe
        sizes.append(read_tflite(tmp_path / recipe / "model.tflite").size_bytes)
    assert sizes[0] > sizes[1] > sizes[2]


def test_an_old_runtime_is_refused(
    lstm_folder: Path, invented_dataset: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(ConversionError, match=r"tflite-runtime 2\.14.* cannot load"):
        convert(
            load_model(lstm_folder),
            invented_dataset,
            tmp_path / "old",
            ConversionOptions(recipes=(MATRICES,), runtime="tflite-runtime==2.14"),
        )
    assert not (tmp_path / "old").exists()


def test_words_that_are_also_the_last_matrix_are_rounded_for_it(make: Any) -> None:
    plain = make.network(head="tokens", hidden=16, embedding=16, vocabulary=200)
    recurrent = plain.layers[0]
    words = Dense("words", plain.embedding.table.T.copy(), np.zeros(200, np.float32))
    network = Network("tied", plain.embedding, (recurrent, words))
    assert tied_decoder(network) == "words"
    assert tied_decoder(plain) is None
    texts = texts_for(network, [STEPS] * 20)
    content = lowered(network, "loop", WORDS_TOO, texts)
    model = parse_tflite(content, where="tied")
    shared = [
        {name for name, _ in readers}
        for tensor, readers in model.constants()
        if tensor.dtype == "INT4" and tensor.shape == (200, 16)
    ]
    assert shared == [{"EMBEDDING_LOOKUP", "FULLY_CONNECTED"}]
