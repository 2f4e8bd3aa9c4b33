"""What goes wrong when others convert an LSTM, and does not here: one test each.

Reading a model has its own (test_importers_known_failures.py), and so have clipped cells, padding
and what a lowering cannot do (test_lowerings.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from edgeseq.formats.tflite_file import TfliteFile, parse_tflite
from edgeseq.runtime.interpreter import TfliteModel
from edgeseq_converters.convert.lower.dispatch import Target, network_to_tflite
from edgeseq_converters.convert.quantize.recurrent_ranges import calibrate
from edgeseq_converters.convert.recipes import get_recipe
from edgeseq_converters.models.reference_recurrent import answers


def lowered(network: Any, lowering: Any, recipe: str = "float32", texts: Any = ()) -> bytes:
    target = Target(lowering, 16 if lowering == "unrolled" else None)
    return network_to_tflite(network, get_recipe(recipe), target, texts, output="logits")


def census(content: bytes) -> dict[str, int]:
    model: TfliteFile = parse_tflite(content, where="model")
    counts: dict[str, int] = {}
    for use in model.operator_uses():
        counts[use.name] = counts.get(use.name, 0) + use.count
    return counts


@pytest.mark.parametrize("bidirectional", [False, True])
def test_fused_is_fused(bidirectional: bool, make: Any) -> None:
    """Keras 3 models lost the fused operator silently: a loop of dozens of operators instead."""
    network = make.network(layers=2, bidirectional=bidirectional, head="max")
    counts = census(lowered(network, "fused"))
    assert counts["UNIDIRECTIONAL_SEQUENCE_LSTM"] == (4 if bidirectional else 2)
    assert "WHILE" not in counts
    assert not any(":" in name for name in counts)  # neither Flex nor custom


@pytest.mark.parametrize("lowering", ["loop", "unrolled", "fused"])
@pytest.mark.parametrize("recipe", ["float32", "dynamic_wi8_afp32", "static_wi8_ai8"])
def test_only_builtin_operators(lowering: str, recipe: str, make: Any) -> None:
    """No Flex, no TensorList: those need a runtime of their own, or none has them."""
    network = make.network(layers=2, bidirectional=True, head="attention")
    texts = [[1, 2, 3], [4, 5]]
    names = set(census(lowered(network, lowering, recipe, texts)))
    assert not any(":" in name or "LIST" in name for name in names)


def test_a_fused_state_does_not_leak_into_the_next_text(make: Any, tmp_path: Path) -> None:
    """The operator keeps its state between calls: the same text answered differently each time."""
    content = lowered(make.network(), "fused")
    raw = Interpreter(model_content=content).get_signature_runner()
    text = np.asarray([[3, 4, 5]], np.int32)
    first, second = (raw(input_ids=text)["logits"].copy() for _ in range(2))
    assert np.abs(first - second).max() > 1e-3  # the operator's own behaviour
    (tmp_path / "model.tflite").write_bytes(content)
    model = TfliteModel(tmp_path / "model.tflite")
    asked = [model.infer([3, 4, 5]), model.infer([9] * 30), model.infer([3, 4, 5])]
    np.testing.assert_array_equal(asked[0], asked[2])
    np.testing.assert_array_equal(asked[0], first[0])


def test_the_loop_has_one_body_whatever_the_length(make: Any) -> None:
    """A loop that copies its sequence every step is quadratic; this one hands it through."""
    model = parse_tflite(lowered(make.network(head="max", layers=3), "loop"), where="model")
    bodies = [graph for graph in model.subgraphs if graph.name == "body"]
    assert len(bodies) == 1  # a stack of three layers, pooled, in one loop
    [body] = bodies
    changed = [
        body.tensors[given].shape
        for given, result in zip(body.inputs, body.outputs, strict=True)
        if given != result
    ]
    assert all(-1 not in shape for shape in changed), "an open axis is copied every step"


def test_more_calibration_texts_do_not_widen_the_ranges_without_bound(make: Any) -> None:
    """With minimum and maximum one odd text ruins the resolution of all others."""
    network = make.network(vocabulary=2000)
    network.embedding.table[1999] *= 500
    rng = np.random.default_rng(0)
    usual = [rng.integers(1, 1999, 20).tolist() for _ in range(1000)]
    odd = [1999] * 2
    name = f"{network.embedding.name}/output"
    without, with_odd = (
        calibrate(network, texts).largest(name) for texts in (usual, [*usual, odd])
    )
    assert with_odd < 1.5 * without
    assert np.abs(network.embedding.table[1999]).max() > 50 * without


def test_the_embedding_is_quantized_by_row(make: Any, tmp_path: Path) -> None:
    """One scale for the table gives every row the precision of its largest one."""
    network = make.network(vocabulary=100, embedding=32, hidden=32)
    network.embedding.table[99] *= 200
    content = lowered(network, "loop", "dynamic_wi8_afp32")
    (tmp_path / "model.tflite").write_bytes(content)
    texts = [[1, 2, 3, 4], [50, 60, 70]]
    model = TfliteModel(tmp_path / "model.tflite")
    for text, wanted in zip(texts, answers(network, texts), strict=True):
        assert np.abs(model.infer(text) - wanted).max() < 0.02 * np.abs(wanted).max()


def test_batch_and_length_need_no_number_from_the_user(make: Any, tmp_path: Path) -> None:
    """A None batch made TensorFlow's converter fail on TensorListReserve."""
    (tmp_path / "model.tflite").write_bytes(lowered(make.network(), "loop"))
    model = TfliteModel(tmp_path / "model.tflite")
    assert model.fixed_length is None
    assert model.infer([1]).shape == model.infer([1] * 500).shape == (3,)
