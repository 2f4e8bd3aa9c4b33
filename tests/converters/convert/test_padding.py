"""Models that were trained on padded texts: which padding a bundle gets, and where it is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

import edgeseq as es
from edgeseq.cli.app import app
from edgeseq.errors import BundleError, CheckpointError, EdgeseqError, InputError, RefusedError
from edgeseq.formats.bundle import read_bundle
from edgeseq.formats.padding import TEXT_ALONE, Padding
from edgeseq.formats.trained_model import read_model_folder, write_model_folder
from edgeseq.tasks.examples import Dataset
from edgeseq_converters.models.trim_recurrent import trim_trained

from ...padded_keras import LENGTH, PaddedModel, random_texts, write_padded_model

SIDES = [("pre", "pre"), ("post", "post"), ("none", "pre")]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> PaddedModel:
    return write_padded_model(tmp_path_factory.mktemp("padded"))


@pytest.fixture(scope="module")
def dataset(source: PaddedModel) -> Dataset:
    return source.dataset()


@pytest.fixture(scope="module")
def bundle(
    source: PaddedModel, dataset: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> es.Bundle:
    """Padded in front, as the labels of `dataset` are."""
    out = tmp_path_factory.mktemp("bundle") / "padded"
    return convert(source, dataset, out, padding="pre")


def load(source: PaddedModel, **options: Any) -> es.Model:
    return es.load_model(source.path, tokenizer=source.tokenizer_path, **options)


def convert(source: PaddedModel, dataset: Dataset, out: Path, **options: Any) -> es.Bundle:
    options = {"recipe": "float32", "progress": None, **options}
    return es.convert(load(source), dataset, out=out, **options)


@pytest.mark.parametrize(("padding", "truncation"), SIDES)
def test_golden_examples_are_keras_own_answers(
    source: PaddedModel, dataset: Dataset, tmp_path: Path, padding: str, truncation: str
) -> None:
    converted = convert(source, dataset, tmp_path / "out", padding=padding, truncation=truncation)
    files = read_bundle(converted.path)
    assert files.manifest.padding == Padding(padding, 0, truncation)  # type: ignore[arg-type]
    for example in files.golden.examples:
        [ids] = source.tokenizer.texts_to_sequences([example.text])
        expected = ids[-LENGTH:]
        if padding != "none":
            expected = source.padded([example.text], padding, truncation)[0].tolist()
        assert list(example.token_ids) == expected
        [keras_answer] = np.asarray(source.model(np.asarray([expected])))
        exponentials = np.exp(np.asarray(example.logits))
        np.testing.assert_allclose(exponentials / exponentials.sum(), keras_answer, atol=1e-5)


def test_a_fixed_length_without_a_mask_is_refused_with_the_score_of_each_padding(
    source: PaddedModel, dataset: Dataset, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(CheckpointError) as refused:
        convert(source, dataset, out)
    line = str(refused.value)
    assert f"takes {LENGTH} tokens and has no mask" in line
    assert "pre, truncation pre 100.0 %" in line
    texts = [example.text for example in dataset.dev]
    right = [example.label for example in dataset.dev]
    behind = source.answers(texts, "post", "pre").argmax(axis=1)
    share = np.mean(
        [dataset.labels[best] == label for best, label in zip(behind, right, strict=True)]
    )
    assert f"post, truncation pre {100 * share:.1f} %" in line
    assert share < 0.9
    assert "--padding pre, post or none" in line
    assert not out.exists()


@pytest.mark.parametrize(("padding", "truncation"), [("pre", "post"), ("post", "pre")])
def test_auto_takes_what_the_labels_were_made_with(
    source: PaddedModel, tmp_path: Path, padding: str, truncation: str
) -> None:
    dataset = source.dataset(padding, truncation)
    converted = convert(source, dataset, tmp_path / "out", padding="auto")
    manifest = converted.manifest
    assert manifest.padding == Padding(padding, 0, truncation)  # type: ignore[arg-type]
    scores = manifest.provenance.padding_scores
    assert len(scores) == 6
    assert scores[f"{padding}, truncation {truncation}"] == 1.0 == max(scores.values())


def test_inspect_and_convert_say_how_texts_are_padded(
    source: PaddedModel, dataset: Dataset, bundle: es.Bundle, tmp_path: Path
) -> None:
    shown = CliRunner().invoke(app, ["inspect", str(bundle.path)]).output
    assert f"padding: in front with id 0 to {LENGTH} tokens; a longer text is cut at its" in shown
    answer = CliRunner().invoke(app, ["inspect", str(bundle.path), "--json"]).output
    padding = json.loads(answer)["bundle"]["padding"]
    assert padding == {"side": "pre", "pad_id": 0, "truncation": "pre"}


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"padding": "left"}, "--padding: is unknown"),
        ({"padding": "pre", "truncation": "both"}, "--truncation: is unknown"),
        ({"padding": "pre", "pad_id": 99}, "is not a token id of the model"),
        ({"padding": "none", "pad_id": 3}, "--pad-id needs a padding"),
        ({"padding": "pre", "length": 7}, "texts are padded to another length"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    source: PaddedModel, dataset: Dataset, tmp_path: Path, options: dict[str, Any], line: str
) -> None:
    with pytest.raises(EdgeseqError, match=line):
        convert(source, dataset, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_another_length_than_the_models_own_is_refused(
    source: PaddedModel, dataset: Dataset, tmp_path: Path
) -> None:
    model = load(source, max_tokens=LENGTH + 1)
    with pytest.raises(InputError, match="as many tokens as it was trained with"):
        es.convert(model, dataset, out=tmp_path / "out", padding="pre", progress=None)


def test_models_that_know_their_padding_take_none(
    lstm_folder: Path, invented_dataset: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="are for recurrent networks from elsewhere"):
        es.convert(lstm_folder, invented_dataset, out=tmp_path / "out", padding="pre")


def test_a_mask_needs_no_padding(source: PaddedModel, dataset: Dataset, tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    model = keras.Sequential(
        [
            keras.layers.Input((LENGTH,), dtype="int32"),
            keras.layers.Embedding(24, 6, mask_zero=True),
            keras.layers.LSTM(5),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    path = tmp_path / "masked.keras"
    model.save(path)
    masked = source._replace(path=path)
    converted = convert(masked, dataset, tmp_path / "out")
    assert converted.manifest.padding == TEXT_ALONE
    assert converted.manifest.max_tokens == LENGTH
    with pytest.raises(InputError, match="padding changes nothing"):
        convert(masked, dataset, tmp_path / "other", padding="pre")


def test_quantized_models_are_calibrated_and_compared_on_padded_texts(
    source: PaddedModel, dataset: Dataset, tmp_path: Path
) -> None:
    for recipe, lowering in (("static_wi8_ai8", "fused"), ("dynamic_wi8_afp32", "unrolled")):
        converted = convert(
            source, dataset, tmp_path / recipe, padding="pre", recipe=recipe, lowering=lowering
        )
        fidelity = converted.manifest.fidelity
        assert fidelity.float_score == 1.0
        assert fidelity.label_agreement >= 0.9
        texts = random_texts(8, 77)
        predictions = converted.predict(texts)
        scores = [[p.scores[label] for label in dataset.labels] for p in predictions]
        np.testing.assert_allclose(scores, source.answers(texts), atol=0.1)


def test_padding_keeps_its_id_in_a_trimmed_vocabulary(make: Any) -> None:
    model = make.lstm()
    manifest = msgspec.structs.replace(model.manifest, padding=Padding("post", 3, "post"))
    model = msgspec.structs.replace(model, manifest=manifest)
    trimmed = trim_trained(model, ["a text without known words"])
    pad_id = trimmed.manifest.padding.pad_id
    np.testing.assert_array_equal(
        trimmed.weights["embedding.weight"][pad_id], model.weights["embedding.weight"][3]
    )
    assert len(trimmed.weights["embedding.weight"]) < len(model.weights["embedding.weight"])


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"side": "front"}, "padding"),
        ({"side": "pre", "pad_id": 24}, "has a padding that the model cannot have"),
        ({"side": "pre", "pad_id": -1}, "has a padding that the model cannot have"),
        ({"side": "pre", "fill": 1}, "fill"),
    ],
)
def test_a_damaged_padding_is_refused(
    bundle: es.Bundle, tmp_path: Path, change: dict[str, Any], line: str
) -> None:
    path = bundle.save(tmp_path / "copy").path / "bundle.json"
    manifest = json.loads(path.read_bytes())
    path.write_text(json.dumps({**manifest, "padding": change}))
    with pytest.raises(BundleError, match=line):
        read_bundle(path.parent)


def test_golden_examples_of_another_length_are_refused(bundle: es.Bundle, tmp_path: Path) -> None:
    path = bundle.save(tmp_path / "copy").path / "bundle.json"
    manifest = json.loads(path.read_bytes())
    path.write_text(json.dumps({**manifest, "max_tokens": LENGTH + 1}))
    with pytest.raises(BundleError, match="number of tokens that the model does not take"):
        read_bundle(path.parent)


def test_mediapipe_cannot_pad_so(source: PaddedModel, dataset: Dataset, tmp_path: Path) -> None:
    converted = convert(source, dataset, tmp_path / "out", padding="post", lowering="unrolled")
    with pytest.raises(RefusedError, match="behind with id 0 to 10 tokens"):
        es.export(converted, "mediapipe", out=tmp_path / "export")
    assert not (tmp_path / "export").exists()


def test_a_trained_model_folder_without_padding_is_read(make: Any, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    write_model_folder(folder, make.lstm())
    path = folder / "model.json"
    content = json.loads(path.read_bytes())
    content.pop("padding")
    path.write_text(json.dumps(content))
    assert read_model_folder(folder).manifest.padding == TEXT_ALONE
