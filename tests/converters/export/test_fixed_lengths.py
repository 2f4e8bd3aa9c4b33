"""A file of fixed lengths answers as the open one does, whatever the network and the padding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import edgeseq as es
from edgeseq.errors import ConversionError, InputError
from edgeseq.formats.bundle import read_bundle
from edgeseq.formats.tflite_file import parse_tflite
from edgeseq.runtime.interpreter import TfliteModel
from edgeseq_converters.convert.import_model import load_model
from edgeseq_converters.convert.lower.dispatch import Target, network_to_tflite, recipes_of
from edgeseq_converters.convert.lower.fixed_lengths import fix_lengths, signature_key
from edgeseq_converters.convert.pipeline import convert
from edgeseq_converters.convert.plan import ConversionOptions, plan_bundles
from edgeseq_converters.convert.recipes import get_recipe
from edgeseq_converters.export.fixed_length_model import FixedLengthModel

FIXED = {signature_key(length): length for length in (4, 12, 20)}
TEXTS = (1, 2, 4, 7, 12, 19)
TOLERANCE = 1e-5


def token_ids(vocabulary: int) -> list[list[int]]:
    """Random ids of several lengths; 0 is left to padding."""
    rng = np.random.default_rng(1)
    return [rng.integers(1, vocabulary, length).tolist() for length in TEXTS]


def largest_difference(content: bytes, folder: Path, texts: list[list[int]]) -> float:
    """Between the logits of the open file and of the fixed one."""
    paths = folder / "open.tflite", folder / "fixed.tflite"
    for path, written in zip(
        paths, (content, fix_lengths(content, FIXED, where="a file")), strict=True
    ):
        path.write_bytes(written)
    free = TfliteModel(paths[0])
    fixed = FixedLengthModel(paths[1], {str(length): key for key, length in FIXED.items()})
    differences = []
    for text in texts:
        wanted, found = free.infer(text), fixed.infer(text)
        differences.append(np.abs(found[: len(wanted)] - wanted).max())
    return float(max(differences))


@st.composite
def networks(draw: Any) -> dict[str, Any]:
    """Arguments of `make.network`."""
    return {
        "kind": draw(st.sampled_from(["lstm", "gru"])),
        "layers": draw(st.integers(1, 2)),
        "bidirectional": draw(st.booleans()),
        "head": draw(st.sampled_from(["final", "max", "mean", "last", "attention", "tokens"])),
        "mask_zero": draw(st.booleans()),
        "function": draw(st.sampled_from(["linear", "softmax"])),
        "seed": draw(st.integers(0, 2**16)),
    }


@pytest.mark.parametrize("lowering", ["loop", "projected"])
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(options=networks())
def test_any_recurrent_network(
    lowering: Any, options: dict[str, Any], make: Any, tmp_path: Path
) -> None:
    network = make.network(**options)
    content = network_to_tflite(network, get_recipe("float32"), Target(lowering), output="logits")
    assert largest_difference(content, tmp_path, token_ids(50)) <= TOLERANCE


@pytest.mark.parametrize("recipe", recipes_of("lstm", "loop"))
@pytest.mark.parametrize("head", ["max", "mean", "attention"])
def test_every_recipe_of_an_lstm(recipe: str, head: str, make: Any, tmp_path: Path) -> None:
    network = make.network(head=head, bidirectional=True, layers=1)
    texts = token_ids(50)
    content = network_to_tflite(
        network, get_recipe(recipe), Target("loop"), texts * 4, output="logits"
    )
    # The same integers from the same sums: only a mean and a softmax have another order.
    assert largest_difference(content, tmp_path, texts) <= TOLERANCE


@pytest.mark.parametrize("recipe", ["float32", "float16", "weight_only_wi8_afp32"])
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_an_encoder(recipe: str, pooling: str, make: Any, tmp_path: Path) -> None:
    content = make.export(make.bert(pooling=pooling), recipe)
    assert largest_difference(content, tmp_path, token_ids(30)) <= 10 * TOLERANCE


def test_weights_are_stored_once_and_no_axis_is_open(make: Any) -> None:
    content = make.export(make.bert(hidden=64, intermediate=256))
    fixed = fix_lengths(content, FIXED, where="a file")
    stored = [
        sum(tensor.size_bytes for tensor, _ in parse_tflite(part, where="a file").constants())
        for part in (content, fixed)
    ]
    assert stored[1] < stored[0] + 2000
    parsed = parse_tflite(fixed, where="a file")
    assert [entry.key for entry in parsed.signatures] == list(FIXED)
    shapes = [tensor.shape for graph in parsed.subgraphs for tensor in graph.tensors]
    assert not any(-1 in shape for shape in shapes)


@pytest.mark.parametrize("arch", ["lstm", "bert"])
def test_a_bundle_of_a_fixed_length(
    arch: str, lstm_folder: Path, bert_folder: Path, invented_dataset: Any, tmp_path: Path
) -> None:
    folder = lstm_folder if arch == "lstm" else bert_folder
    options = ConversionOptions(recipes=("float32",), length=24)
    convert(load_model(folder), invented_dataset, tmp_path / "fixed", options)
    bundle = read_bundle(tmp_path / "fixed")
    assert bundle.manifest.signature.inputs[0].shape == (1, 24)
    assert bundle.manifest.max_tokens == 24
    assert bundle.manifest.fidelity.label_agreement == 1
    convert(
        load_model(folder),
        invented_dataset,
        tmp_path / "open",
        ConversionOptions(recipes=("float32",)),
    )
    texts = [example.text for example in invented_dataset.test]
    predicted = [
        [prediction.label for prediction in es.load_bundle(tmp_path / name).predict(texts)]
        for name in ("fixed", "open")
    ]
    assert predicted[0] == predicted[1]


@pytest.mark.parametrize(
    ("lowerings", "length", "message"),
    [
        (("fused",), 8, "the lowering has no fixed length"),
        (("loop", "fused"), 8, "--length 8 with fused"),
        (("loop",), 65, "cannot have this fixed length"),
    ],
)
def test_lengths_that_a_conversion_refuses(
    lowerings: tuple[str, ...], length: int, message: str, make: Any, tmp_path: Path
) -> None:
    options = ConversionOptions(lowerings=lowerings, length=length)
    with pytest.raises(InputError, match=message):
        plan_bundles(make.lstm().manifest, tmp_path / "out", options)


def test_a_search_skips_lowerings_without_a_fixed_length(make: Any, tmp_path: Path) -> None:
    options = ConversionOptions(recipes=("float32",), lowerings=("auto",), length=8)
    plans, skipped = plan_bundles(make.lstm().manifest, tmp_path / "out", options)
    assert {plan.target.steps for (plan,) in plans} == {8}
    assert skipped == {"float32 fused": "the lowering has no fixed length"}


def test_what_has_no_open_length_is_refused(make: Any) -> None:
    for content, message in (
        (make.export(make.lstm(), lowering="unrolled", steps=8), "has no open length"),
        (make.export(make.lstm(), lowering="fused"), "has an operator that cannot look past"),
    ):
        with pytest.raises(ConversionError, match=message):
            fix_lengths(content, FIXED, where="a file")
