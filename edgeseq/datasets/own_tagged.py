"""A user's own files of tagged words: CoNLL, CoNLL-U, or JSON lines.

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
from edgeseq.datasets.splits import SPLITS, bucket
from edgeseq.datasets.tagged import Tagged, tagged_dataset
from edgeseq.errors import DataError
from edgeseq.formats.codec import decode_json
from edgeseq.tasks.examples import Dataset, SplitName, TaggedExample
from edgeseq.tasks.registry import get_task

JSON_SUFFIXES = (".jsonl", ".ndjson")
TAGGED_SUFFIXES = (*JSON_SUFFIXES, ".conll", ".conllu", ".bio", ".iob", ".txt", ".tsv", ".csv")

WORD_SUFFIXES = {".conllu": "pos", ".conll": "ner", ".bio": "ner", ".iob": "ner"}
"""What a file is for whose name tells that it holds tagged words, where nobody says it."""


class _Line(msgspec.Struct):
    words: list[str]
    tags: list[str]
    id: str = ""
    source: str = ""
    group: str = ""


def read_tagged(path: Path, task: str) -> Tagged:
    """The sentences of one file; entity tags in IO or IOB1 are turned into BIO.

    Which scheme a file is in is seen from its tags: IO where a type stands alone, BIO where every
    entity begins with `B-`, else IOB1. Raises `DataError` as the reader of the format does, and
    for tags that are no entity tags where the task is about entities.
    """
    suffix = path.suffix.lower()
    if suffix == ".conllu":
        return read_conllu(path)
    if suffix in JSON_SUFFIXES:
        found = _read_jsonl(path)
    else:
        found = read_conll(path, scheme="raw", delimiter="," if suffix == ".csv" else None)
    return _in_bio(found, path) if get_task(task).bio_labels else found


def _in_bio(found: Tagged, path: Path) -> Tagged:
    tags = {tag for one in found for tag in one.tags} - {"O"}
    alone = [tag for tag in tags if tag[:2] not in ("B-", "I-")]
    scheme: Any = "io" if alone else "bio"
    if not alone and any(_stray(one) for one in found):
        scheme = "iob1"
    sentences = []
    for one in found:
        try:
            sentences.append(msgspec.structs.replace(one, tags=to_bio(one.tags, scheme)))
        except DataError as failure:
            raise DataError(
                failure.what,
                where=f"{path}: {one.id}: {failure.where}",
                found=failure.found,
                expected=failure.expected,
                fix=failure.fix,
            ) from failure
    return tuple(sentences)


def _stray(one: TaggedExample) -> bool:
    """Whether a tag `I-X` stands where no entity of type X goes on."""
    before = ("O", *one.tags)
    return any(
        tag.startswith("I-") and last[2:] != tag[2:]
        for last, tag in zip(before, one.tags, strict=False)
    )


def _read_jsonl(path: Path) -> Tagged:
    examples = []
    for number, line in numbered_lines(path):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            one = decode_json(line, _Line)
        except msgspec.DecodeError as failure:
            raise DataError(
                "is no tagged sentence",
                where=where,
                found=str(failure),
                expected='{"words": ["…"], "tags": ["…"]}',
            ) from failure
        if len(one.words) != len(one.tags) or not all(one.tags):
            raise DataError(
                "there must be one tag a word",
                where=where,
                found=f"{len(one.words)} words, {len([tag for tag in one.tags if tag])} tags",
            )
        examples.append(
            TaggedExample(
                id=one.id or f"{path.stem}:{number}",
                words=tuple(one.words),
                tags=tuple(one.tags),
                source=one.source,
                group=one.group,
            )
        )
    if not examples:
        raise DataError("holds no sentences", where=path)
    return tuple(examples)


def load_tagged_files(
    task: str,
    *,
    train: Path,
    dev: Path | None = None,
    test: Path | None = None,
    name: str | None = None,
    licence: str = "the user's own",
) -> Dataset[TaggedExample]:
    """A data set from the user's own files; splits without one are cut from train by hash.

    Sentences of a document (`group`) and equal sentences are never divided. Raises `DataError` as
    `read_tagged` does, and when there are too few sentences for three splits.
    """
    files: dict[SplitName, Path | None] = {"train": train, "dev": dev, "test": test}
    given = {split: read_tagged(path, task) for split, path in files.items() if path is not None}
    cut: dict[SplitName, list[TaggedExample]] = {split: [] for split in SPLITS}
    for one in given["train"]:
        number = bucket(one.group or one.text)
        split: SplitName = "train" if number < 80 else "dev" if number < 90 else "test"
        cut["train" if split in given else split].append(one)
    splits = {
        split: tuple(cut[split]) if split == "train" or split not in given else given[split]
        for split in SPLITS
    }
    return tagged_dataset(
        name or train.stem,
        task,
        splits,
        licence=licence,
        origin=", ".join(path.name for path in files.values() if path is not None),
    )
