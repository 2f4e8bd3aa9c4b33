"""What `--tokenizer` may name: a `tokenizer.json`, or one of Keras' own vocabularies as one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from edgeseq.errors import CheckpointError
from edgeseq.formats.codec import decode_json
from edgeseq.formats.padding import TEXT_ALONE, Padding
from edgeseq.formats.storage import read_bytes
from edgeseq_converters.models.keras.config import KerasLayer, KerasModel, parse_json, parse_model
from edgeseq_converters.models.keras.word_tokenizer import WordVocabulary
from edgeseq_converters.models.network import TextInput
from edgeseq_converters.models.zip_archive import Archive

VECTORIZATION = "TextVectorization"
ACCEPTED = (
    "a tokenizer.json, what Keras' Tokenizer.to_json() gives, its word_index as JSON, or a "
    "TextVectorization layer (a .keras file, or as JSON its get_config() with the vocabulary, or "
    "its get_vocabulary())"
)
_FILTERS = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'
"""Those of Keras' Tokenizer; a word_index does not say which its owner used."""
_PUNCTUATION = "!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~'"
"""What TextVectorization strips."""
_WHITE_SPACE = "\t\n\v\f\r"
"""What TensorFlow's split takes for white space besides the space."""
_UNKNOWN_WORD = re.compile(r"[<\[]?(?:UNK|OOV|UNKNOWN)[>\]]?|[<\[](?:unk|oov|unknown)[>\]]")
_FIRST_WORDS = ["", "[UNK]"]
"""What `TextVectorization.get_vocabulary()` begins with."""
_HASHING = ("one_hot", "hashing_trick", "Hashing")
_SPECIAL_WORD = re.compile(r"[<\[]\w+[>\]]")
_STANDARDIZATIONS = {
    "lower_and_strip_punctuation": ("ascii", _PUNCTUATION),
    "lower": ("ascii", ""),
    "strip_punctuation": (None, _PUNCTUATION),
    None: (None, ""),
}


def read_vocabulary(path: Path, rows: int) -> TextInput:
    """The tokenizer at `path` for a table of `rows`; of a TextVectorization layer also its length
    and padding.

    Raises `CheckpointError` naming what cannot be done exactly as Keras does it.
    """
    content = read_bytes(path, error=CheckpointError)
    if content.startswith(b"PK"):
        return _in_archive(path, rows)
    if content.startswith(b"\x80"):
        raise CheckpointError(
            "is a pickle, which can hold code",
            where=path,
            expected=ACCEPTED,
            fix="write tokenizer.to_json() to a file",
        )
    value = _decoded(content, path)
    # `json.dumps(tokenizer.to_json())`, as tutorials write it, is JSON within JSON.
    value = _decoded(value.encode(), path) if isinstance(value, str) else value
    if isinstance(value, dict):
        return _from_table(value, content, rows, path)
    if isinstance(value, list) and value[:2] == _FIRST_WORDS:
        return vectorization_input(_vectorization_of(value, path), rows)
    raise _unknown(path, f"a JSON {type(value).__name__}")


def with_vocabulary(model: KerasModel, archive: Archive) -> KerasModel:
    """The model of a .keras file, its TextVectorization layer with the vocabulary that the archive
    holds beside the layers."""

    def completed(layer: KerasLayer) -> KerasLayer:
        if layer.class_name != VECTORIZATION or layer.config.get("vocabulary") is not None:
            return layer
        words = _archived_words(layer, archive)
        return replace(layer, config={**layer.config, "vocabulary": words})

    return replace(model, layers=tuple(map(completed, model.layers)))


def vectorization_input(layer: KerasLayer, rows: int) -> TextInput:
    """The tokenizer, length and padding of a TextVectorization layer in front of a table of `rows`.

    Raises `CheckpointError` for settings that cannot be had exactly.
    """
    config = layer.config
    expected: tuple[tuple[str, tuple[Any, ...]], ...] = (
        ("output_mode", ("int",)),
        ("ngrams", (None,)),
        ("split", ("whitespace", "character")),
        ("standardize", tuple(_STANDARDIZATIONS)),
        ("ragged", (False, None)),
        ("encoding", ("utf-8", None)),
    )
    for key, values in expected:
        value = config.get(key)
        if not isinstance(value, str | bool | None) or value not in values:
            shown = " or ".join(str(known) for known in values)
            raise layer.refuse(f"has a {key} that cannot be had", found=value, expected=shown)
    lower, removed = _STANDARDIZATIONS[config.get("standardize")]
    vocabulary = WordVocabulary(
        ids=_vectorization_ids(layer),
        unknown="[UNK]",
        lower=lower,
        removed=removed,
        separators=_WHITE_SPACE if config["split"] == "whitespace" else "",
        by_character=config["split"] == "character",
    )
    tokenizer_json = vocabulary.tokenizer_json(rows=rows, where=layer.where)
    if config.get("output_sequence_length") is None:
        return TextInput(None, tokenizer_json, TEXT_ALONE)
    length = layer.integer("output_sequence_length")
    return TextInput(length, tokenizer_json, Padding("post", 0, "post"))


def _decoded(content: bytes, path: Path) -> Any:
    try:
        return decode_json(content, Any)
    except (msgspec.DecodeError, UnicodeDecodeError) as failure:
        raise _unknown(path, str(failure)) from failure


def _unknown(path: Path, found: str) -> CheckpointError:
    return CheckpointError(
        "cannot be read as a tokenizer", where=path, found=found, expected=ACCEPTED
    )


def _from_table(value: dict[str, Any], content: bytes, rows: int, path: Path) -> TextInput:
    kind, config = value.get("class_name"), value.get("config")
    if isinstance(value.get("model"), dict):
        return TextInput(tokenizer_json=content.decode("utf-8", errors="replace"))
    if kind == "Tokenizer" and isinstance(config, dict):
        vocabulary = _keras_tokenizer(config, path)
        return TextInput(tokenizer_json=vocabulary.tokenizer_json(rows=rows, where=path))
    if kind == VECTORIZATION and isinstance(config, dict):
        return vectorization_input(KerasLayer(str(path), kind, kind, config), rows)
    if kind in _HASHING:
        raise CheckpointError(
            "hashes words, for which no tokenizer.json has a model",
            where=path,
            found=kind,
            expected=ACCEPTED,
            fix="train with a Tokenizer or a TextVectorization layer",
        )
    if "standardize" in value and "output_mode" in value:
        layer = KerasLayer(str(path), VECTORIZATION, VECTORIZATION, value)
        return vectorization_input(layer, rows)
    if value and all(type(token_id) is int for token_id in value.values()):
        vocabulary = _word_index(value, rows, path)
        return TextInput(tokenizer_json=vocabulary.tokenizer_json(rows=rows, where=path))
    raise _unknown(path, f"a table with {', '.join(list(value)[:5])}"[:160])


def _keras_tokenizer(config: Mapping[str, Any], path: Path) -> WordVocabulary:
    """What `Tokenizer.to_json()` describes; the word_index in it is JSON within JSON."""

    def setting(key: str, kind: type, default: Any) -> Any:
        value = config.get(key, default)
        if value is not default and not isinstance(value, kind):
            raise CheckpointError(
                f"has a strange {key}", where=path, found=repr(value)[:60], expected=kind.__name__
            )
        return value

    if config.get("analyzer") is not None:
        raise CheckpointError("has an analyzer, which is code", where=path, fix="train without it")
    try:
        index = decode_json(setting("word_index", str, "{}"), dict[str, int])
    except msgspec.DecodeError as failure:
        raise CheckpointError(
            "has no word_index that can be read", where=path, found=failure
        ) from failure
    limit = setting("num_words", int, None)
    unknown, split = setting("oov_token", str, None), setting("split", str, " ")
    if len(split) != 1:
        raise CheckpointError(
            "does not divide words at one character", where=path, found=f"split {split!r}"[:60]
        )
    by_character = setting("char_level", bool, False)
    return WordVocabulary(
        ids=_known_words(index, limit, unknown),
        unknown=unknown,
        lower="python" if setting("lower", bool, True) else None,
        separators="" if by_character else setting("filters", str, _FILTERS),
        split=split,
        by_character=by_character,
    )


def _known_words(
    index: Mapping[str, int], limit: int | None, unknown: str | None
) -> dict[str, int]:
    """The words that get an id: the first `limit` − 1, and the unknown one whatever its id."""
    return {
        word: token_id
        for word, token_id in index.items()
        if word and (not limit or token_id < limit or word == unknown)
    }


def _word_index(index: Mapping[str, int], rows: int, path: Path) -> WordVocabulary:
    """With the settings that Keras' Tokenizer has by default, unless the words contradict them,
    and as many words as the table has rows: it is written with all words, however few the model
    was trained on."""
    unknown = next((word for word in index if _UNKNOWN_WORD.fullmatch(word)), None)
    words = [word for word in index if word and not _is_special(word)]
    by_character = all(len(word) == 1 for word in words)
    characters = set().union(*words)
    if " " in characters and not by_character:
        raise CheckpointError(
            "has words with spaces, at which Keras divides words",
            where=path,
            found=repr(next(word for word in words if " " in word))[:60],
            fix="write tokenizer.to_json(), which has the settings too",
        )
    is_lower = all(word == word.lower() for word in words)
    separators = "".join(char for char in _FILTERS if char not in characters)
    return WordVocabulary(
        ids=_known_words(index, rows, unknown),
        unknown=unknown,
        lower="python" if is_lower else None,
        separators="" if by_character else separators,
        by_character=by_character,
    )


def _vectorization_of(vocabulary: list[Any], path: Path) -> KerasLayer:
    """The layer whose `get_vocabulary()` this is, with the settings that it has by default unless
    the words contradict them."""
    words = [str(word) for word in vocabulary[2:]]
    characters = set().union(*words)
    lowers = characters.isdisjoint("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    strips = characters.isdisjoint(_PUNCTUATION)
    names = {(True, True): "lower_and_strip_punctuation", (True, False): "lower"}
    config = {
        "standardize": names.get((lowers, strips), "strip_punctuation" if strips else None),
        "split": "character" if max(map(len, words), default=0) == 1 else "whitespace",
        "ngrams": 2 if any(" " in word for word in words if len(word) > 1) else None,
        "output_mode": "int",
        "vocabulary": vocabulary,
    }
    return KerasLayer(str(path), VECTORIZATION, VECTORIZATION, config)


def _is_special(word: str) -> bool:
    """Whether a word is the name of a special token: `<OOV>`, `UNK`, `<PAD>`, `[START]`."""
    return (_UNKNOWN_WORD.fullmatch(word) or _SPECIAL_WORD.fullmatch(word)) is not None


def _in_archive(path: Path, rows: int) -> TextInput:
    with Archive(path) as archive:
        config = parse_json(archive.text("config.json"), f"{path}: config.json")
        model = with_vocabulary(parse_model(config, str(path)), archive)
    layers = [layer for layer in model.layers if layer.class_name == VECTORIZATION]
    if len(layers) != 1:
        raise CheckpointError(
            "does not hold one TextVectorization layer",
            where=path,
            found=len(layers),
            expected=ACCEPTED,
        )
    return vectorization_input(layers[0], rows)


def _archived_words(layer: KerasLayer, archive: Archive) -> list[str]:
    names = [
        name
        for name in archive.names()
        if name.startswith("assets/") and name.endswith("/vocabulary.txt")
    ]
    contents = {archive.text(name) for name in names}
    if len(contents) != 1:
        raise layer.refuse(
            "has no vocabulary in the file", found=f"{len(contents)} vocabulary.txt", expected="1"
        )
    # Python's lines, as Keras itself reads them.
    return contents.pop().decode("utf-8", errors="replace").splitlines()


def _vectorization_ids(layer: KerasLayer) -> dict[str, int]:
    words = layer.config.get("vocabulary")
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise layer.refuse(
            "has no vocabulary in its settings",
            fix="save a model with the layer as .keras, or its get_config() with "
            "'vocabulary': layer.get_vocabulary()",
        )
    words = words[2:] if words[:2] == _FIRST_WORDS else words
    ids = {"[UNK]": 1, **{word: number for number, word in enumerate(words, start=2)}}
    if len(ids) != len(words) + 1:
        raise layer.refuse("has a word twice in its vocabulary")
    return ids
