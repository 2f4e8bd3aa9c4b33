"""ONNX files and weights without layers, through float32 files: the frameworks' own answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeseq as es
from edgeseq.runtime.interpreter import TfliteModel

from ..models.test_describe_weights import MODULES, randomized
from ..models.test_importers_onnx import Reader, export, onnxruntime, randomize
from ..models.test_keras_weights import network

torch = pytest.importorskip("torch")
TEXTS = ([3], [5, 1, 4, 16, 2, 9, 11], [7, 7, 8])


def check_file(source: Path, folder: Path, lowering: str, expected: Any, **options: Any) -> None:
    """The float32 file of `source` answers each text as `expected` does."""
    fixed = {"length": 7} if lowering == "unrolled" else {}
    texts = TEXTS[1:2] if fixed else TEXTS
    model = es.load_model(source, **options)
    out = folder / "model.tflite"
    es.convert_to_tflite(model, out, recipe="float32", lowering=lowering, progress=None, **fixed)
    answering = TfliteModel(out)
    for text in texts:
        np.testing.assert_allclose(answering.infer(list(text)), expected(text), atol=1e-5)


@pytest.mark.parametrize(
    ("lowering", "options"),
    [
        ("loop", {"both": True, "layers": 2, "pooling": "attention"}),
        ("unrolled", {"both": True, "pooling": "halves"}),
        ("projected", {"kind": "gru", "pooling": "mean"}),
        ("fused", {"pooling": "last"}),
    ],
)
def test_onnx_through_files(tmp_path: Path, lowering: str, options: dict[str, Any]) -> None:
    path = export(randomize(Reader(**options)), tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    check_file(
        path, tmp_path, lowering, lambda text: session.run(None, {"ids": np.asarray([text])})[0][0]
    )


@pytest.mark.parametrize(
    ("case", "lowering"),
    [("stacked", "loop"), ("backward", "loop"), ("added", "unrolled"), ("vector", "projected")],
)
def test_state_dicts_through_files(tmp_path: Path, case: str, lowering: str) -> None:
    run, children, truth = MODULES[case]
    module = randomized(run, children)
    path, description = tmp_path / "weights.pt", tmp_path / "network.toml"
    torch.save(module.state_dict(), path)
    text = es.describe_weights(path).text
    for label, value in truth.items():
        field = label.split(" ", maxsplit=1)[0]
        text = text.replace(f'{field} = "?"', f'{field} = "{value}"')
    description.write_text(text)

    def expected(text: Any) -> Any:
        with torch.no_grad():
            return module(torch.tensor([text]))[0].numpy()

    check_file(path, tmp_path, lowering, expected, description=description)


@pytest.mark.parametrize(
    ("version", "suffix", "lowering"),
    [(3, ".weights.h5", "loop"), (2, ".weights.h5", "projected"), (2, ".h5", "unrolled")],
)
def test_keras_weights_through_files(
    tmp_path: Path, version: int, suffix: str, lowering: str
) -> None:
    keras = pytest.importorskip("keras" if version == 3 else "tf_keras")
    model = network(keras, pooled=True)
    path, layers = tmp_path / f"reviews{suffix}", tmp_path / "layers.json"
    model.save_weights(path)
    layers.write_text(model.to_json())
    check_file(
        path,
        tmp_path,
        lowering,
        lambda text: np.asarray(model(np.asarray([text])))[0],
        description=layers,
    )
