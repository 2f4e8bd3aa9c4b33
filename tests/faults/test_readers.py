"""Property tests of the readers: whatever a file holds, the end is a value or an `EdgeseqError`.

`EDGESEQ_FAULTS_EXAMPLES` is how many inputs each reader gets.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeseq.datasets.user_files import load_files, task_of_file
from edgeseq.errors import EdgeseqError
from edgeseq.formats.bundle import read_bundle, read_manifest
from edgeseq.formats.result import read_result
from edgeseq.formats.result_stream import ResultStream
from edgeseq.formats.storage import write_json
from edgeseq.formats.tflite_file import parse_tflite
from edgeseq.suite.schema import read_suite

from ..fake_results import Fake, make_result
from .conftest import SUITE, TinyRun

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(900)]

EXAMPLES = int(os.environ.get("EDGESEQ_FAULTS_EXAMPLES", "1000"))
TOKENS = (
    *(b"-1", b"0", b"1e400", b"NaN", b"null", b"true", b'""', b"[]", b"{}", b"[" * 3000),
    *(b"9" * 30, b"\xff", b"\0", b"\r", b"\n\n", b'"', b",", b"\t", b"\\u0000", b"\xef\xbb\xbf"),
    *("\u202e".encode(), "\u2028".encode(), b"../../x", b"/" * 300, b"a" * 300),
)
Edit = tuple[str, int, bytes]
EDITS = st.lists(
    st.tuples(
        st.sampled_from(("replace", "insert", "delete", "repeat", "flip")),
        st.integers(0, 2**32),
        st.one_of(st.sampled_from(TOKENS), st.binary(max_size=6)),
    ),
    min_size=1,
    max_size=6,
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(("../x", "a" * 300, "\0", "float32", "text-classification")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=2)
    ),
    max_leaves=4,
)
many = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def edited(content: bytes, edits: Sequence[Edit]) -> bytes:
    """The content with each edit made at a place in it."""
    for kind, number, token in edits:
        at = number % (len(content) + 1)
        length = max(1, len(token))
        before, after = content[:at], content[at:]
        if kind == "insert":
            content = before + token + after
        elif kind == "replace":
            content = before + token + after[length:]
        elif kind == "delete":
            content = before + after[number % 64 :]
        elif kind == "repeat":
            content = before + after[:length] * 2 + after
        elif after:
            content = before + bytes([after[0] ^ (1 << number % 8)]) + after[1:]
    return content


def with_value(document: Any, choices: Sequence[int], value: Any) -> Any:
    """The JSON document with one of its parts replaced; `choices` say which way to go down."""
    if not choices or not isinstance(document, (dict, list)) or not document:
        return value
    if isinstance(document, list):
        index = choices[0] % len(document)
        changed = list(document)
        changed[index] = with_value(document[index], choices[1:], value)
        return changed
    key = sorted(document)[choices[0] % len(document)]
    return document | {key: with_value(document[key], choices[1:], value)}


def read(reader: Callable[[], object]) -> None:
    with contextlib.suppress(EdgeseqError):
        reader()


@pytest.fixture(scope="module")
def result_text(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("result") / "result.json"
    write_json(path, make_result(Fake(n_examples=5, n_queries=6, cold_starts=1)))
    return path.read_text()


@many
@given(edits=EDITS, choices=st.lists(st.integers(0, 50), max_size=7), value=VALUES)
def test_results(
    tmp_path: Path, result_text: str, edits: list[Edit], choices: list[int], value: Any
) -> None:
    path = tmp_path / "result.json"
    changed = json.dumps(with_value(json.loads(result_text), choices, value)).encode()
    for content in (changed, edited(result_text.encode(), edits)):
        path.write_bytes(content)
        read(lambda: read_result(path))
        read(lambda: list(ResultStream(path)))


@many
@given(edits=EDITS)
def test_suites(tmp_path: Path, edits: list[Edit]) -> None:
    path = tmp_path / "suite.toml"
    content = SUITE.format(corpus="corpus", checkpoint="small-bert").encode()
    path.write_bytes(edited(content, edits))
    read(lambda: read_suite(path))


@many
@given(edits=EDITS, choices=st.lists(st.integers(0, 50), max_size=5), value=VALUES)
def test_bundles(
    tiny_run: TinyRun, tmp_path: Path, edits: list[Edit], choices: list[int], value: Any
) -> None:
    folder = tmp_path / "bundle"
    if not folder.exists():
        shutil.copytree(tiny_run.bundle, folder)
    manifest = (tiny_run.bundle / "bundle.json").read_bytes()
    for content in (
        edited(manifest, edits),
        json.dumps(with_value(json.loads(manifest), choices, value)).encode(),
    ):
        (folder / "bundle.json").write_bytes(content)
        read(lambda: read_manifest(folder / "bundle.json"))
        read(lambda: read_bundle(folder, verify_hashes=False).read_examples())


@many
@given(edits=EDITS)
def test_tflite_files(tiny_run: TinyRun, edits: list[Edit]) -> None:
    content = (tiny_run.bundle / "model.tflite").read_bytes()
    read(lambda: parse_tflite(edited(content, edits), where="model.tflite"))


TABLES = {
    "csv": b'text,label\nthe lamp leaks,bad\n"it says ""hm""",good\nfine,good\nnot so,bad\n',
    "tsv": b"text\tlabel\nthe lamp leaks\tbad\nfine\tgood\n",
    "jsonl": b'{"text": "the lamp leaks", "label": "bad"}\n{"text": "fine", "label": 1}\n',
    "conll": b"The DT O\nlamp NN B-THING\n\nIt PRP O\nleaks VBZ O\n\n",
    "conllu": b"# text = The lamp\n1\tThe\tthe\tDET\tDT\t_\t2\tdet\t_\t_\n2\tlamp\tlamp\tNOUN\tNN"
    b"\t_\t0\troot\t_\t_\n\n",
}


@pytest.mark.parametrize("ending", TABLES)
@many
@given(edits=EDITS, rows=st.integers(1, 12))
def test_data_files(tmp_path: Path, ending: str, edits: list[Edit], rows: int) -> None:
    path = tmp_path / f"data.{ending}"
    path.write_bytes(edited(TABLES[ending] * rows, edits))
    read(lambda: load_files(task_of_file(path), train=path))
