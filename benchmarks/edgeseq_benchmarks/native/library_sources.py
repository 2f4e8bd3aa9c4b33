"""The native runner as a C library: its sources but for what makes them a program, behind the
header `library/edgeseq.h`."""

from __future__ import annotations

import shutil
from pathlib import Path

from edgeseq.formats.storage import write_text
from edgeseq_benchmarks.native.build import FLAGS, LIBRARIES, SOURCE_DIR
from edgeseq_benchmarks.native.library import LIBRARY

LIBRARY_DIR = Path(__file__).parent / "library"
HEADER, INTERFACE, EXAMPLE = "edgeseq.h", "edgeseq.c", "example.c"
PROGRAM_MODULES = frozenset(
    (
        *("main", "predict", "launch", "crash", "page_cache", "line_reader", "recorder"),
        *("json_reader", "json_writer", "command"),
        *("worker", "worker_load", "worker_measure", "worker_texts"),
    )
)
"""Sources of `edgeseq-runner` alone: its commands, its protocol, its clock."""

_CMAKE = """\
# The library edgeseq, and an example that is linked with it.
cmake_minimum_required(VERSION 3.16)
project(edgeseq C)

add_library(edgeseq SHARED
{sources})
target_include_directories(edgeseq PUBLIC include PRIVATE src)
target_compile_options(edgeseq PRIVATE {flags})
target_link_libraries(edgeseq PRIVATE {libraries})
set_target_properties(edgeseq PROPERTIES C_VISIBILITY_PRESET hidden)

add_executable(edgeseq_example example.c)
target_compile_options(edgeseq_example PRIVATE {flags})
target_link_libraries(edgeseq_example PRIVATE edgeseq)
"""


def module_sources(source_dir: Path = SOURCE_DIR) -> list[Path]:
    """The C sources of the library in `source_dir`, without the interface."""
    paths = sorted(source_dir.glob("*.c"))
    return [path for path in paths if path.stem not in PROGRAM_MODULES]


def write_library_sources(folder: Path) -> None:
    """Writes `include/edgeseq.h`, `src/`, `example.c` and `CMakeLists.txt` to `folder`.

    Raises `OutputError` when it cannot be written to.
    """
    for name in ("include", "src"):
        (folder / name).mkdir()
    headers = [path for path in sorted(SOURCE_DIR.glob("*.h")) if path.stem not in PROGRAM_MODULES]
    for path in (*module_sources(), *headers, LIBRARY_DIR / INTERFACE):
        shutil.copyfile(path, folder / "src" / path.name)
    shutil.copyfile(LIBRARY_DIR / HEADER, folder / "include" / HEADER)
    shutil.copyfile(LIBRARY_DIR / EXAMPLE, folder / EXAMPLE)
    sources = [f"src/{path.name}" for path in (*module_sources(), LIBRARY_DIR / INTERFACE)]
    cmake = _CMAKE.format(
        sources="\n".join(f"  {source}" for source in sorted(sources)),
        flags=" ".join(FLAGS),
        libraries=" ".join(library.removeprefix("-l") for library in LIBRARIES),
    )
    write_text(folder / "CMakeLists.txt", cmake)


def example_sources(folder: Path) -> list[Path]:
    """What the example is compiled of, in a folder that `write_library_sources` wrote."""
    return [*sorted((folder / "src").glob("*.c")), folder / EXAMPLE]


def library_path(folder: Path) -> Path:
    """Where LiteRT's library lies in an export."""
    return folder / "lib" / LIBRARY
