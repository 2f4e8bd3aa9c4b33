"""BERT students, transfer sets, word states, soft labels and seeds, on an invented corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from edgeseq.datasets.splits import make_dataset
from edgeseq.errors import CheckpointError, DataError, InputError, OutputError
from edgeseq.formats.storage import sha256_file
from edgeseq.formats.train_logits import texts_sha256
from edgeseq.formats.trained_model import TrainedModel, read_model_folder, write_model_folder
from edgeseq.tasks.examples import Dataset, TextExample
from edgeseq_converters.models.reference_encoder import bert_answers
from edgeseq_converters.training.initial_weights import concat_weighted
from edgeseq_converters.training.seeds import teacher_sha256, train_seeds
from edgeseq_converters.training.settings import BertSettings, LstmSettings, TrainerOptions
from edgeseq_converters.training.teacher import (
    matched_layers,
    special_tokens,
    teacher_outputs,
    token_states,
)
from edgeseq_converters.training.texts import encode_texts, soft_labels
from edgeseq_converters.training.trainer import train, train_to_completion
from edgeseq_converters.training.transfer import Neighbours, cut_out, text_key, transfer_set

LABELS = ("negative", "neutral", "positive")
TELLING = {"negative": "bad", "neutral": "plain", "positive": "good"}
OTHERS = ("screen", "battery", "box", "manual", "price", "cable", "seller", "app", "button", "size")
SCORES = {"negative": -2.0, "neutral": 0.0, "positive": 2.0}


def make_part(name: str, count: int, seed: int) -> list[TextExample]:
    generator = np.random.default_rng(seed)
    examples = []
    for number in range(count):
        label = LABELS[number % 3]
        words = [*generator.choice(OTHERS, size=int(generator.integers(3, 7))), TELLING[label]]
        generator.shuffle(words)
        examples.append(
            TextExample(
                id=f"{name}{number}",
                text=" ".join(words),
                label=label,
                score=SCORES[label] + 0.4 * float(generator.random() - 0.5),
            )
        )
    return examples


@pytest.fixture(scope="module")
def data() -> Dataset:
    parts = {name: make_part(name, count, seed) for name, count, seed in PARTS}
    return make_dataset("invented", "sentiment", LABELS, parts, licence="", origin="")


PARTS = (("train", 120, 0), ("dev", 30, 1), ("test", 30, 2))


@pytest.fixture(scope="module")
def teacher_folder(
    data: Dataset, small_bert_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("teacher") / "teacher"
    # Enough for every seed that was tried to know all of the development part, so that what its
    # students learn does not hang on how a processor rounds.
    settings = BertSettings(
        epochs=12, patience=12, batch_size=8, learning_rate=5e-3, frozen_layers=0
    )
    train(data, out, settings, TrainerOptions(checkpoint=small_bert_checkpoint))
    assert read_model_folder(out).manifest.training.dev_score > 0.95
    return out


@pytest.fixture(scope="module")
def teacher(teacher_folder: Path) -> TrainedModel:
    return read_model_folder(teacher_folder)


def test_student_layers_follow_evenly_matched_ones() -> None:
    assert matched_layers(6, 3) == (1, 3, 5)
    assert matched_layers(6, 2) == (2, 5)
    assert matched_layers(6, 1) == (5,)
    assert matched_layers(6, 6) == tuple(range(6))
    assert matched_layers(6, 3, frozen=1) == (3, 5)
    with pytest.raises(InputError, match="found 7, expected <= 6"):
        matched_layers(6, 7)


def test_a_teacher_s_outputs_are_what_the_converter_s_reference_computes(
    teacher: TrainedModel, data: Dataset
) -> None:
    texts = [example.text for example in data.dev]
    outputs = teacher_outputs(teacher, texts, layers=(0, 1))
    ids = encode_texts(teacher.tokenizer_json, texts, teacher.manifest.max_tokens)
    expected = np.concatenate(bert_answers(teacher, ids)).reshape(len(texts), -1)
    np.testing.assert_allclose(outputs.logits, expected, atol=2e-4)
    assert outputs.states.shape == (len(texts), 2, 32)
    np.testing.assert_allclose(np.linalg.norm(outputs.states, axis=2), 1, atol=1e-5)
    assert teacher_outputs(teacher, texts[:2]).states.shape == (2, 0, 32)


def test_a_bert_student_learns_from_its_teacher(
    teacher_folder: Path, data: Dataset, tmp_path: Path
) -> None:
    settings = BertSettings(
        epochs=5, batch_size=8, learning_rate=2e-3, frozen_layers=0, layers=1, transfer_size=40
    )
    options = TrainerOptions(teacher=teacher_folder)
    student = train_to_completion(data, tmp_path / "s", settings, options)
    training = student.manifest.training
    assert student.manifest.bert is not None
    assert student.manifest.bert.layers == 1
    assert training.dev_score > 0.8  # chance is 0.33
    assert training.teacher == "teacher"
    assert training.transfer is not None
    assert sum(training.transfer.texts.values()) == 40
    # What the student keeps for students of its own is of the train part alone.
    texts = [example.text for example in data.dev]
    taught, alone = (teacher_outputs(m, texts).logits for m in (student, _untaught(student)))
    theirs = teacher_outputs(read_model_folder(teacher_folder), texts).logits
    assert np.mean((taught - theirs) ** 2) < np.mean((alone - theirs) ** 2)


class CountedCache:
    """Contents in memory."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}

    def read(self, key: str) -> bytes | None:
        return self.contents.get(key)

    def write(self, key: str, content: bytes) -> None:
        self.contents[key] = content


def test_a_teacher_is_asked_once_for_two_students(
    teacher_folder: Path, data: Dataset, tmp_path: Path
) -> None:
    cache = CountedCache()

    def train_student(name: str, *, hidden_size: int, **options: Any) -> tuple[int, bytes]:
        stages: list[str] = []
        settings = LstmSettings(
            epochs=1, hidden_size=hidden_size, embedding_size=16, transfer_size=40
        )
        train(
            data,
            tmp_path / name,
            settings,
            TrainerOptions(teacher=teacher_folder, **options),
            progress=lambda update: stages.append(update.stage),
        )
        return stages.count("run teacher teacher"), weights_of(tmp_path / name)

    asked, _ = train_student("first", hidden_size=8, teacher_cache=cache)
    assert asked > 0
    assert len(cache.contents) == 1  # those of the training texts are stored with the teacher
    asked, weights = train_student("second", hidden_size=16, teacher_cache=cache)
    assert asked == 0
    _, without_cache = train_student("third", hidden_size=16)
    assert weights == without_cache
    [key] = cache.contents
    cache.contents[key] = cache.contents[key][:-8]  # damaged: asked again
    asked, weights = train_student("fourth", hidden_size=16, teacher_cache=cache)
    assert asked > 0
    assert weights == without_cache
    assert len(cache.contents) == 1


def weights_of(folder: Path) -> bytes:
    return (folder / "weights.safetensors").read_bytes()


def _untaught(student: TrainedModel) -> TrainedModel:
    weights = {**student.weights, "classifier.weight": 0 * student.weights["classifier.weight"]}
    return TrainedModel(student.manifest, weights, student.tokenizer_json)


def test_a_teacher_is_needed_for_unlabelled_texts(data: Dataset, tmp_path: Path) -> None:
    for settings in (BertSettings(transfer_size=5), BertSettings(unlabelled=("x.txt",))):
        with pytest.raises(InputError, match="needs a teacher"):
            train(data, tmp_path / "s", settings)
    with pytest.raises(InputError, match=r"token_state_weight.*needs a teacher"):
        train(data, tmp_path / "s", LstmSettings(token_state_weight=1.0))


def test_a_transfer_set_is_new_and_repeats(teacher: TrainedModel, data: Dataset) -> None:
    first, again, other = (
        transfer_set(data, teacher, LstmSettings(transfer_size=60, seed=seed)) for seed in (4, 4, 5)
    )
    assert first is not None
    assert other is not None
    assert first == again
    assert first.texts != other.texts
    assert first.record.sha256 == texts_sha256(first.texts)
    assert first.record.texts == {"pieces": 30, "replaced": 30}
    known = {text_key(e.text) for part in (data.train, data.dev, data.test) for e in part}
    made = [text_key(text) for text in first.texts]
    assert known.isdisjoint(made)
    assert len(set(made)) == len(made)
    assert transfer_set(data, teacher, LstmSettings()) is None


def test_texts_of_dev_and_test_never_get_in(
    teacher: TrainedModel, data: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "more.txt"
    hidden = [data.dev[0].text.upper() + " !", " - ".join(data.test[1].text.split())]
    path.write_text("\n".join([*hidden, "a new text", "A new text.", ""]) + "\n", encoding="utf-8")
    found = transfer_set(data, teacher, LstmSettings(unlabelled=(str(path),)))
    assert found is not None
    assert found.texts == ("a new text",)
    assert found.record.texts == {str(path): 1}
    assert found.record.skipped == {str(path): 4}
    path.write_text("\n".join(hidden), encoding="utf-8")
    with pytest.raises(DataError, match="has no text that is new: found 2 texts"):
        transfer_set(data, teacher, LstmSettings(unlabelled=(str(path),)))
    with pytest.raises(DataError, match="no such file"):
        transfer_set(data, teacher, LstmSettings(unlabelled=(str(tmp_path / "none.txt"),)))


def test_pieces_are_runs_of_words() -> None:
    text = "one two three four five six seven eight nine ten"
    generator = np.random.default_rng(0)
    pieces = {cut_out([text], generator) for _ in range(200)}
    assert all(piece in text for piece in pieces)
    assert {len(piece.split()) for piece in pieces} == set(range(2, 9))
    assert cut_out(["too short"], generator) == ""


def test_neighbours_are_the_nearest_rows(teacher: TrainedModel) -> None:
    pieces = Tokenizer.from_str(teacher.tokenizer_json).get_vocab()
    words = sorted(piece for piece in pieces if piece.isalpha())[:40]
    assert len(words) == 40
    neighbours = Neighbours(teacher, [" ".join(words)])
    rows = teacher.weights["embeddings.word_embeddings.weight"]

    def cosine(first: str, second: str) -> float:
        a, b = rows[pieces[first]], rows[pieces[second]]
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    for word in words:
        expected = sorted(set(words) - {word}, key=lambda other: -cosine(word, other))[:15]
        assert neighbours.of(word) == tuple(expected)
    assert neighbours.of("unheard") == ()


def test_an_lstm_learns_the_transfer_set_from_token_states(
    teacher_folder: Path, data: Dataset, tmp_path: Path
) -> None:
    settings = LstmSettings(
        epochs=10, patience=10, batch_size=16, hidden_size=8, embedding_size=16,
        learning_rate=2e-2, transfer_size=60, token_state_weight=1.0,
    )  # fmt: skip
    options = TrainerOptions(teacher=teacher_folder)
    model = train_to_completion(data, tmp_path / "s", settings, options)
    assert model.manifest.training.dev_score > 0.9
    assert model.manifest.training.transfer is not None
    assert len(model.manifest.training.dev_scores) == model.manifest.training.epochs


def test_token_states_are_the_teacher_s_last_states(teacher: TrainedModel) -> None:
    # Without special tokens a piece is a text of its own, whose mean the head reads.
    content = msgspec.json.decode(teacher.tokenizer_json)
    plain = msgspec.json.encode({**content, "post_processor": None}).decode()
    pieces = [5, 9, 11]
    states = token_states(TrainedModel(teacher.manifest, teacher.weights, plain), pieces)
    logits = np.concatenate(bert_answers(teacher, [[piece] for piece in pieces]))
    kernel, bias = teacher.weights["classifier.weight"], teacher.weights["classifier.bias"]
    np.testing.assert_allclose(states @ kernel.T + bias, logits.reshape(3, -1), atol=2e-4)
    assert special_tokens(plain) == ([], [])
    tokenizer = Tokenizer.from_str(plain)
    ends = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    assert special_tokens(tokenizer.to_str()) == ([ends[0][1]], [ends[1][1]])
    joined = concat_weighted(states, 7 * states + 3, weight=2.0)
    np.testing.assert_allclose(joined[:, :32].std(), 1, atol=1e-5)
    np.testing.assert_allclose(joined[:, 32:].std(), 2, atol=1e-5)


def test_soft_labels_are_the_normal_distribution_s_shares(data: Dataset) -> None:
    shares = soft_labels(data, 0.8)
    assert shares is not None
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)
    border = (
        max(e.score for e in data.train if e.label == "negative" and e.score is not None)
        + min(e.score for e in data.train if e.label == "neutral" and e.score is not None)
    ) / 2
    draws = np.random.default_rng(0).normal(0, 0.8, 200_000)
    for place in (0, 1, 2):
        score = data.train[place].score
        assert score is not None
        assert shares[place, 0] == pytest.approx(np.mean(score + draws < border), abs=0.005)
    sharp = soft_labels(data, 1e-6)
    assert sharp is not None
    gold = [LABELS.index(example.label) for example in data.train]
    np.testing.assert_array_equal(sharp, np.eye(3, dtype=np.float32)[gold])


def test_soft_labels_need_scores_that_part_the_classes(data: Dataset) -> None:
    assert soft_labels(data, 0.0) is None
    without = [msgspec.structs.replace(e, score=None) for e in data.train]
    assert soft_labels(msgspec.structs.replace(data, train=tuple(without)), 0.5) is None
    mixed = [msgspec.structs.replace(e, score=float(n)) for n, e in enumerate(data.train)]
    assert soft_labels(msgspec.structs.replace(data, train=tuple(mixed)), 0.5) is None


def test_the_best_seed_is_kept_and_all_are_written_down(
    teacher: TrainedModel, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    began: list[int] = []
    dev_scores = {3: 0.5, 4: 0.75, 5: 0.75}

    def train_seed(seed: int, folder: Path) -> None:
        began.append(seed)
        if began == [3, 4]:
            raise KeyboardInterrupt
        own = msgspec.structs.replace(
            teacher.manifest.training, seed=seed, dev_score=dev_scores[seed]
        )
        manifest = msgspec.structs.replace(teacher.manifest, training=own)
        write_model_folder(folder, TrainedModel(manifest, teacher.weights, teacher.tokenizer_json))

    options: dict[str, Any] = {"first": 3, "count": 3, "facts": {"a": 1}}
    with pytest.raises(KeyboardInterrupt):
        train_seeds(train_seed, out, **options)
    assert not out.exists()
    model = train_seeds(train_seed, out, **options)
    assert began == [3, 4, 4, 5]  # the first one was done
    assert model.manifest.training.seed_scores == {"3": 0.5, "4": 0.75, "5": 0.75}
    assert model.manifest.training.seed == 4
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    with pytest.raises(OutputError, match="already exists"):
        train_seeds(train_seed, out, **options)


def test_a_teacher_that_is_not_there_is_said(teacher_folder: Path, tmp_path: Path) -> None:
    assert teacher_sha256(None) is None
    assert teacher_sha256(teacher_folder) == sha256_file(teacher_folder / "weights.safetensors")
    with pytest.raises(CheckpointError, match="is not a trained-model folder"):
        teacher_sha256(tmp_path / "none")


def test_seeds_of_another_training_are_not_taken(tmp_path: Path) -> None:
    work = tmp_path / "out.seeds"

    def stop(seed: int, folder: Path) -> None:
        (folder / "x").mkdir(parents=True)
        raise KeyboardInterrupt

    for facts in ({"a": 1}, {"a": 2}):
        (work / "7").mkdir(parents=True, exist_ok=True)
        with pytest.raises(KeyboardInterrupt):
            train_seeds(stop, tmp_path / "out", first=0, count=1, facts=facts)
        assert not (work / "7").exists()
        assert (work / "0").exists()
