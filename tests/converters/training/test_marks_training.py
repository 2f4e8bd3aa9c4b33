"""Training on marked texts: markers, both roles, and the graph that is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from tokenizers import Tokenizer

from edgeseq.datasets.splits import make_dataset
from edgeseq.errors import CheckpointError, DataError
from edgeseq.formats.trained_model import TrainedModel, read_model_folder
from edgeseq.tasks.examples import Dataset, TextExample
from edgeseq.tasks.mentions import LABELS
from edgeseq_converters.convert.import_model import load_model
from edgeseq_converters.convert.pipeline import convert
from edgeseq_converters.convert.plan import ConversionOptions
from edgeseq_converters.models.network_layers import marked_features
from edgeseq_converters.models.reference import reference_logits
from edgeseq_converters.models.trim_recurrent import trim_trained
from edgeseq_converters.training.marks import (
    add_markers,
    encode_marked,
    encode_marked_split,
    marker_ids,
    marks_of,
    with_swapped,
    with_swapped_targets,
)
from edgeseq_converters.training.texts import EncodedSplit, dev_score

TEXT = "the [A] teapot [/A] was fine but [B] ladder [/B] was not and [P] it [/P] is slow"


def marked_model(model: TrainedModel, features: int) -> TrainedModel:
    """The model with markers in its tokenizer and table, and a random head on their states."""
    rng = np.random.default_rng(3)
    config: Any = model.manifest.lstm or model.manifest.bert
    name = "embedding.weight" if model.manifest.lstm else "embeddings.word_embeddings.weight"
    tokenizer_json, table = add_markers(model.tokenizer_json, model.weights[name])
    marks = marks_of(tokenizer_json)
    config = msgspec.structs.replace(
        config, vocabulary_size=len(table), pooling="markers", marker_ids=marks
    )
    head = rng.normal(size=(marked_features(features, 3), 3), scale=0.3).astype(np.float32)
    weights = model.weights | {name: table}
    if model.manifest.lstm:
        manifest = msgspec.structs.replace(model.manifest, lstm=config)
        weights |= {"dense.kernel": head}
    else:
        manifest = msgspec.structs.replace(model.manifest, bert=config)
        weights |= {"classifier.weight": np.ascontiguousarray(head.T)}
    return TrainedModel(manifest, weights, tokenizer_json)


def test_markers_are_single_tokens_and_added_once(make: Any) -> None:
    model = make.bert()
    table = model.weights["embeddings.word_embeddings.weight"]
    tokenizer_json, longer = add_markers(model.tokenizer_json, table)
    assert longer.shape == (len(table) + 6, table.shape[1])
    np.testing.assert_array_equal(longer[: len(table)], table)
    assert marker_ids(tokenizer_json) == tuple(range(len(table), len(table) + 6))
    tokens = Tokenizer.from_str(tokenizer_json).encode(TEXT).tokens
    assert [token for token in tokens if token.startswith("[")] == [
        *("[CLS]", "[A]", "[/A]", "[B]", "[/B]", "[P]", "[/P]", "[SEP]")
    ]
    again, same = add_markers(tokenizer_json, longer)
    assert again == tokenizer_json
    assert same is longer
    with pytest.raises(CheckpointError, match="no markers"):
        marker_ids(model.tokenizer_json)


def test_encoding_keeps_the_mentions_of_a_long_text(make: Any) -> None:
    model = marked_model(make.bert(), 32)
    long = " ".join(["quite"] * 50 + [TEXT] + ["never"] * 50)
    (ids,) = encode_marked(model.tokenizer_json, [long], 24)
    assert len(ids) == 24
    assert set(marker_ids(model.tokenizer_json)) <= set(ids)
    with pytest.raises(DataError, match="must be marked once"):
        encode_marked(model.tokenizer_json, ["the teapot"], 24)
    with pytest.raises(DataError, match="the mentions alone"):
        encode_marked(model.tokenizer_json, [TEXT], 8)


def test_both_roles_are_learnt() -> None:
    markers = (90, 91, 92, 93, 94, 95)  # [P] [/P] [A] [/A] [B] [/B]
    part = EncodedSplit(ids=[[92, 1, 93, 94, 2, 95, 90, 3, 91]], labels=np.array([0]), scores=None)
    both = with_swapped(part, markers)
    assert both.ids[1] == [94, 1, 95, 92, 2, 93, 90, 3, 91]
    assert both.labels.tolist() == [0, 1]
    logits = np.array([[0.5, 0.25, 0.75]], np.float32)
    assert with_swapped_targets(logits)[1].tolist() == [0.25, 0.5, 0.75]


def test_an_epoch_is_judged_by_the_tasks_metric() -> None:
    gold, predicted = np.array([0, 2, 2]), np.array([0, 0, 2])
    assert dev_score("sentiment", LABELS, gold, predicted) == pytest.approx(2 / 3)
    assert dev_score("coref", LABELS, gold, predicted) == pytest.approx(2 / 3)
    assert dev_score("coref", LABELS, gold[2:], predicted[2:]) == 0


@pytest.mark.parametrize("arch", ["lstm", "bert"])
def test_the_trained_graph_is_the_reference(make: Any, arch: str) -> None:
    made = make.lstm(bidirectional=True) if arch == "lstm" else make.bert()
    model = marked_model(made, 32)
    ids = encode_marked(model.tokenizer_json, [TEXT, TEXT + " very lovely"], 64)
    longest = max(map(len, ids))
    batch = np.array([one + [0] * (longest - len(one)) for one in ids], np.int32)
    mask = np.array([[1.0] * len(one) + [0.0] * (longest - len(one)) for one in ids], np.float32)
    if arch == "lstm":
        from edgeseq_converters.training.lstm_model import LstmClassifier

        assert model.manifest.lstm is not None
        trained: Any = LstmClassifier(model.manifest.lstm, 3)
        trained.fill(model.weights)
    else:
        from edgeseq_converters.training.bert_model import BertClassifier

        assert model.manifest.bert is not None
        trained = BertClassifier(model.manifest.bert, 3, model.weights)
    found = trained(batch, mask).numpy()
    np.testing.assert_allclose(found, reference_logits(model, ids), atol=1e-5)
    arrays = trained.arrays()
    assert {name: array.shape for name, array in arrays.items()} == {
        name: array.shape for name, array in model.weights.items()
    }


def test_trimming_renumbers_the_marks(make: Any) -> None:
    model = marked_model(make.lstm(), 16)
    (before,) = encode_marked(model.tokenizer_json, [TEXT], 64)
    trimmed = trim_trained(model, [TEXT])
    (after,) = encode_marked(trimmed.tokenizer_json, [TEXT], 64)
    assert trimmed.manifest.lstm is not None
    assert trimmed.manifest.lstm.marker_ids == marks_of(trimmed.tokenizer_json)
    assert len(trimmed.weights["embedding.weight"]) < len(model.weights["embedding.weight"])
    np.testing.assert_array_equal(
        reference_logits(trimmed, [after]), reference_logits(model, [before])
    )


def invented() -> Dataset[Any]:
    """Texts in which the pronoun means the name of which more is said.

    The longer words move what follows, which a BERT of random weights learns in a few steps; to
    look at the words beside a name takes it many more.
    """
    rng = np.random.default_rng(0)

    def part(name: str, count: int) -> list[TextExample]:
        made = []
        for number in range(count):
            kind = int(rng.integers(3))
            words = ["is a delight" if kind == place else "leaks" for place in (0, 1)]
            text = (
                f"the [A] lamp [/A] {words[0]} and the [B] tent [/B] {words[1]} "
                "and i told my sister [P] it [/P] never fails"
            )
            label = ("A", "B", "neither")[kind]
            made.append(TextExample(f"{name}/{number}", text, label, source="feminine"))
        return made

    parts = {name: part(name, count) for name, count in (("train", 96), ("dev", 40), ("test", 9))}
    return make_dataset("pronouns", "coref", ("A", "B", "neither"), parts, licence="", origin="")


def test_a_bert_and_an_lstm_learn_from_marked_mentions(
    small_bert_checkpoint: Path, tmp_path: Path
) -> None:

    from edgeseq_converters.training.settings import BertSettings, LstmSettings, TrainerOptions
    from edgeseq_converters.training.trainer import train_to_completion

    data = invented()
    bert = train_to_completion(
        data,
        tmp_path / "bert",
        BertSettings(
            pooling="markers",
            epochs=6,
            batch_size=16,
            learning_rate=2e-3,
            frozen_layers=0,
            dropout=0,
        ),
        TrainerOptions(checkpoint=small_bert_checkpoint),
    )
    assert bert.manifest.training.dev_score > 0.9
    lstm = train_to_completion(
        data,
        tmp_path / "lstm",
        LstmSettings(
            pooling="markers",
            epochs=12,
            batch_size=16,
            learning_rate=1e-2,
            hidden_size=16,
            embedding_size=16,
            dropout=0,
            token_dropout=0,
            min_piece_count=0,
        ),
        TrainerOptions(teacher=tmp_path / "bert"),
    )
    assert lstm.manifest.training.dev_score > 0.9
    assert lstm.manifest.training.teacher_logits == "stored"
    again = read_model_folder(tmp_path / "lstm")
    assert again.manifest.lstm is not None
    assert again.manifest.lstm.marker_ids == marks_of(again.tokenizer_json)
    for name in ("bert", "lstm"):
        bundle = convert(
            load_model(tmp_path / name),
            data,
            tmp_path / f"{name}.bundle",
            ConversionOptions(recipes=("dynamic_wi8_afp32",)),
        ).bundles[0][1]
        assert bundle.fidelity.label_agreement > 0.9


def test_labels_of_another_task_are_refused(make: Any) -> None:
    model = marked_model(make.bert(), 32)
    with pytest.raises(DataError, match="means A, B or neither"):
        encode_marked_split(make.dataset(), "train", model.tokenizer_json, 64)
