"""Keras' own vocabularies as a `tokenizer.json`: the ids that Keras itself gives, on every text."""

from __future__ import annotations

import json
import random
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tokenizers import Tokenizer

from edgeseq.errors import CheckpointError
from edgeseq.formats.padding import Padding
from edgeseq_converters.models.keras.vocabularies import read_vocabulary
from edgeseq_converters.models.read import read_network

ROOT = Path(__file__).parents[3]
CHARACTERS = (
    "aabbcdeeIOUST  \t\n\r\v\f\u00a0\u2028.,!?-_'\"()[]{}^\\&|~`@#$%*+=/:;<>0123"
    "éÉßİıñçØ日本한😀ﬁ\u0301ΩΣ\u2581\u200b"
)
ROWS = 4000


@pytest.fixture(scope="module")
def text() -> ModuleType:
    module: ModuleType = pytest.importorskip("tf_keras").preprocessing.text
    return module


def real_texts() -> list[str]:
    """Lines of the documentation."""
    lines = (ROOT / "docs" / "evidence.md").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.strip()]


def generated_texts(count: int = 400) -> list[str]:
    """Characters of all kinds, and known words among them."""
    rng = random.Random(5)  # noqa: S311 - texts, not a secret
    words = " ".join(real_texts()).split()
    texts = ["", " ", "!", "[PAD] [UNK] [UNUSED0] <OOV> UNK"]
    for _ in range(count):
        parts = [
            rng.choice(words)
            if rng.random() < 0.4
            else "".join(rng.choices(CHARACTERS, k=rng.randrange(1, 9)))
            for _ in range(rng.randrange(1, 12))
        ]
        texts.append(rng.choice(("", " ")).join(parts))
    return texts


TEXTS = [*real_texts(), *generated_texts()]


def ids_of(path: Path, rows: int = ROWS) -> list[list[int]]:
    """The ids of all texts with the tokenizer.json that a vocabulary becomes."""
    tokenizer_json = read_vocabulary(path, rows).tokenizer_json
    assert tokenizer_json is not None
    tokenizer = Tokenizer.from_str(tokenizer_json)
    return [encoding.ids for encoding in tokenizer.encode_batch(TEXTS)]


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"num_words": 40},
        {"oov_token": "<OOV>"},
        {"oov_token": "<OOV>", "num_words": 40},
        {"lower": False, "filters": "([)-^]\\&~"},
        {"split": "/", "filters": "-."},
        {"filters": ""},
        {"char_level": True},
        {"char_level": True, "oov_token": "UNK", "num_words": 30, "lower": False},
    ],
    ids=lambda settings: ",".join(settings) or "defaults",
)
def test_a_tokenizer_gives_its_own_ids(
    text: ModuleType, tmp_path: Path, settings: dict[str, Any]
) -> None:
    tokenizer = text.Tokenizer(**settings)
    tokenizer.fit_on_texts(real_texts()[::2])
    expected = tokenizer.texts_to_sequences(TEXTS)
    assert any(expected)
    assert ids_of(write(tmp_path / "vocabulary.json", tokenizer.to_json())) == expected


def test_json_within_json_and_a_word_index_are_read(text: ModuleType, tmp_path: Path) -> None:
    tokenizer = text.Tokenizer()
    tokenizer.fit_on_texts(real_texts())
    expected = tokenizer.texts_to_sequences(TEXTS)
    assert ids_of(write(tmp_path / "twice.json", json.dumps(tokenizer.to_json()))) == expected
    assert ids_of(write(tmp_path / "index.json", tokenizer.word_index)) == expected
    tokenizer.num_words = 50  # a word_index has all words, whatever the model was trained on
    expected = tokenizer.texts_to_sequences(TEXTS)
    assert ids_of(write(tmp_path / "index.json", tokenizer.word_index), rows=50) == expected
    named = text.Tokenizer(oov_token="<OOV>")
    named.fit_on_texts(real_texts()[::2])
    expected = named.texts_to_sequences(TEXTS)
    assert ids_of(write(tmp_path / "index.json", named.word_index)) == expected
    # Names of special tokens say nothing of how texts are read.
    index = {"<PAD>": 0, **named.word_index, "[START]": len(named.word_index) + 1}
    assert ids_of(write(tmp_path / "index.json", index)) == expected


@pytest.mark.parametrize(
    "settings",
    [{"lower": False}, {"char_level": True}, {"filters": '"#$&()*+;<=>?@[\\]^_`{|}~\t\n'}],
    ids=",".join,
)
def test_the_words_of_an_index_tell_its_settings(
    text: ModuleType, tmp_path: Path, settings: dict[str, Any]
) -> None:
    tokenizer = text.Tokenizer(**settings)
    tokenizer.fit_on_texts([*real_texts(), "a!b c%d e,f g-h i.j k/l m:n"])
    expected = tokenizer.texts_to_sequences(TEXTS)
    assert ids_of(write(tmp_path / "index.json", tokenizer.word_index)) == expected


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"standardize": "lower", "max_tokens": 60},
        {"standardize": "strip_punctuation"},
        {"standardize": None},
        {"split": "character"},
    ],
    ids=lambda settings: ",".join(settings) or "defaults",
)
def test_a_vectorization_layer_gives_its_own_ids(tmp_path: Path, settings: dict[str, Any]) -> None:
    keras = pytest.importorskip("keras")
    layer = keras.layers.TextVectorization(**settings)
    layer.adapt(real_texts()[::2])
    # Padded behind with zeros, which no word has.
    expected = [[int(i) for i in row if i] for row in layer(TEXTS).numpy()]
    model = keras.Sequential([keras.layers.Input((1,), dtype="string"), layer])
    model.save(tmp_path / "vectorization.keras")
    assert ids_of(tmp_path / "vectorization.keras") == expected
    config = {**layer.get_config(), "vocabulary": [str(w) for w in layer.get_vocabulary()]}
    assert ids_of(write(tmp_path / "config.json", config)) == expected
    assert ids_of(write(tmp_path / "words.json", config["vocabulary"])) == expected


def test_a_model_with_its_own_vectorization_needs_no_tokenizer(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    layer = keras.layers.TextVectorization(max_tokens=50, output_sequence_length=7)
    layer.adapt(real_texts())
    model = keras.Sequential(
        [
            keras.layers.Input((), dtype="string"),
            layer,
            keras.layers.Embedding(50, 4),
            keras.layers.LSTM(3),
            keras.layers.Dense(2),
        ]
    )
    model.save(tmp_path / "whole.keras")
    text_input = read_network(tmp_path / "whole.keras").text_input
    assert (text_input.length, text_input.padding) == (7, Padding("post", 0, "post"))
    tokenizer = Tokenizer.from_str(text_input.tokenizer_json)
    for line in TEXTS[:50]:
        padded = [*tokenizer.encode(line).ids, *[0] * 7][:7]
        assert padded == layer([line])[0].numpy().tolist()


VECTORIZATION = {
    "standardize": "lower",
    "split": "whitespace",
    "ngrams": None,
    "output_mode": "int",
    "output_sequence_length": None,
    "vocabulary": ["", "[UNK]", "a", "b"],
}


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"\x80\x04pickled", "is a pickle"),
        ({**VECTORIZATION, "ngrams": 2}, "has a ngrams"),
        ({**VECTORIZATION, "output_mode": "tf_idf"}, "has a output_mode"),
        ({**VECTORIZATION, "standardize": {"class_name": "function"}}, "has a standardize"),
        ({**VECTORIZATION, "split": None}, "has a split"),
        ({**VECTORIZATION, "vocabulary": None}, "has no vocabulary in its settings"),
        ({**VECTORIZATION, "vocabulary": ["a", "a"]}, "has a word twice"),
        ({"aa": 1, "b": 1}, "share an id"),
        ({"a": 1, "b c": 2}, "words with spaces"),
        ({"ΛΟΓΟΣ".lower(): 1}, "a letter that Python lower-cases otherwise"),
        ({"class_name": "Tokenizer", "config": {"word_index": "[]"}}, "has no word_index"),
        ({"class_name": "Tokenizer", "config": {"word_index": '{"a": 9999}'}}, "has no row for"),
        (
            {"class_name": "Tokenizer", "config": {"word_index": '{"a": 1}', "oov_token": "x"}},
            "no id for its unknown words",
        ),
        ({"class_name": "Tokenizer", "config": {"filters": 3}}, "has a strange filters"),
        ({"class_name": "hashing_trick", "config": {"n": 100}}, "hash"),
        (["a", "b"], "found a JSON list"),
        (["", "[UNK]", "a b"], "has a ngrams"),
        (["", "[UNK]", "aa", 3], "has no vocabulary in its settings"),
        ({"a": "b"}, "cannot be read as a tokenizer"),
    ],
)
def test_what_cannot_be_had_exactly_is_refused(tmp_path: Path, content: Any, line: str) -> None:
    path = tmp_path / "vocabulary.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    with pytest.raises(CheckpointError, match=line):
        read_vocabulary(path, ROWS)
