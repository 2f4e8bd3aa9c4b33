"""A user's files of tagged words: CoNLL, CoNLL-U, or JSON lines.

| file | what |
|---|---|
| `.jsonl`, `.ndjson` | `{"words": ["…"], "tags": ["…"]}` a line, with `source` and `group` if any |
| `.conllu` | universal parts of speech, for the task `pos` |
| any other | a word and its tag a line, a blank line after a sentence; with commas in `.csv` |
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from edgeseq.datasets.conll import read_conll, read_conllu, to_bio
from edgeseq.datasets.lines import numbered_lines
from edgeseq.datasets.tagged_sources import Tagged
from edgeseq.errors import DataError
from edgeseq.formats.codec import decode_json
from edgeseq.tasks.examples import TaggedExample
from edgeseq.tasks.registry import get_task

JSON_SUFFIXES = (".jsonl", ".ndjson")
TAGGED_SUFFIXES = (*JSON_SUFFIXES, ".conll", ".conllu", ".bio", ".iob", ".txt", ".tsv", ".csv")


class _Line(msgspec.Struct):
    words: list[str]
    tags: list[str]
    id: str = ""
    source: str = ""
    group: str = ""


def read_tagged(path: Path, task: str) -> Tagged:
    """The sentences of one file; entity tags in IO or IOB1 are turned into BIO.

    The scheme of a file follows from its tags: IO if a type has no prefix, BIO if every entity
    begins with `B-`, else IOB1. Raises `DataError` as the reader of the format does, and for tags
    that are not entity tags if the task has BIO labels.
    """
    suffix = path.suffix.lower()
    if suffix == ".conllu":
        return read_conllu(path)
    if suffix in JSON_SUFFIXES:
        sentences = _read_jsonl(path)
    else:
        sentences = read_conll(path, scheme="raw", delimiter="," if suffix == ".csv" else None)
    return _in_bio(sentences, path) if get_task(task).bio_labels else sentences


def _in_bio(sentences: Tagged, path: Path) -> Tagged:
    tags = {tag for sentence in sentences for tag in sentence.tags} - {"O"}
    has_bare_types = any(tag[:2] not in ("B-", "I-") for tag in tags)
    scheme: Any = "io" if has_bare_types else "bio"
    if not has_bare_types and any(_stray(sentence) for sentence in sentences):
        scheme = "iob1"
    converted = []
    for sentence in sentences:
        try:
            converted.append(msgspec.structs.replace(sentence, tags=to_bio(sentence.tags, scheme)))
        except DataError as failure:
            raise DataError(
                failure.what,
                where=f"{path}: {sentence.id}: {failure.where}",
                found=failure.found,
                expected=failure.expected,
                fix=failure.fix,
            ) from failure
    return tuple(converted)


def _stray(sentence: TaggedExample) -> bool:
    """Whether a tag `I-X` does not continue an entity of type X."""
    before = ("O", *sentence.tags)
    return any(
        tag.startswith("I-") and last[2:] != tag[2:]
        for last, tag in zip(before, sentence.tags, strict=False)
    )


def _read_jsonl(path: Path) -> Tagged:
    examples = []
    for number, line in numbered_lines(path):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            sentence = decode_json(line, _Line)
        except msgspec.DecodeError as failure:
            raise DataError(
                "is not a tagged sentence",
                where=where,
                found=str(failure),
                expected='{"words": ["…"], "tags": ["…"]}',
            ) from failure
        if len(sentence.words) != len(sentence.tags) or not all(sentence.tags):
            raise DataError(
                "must have one tag per word",
                where=where,
                found=f"{len(sentence.words)} words, {sum(map(bool, sentence.tags))} tags",
            )
        examples.append(
            TaggedExample(
                id=sentence.id or f"{path.stem}:{number}",
                words=tuple(sentence.words),
                tags=tuple(sentence.tags),
                source=sentence.source,
                group=sentence.group,
            )
        )
    if not examples:
        raise DataError("holds no sentences", where=path)
    return tuple(examples)
