"""Lets libFuzzer invent the input of one reader, guided by coverage of its Python code.

    python fuzz_readers.py READER FOLDER CORPUS [option of libFuzzer…]

The reader's file is written into FOLDER, which for `bundle` holds the files of a sound one. An
`EdgeseqError` is a good end; any other error ends the process with the input that led to it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["edgeseq", "flatbuffers", "tflite"]):
    from edgeseq.datasets.user_files import load_files, task_of_file
    from edgeseq.errors import EdgeseqError
    from edgeseq.formats.bundle import read_bundle, read_manifest
    from edgeseq.formats.bundle_zip import open_bundle
    from edgeseq.formats.result import read_result
    from edgeseq.formats.result_stream import ResultStream
    from edgeseq.formats.tflite_file import parse_tflite
    from edgeseq.suite.schema import read_suite

FOLDER = Path(sys.argv[2] if len(sys.argv) > 2 else ".")
BUNDLE_FILES = ("bundle.json", "labels.json", "golden.json", "eval.jsonl", "tokenizer.json")
TABLES = ("csv", "tsv", "jsonl", "conll", "conllu")


def _result(content: bytes) -> None:
    path = FOLDER / "result.json"
    path.write_bytes(content)
    with contextlib.suppress(EdgeseqError):
        read_result(path)
    list(ResultStream(path))


def _suite(content: bytes) -> None:
    path = FOLDER / "suite.toml"
    path.write_bytes(content)
    read_suite(path)


def _bundle(content: bytes) -> None:
    """The first byte says which file of the bundle is replaced by the others."""
    path = FOLDER / BUNDLE_FILES[content[0] % len(BUNDLE_FILES) if content else 0]
    sound = path.read_bytes()
    path.write_bytes(content[1:])
    try:
        with contextlib.suppress(EdgeseqError):
            read_manifest(FOLDER / "bundle.json")
        read_bundle(FOLDER, verify_hashes=False).read_examples()
    finally:
        path.write_bytes(sound)


def _archive(content: bytes) -> None:
    path = FOLDER / "bundle.zip"
    path.write_bytes(content)
    with open_bundle(path) as bundle:
        bundle.read_examples()


def _tflite(content: bytes) -> None:
    parse_tflite(content, where="model.tflite")


def _table(suffix: str) -> Callable[[bytes], None]:
    path = FOLDER / f"data.{suffix}"

    def read(content: bytes) -> None:
        path.write_bytes(content)
        load_files(task_of_file(path.name), train=path)

    return read


READERS: dict[str, Callable[[bytes], None]] = {
    "result": _result,
    "suite": _suite,
    "bundle": _bundle,
    "archive": _archive,
    "tflite": _tflite,
    **{suffix: _table(suffix) for suffix in TABLES},
}


def main() -> None:
    read = READERS[sys.argv[1]]

    def test_one_input(content: bytes) -> None:
        with contextlib.suppress(EdgeseqError):
            read(content)

    atheris.Setup([sys.argv[0], *sys.argv[3:]], test_one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
