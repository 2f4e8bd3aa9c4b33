"""Every file format, read right, and every way in which a file can be wrong."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeseq.datasets.lines import LINE_LIMIT_BYTES
from edgeseq.datasets.readers import (
    Columns,
    read_conll,
    read_conllu,
    read_labelled,
    read_lines,
    to_bio,
)
from edgeseq.errors import DataError

needs_data = pytest.mark.skipif(
    "EDGESEQ_DATA" not in os.environ,
    reason="set EDGESEQ_DATA to a folder with local copies of the data sets",
)


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def pairs(path: Path, columns: Columns | None = None, **settings) -> list[tuple[str, str]]:
    return [(one.text, one.label) for one in read_labelled(path, columns, **settings)]


EXPECTED = [("it works, well", "good"), ('5" screen broke', "bad")]


@pytest.mark.parametrize(
    ("name", "content", "columns"),
    [
        ("a.csv", 'label,text\ngood,"it works, well"\nbad,"5"" screen broke"\n', None),
        ("a.csv", '\ufefflabel,text\r\ngood,"it works, well"\r\n\r\nbad,5" screen broke', None),
        ("a.csv", 'good,"it works, well"\nbad,5" screen broke\n', Columns(2, 1)),
        ("a.tsv", 'text\tlabel\nit works, well\tgood\n5" screen broke\tbad\n', None),
        ("a.TAB", 'it works, well\tgood\n5" screen broke\tbad\n', Columns(1, 2)),
        (
            "a.jsonl",
            '{"text":"it works, well","label":"good"}\n\n'
            '{"label":"bad","text":"5\\" screen broke"}',
            None,
        ),
    ],
)
def test_labelled_formats(tmp_path: Path, name: str, content: str, columns) -> None:
    assert pairs(write(tmp_path, name, content), columns) == EXPECTED


def test_header_follows_from_the_columns(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,label\nfine,good\n")
    assert pairs(path) == [("fine", "good")]
    assert pairs(path, Columns(1, 2)) == [("text", "label"), ("fine", "good")]
    assert pairs(path, Columns(1, 2), header=True) == [("fine", "good")]
    assert pairs(path, Columns("text", 2)) == [("fine", "good")]
    with pytest.raises(DataError, match="columns by name need a header"):
        pairs(path, header=False)


def test_ids_sources_and_groups(tmp_path: Path) -> None:
    path = write(tmp_path, "r.csv", 'text,label,shop,review\n"two\nlines",good,x,7\nb,bad,y,8\n')
    columns = Columns(source="shop", group="review")
    first, second = read_labelled(path, columns)
    assert (first.id, first.text, first.source, first.group) == ("r:2", "two\nlines", "x", "7")
    assert second.id == "r:4", "ids are lines, also after a text over two lines"


def test_whole_numbers_are_labels_in_json(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", '{"text":"a","label":1}\n{"text":"b","label":-1}\n')
    assert pairs(path) == [("a", "1"), ("b", "-1")]


HEAD = "text,label\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", r"a\.csv: is empty"),
        ("a.csv", "\n\n", "holds no examples"),
        ("a.csv", HEAD, "holds no examples"),
        ("a.csv", "body,label\nx,y\n", r"a\.csv:1: no column 'text': found 'body', 'label'"),
        ("a.csv", "text,text,label\nx,y,z\n", "appears twice"),
        ("a.csv", HEAD + "a,good\n,good\n", r"a\.csv:3: the text is empty"),
        ("a.csv", HEAD + "a, \n", r"a\.csv:2: the label is empty"),
        ("a.csv", HEAD + "a,good\nb,good,more\n", r"a\.csv:3: .* found 3, expected 2"),
        ("a.csv", HEAD + "a,good\nb\n", r"a\.csv:3: .* found 1, expected 2"),
        ("a.csv", HEAD + 'a,good\n"b,good\nc,bad\n', r"a\.csv:3: a quote is never closed"),
        ("a.csv", HEAD + '"b,' + "long text " * 20_000, r"a\.csv:2: a quote is never closed"),
        ("a.csv", HEAD + '"a"b,good\n', r"a\.csv:2: is not CSV"),
        ("a.csv", HEAD + "a,great\n", r"a\.csv:2: unknown label: found 'great', expected 'good'"),
        ("a.csv", HEAD.encode() + b"caf\xe9,good\n", r"a\.csv:2: .* 0xe9 at byte 14 of the file"),
        ("a.csv", b"\xff\xfet\0e\0", r"a\.csv:1: is not UTF-8: .*UTF-16"),
        ("a.csv", HEAD + "a\0b,good\n", r"a\.csv:2: holds a NUL byte: .*at byte 12"),
        ("a.csv", HEAD + "a" * LINE_LIMIT_BYTES + ",good\n", r"a\.csv:2: the line is too long"),
        ("a.tsv", "text\tlabel\na\tb\tgood\n", r"a\.tsv:2: wrong number of columns: found 3"),
        ("a.jsonl", "{}\n", r"a\.jsonl:1: no column 'text': found none"),
        ("a.jsonl", "[1]\n", r"a\.jsonl:1: is not a JSON object"),
        ("a.jsonl", '{"text":"a","label":"good"}\n{"text"\n', r"a\.jsonl:2: is not a JSON object"),
        ("a.jsonl", '{"text":5,"label":"good"}\n', "the text is not a string: found int"),
        ("a.jsonl", '{"text":"a","label":true}\n', "the label is not a string: found bool"),
        ("a.jsonl", '{"text":" ","label":"good"}\n', "the text is empty"),
        ("a.txt", "a\n", r"name does not tell the format: found '\.txt'"),
    ],
)
def test_wrong_files(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_labelled(write(tmp_path, name, content), labels=("good", "bad"))
    assert "\n" not in str(caught.value)


def test_missing_files_folders_and_columns(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_labelled(tmp_path / "a.csv")
    with pytest.raises(DataError, match="is a folder"):
        read_labelled(tmp_path)
    path = write(tmp_path, "a.csv", "x,y\n")
    for wrong in (0, 3, -1):
        with pytest.raises(DataError, match=f"found column {wrong}, expected 1 to 2"):
            read_labelled(path, Columns(1, wrong))


FIELD = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1).filter(str.strip)


@given(st.lists(st.tuples(FIELD, FIELD), min_size=1))
def test_what_is_written_is_read(tmp_path_factory, rows: list[tuple[str, str]]) -> None:
    folder = tmp_path_factory.mktemp("round")
    stripped = [(text.strip(), label.strip()) for text, label in rows]
    table = io.StringIO()
    csv.writer(table).writerows([("text", "label"), *rows])
    assert pairs(write(folder, "a.csv", table.getvalue())) == stripped
    lines = msgspec.json.Encoder().encode_lines(
        [{"text": text, "label": label} for text, label in rows]
    )
    assert pairs(write(folder, "a.jsonl", lines)) == stripped


@given(st.binary(max_size=200), st.sampled_from([".csv", ".tsv", ".jsonl"]))
def test_any_bytes_end_in_examples_or_one_line(tmp_path_factory, content, suffix) -> None:
    path = write(tmp_path_factory.mktemp("noise"), "a" + suffix, content)
    for columns in (Columns(), Columns(1, 1)):
        try:
            examples = read_labelled(path, columns)
        except DataError as error:
            line = str(error)
        else:
            line = ""
            assert all(one.text and one.label for one in examples)
        assert "\n" not in line


def test_plain_lines(tmp_path: Path) -> None:
    assert read_lines(write(tmp_path, "a.txt", "\ufeffone\r\n\n two \nthree")) == (
        *("one", "two", "three"),
    )
    with pytest.raises(DataError, match="only blank lines"):
        read_lines(write(tmp_path, "a.txt", "\n \n"))


@pytest.mark.parametrize(
    ("scheme", "tags", "expected"),
    [
        ("bio", "B-X I-X B-X O B-Y", "B-X I-X B-X O B-Y"),
        ("iob1", "I-X I-X B-X O I-Y I-X", "B-X I-X B-X O B-Y B-X"),
        ("io", "I-X I-X O X Y Y", "B-X I-X O B-X B-Y I-Y"),
    ],
)
def test_schemes_become_bio(scheme, tags: str, expected: str) -> None:
    assert to_bio(tags.split(), scheme) == tuple(expected.split())


@given(st.lists(st.sampled_from(["O", "B-X", "I-X", "B-Y", "I-Y"])))
def test_bio_is_reached_in_one_step(tags: list[str]) -> None:
    once = to_bio(tags, "iob1")
    assert to_bio(once, "bio") == to_bio(once, "iob1") == once
    assert [tag[1:] for tag in once] == [tag[1:] for tag in tags]


@pytest.mark.parametrize(
    ("scheme", "tags"),
    [("bio", "O I-X"), ("bio", "B-X I-Y"), ("iob1", "S-X"), ("bio", "B-"), ("io", "B-X")],
)
def test_tags_that_the_scheme_lacks(scheme, tags: str) -> None:
    with pytest.raises(DataError, match=r"word [12]: "):
        to_bio(tags.split(), scheme)


def test_conll(tmp_path: Path) -> None:
    content = (
        "-DOCSTART- -X- O O\n\nAda NNP B I-PER\nslept VBD B O\n\n\n"
        "-DOCSTART- -X- O O\nBob NNP B I-PER\n \nEve NNP B I-PER"
    )
    first, second, third = read_conll(write(tmp_path, "a.txt", content), scheme="iob1")
    assert (first.words, first.tags) == (("Ada", "slept"), ("B-PER", "O"))
    assert (first.id, first.group) == ("a:3", "a/1")
    assert (second.words, third.words) == (("Bob",), ("Eve",))
    assert second.group == third.group == "a/2"


def test_conll_columns_and_delimiters(tmp_path: Path) -> None:
    tabs = write(tmp_path, "a.tsv", "1\tNew York\tB-LOC\t_\n2\tnow\tO\t_\n\t\t\t\n1\tgo\tO\t_\n")
    read = read_conll(tabs, word_column=2, tag_column=3)
    assert [one.words for one in read] == [("New York", "now"), ("go",)]
    commas = write(tmp_path, "a.csv", '",",O\n"""",O\n,O\nAda,B-PER\n')
    assert [one.words for one in read_conll(commas, delimiter=",")] == [(",", '"'), ("Ada",)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("Ada I-PER\n", r"a\.txt:1: .*scheme iob1"),
        ("go O\nAda PER\n", r"a\.txt:2: no BIO tag: found 'PER'"),
        ("go\tO\nAda\t\n", r"a\.txt:2: the tag is empty"),
        ("\n\n", "holds no sentences"),
        ("-DOCSTART- O\n", "holds no sentences"),
    ],
)
def test_wrong_conll(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_conll(write(tmp_path, "a.txt", content))
    with pytest.raises(DataError, match="no such column: found 2 columns, expected column 3"):
        read_conll(write(tmp_path, "b.txt", "go O\n"), tag_column=3)


def conllu(number: str, word: str, tag: str) -> str:
    return "\t".join([number, word, "_", tag, *"______"]) + "\n"


def test_conllu(tmp_path: Path) -> None:
    content = (
        "# newdoc id = letter\n# sent_id = letter-1\n# text = Don't go\n"
        + conllu("1-2", "Don't", "_")
        + conllu("1", "Do", "AUX")
        + conllu("2", "n't", "PART")
        + conllu("2.1", "you", "PRON")
        + conllu("3", "go", "VERB")
        + "\n"
        + conllu("1", "Yes", "INTJ")
    )
    first, second = read_conllu(write(tmp_path, "a.conllu", content))
    assert (first.id, first.group) == ("letter-1", "letter")
    assert (first.words, first.tags) == (("Do", "n't", "go"), ("AUX", "PART", "VERB"))
    assert (second.words, second.group) == (("Yes",), "letter")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1\tgo\tVERB\n", r"a\.conllu:1: wrong number of columns: found 3"),
        (conllu("2", "go", "VERB"), "word number out of order: found '2', expected 1"),
        (conllu("1", "go", "VB"), "no universal part of speech: found 'VB'"),
        (conllu("1", "", "VERB"), "the word is empty"),
        ("# nothing\n", "holds no sentences"),
    ],
)
def test_wrong_conllu(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_conllu(write(tmp_path, "a.conllu", content))


@needs_data
def test_published_sizes_of_the_local_copies() -> None:
    root = Path(os.environ["EDGESEQ_DATA"])
    conll = {
        "wnut17/wnut17train.conll": (3394, "bio"),
        "wnut17/emerging.dev.conll": (1009, "bio"),
        "wnut17/emerging.test.annotated": (1287, "bio"),
        "sec_filings_fin/FIN5.txt": (1164, "iob1"),
        "sec_filings_fin/FIN3.txt": (303, "iob1"),
    }
    for name, (sentences, scheme) in conll.items():
        assert len(read_conll(root / name, scheme=scheme)) == sentences, name
    assert len(read_conllu(root / "ud_ewt/en_ewt-ud-test.conllu")) == 2077
    with pytest.raises(DataError, match=r"all\.csv:219911: no IOB1 tag: found 'P'"):
        read_conll(root / "e_ner/all.csv", scheme="iob1", delimiter=",")
