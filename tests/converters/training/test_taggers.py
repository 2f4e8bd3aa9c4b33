"""Models with one label a word: into bundles, through the device half, and trained."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edgeseq.datasets.splits import make_dataset
from edgeseq.errors import BundleError, InputError
from edgeseq.formats.bundle import read_bundle
from edgeseq.formats.trained_model import TrainedModel, write_model_folder
from edgeseq.progress import ProgressUpdate, no_progress
from edgeseq.tasks.examples import Dataset, TaggedExample
from edgeseq.tasks.tagging import best_tags, bio_rules
from edgeseq_benchmarks.bench import protocol
from edgeseq_benchmarks.bench.predictor import predict, split_words
from edgeseq_benchmarks.bench.worker_client import WorkerClient, load_command
from edgeseq_converters.convert.import_model import load_model
from edgeseq_converters.convert.pipeline import convert
from edgeseq_converters.convert.plan import ConversionOptions
from edgeseq_converters.models.reference import reference_answers
from edgeseq_converters.training.settings import BertSettings, LstmSettings, TrainerOptions
from edgeseq_converters.training.tags import untagged
from edgeseq_converters.training.teacher import teacher_tag_probabilities
from edgeseq_converters.training.token_classification import prepare_token_classification
from edgeseq_converters.training.trainer import train, train_to_completion
from edgeseq_converters.training.transfer import transfer_set

from ..conftest import WORDS, make_bert, make_lstm

TAGS = ("O", "B-X", "I-X")
LONGEST = 24


def tagged(count: int = 24) -> Dataset[TaggedExample]:
    """Invented sentences, some of them longer than the models; an X is what follows `the`."""
    draw = random.Random(0)  # noqa: S311

    def sentence(name: str, number: int) -> TaggedExample:
        length = 60 if number == 5 else 0 if number == 6 else draw.randint(1, 12)
        words = tuple(draw.choices(WORDS, k=length))
        tags = (
            tuple("B-X" if before == "the" else "O" for before in ("", *words[:-1]))
            if words
            else ()
        )
        return TaggedExample(id=f"{name}/{number}", words=words, tags=tags)

    parts = {
        name: tuple(sentence(name, number) for number in range(count))
        for name in ("train", "dev", "test")
    }
    return make_dataset("invented", "ner", TAGS, parts, licence="none", origin="invented")


def tagger(arch: str) -> TrainedModel:
    if arch == "bert":
        model = make_bert(max_tokens=LONGEST)
        assert model.manifest.bert is not None
        config = msgspec.structs.replace(model.manifest.bert, head="token_classification")
        manifest = msgspec.structs.replace(model.manifest, bert=config)
    else:
        model = make_lstm(bidirectional=True, hidden=20, embedding=32, layers=2, pooling="none")
        manifest = msgspec.structs.replace(model.manifest, max_tokens=LONGEST)
    manifest = msgspec.structs.replace(manifest, task="ner", labels=TAGS)
    return msgspec.structs.replace(model, manifest=manifest)


def ask(path: Path, words: list[tuple[str, ...]]) -> tuple[protocol.TextPrediction, ...]:
    bundle = read_bundle(path)
    with WorkerClient("tagger") as child:
        load = load_command(bundle, child, threads=1, first_text=words[0])
        child.request(load, protocol.ModelLoaded, timeout_s=60)
        command = protocol.PredictTexts(tuple(words))
        return child.request(command, protocol.TextPredictions, timeout_s=60).predictions


@pytest.mark.parametrize(
    ("arch", "recipe", "lowering"),
    [
        ("lstm", "float32", "loop"),
        ("lstm", "static_wi8_ai8", "loop"),
        ("lstm", "dynamic_wi8_afp32", "unrolled"),
        ("bert", "float32", "encoder"),
        ("bert", "dynamic_wi8_afp32", "encoder"),
    ],
)
def test_a_tagger_becomes_a_bundle_that_answers_word_by_word(
    arch: str, recipe: str, lowering: str, tmp_path: Path
) -> None:
    model, data = tagger(arch), tagged()
    write_model_folder(tmp_path / "model", model)
    out = tmp_path / "bundle"
    manifest = convert(
        load_model(tmp_path / "model"),
        data,
        out,
        ConversionOptions(recipes=(recipe,), lowerings=(lowering,)),
    ).bundles[0][1]
    assert manifest.signature.outputs[0].shape == (1, LONGEST if lowering == "unrolled" else -1, 3)
    assert manifest.fidelity.n_answers == sum(len(one.words) for one in data.dev)
    bundle = read_bundle(out)
    assert bundle.read_examples() == data.test
    assert all(one.words for one in bundle.golden.examples if one.text)
    short = [one.words for one in data.test if 0 < len(one.words) < 12]
    answers = ask(out, short)
    rules = bio_rules(TAGS)
    for words, answer in zip(short, answers, strict=True):
        assert isinstance(answer.classes, tuple)
        logits = np.array(answer.logits, np.float64).reshape(len(words), 3)
        assert answer.classes == tuple(best_tags(logits, rules).tolist())
        if recipe == "float32":
            [expected] = reference_answers(model, [answer.token_ids])
            first = 1 if arch == "bert" else 0  # [CLS] carries no word
            np.testing.assert_allclose(logits, expected[first : first + len(words)], atol=1e-4)


def test_a_long_text_is_answered_in_windows_and_a_short_one_as_in_them(tmp_path: Path) -> None:
    data = tagged()
    write_model_folder(tmp_path / "model", tagger("lstm"))
    convert(
        load_model(tmp_path / "model"),
        data,
        tmp_path / "bundle",
        ConversionOptions(recipes=("float32",)),
    )
    long = next(one.words for one in data.test if len(one.words) == 60)
    whole, empty, alone = ask(tmp_path / "bundle", [long, (), long[:LONGEST]])
    assert whole.flags.windowed
    assert not whole.flags.truncated
    assert len(whole.logits) == 60 * 3
    assert len(whole.token_ids) > 60  # windows overlap
    assert empty.classes == ()
    assert not alone.flags.windowed
    # A word at the text's start has the same window as the text cut there.
    assert whole.logits[:3] == pytest.approx(alone.logits[:3], abs=1e-5)
    [said] = predict(tmp_path / "bundle", ["The teapot, it was fine."])
    assert said.words == ("The", "teapot", ",", "it", "was", "fine", ".")
    assert len(said.tags) == len(said.tag_scores) == 7
    assert split_words("didn't e-mail 3.5 %") == ("didn't", "e-mail", "3.5", "%")


def test_a_bundle_whose_tags_do_not_fit_its_words_is_refused(tmp_path: Path) -> None:
    write_model_folder(tmp_path / "model", tagger("lstm"))
    convert(
        load_model(tmp_path / "model"),
        tagged(),
        tmp_path / "bundle",
        ConversionOptions(recipes=("float32",)),
    )
    bundle = read_bundle(tmp_path / "bundle")
    path = tmp_path / "bundle" / "eval.jsonl"
    for line, message in (
        (b'{"id":"1","words":["a","b"],"tags":["O"]}', "one tag per word"),
        (b'{"id":"1","words":["a"],"tags":["B-Y"]}', "unknown label"),
        (b'{"id":"1","text":"a","label":"O"}', "is not an example"),
    ):
        path.write_bytes(line)
        with pytest.raises(BundleError, match=message):
            bundle.read_examples()


def test_taggers_learn_and_teach(small_bert_checkpoint: Path, tmp_path: Path) -> None:
    """A rule that only context shows: the word after `the` is an X."""
    data = tagged(160)
    bert = train_to_completion(
        data,
        tmp_path / "bert",
        BertSettings(
            epochs=2, batch_size=8, learning_rate=3e-3, frozen_layers=0, max_tokens=LONGEST
        ),
        TrainerOptions(checkpoint=small_bert_checkpoint),
    )
    assert bert.manifest.bert is not None
    assert bert.manifest.bert.head == "token_classification"
    assert bert.manifest.task == "ner"
    settings = LstmSettings(
        epochs=24, batch_size=8, embedding_size=16, hidden_size=16, max_tokens=LONGEST,
        learning_rate=1e-2, min_piece_count=1, dropout=0.1, token_dropout=0.0,
        hard_label_weight=0.8, patience=24,
    )  # fmt: skip
    taught = TrainerOptions(teacher=tmp_path / "bert")
    lstm = train_to_completion(data, tmp_path / "lstm", settings, taught)
    assert lstm.manifest.lstm is not None
    assert lstm.manifest.lstm.pooling == "none"
    assert lstm.manifest.training.teacher == "bert"
    assert lstm.manifest.training.dev_score > 0.9
    with pytest.raises(InputError, match="not supported for token classification"):
        train(data, tmp_path / "no", BertSettings(), taught)


def test_a_tagger_learns_the_teacher_s_tags_of_unlabelled_words(tmp_path: Path) -> None:
    """Where no label is known the target is the teacher's distribution alone."""
    data, teacher = tagged(12), tagger("bert")
    write_model_folder(tmp_path / "bert", teacher)
    more = tmp_path / "more.txt"
    more.write_text("the lid was late\nthe lid was late .\nthe price is worth the wait\n")
    settings = LstmSettings(
        embedding_size=8, hidden_size=8, max_tokens=LONGEST, min_piece_count=0,
        hard_label_weight=0.25, transfer_size=4, unlabelled=(str(more),),
    )  # fmt: skip
    options = TrainerOptions(teacher=tmp_path / "bert")
    prepared = prepare_token_classification(data, settings, options, no_progress)
    record = prepared.sources.transfer
    assert record is not None
    assert record.texts == {"pieces": 2, "replaced": 2, str(more): 2}
    transfer = transfer_set(data, teacher, settings)
    assert transfer is not None
    assert transfer.texts[-2:] == ("the lid was late", "the price is worth the wait")
    examples = [*data.train, *untagged(transfer.texts, TAGS)]
    shares = teacher_tag_probabilities(teacher, examples)
    gold = [TAGS.index(tag) for example in data.train for tag in example.tags]
    num_tagged = len(gold)
    _, (lengths, targets) = prepared.objective.identity()
    assert len(lengths) > len(data.train) + len(transfer.texts)  # a long sentence has windows
    np.testing.assert_allclose(targets[num_tagged:], shares[num_tagged:], atol=1e-6)
    expected = 0.25 * np.eye(3)[gold] + 0.75 * shares[:num_tagged]
    np.testing.assert_allclose(targets[:num_tagged], expected, atol=1e-6)
    with pytest.raises(InputError, match="needs a teacher"):
        train(data, tmp_path / "alone", settings)


@pytest.mark.parametrize("arch", ["bert", "lstm"])
def test_an_interrupted_tagger_goes_on_and_ends_the_same(
    arch: str, small_bert_checkpoint: Path, tmp_path: Path
) -> None:
    data = tagged(40)
    shared = {"epochs": 2, "batch_size": 8, "max_tokens": LONGEST, "patience": 9}
    settings: Any = LstmSettings(**shared, hidden_size=8, embedding_size=8)
    if arch == "bert":
        settings = BertSettings(**shared, frozen_layers=0)

    def run(out: Path, *, stop_at: float | None = None, interval_s: float | None = 0.0) -> Any:
        def listen(update: ProgressUpdate) -> None:
            notes.append(update.note)
            if update.stage.startswith("train") and update.done == stop_at:
                raise KeyboardInterrupt

        options = TrainerOptions(checkpoint=small_bert_checkpoint, checkpoint_interval_s=interval_s)
        return train(data, out, settings, options, progress=listen)

    notes: list[str] = []
    whole = run(tmp_path / "whole", interval_s=None)
    for stop_at in (2, 7):  # in the first epoch and in the second
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "out", stop_at=stop_at)
    again = run(tmp_path / "out")
    for name, array in whole.weights.items():
        np.testing.assert_array_equal(again.weights[name], array, err_msg=name)
    assert again.manifest.training.dev_scores == whole.manifest.training.dev_scores
    assert "resuming at step 7" in notes
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "whole"]
