"""Reading GAP: offsets, answers, genders, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

import edgeseq
from edgeseq.datasets import gap
from edgeseq.errors import DataError
from edgeseq.suite.schema import read_suite

TEXT = "Ada wrote to Grace before she left."
ROW = {
    "ID": "development-1",
    "Text": TEXT,
    "Pronoun": "she",
    "Pronoun-offset": "26",
    "A": "Ada",
    "A-offset": "0",
    "A-coref": "TRUE",
    "B": "Grace",
    "B-offset": "13",
    "B-coref": "FALSE",
    "URL": "http://example.org/ada",
}


def write(path: Path, *rows: dict[str, str], header: str | None = None) -> Path:
    lines = ["\t".join(gap.COLUMNS) if header is None else header]
    lines += ["\t".join(row[column] for column in gap.COLUMNS) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def row(**changes: str) -> dict[str, str]:
    return ROW | {name.replace("_", "-"): value for name, value in changes.items()}


def test_a_passage_becomes_a_marked_text(tmp_path: Path) -> None:
    (example,) = gap.read_gap(write(tmp_path / "a.tsv", ROW))
    assert example.text == "[A] Ada [/A] wrote to [B] Grace [/B] before [P] she [/P] left."
    assert (example.label, example.source) == ("A", "feminine")
    assert (example.id, example.group) == ("development-1", "http://example.org/ada")


@pytest.mark.parametrize(
    ("answers", "label"),
    [(("TRUE", "FALSE"), "A"), (("FALSE", "TRUE"), "B"), (("FALSE", "FALSE"), "neither")],
)
def test_two_answers_are_one_label(tmp_path: Path, answers: tuple[str, str], label: str) -> None:
    path = write(tmp_path / "a.tsv", row(A_coref=answers[0], B_coref=answers[1]))
    assert gap.read_gap(path)[0].label == label


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"A_offset": "1"}, "'da '"),
        ({"B_offset": "-3"}, "'-3'"),
        ({"B_offset": "999"}, "expected 'Grace'"),
        ({"Pronoun_offset": "x"}, "'x'"),
        ({"A": ""}, "does not hold A"),
        ({"A_coref": "true"}, "expected TRUE or FALSE"),
        ({"A_coref": "TRUE", "B_coref": "TRUE"}, "both names"),
        ({"Pronoun": "before", "Pronoun_offset": "19"}, "no known gender"),
        ({"B": "wrote", "B_offset": "4", "A": "Ada wrote"}, "overlaps"),
        ({"Text": TEXT + " [A]"}, "marker"),
    ],
)
def test_what_does_not_fit_is_refused_by_line(
    tmp_path: Path, changes: dict[str, str], said: str
) -> None:
    path = write(tmp_path / "a.tsv", ROW, row(**changes))
    with pytest.raises(DataError, match=said) as caught:
        gap.read_gap(path)
    assert str(caught.value).startswith(f"{path}:3:")


def test_another_header_or_a_short_line_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a GAP file"):
        gap.read_gap(write(tmp_path / "a.tsv", ROW, header="text\tlabel"))
    short = write(tmp_path / "b.tsv", ROW)
    short.write_text(short.read_text().rsplit("\t", 1)[0] + "\n")
    with pytest.raises(DataError, match="found 10, expected 11"):
        gap.read_gap(short)
    with pytest.raises(DataError, match="holds no examples"):
        gap.read_gap(write(tmp_path / "c.tsv"))


def test_offsets_count_characters_not_bytes(tmp_path: Path) -> None:
    text = "Zoë wrote to Grace before he left."
    changed = row(Text=text, A="Zoë", Pronoun="he", Pronoun_offset="26")
    (example,) = gap.read_gap(write(tmp_path / "a.tsv", changed))
    assert example.text.startswith("[A] Zoë [/A]")
    assert example.source == "masculine"


def test_the_parts_come_from_a_local_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="gap is not on this machine"):
        gap.SOURCE.load(tmp_path)
    (tmp_path / "gap").mkdir()
    answers = [("TRUE", "FALSE"), ("FALSE", "TRUE"), ("FALSE", "FALSE")]
    for part, name in gap.FILES.items():
        rows = [row(ID=f"{part}-{n}", A_coref=a, B_coref=b) for n, (a, b) in enumerate(answers)]
        write(tmp_path / "gap" / name, *rows)
    dataset = gap.SOURCE.load(tmp_path)
    assert (dataset.task, dataset.labels) == ("coref", ("A", "B", "neither"))
    assert [one.id for one in dataset.train] == ["train-0", "train-1", "train-2"]
    assert len(dataset.dev) == len(dataset.test) == 3


def test_the_suite_is_valid() -> None:
    suite = read_suite(Path(edgeseq.__file__).parent / "suites" / "coref.toml")
    assert (suite.task, suite.data.name) == (gap.SOURCE.entry.task, gap.SOURCE.entry.name)
    assert {model.arch for model in suite.models} == {"lstm", "bert"}
