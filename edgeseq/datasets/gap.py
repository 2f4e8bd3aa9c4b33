"""GAP: whom does the pronoun mean, the name A, the name B, or neither?

Webster, Recasens, Axelrod and Baldridge 2018, "Mind the GAP: A Balanced Corpus of Gendered
Ambiguous Pronouns" (TACL 6): passages of Wikipedia, half of them with a feminine and half with a
masculine pronoun. Its authors call the split that is trained on "development". The names are given
here (the paper's "gold-two-mention" setting), which is easier than finding them.

A passage becomes a text with its three mentions marked (`edgeseq.tasks.mentions`).
"""

from __future__ import annotations

from pathlib import Path

from edgeseq.datasets import published_files
from edgeseq.datasets.lines import numbered_lines
from edgeseq.datasets.local_source import DatasetEntry, LocalSource
from edgeseq.datasets.splits import make_dataset
from edgeseq.errors import DataError
from edgeseq.tasks.examples import Dataset, SplitName, TextExample
from edgeseq.tasks.mentions import LABELS, mark

FILES: dict[SplitName, str] = {
    "train": "gap-development.tsv",
    "dev": "gap-validation.tsv",
    "test": "gap-test.tsv",
}
COLUMNS = (
    *("ID", "Text", "Pronoun", "Pronoun-offset", "A", "A-offset", "A-coref"),
    *("B", "B-offset", "B-coref", "URL"),
)
FEMININE = frozenset({"she", "her", "hers"})
MASCULINE = frozenset({"he", "him", "his"})


def read_gap(path: Path) -> tuple[TextExample, ...]:
    """The examples of one file, `group` being the page that a passage is from.

    Raises `DataError` naming `file:line` for a wrong header or number of columns, an offset at
    which the text does not hold the mention, a pronoun of no known gender, an answer that is
    neither TRUE nor FALSE, and two names that are both meant.
    """
    examples = []
    for number, line in numbered_lines(path):
        where = f"{path}:{number}"
        fields = line.split("\t")
        if number == 1:
            if tuple(fields) != COLUMNS:
                raise DataError(
                    "is not a GAP file",
                    where=where,
                    found=", ".join(fields)[:80],
                    expected=", ".join(COLUMNS),
                )
            continue
        if len(fields) != len(COLUMNS):
            raise DataError(
                "wrong number of columns", where=where, found=len(fields), expected=len(COLUMNS)
            )
        examples.append(_example(dict(zip(COLUMNS, fields, strict=True)), where))
    if not examples:
        raise DataError("holds no examples", where=path, expected="one a line")
    return tuple(examples)


def gender_of(pronoun: str, *, where: str | None = None) -> str:
    """`feminine` or `masculine`; raises `DataError` for any other word."""
    if pronoun.lower() in FEMININE:
        return "feminine"
    if pronoun.lower() in MASCULINE:
        return "masculine"
    expected = ", ".join(sorted(FEMININE | MASCULINE))
    raise DataError("pronoun of no known gender", where=where, found=pronoun, expected=expected)


def _example(row: dict[str, str], where: str) -> TextExample:
    text = row["Text"]
    spans = {
        name: _span(text, row[column], row[f"{column}-offset"], where, column)
        for name, column in (("P", "Pronoun"), ("A", "A"), ("B", "B"))
    }
    meant = [name for name in ("A", "B") if _answer(row[f"{name}-coref"], where)]
    if len(meant) == 2:
        raise DataError("both names are meant", where=where, expected="A, B or neither")
    try:
        marked = mark(text, spans)
    except DataError as error:
        raise DataError(
            error.what, where=where, found=error.found, expected=error.expected
        ) from None
    return TextExample(
        id=row["ID"],
        text=marked,
        label=meant[0] if meant else "neither",
        source=gender_of(row["Pronoun"], where=where),
        group=row["URL"],
    )


def _span(text: str, mention: str, offset: str, where: str, column: str) -> tuple[int, int]:
    begin = int(offset) if offset.isascii() and offset.isdigit() else -1
    end = begin + len(mention)
    if begin < 0 or not mention or text[begin:end] != mention:
        raise DataError(
            f"the text does not hold {column} at its offset",
            where=where,
            found=repr(text[begin:end]) if begin >= 0 else f"offset {offset!r}",
            expected=repr(mention),
        )
    return begin, end


def _answer(word: str, where: str) -> bool:
    if word not in ("TRUE", "FALSE"):
        raise DataError("no answer", where=where, found=repr(word), expected="TRUE or FALSE")
    return word == "TRUE"


def _read(entry: DatasetEntry, paths: tuple[Path, ...]) -> Dataset:
    splits = {split: read_gap(path) for split, path in zip(FILES, paths, strict=True)}
    return make_dataset(
        entry.name, entry.task, LABELS, splits, licence=entry.licence, origin=entry.origin
    )


SOURCE = LocalSource(
    DatasetEntry(
        name="gap",
        task="coref",
        title="GAP: does the pronoun mean A, B or neither",
        sizes=(2_000, 454, 2_000),
        licence="Apache-2.0; the passages are Wikipedia's (CC BY-SA 3.0)",
        origin="google-research-datasets/gap-coreference on GitHub, commit 83135f2",
        citation=(
            "Webster, K., Recasens, M., Axelrod, V. & Baldridge, J. (2018). Mind the GAP: A "
            "Balanced Corpus of Gendered Ambiguous Pronouns. TACL 6."
        ),
    ),
    ("gap",),
    (tuple(FILES.values()),),
    _read,
    published_files.GAP,
)
"""`source` of an example is the pronoun's gender."""
