"""The readers under atheris: whatever a file holds, the end is a value or an `EdgeseqError`.

Each runs for a sixth of `EDGESEQ_FUZZ_SECONDS` (default 60); `pytest -rP` shows how many inputs
that were. What was found stays in the folder that the failure names.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from edgeseq.formats.tflite_file import parse_tflite
from studies.reliability import record

from ..edgeseq.formats.weather_bundle import FILES, manifest
from ..fake_results import MODELS, Fake, make_result
from ..native.native_models import Case, write_case

pytest.importorskip("atheris", reason="atheris is not installed")
pytestmark = pytest.mark.fuzz

SECONDS = max(1, int(os.environ.get("EDGESEQ_FUZZ_SECONDS", "60")) // 6)
PROGRAM = Path(__file__).with_name("fuzz_readers.py")
ROOT = Path(__file__).parents[2]
SUITE = b"""[suite]
name = "tiny"
[data]
train = "train.csv"
[[model]]
name = "a"
arch = "lstm"
recipes = ["float32", "dynamic_wi8_afp32"]
train = { epochs = 1, hidden_size = 16 }
[bench]
quick = true
memory_limits = ["64MB"]
[report]
budget = "memory=2GB p95=5s"
"""
TABLES = {
    "csv": b'text,label\nthe lamp leaks,bad\n"it says ""hm""",good\nfine,good\nnot so,bad\n' * 4,
    "tsv": b"text\tlabel\nthe lamp leaks\tbad\nfine\tgood\n" * 6,
    "jsonl": b'{"text": "the lamp leaks", "label": "bad"}\n{"text": "fine", "label": 1}\n' * 6,
    "conll": b"The DT O\nlamp NN B-THING\n\nIt PRP O\nleaks VBZ O\n\n" * 6,
    "conllu": b"# text = The lamp\n1\tThe\tthe\tDET\tDT\t_\t2\tdet\t_\t_\n2\tlamp\tlamp\tNOUN\tNN"
    b"\t_\t0\troot\t_\t_\n\n" * 8,
}
READERS = ("result", "suite", "bundle", "archive", "tflite", *TABLES)


def seeds_of(reader: str, tmp_path: Path) -> Iterator[bytes]:
    """Sound input, from which the fuzzer goes on."""
    if reader == "result":
        for limited in (False, True):
            fake = Fake(models=MODELS[:1], n_examples=3, n_queries=3, limited=limited)
            yield msgspec.json.encode(make_result(fake))
    elif reader == "suite":
        yield SUITE
    elif reader == "bundle":
        names = ("bundle.json", "labels.json", "golden.json", "eval.jsonl", "tokenizer.json")
        for number, name in enumerate(names):
            yield bytes([number]) + {**FILES, "bundle.json": manifest(FILES)}[name]
    elif reader == "archive":
        for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            packed = io.BytesIO()
            with zipfile.ZipFile(packed, "w", method) as archive:
                for name, content in {**FILES, "bundle.json": manifest(FILES)}.items():
                    archive.writestr(name, content)
            yield packed.getvalue()
    elif reader == "tflite":
        for lowering in ("loop", "unrolled"):
            files = write_case(Case("lstm", "dynamic_wi8_afp32", lowering), tmp_path / lowering)
            content = (files.folder / "model.tflite").read_bytes()
            parse_tflite(content, where="seed")
            yield content
    else:
        yield TABLES[reader]


@pytest.mark.timeout(SECONDS + 200)
@pytest.mark.parametrize("reader", READERS)
def test_no_input_breaks_a_reader(reader: str, tmp_path: Path) -> None:
    corpus, found, folder = (tmp_path / name for name in ("corpus", "found", "folder"))
    for path in (corpus, found, folder):
        path.mkdir()
    for name, content in {**FILES, "bundle.json": manifest(FILES)}.items():
        (folder / name).write_bytes(content)
    seeds = list(seeds_of(reader, tmp_path))
    for number, seed in enumerate(seeds):
        (corpus / str(number)).write_bytes(seed)
    done = subprocess.run(
        [
            *(sys.executable, PROGRAM, reader, folder, corpus),
            f"-max_total_time={SECONDS}",
            f"-max_len={2 * max(map(len, seeds))}",
            f"-artifact_prefix={found}/",
            *("-timeout=20", "-rss_limit_mb=4096"),
        ],
        capture_output=True,
        timeout=SECONDS + 150,
        check=False,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    log = done.stderr.decode(errors="replace")
    assert done.returncode == 0, f"{found}: {(done.stdout.decode(errors='replace') + log)[-4000:]}"
    inputs = re.search(r"Done (\d+) ", log)
    assert inputs, log[-3000:]
    record(f"inputs of the fuzzer: {reader}", int(inputs[1]))
    print(f"{reader}: {int(inputs[1]):,} inputs")  # noqa: T201
