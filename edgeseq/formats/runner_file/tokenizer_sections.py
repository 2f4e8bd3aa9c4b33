"""A `tokenizer.json` as sections of the file, or the reason why it cannot be one."""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from tokenizers import Tokenizer

from edgeseq.formats.codec import decode_json
from edgeseq.formats.runner_file import library_tables
from edgeseq.formats.runner_file.code_point_tables import TableArea
from edgeseq.formats.runner_file.hash_tables import Merge, merge_table, token_table
from edgeseq.formats.runner_file.layout import Section
from edgeseq.formats.runner_file.runner_settings import TokenizerFacts
from edgeseq.formats.runner_file.special_tokens import added_tokens, template_ids
from edgeseq.formats.runner_file.tokenizer_steps import Steps, TextArea, ascii_map, has_byte_level
from edgeseq.formats.runner_file.unsupported import UnsupportedTokenizerError
from edgeseq.tasks.mentions import marker_ids

_MODELS = ("WordPiece", "WordLevel", "BPE")
_NONE = 0xFFFFFFFF
_BYTE_LEVEL, _IGNORE_MERGES, _FUSE_UNKNOWN, _ASCII_MAP = 1, 2, 4, 8


class CompiledTokenizer(msgspec.Struct, frozen=True):
    """Sections, and what the settings need to know."""

    sections: dict[Section, bytes]
    facts: TokenizerFacts


# A model is often converted by several recipes, or several of its bundles are checked.
@functools.lru_cache(maxsize=2)
def compile_tokenizer(tokenizer_json: str) -> CompiledTokenizer:
    """The sections of a tokenizer.

    Raises `UnsupportedTokenizerError` for what the native runner cannot do exactly as the
    `tokenizers` library does.
    """
    tokenizer = _load(tokenizer_json)
    # As the library writes it: every setting has its value, merges have one form.
    content = decode_json(tokenizer.to_str(), dict[str, Any])
    model = content["model"]
    _check_model(model)
    tables, texts = TableArea(), TextArea()
    steps = Steps(tables, texts)
    normalizer = steps.normalizers(content["normalizer"])
    pre_tokenizer = steps.pre_tokenizers(content["pre_tokenizer"])
    byte_level = has_byte_level(pre_tokenizer)
    if byte_level and model["type"] != "BPE":
        raise UnsupportedTokenizerError(
            "the native runner takes ByteLevel with BPE only", found=model["type"]
        )
    added = added_tokens(content["added_tokens"], tokenizer.normalizer, texts)
    vocabulary: dict[str, int] = model["vocab"]
    tokens = token_table(vocabulary, _added_names(tokenizer, content["added_tokens"], vocabulary))
    merges = _merges(model)
    merge_hashes = merge_table(merges)
    mapped = ascii_map(tokenizer.normalizer, normalizer)
    unknown = vocabulary.get(model.get("unk_token"), _NONE)
    record = struct.pack(
        "<14I",
        _MODELS.index(model["type"]),
        _BYTE_LEVEL * byte_level
        + _IGNORE_MERGES * bool(model.get("ignore_merges"))
        + _FUSE_UNKNOWN * bool(model.get("fuse_unk"))
        + _ASCII_MAP * (mapped is not None),
        unknown,
        min(model.get("max_input_chars_per_word", 0), _NONE),
        *texts.add(model.get("continuing_subword_prefix") or ""),
        len(tokens.offsets) - 1,
        tokens.max_bytes,
        tokens.table.max_probes,
        len(merges),
        merge_hashes.max_probes,
        len(added.raw),
        len(added.normalized),
        tables.add_classes(library_tables.words()) if added.look_around else _NONE,
    )
    sections = {
        Section.TOKENIZER: record,
        Section.NORMALIZER_STEPS: _records(step.numbers() for step in normalizer),
        Section.PRE_TOKENIZER_STEPS: _records(step.numbers() for step in pre_tokenizer),
        Section.TABLES: tables.content,
        Section.TEXTS: texts.content,
        Section.TOKEN_OFFSETS: tokens.offsets.tobytes(),
        Section.TOKEN_BYTES: tokens.content,
        Section.TOKEN_SLOTS: tokens.table.slots.tobytes(),
        Section.MERGES: _records(merges),
        Section.MERGE_SLOTS: merge_hashes.slots.tobytes(),
        Section.BYTE_IDS: _byte_ids(vocabulary) if byte_level else b"",
        Section.ADDED_TOKENS: _records((*added.raw, *added.normalized)),
        Section.ASCII_MAP: mapped or b"",
    }
    return CompiledTokenizer(sections, _facts(tokenizer, content["post_processor"]))


def _load(tokenizer_json: str) -> Any:
    try:
        tokenizer = Tokenizer.from_str(tokenizer_json)
    except Exception as failure:  # tokenizers raises a bare Exception, nothing finer
        raise UnsupportedTokenizerError(
            "the tokenizers library cannot read it", found=str(failure).splitlines()[0]
        ) from failure
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _check_model(model: Mapping[str, Any]) -> None:
    if model["type"] not in _MODELS:
        raise UnsupportedTokenizerError(
            "the native runner does not have this model",
            found=model["type"],
            expected=", ".join(_MODELS),
        )
    unknown = model["unk_token"]
    if unknown not in model["vocab"] and (model["type"] != "BPE" or unknown is not None):
        raise UnsupportedTokenizerError("the vocabulary lacks its unknown token", found=unknown)
    if model["type"] != "BPE":
        return
    for setting in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"):
        if model.get(setting):
            raise UnsupportedTokenizerError(
                "the native runner does not have this setting of BPE", found=setting
            )


def _added_names(
    tokenizer: Any, added: Sequence[Mapping[str, Any]], vocabulary: Mapping[str, int]
) -> dict[str, int]:
    """The ids of added tokens by the names that the library gives back for them: normalized ones
    have that of their normalized form, where the vocabulary does not have them itself."""
    names = {token["content"]: token["id"] for token in added}
    model_ids = set(vocabulary.values())
    return {
        token if token_id in model_ids else str(tokenizer.id_to_token(token_id)): token_id
        for token, token_id in names.items()
    }


def _merges(model: Mapping[str, Any]) -> list[Merge]:
    """Ids of both parts and of the whole, the first to be merged first."""
    if model["type"] != "BPE":
        return []
    vocabulary: dict[str, int] = model["vocab"]
    if len(set(vocabulary.values())) < len(vocabulary):
        raise UnsupportedTokenizerError("two tokens share an id")
    ranks: dict[tuple[int, int], tuple[int, int]] = {}
    for rank, (first, second) in enumerate(model["merges"]):
        if model["unk_token"] in (first, second):
            raise UnsupportedTokenizerError("the unknown token is merged", found=model["unk_token"])
        pair = vocabulary[first], vocabulary[second]
        # Of a pair that is listed twice the library keeps the later.
        ranks[pair] = rank, vocabulary[first + second]
    ordered = sorted(ranks.items(), key=lambda item: item[1][0])
    return [(*pair, merged_id) for pair, (_rank, merged_id) in ordered]


def _byte_ids(vocabulary: Mapping[str, int]) -> bytes:
    """For each byte the id of its character, then the characters: bytes that are not a printable
    character of Latin-1 have one from U+0100 on (Radford et al. 2019)."""
    printable = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
    codes = {byte: byte for byte in printable}
    for byte in range(256):
        codes.setdefault(byte, 0x100 + len(codes) - len(printable))
    chars = [chr(codes[byte]) for byte in range(256)]
    ids = [vocabulary.get(char, _NONE) for char in chars]
    return np.array([*ids, *map(ord, chars)], "<u4").tobytes()


def _facts(tokenizer: Any, post_processor: Mapping[str, Any] | None) -> TokenizerFacts:
    before, after = template_ids(post_processor)
    # The library is the judge: this is what it adds to a text.
    added = tokenizer.encode([], is_pretokenized=True).ids
    word = tokenizer.encode(["a"], is_pretokenized=True)
    first = word.special_tokens_mask.index(0) if 0 in word.special_tokens_mask else 0
    if added != [*before, *after] or first != len(before):
        raise UnsupportedTokenizerError(
            "special tokens are not at both ends of a text",
            found=f"{added}, {first} before a word",
            expected=f"{[*before]} and {[*after]}",
        )
    name = getattr(tokenizer.model, "unk_token", None)
    return TokenizerFacts(
        before=before,
        after=after,
        unknown_id=None if name is None else tokenizer.token_to_id(name),
        marker_ids=marker_ids(tokenizer) or (),
    )


def _records(records: Iterable[Sequence[int]]) -> bytes:
    return np.array([number for record in records for number in record], "<u4").tobytes()
