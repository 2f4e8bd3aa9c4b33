"""Models with any number of labels per text, from a training, Keras, PyTorch and Hugging Face."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from sklearn.metrics import f1_score
from tokenizers import Tokenizer, models, pre_tokenizers

from edgeseq.errors import BundleError, CheckpointError, InputError, RefusedError
from edgeseq.formats.bundle import BundleFiles, read_bundle
from edgeseq.formats.bundle_zip import open_bundle
from edgeseq.formats.export_target import ExportOptions
from edgeseq.formats.storage import write_json
from edgeseq.runtime.interpreter import TfliteModel
from edgeseq.tasks.examples import Dataset, TextExample
from edgeseq.tasks.label_thresholds import decide, sigmoid
from edgeseq.tasks.multilabel_classification import threshold_logits
from edgeseq_benchmarks.bench.predictor import predict
from edgeseq_converters.convert.choose_padding import PaddingOptions
from edgeseq_converters.convert.fit_model import with_label_logits
from edgeseq_converters.convert.import_model import ImportOptions, load_model
from edgeseq_converters.convert.pipeline import convert
from edgeseq_converters.convert.plan import ConversionOptions
from edgeseq_converters.export.mediapipe.target import TARGET as MEDIAPIPE
from edgeseq_converters.export.micro.target import TARGET as MICRO

from ...multilabel_data import LABELS, multilabel_data

WORDS = 40
OTHER_ORDER = LABELS[::-1]
"""Of the checkpoints' classes: the data's are in alphabetical order."""


@pytest.fixture(scope="module")
def data() -> Dataset[Any]:
    return multilabel_data(train=60, dev=60, test=20)


@pytest.fixture(scope="module")
def tokenizer(data: Dataset[Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = sorted({word for one in data.train for word in one.text.split() if word.isalpha()})
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", *words])}
    assert len(vocabulary) <= WORDS
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.save(str(path))
    return path


@pytest.fixture(scope="module")
def keras_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Embedding → LSTM → Dense(3, sigmoid), as Keras writes it."""
    import keras

    keras.utils.set_random_seed(3)
    path = tmp_path_factory.mktemp("keras") / "parcels.keras"
    make_keras("sigmoid").save(path)
    return path


def make_keras(activation: str, units: int = len(LABELS), length: int | None = None) -> Any:
    import keras

    return keras.Sequential(
        [
            keras.layers.Input((length,), dtype="int32"),
            keras.layers.Embedding(WORDS, 8, embeddings_initializer="random_normal"),
            keras.layers.LSTM(8),
            keras.layers.Dense(units, activation=activation, kernel_initializer="random_normal"),
        ]
    )


def to_bundle(
    source: Path, data: Dataset[Any], out: Path, tokenizer: Path | None = None, **options: Any
) -> BundleFiles:
    imported = load_model(source, ImportOptions(tokenizer=tokenizer))
    conversion = ConversionOptions(recipes=("float32",), **options)
    [(folder, _)] = convert(imported, data, out, conversion).bundles
    return read_bundle(folder)


@pytest.fixture(scope="module")
def bundle(
    keras_file: Path, data: Dataset[Any], tokenizer: Path, tmp_path_factory: Any
) -> BundleFiles:
    return to_bundle(keras_file, data, tmp_path_factory.mktemp("bundles") / "parcels", tokenizer)


def test_a_keras_file_answers_as_keras(bundle: BundleFiles, keras_file: Path) -> None:
    import keras

    model = keras.saving.load_model(keras_file)
    texts = [list(example.token_ids) for example in bundle.golden.examples]
    answering = TfliteModel(bundle.model_path)
    found = np.stack([answering.infer(text) for text in texts])
    expected = np.stack([np.asarray(model(np.asarray([text]))[0]) for text in texts])
    np.testing.assert_allclose(sigmoid(found), expected, atol=1e-5)
    golden = np.array([example.logits for example in bundle.golden.examples])
    np.testing.assert_allclose(sigmoid(golden), expected, atol=1e-5)


def test_a_prediction_has_the_labels_that_reach_their_thresholds(
    bundle: BundleFiles, data: Dataset[Any]
) -> None:
    assert len(bundle.manifest.thresholds) == len(LABELS)
    texts = [example.text for example in data.test]
    thresholds = threshold_logits(bundle.manifest.thresholds)
    for prediction in predict(bundle.path, texts):
        shares = np.array(list(prediction.scores.values()))
        decided = decide(np.log(shares / (1 - shares)), thresholds)
        expected = tuple(label for label, has_it in zip(LABELS, decided, strict=True) if has_it)
        assert prediction.labels == expected
        assert prediction.label == ";".join(expected)


def test_thresholds_are_the_best_for_the_development_texts(
    bundle: BundleFiles, data: Dataset[Any]
) -> None:
    predictions = predict(bundle.path, [example.text for example in data.dev])
    scores = np.array([list(one.scores.values()) for one in predictions])
    gold = np.array([[label in one.labels for label in LABELS] for one in data.dev])
    fidelity = bundle.manifest.fidelity
    assert (fidelity.n_examples, fidelity.n_answers) == (len(data.dev), gold.size)
    decided = np.array([[label in one.labels for label in LABELS] for one in predictions])
    assert fidelity.score == pytest.approx(f1_score(gold, decided, average="macro"))
    for threshold in (0.3, 0.5, 0.7):
        other = f1_score(gold, scores >= threshold, average="macro", zero_division=0)
        assert other <= fidelity.score + 1e-9


def test_one_threshold_for_all(
    keras_file: Path, data: Dataset[Any], tokenizer: Path, tmp_path: Path
) -> None:
    for name, choice in (("fixed", 0.5), ("shared", "shared")):
        made = to_bundle(keras_file, data, tmp_path / name, tokenizer, thresholds=choice)
        assert len(set(made.manifest.thresholds)) == 1
        assert choice == "shared" or made.manifest.thresholds[0] == choice


def test_a_network_of_a_fixed_length_is_padded(
    data: Dataset[Any], tokenizer: Path, tmp_path: Path
) -> None:
    import keras

    keras.utils.set_random_seed(4)
    model = make_keras("sigmoid", length=12)
    model.save(tmp_path / "fixed.keras")
    with pytest.raises(CheckpointError, match=r"macro F1.*name it with --padding"):
        to_bundle(tmp_path / "fixed.keras", data, tmp_path / "bundle", tokenizer)
    padding = PaddingOptions(side="auto")
    made = to_bundle(
        tmp_path / "fixed.keras", data, tmp_path / "bundle", tokenizer, padding=padding
    )
    scores = made.manifest.provenance.padding_scores
    assert len(scores) == 3
    ids = [example.token_ids for example in made.golden.examples]
    if made.manifest.padding.side != "none":
        assert {len(row) for row in ids} == {12}
    assert made.manifest.fidelity.float_score == pytest.approx(max(scores.values()))
    for example in made.golden.examples:
        expected = np.asarray(model(np.asarray([example.token_ids])))[0]
        np.testing.assert_allclose(sigmoid(np.array(example.logits)), expected, atol=1e-5)


def test_the_weights_of_pytorch_need_no_sigmoid(
    data: Dataset[Any], tokenizer: Path, tmp_path: Path
) -> None:
    import torch

    class Parcels(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch.nn.Embedding(WORDS, 8)
            self.lstm = torch.nn.LSTM(8, 8, batch_first=True)
            self.labels = torch.nn.Linear(8, len(LABELS))

        def forward(self, ids: Any) -> Any:
            _, (state, _) = self.lstm(self.embedding(ids))
            return torch.sigmoid(self.labels(state[-1]))

    torch.manual_seed(0)
    model = Parcels().eval()
    axes = {"ids": {0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO}}
    ids = torch.ones(2, 8, dtype=torch.int64)
    program = torch.export.export(model, (ids,), dynamic_shapes=axes)
    torch.export.save(program, tmp_path / "parcels.pt2")
    made = to_bundle(tmp_path / "parcels.pt2", data, tmp_path / "bundle", tokenizer)
    with torch.no_grad():
        for example in made.golden.examples:
            expected = model(torch.tensor([example.token_ids]))[0].numpy()
            np.testing.assert_allclose(sigmoid(np.array(example.logits)), expected, atol=1e-5)


def make_checkpoint(folder: Path, small: Path, problem_type: str) -> Path:
    """A checkpoint with a classifier as transformers writes it."""
    import torch
    from transformers import AutoConfig, BertForSequenceClassification

    torch.manual_seed(1)
    config = AutoConfig.from_pretrained(
        small, num_labels=len(LABELS), problem_type=problem_type,
        id2label=dict(enumerate(OTHER_ORDER)),
        label2id={label: number for number, label in enumerate(OTHER_ORDER)},
    )  # fmt: skip
    BertForSequenceClassification(config).eval().save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((small / name).read_bytes())
    return folder


def test_a_checkpoint_says_what_it_was_trained_for(
    data: Dataset[Any], small_bert_checkpoint: Path, tmp_path: Path
) -> None:
    import torch
    from transformers import BertForSequenceClassification

    kinds = {"multi": "multi_label_classification", "single": "single_label_classification"}
    multi, single = (
        make_checkpoint(tmp_path / name, small_bert_checkpoint, kind)
        for name, kind in kinds.items()
    )
    made = to_bundle(multi, data, tmp_path / "bundle")
    model = BertForSequenceClassification.from_pretrained(multi).eval()
    with torch.no_grad():
        for example in made.golden.examples:
            expected = model(torch.tensor([example.token_ids])).logits[0].numpy()
            np.testing.assert_allclose(example.logits, expected[::-1], atol=1e-4)
    with pytest.raises(CheckpointError, match=r"another task.*found text-classification"):
        to_bundle(single, data, tmp_path / "other")
    with pytest.raises(CheckpointError, match=r"found multilabel-cl.*add --task multilabel"):
        to_bundle(multi, one_label_each(data), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def one_label_each(data: Dataset[Any]) -> Dataset[Any]:
    """The same texts with one label each."""
    splits = {
        name: tuple(
            TextExample(one.id, one.text, LABELS[number % 3])
            for number, one in enumerate(getattr(data, name))
        )
        for name in ("train", "dev", "test")
    }
    return msgspec.structs.replace(data, task="text-classification", **splits)


def test_what_does_not_fit_is_refused_in_one_line(
    keras_file: Path, data: Dataset[Any], tokenizer: Path, tmp_path: Path
) -> None:
    soft, single = tmp_path / "soft.keras", tmp_path / "single.keras"
    make_keras("softmax").save(soft)
    make_keras("sigmoid", units=1).save(single)
    out = tmp_path / "out"
    with pytest.raises(CheckpointError, match=r"an output for each label by itself.*softmax"):
        to_bundle(soft, data, out, tokenizer)
    with pytest.raises(CheckpointError, match=r"number of outputs is not that of the labels"):
        to_bundle(single, data, out, tokenizer)
    with pytest.raises(InputError, match=r"--thresholds: thresholds.*found the task text-cl"):
        to_bundle(keras_file, one_label_each(data), out, tokenizer, thresholds="shared")
    assert not out.exists()


def test_a_last_sigmoid_is_removed_once(keras_file: Path) -> None:
    network = load_model(keras_file).model
    dense = with_label_logits(network)  # type: ignore[arg-type]
    assert dense.layers[-1].function == "linear"  # type: ignore[union-attr]
    assert with_label_logits(dense) == dense


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"thresholds": (0.5,)}, "a threshold for each label"),
        ({"thresholds": (0.5, 1.0, 0.5)}, "3 above 0 and below 1"),
        ({"task": "text-classification"}, "a threshold for each label"),
    ],
)
def test_a_manifest_without_its_thresholds_is_refused(
    bundle: BundleFiles, fields: dict[str, Any], what: str, tmp_path: Path
) -> None:
    with open_bundle(bundle.path) as opened:
        for path in opened.path.iterdir():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    write_json(tmp_path / "bundle.json", msgspec.structs.replace(bundle.manifest, **fields))
    with pytest.raises(BundleError, match=what):
        read_bundle(tmp_path)


@pytest.mark.parametrize("target", [MEDIAPIPE, MICRO])
def test_exports_that_have_no_thresholds_refuse(
    bundle: BundleFiles, target: Any, tmp_path: Path
) -> None:
    with pytest.raises(RefusedError) as refusal:
        target.export(bundle, tmp_path, ExportOptions())
    assert "multilabel-classification" in str(refusal.value)
    assert "\n" not in str(refusal.value)
