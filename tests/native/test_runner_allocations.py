"""After its first answer the runner's own code allocates nothing."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from edgeseq_benchmarks.native.build import FLAGS, SOURCE_DIR, compile_program, find_compiler
from edgeseq_benchmarks.native.library import installed_library
from edgeseq_benchmarks.native.targets import host_target

from .conftest import Write
from .native_models import Case, texts_for

WRAPPED = ("malloc", "calloc", "realloc", "mmap", "mremap", "mprotect")


@pytest.fixture(scope="module")
def counter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runner's code with an allocator that counts."""
    target = host_target()
    if target is None:
        pytest.skip("no native runner for this machine")
    sources = [path for path in sorted(SOURCE_DIR.glob("*.c")) if path.name != "main.c"]
    program = tmp_path_factory.mktemp("allocations") / "allocations"
    wraps = [f"-Wl,--wrap={name}" for name in WRAPPED]
    compile_program(
        find_compiler(target),
        [Path(__file__).with_name("allocations.c"), *sources],
        program,
        flags=(*FLAGS, f"-I{SOURCE_DIR}", *wraps),
    )
    return program


@pytest.mark.parametrize(
    "case",
    [
        Case("lstm", "dynamic_wi8_afp32", "loop"),
        Case("lstm", "dynamic_wi8_afp32", "unrolled"),
        Case("bert", "dynamic_wi8_afp32", "encoder"),
        Case("tags-bert", "dynamic_wi8_afp32", "encoder"),
        Case("marks-lstm", "float32", "loop"),
        Case("labels-lstm", "float32", "loop"),
        Case("stream", "float32", "loop"),
        Case("window", "float32", "encoder"),
        Case("window", "float32", "cached"),
    ],
    ids=lambda case: case.name,
)
def test_nothing_is_allocated_after_the_first_answer(
    case: Case, counter: Path, write: Write
) -> None:
    files = write(case)
    texts = [
        text if isinstance(text, str) else " ".join(text)
        for text in texts_for(files)
        if "\n" not in text
    ]
    if files.head == "language-modeling":
        texts = [word for text in texts for word in text.split()]
    done = subprocess.run(
        [counter, installed_library(), files.folder],
        input="".join(f"{text}\n" for text in texts if text).encode(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    count = sum(1 for text in texts if text)
    assert done.stdout.decode() == f"texts {count} heap 0 mappings 0\n"
