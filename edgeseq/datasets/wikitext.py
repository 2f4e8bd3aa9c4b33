"""WikiText-2: running text of Wikipedia, for models of the next word.

Merity, Xiong, Bradbury and Socher 2016, "Pointer Sentinel Mixture Models": whole articles, words
with a space between them, numbers and rare words as the authors left them (`<unk>` stands for a
word outside of the vocabulary of 33,278). A line's end counts as a word, `<eos>`, as is usual, so
that perplexities compare with published ones: 2,088,628, 217,646 and 245,569 words.

An article is one example, because nothing before its beginning says anything about it. It begins
at its title, a line ` = Title = `; the blank line before the first one belongs to the first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from edgeseq.datasets.lines import numbered_lines
from edgeseq.datasets.local_source import DatasetEntry, LocalSource
from edgeseq.datasets.published_files import WIKITEXT2
from edgeseq.datasets.splits import canonical_sha256
from edgeseq.errors import DataError
from edgeseq.tasks.examples import EOS, UNKNOWN, Dataset, SplitName, StreamExample

TASK = "lm"
FILES: dict[SplitName, str] = {"train": "train", "dev": "valid", "test": "test"}

SENTENCE_WORDS = (5, 40)
"""Words, punctuation included, of a sentence that is not left out: a shorter one says little, and
a longer one is mostly a list."""

_ENDS = frozenset(".!?")
_JOINERS = {"@-@": "-", "@,@": ",", "@.@": "."}
"""How WikiText writes these signs within a word or number."""

_TITLE = re.compile(r"= [^=].* =")


def stream_dataset(
    name: str, splits: dict[SplitName, tuple[StreamExample, ...]], *, licence: str, origin: str
) -> Dataset[StreamExample]:
    """A data set of running text from its splits `train`, `dev` and `test`.

    Raises `DataError` when a split has no words.
    """
    for split, examples in splits.items():
        if not any(example.words for example in examples):
            raise DataError(f"the {split} split is empty", where=name, fix="give a longer text")
    return Dataset(
        name=name,
        task=TASK,
        labels=(),
        train=splits["train"],
        dev=splits["dev"],
        test=splits["test"],
        licence=licence,
        origin=origin,
        sha256=canonical_sha256(TASK, (), splits.items()),
    )


def read_articles(path: Path, split: SplitName) -> tuple[StreamExample, ...]:
    """The articles of one file, their words with `<eos>` at the end of each line.

    Raises `DataError` as `numbered_lines` does.
    """
    lines = (line for _, line in numbered_lines(path))
    return tuple(
        StreamExample(id=f"{split}/{number}", words=words)
        for number, words in enumerate(articles(lines), start=1)
    )


def articles(lines: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """The words of each article among `lines`, cut before titles.

    A title is between blank lines. Lines before the first one belong to the first article;
    a text without one is one article.
    """
    words: list[str] = []
    titled = False
    rows = [line.strip() for line in lines]
    for before, row, after in zip(["", *rows], rows, [*rows[1:], ""], strict=False):
        # A formula may look like a title; around a title there are blank lines.
        title = not before and not after and _TITLE.fullmatch(row) is not None
        if title and titled:
            yield tuple(words)
            words = []
        titled = titled or title
        words += [*row.split(), EOS]
    if words:
        yield tuple(words)


def sentences(words: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The sentences of an article's words, which end at `.`, `!`, `?` or the end of a line.

    Titles and what is longer or shorter than `SENTENCE_WORDS` are left out, and so is each unknown
    word.
    """
    sentence: list[str] = []
    shortest, longest = SENTENCE_WORDS
    for word in (*words, EOS):
        if word not in (EOS, UNKNOWN):
            sentence.append(_JOINERS.get(word, word))
        if word == EOS or word in _ENDS:
            is_title = sentence[:1] == ["="] and sentence[-1:] == ["="]
            if shortest <= len(sentence) <= longest and not is_title:
                yield tuple(sentence)
            sentence = []


def _read(entry: DatasetEntry, paths: tuple[Path, ...]) -> Dataset[StreamExample]:
    splits = {split: read_articles(path, split) for split, path in zip(FILES, paths, strict=True)}
    return stream_dataset(entry.name, splits, licence=entry.licence, origin=entry.origin)


SOURCE = LocalSource(
    DatasetEntry(
        name="wikitext2",
        task=TASK,
        title="WikiText-2: articles of Wikipedia, word by word",
        sizes=(600, 60, 60),
        licence="CC BY-SA 3.0 (Wikipedia)",
        origin="pytorch/examples on GitHub, commit 77f55b9",
        citation=(
            "Merity, S., Xiong, C., Bradbury, J. & Socher, R. (2016). Pointer Sentinel Mixture "
            "Models. arXiv:1609.07843."
        ),
    ),
    ("wikitext2",),
    tuple(
        tuple(pattern.format(name) for name in FILES.values())
        for pattern in ("{}.txt", "wiki.{}.tokens")
    ),
    _read,
    WIKITEXT2,
)
"""An example is an article."""
