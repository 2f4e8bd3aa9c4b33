"""Static recipes of recurrent networks: every cell, merge, layer and stream in integers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from edgeseq.formats.trained_model import TrainedModel
from edgeseq.runtime.interpreter import TfliteModel
from edgeseq_converters.convert.lower.dispatch import Target, lower, network_to_tflite
from edgeseq_converters.convert.recipes import get_recipe
from edgeseq_converters.models.network import Network
from edgeseq_converters.models.network_layers import (
    Activation,
    Attention,
    AttentionPool,
    Cell,
    Convolution,
    Dense,
    FeatureSlice,
    Join,
    LayerNorm,
    Pool,
    Recurrent,
    Scale,
    WindowPool,
)
from edgeseq_converters.models.reference_recurrent import answers
from edgeseq_converters.models.stored_network import network_to_folder

STATIC = "static_wi8_ai8"
STEPS = 9
RNG = np.random.default_rng(7)
TEXTS = [RNG.integers(1, 50, length).tolist() for length in range(2, 40)]
SHORT = [text[:STEPS] for text in TEXTS[:12]]


def lowered(network: Network, lowering: Any, **more: Any) -> bytes:
    target = Target(lowering, STEPS if lowering == "unrolled" else None)
    return network_to_tflite(network, get_recipe(STATIC), target, TEXTS, output="logits", **more)


def ask(content: bytes, folder: Path) -> list[np.ndarray[Any, Any]]:
    path = folder / "model.tflite"
    path.write_bytes(content)
    model = TfliteModel(path)
    return [model.infer(text) for text in SHORT]


def check(network: Network, folder: Path, lowerings: tuple[str, ...], limit: float) -> None:
    """Close to the float network, and one loop the same as its steps written out."""
    expected = answers(network, SHORT)
    largest = max(np.abs(values).max() for values in expected)
    found = {}
    for lowering in lowerings:
        found[lowering] = [
            values[: len(wanted)] if wanted.ndim > 1 else values
            for values, wanted in zip(
                ask(lowered(network, lowering), folder), expected, strict=True
            )
        ]
        error = max(
            np.abs(values - wanted).max()
            for values, wanted in zip(found[lowering], expected, strict=True)
        )
        assert 0 < error / largest < limit, lowering
    for one, other in zip(found["loop"], found["unrolled"], strict=True):
        np.testing.assert_allclose(one, other, atol=2e-2 * largest)


MERGES: tuple[dict[str, Any], ...] = (
    {"head": "final"},
    {"head": "max", "bidirectional": True, "layers": 2},
    {"head": "final", "bidirectional": True, "merge": "sum"},
    {"head": "tokens", "bidirectional": True, "merge": "ave"},
    {"head": "max", "bidirectional": True, "merge": "mul"},
    {"head": "mean", "layers": 2},
)


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("options", MERGES, ids=str)
def test_every_cell_and_merge(
    kind: str, options: dict[str, Any], make: Any, tmp_path: Path
) -> None:
    network = make.network(kind=kind, hidden=24, embedding=24, **options)
    lowerings = ("loop", "unrolled") + (("fused",) if kind == "lstm" else ())
    check(network, tmp_path, lowerings, 0.15)


@pytest.mark.parametrize(
    ("kind", "functions"),
    [
        ("lstm", {"gate_function": "hard_sigmoid_fifth"}),
        ("lstm", {"gate_function": "hard_sigmoid_sixth", "function": "relu"}),
        ("gru", {"gate_function": "hard_sigmoid_sixth", "function": "softsign"}),
        ("gru", {"function": "relu"}),
        ("rnn", {"function": "sigmoid"}),
        ("rnn", {"function": "linear"}),
    ],
)
def test_other_functions(kind: str, functions: dict[str, str], make: Any, tmp_path: Path) -> None:
    options = {"hidden": 24, "embedding": 24, "cell_functions": functions}
    check(make.network(kind=kind, **options), tmp_path, ("loop", "unrolled"), 0.15)
    both = make.network(kind=kind, head="max", bidirectional=True, **options)
    check(both, tmp_path, ("loop", "unrolled"), 0.2)


def test_a_reset_gate_before_the_product(make: Any, tmp_path: Path) -> None:
    network = make.network(kind="gru", hidden=24, embedding=24, layers=2, reset_after=False)
    check(network, tmp_path, ("loop", "unrolled"), 0.15)


def test_layers_around_the_recurrent_ones(make: Any, tmp_path: Path) -> None:
    """A dense layer and a batch normalization before and after, functions in the middle and at the
    end, and an attention too large to be stored in float32."""
    network = make.network(hidden=40, embedding=16, head="tokens")
    recurrent, head = network.layers
    assert isinstance(recurrent, Recurrent)
    assert isinstance(head, Dense)

    def draw(*shape: int, scale: float = 0.3) -> Any:
        return RNG.normal(size=shape, scale=scale).astype(np.float32)

    def norm(name: str, size: int) -> Scale:
        return Scale(name, 1 + draw(size), draw(size))

    layers = (
        Dense("before", draw(16, 16), draw(16), "relu"),
        norm("norm.0", 16),
        recurrent,
        norm("norm.1", 40),
        AttentionPool("attention", draw(40, 30), draw(30), draw(30)),
        Dense("middle", draw(40, 12), draw(12), "hard_sigmoid_sixth"),
        Activation("function", "tanh"),
        Dense("end", draw(12, 3), draw(3)),
        norm("norm.2", 3),
    )
    check(replace(network, layers=layers), tmp_path, ("loop", "unrolled", "fused"), 0.15)


def test_branches_and_windows(make: Any, tmp_path: Path) -> None:
    """The embedding feeds a convolution and a second branch, so it is not stretched for either."""
    table = make.network(embedding=16).input

    def draw(*shape: int, scale: float = 0.2) -> Any:
        return np.random.default_rng(len(shape)).normal(size=shape, scale=scale).astype(np.float32)

    def recurrent(name: str, kind: Any, inputs: int) -> Recurrent:
        gates = {"lstm": 4, "gru": 3}[kind] * 20
        cell = Cell(kind, draw(inputs, gates), draw(20, gates), draw(gates))
        return Recurrent(name, cell, sequences=True)

    layers = (
        recurrent("first", "gru", 16),
        Convolution("windows", draw(3, 16, 24), draw(24), border="same", function="relu"),
        WindowPool("pool", "max", 2, 1, "same"),
        recurrent("second", "lstm", 24),
        LayerNorm("norm", 1 + draw(20), draw(20), 1e-3),
        Join("both", "add"),
        Attention("attention", "dot"),
        Pool("mean", "sum"),
        FeatureSlice("part", 4, 20),
        Dense("end", draw(16, 3), draw(3)),
    )
    fed_by = {
        "windows": (table.name,),
        "both": ("norm", "first"),
        "attention": ("both", "both"),
    }
    network = Network("branches", table, layers, fed_by=fed_by)
    check(network, tmp_path, ("loop", "unrolled"), 0.15)


@pytest.mark.parametrize(("kind", "layers"), [("lstm", 2), ("gru", 2), ("rnn", 1)])
def test_a_stream_in_pieces_answers_as_the_whole(kind: str, layers: int, make: Any) -> None:
    network = make.network(kind=kind, layers=layers, hidden=24, embedding=24, head="tokens")
    interpreter = Interpreter(model_content=lowered(network, "loop", streaming=True))
    whole = interpreter.get_signature_runner("serving_default")
    stream = interpreter.get_signature_runner("stream")
    states = {
        name: np.zeros(detail["shape"], np.float32)
        for name, detail in stream.get_input_details().items()
        if name != "input_ids"
    }
    assert len(states) == layers * (2 if kind == "lstm" else 1)
    text, pieces = TEXTS[20], []
    for piece in (text[:1], text[1:8], text[8:]):
        outputs = stream(input_ids=np.asarray([piece], np.int32), **states)
        pieces.append(outputs["logits"][0])
        states = {name: outputs[f"{name}_next"] for name in states}
    expected = whole(input_ids=np.asarray([text], np.int32))["logits"][0]
    np.testing.assert_allclose(np.concatenate(pieces), expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_a_model_of_the_next_word(kind: str, make: Any) -> None:
    network = make.network(kind=kind, hidden=24, embedding=24, head="tokens")
    config, weights = network_to_folder(network)
    manifest = msgspec.structs.replace(
        make.manifest("lstm", 64, network=config), task="lm", labels=()
    )
    model = TrainedModel(manifest, dict(weights), "{}")
    content = lower(model, get_recipe(STATIC), Target("loop"), TEXTS)
    runner = Interpreter(model_content=content).get_signature_runner("stream")
    states = {
        name: np.zeros(detail["shape"], np.float32)
        for name, detail in runner.get_input_details().items()
        if name != "input_ids"
    }
    found = runner(input_ids=np.asarray([TEXTS[9]], np.int32), **states)["logits"][0]
    expected = answers(network, [TEXTS[9]])[0]
    assert 0 < np.abs(found - expected).max() < 0.15 * np.abs(expected).max()
