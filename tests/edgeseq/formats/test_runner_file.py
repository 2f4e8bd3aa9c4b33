"""The tables of `runner.bin` are what the installed `tokenizers` library does."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from edgeseq.formats.bundle_manifest import Signature, TensorSpec
from edgeseq.formats.runner_file import RunnerSettings, compile_runner_file, library_tables
from edgeseq.formats.runner_file.hash_tables import hash_bytes, hash_pair, hash_table
from edgeseq.formats.runner_file.layout import FORMAT_VERSION, MAGIC, Section
from edgeseq.formats.runner_file.library_tables import ClassTable, CodePointMap

Bert = normalizers.BertNormalizer
OFF = {"handle_chinese_chars": False, "strip_accents": False, "lowercase": False}


def _all_texts() -> list[str]:
    """All code points in rows of 4096, without surrogates."""
    codes = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    return ["".join(map(chr, codes[at : at + 4096])) for at in range(0, len(codes), 4096)]


TEXTS = _all_texts()


@pytest.mark.parametrize(
    ("table", "normalizer"),
    [
        (library_tables.clean_text, Bert(clean_text=True, **OFF)),
        (library_tables.spaced_ideographs, Bert(**{**OFF, "handle_chinese_chars": True},
                                                clean_text=False)),
        (library_tables.lowercase, normalizers.Lowercase()),
        (library_tables.without_combining_marks, normalizers.StripAccents()),
    ],
)  # fmt: skip
def test_a_map_holds_what_the_library_does_with_every_code_point(
    table: Callable[[], CodePointMap], normalizer: Any
) -> None:
    """Also where only a sample was asked for."""
    mapped = table()
    for text in TEXTS:
        codes = (code for char in text for code in mapped.of(ord(char)))
        assert "".join(map(chr, codes)) == normalizer.normalize_str(text), hex(ord(text[0]))


@pytest.mark.parametrize(
    ("table", "pre_tokenizer"),
    [
        (library_tables.whitespace, pre_tokenizers.WhitespaceSplit()),
        (library_tables.punctuation, pre_tokenizers.Punctuation("removed")),
        (library_tables.numeric, pre_tokenizers.Digits(individual_digits=True)),
        (library_tables.words, pre_tokenizers.Whitespace()),
    ],
)
def test_a_class_table_splits_every_code_point_as_the_library_does(
    table: Callable[[], ClassTable], pre_tokenizer: Any
) -> None:
    classes = table()
    for text in TEXTS[::7] + TEXTS[0x40:0x60]:
        pieces = [piece for piece, _offsets in pre_tokenizer.pre_tokenize_str(text)]
        assert pieces == list(_pieces(text, classes, pre_tokenizer)), hex(ord(text[0]))


def _pieces(text: str, classes: ClassTable, pre_tokenizer: Any) -> list[str]:
    kinds = classes[[ord(char) for char in text]]
    starts = [0, *(np.flatnonzero(np.diff(kinds)) + 1).tolist(), len(text)]
    runs = [(text[start:end], int(kinds[start])) for start, end in itertools.pairwise(starts)]
    if isinstance(pre_tokenizer, pre_tokenizers.Whitespace):
        return [run for run, kind in runs if kind != 2]
    if isinstance(pre_tokenizer, pre_tokenizers.Digits):
        return [part for run, kind in runs for part in (run if kind else [run])]
    return [run for run, kind in runs if kind == 0]


def test_the_frame_names_every_section() -> None:
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "a": 1}, unk_token="<unk>"))
    signature = Signature(
        "serving_default",
        (TensorSpec("input_ids", "int32", (1, -1)),),
        (TensorSpec("logits", "float32", (1, 2)),),
    )
    settings = RunnerSettings("name", "sentiment", 8, 2, ("bad", "good"), signature)
    content = compile_runner_file(tokenizer.to_str(), settings)
    magic, version, count, size, _zero = struct.unpack_from("<8sIIQQ", content)
    assert (magic, version, count, size) == (MAGIC, FORMAT_VERSION, len(Section), len(content))
    end = 32 + 16 * count
    for section in Section:
        offset, length = struct.unpack_from("<QQ", content, 32 + 16 * section)
        assert offset == end
        end = offset + length + -length % 8
    assert end == len(content)


def test_every_key_of_a_hash_table_is_found_within_its_probes() -> None:
    keys = [hash_bytes(str(number).encode()) for number in range(1000)]
    keys += [hash_pair(number, number * 7) for number in range(1000)]
    table = hash_table(((key, index) for index, key in enumerate(keys)), len(keys))
    mask = len(table.slots) - 1
    for index, key in enumerate(keys):
        probed = [int(table.slots[(key + n) & mask]) for n in range(table.max_probes)]
        assert (key & 0xFF000000) | index in probed
