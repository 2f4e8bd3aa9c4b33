"""The runner with AddressSanitizer and UndefinedBehaviorSanitizer, for tests."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from edgeseq_benchmarks.native.build import FLAGS, SOURCE_DIR, Compiler, compile_program

# What is called undefined ends the program; a stack is kept readable.
SANITIZE = (
    *("-g", "-O1", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all"),
    *("-fsanitize=address,undefined", "-DEDGESEQ_SANITIZED"),
)
# LiteRT's library and those it needs keep memory until the process ends.
LEAKS = "leak:libLiteRt.so\n"


def find_clang() -> Compiler | None:
    """clang, whose sanitizers and fuzzer are in its own package."""
    path = shutil.which("clang")
    return None if path is None else Compiler((path,), "clang")


def runner_sources() -> list[Path]:
    """The sources that a program with its own `main` is linked with."""
    return [path for path in sorted(SOURCE_DIR.glob("*.c")) if path.name != "main.c"]


def compile_sanitized(
    compiler: Compiler, sources: Sequence[Path], program: Path, *more: str
) -> Path:
    """A program with sanitizers; `more` are further flags."""
    flags = [flag for flag in FLAGS if not flag.startswith("-O")]
    compile_program(compiler, sources, program, flags=(*flags, *SANITIZE, f"-I{SOURCE_DIR}", *more))
    return program


def build_sanitized_runner(compiler: Compiler) -> Path:
    """`edgeseq-runner` with sanitizers, in a folder of its own."""
    program = Path(tempfile.mkdtemp(prefix="edgeseq-sanitized-")) / "edgeseq-runner"
    return compile_sanitized(compiler, sorted(SOURCE_DIR.glob("*.c")), program)


def sanitizer_environment(folder: Path) -> dict[str, str]:
    """What a sanitized program needs in its environment."""
    suppressions = folder / "leaks.txt"
    suppressions.write_text(LEAKS)
    return {
        "LSAN_OPTIONS": f"suppressions={suppressions}:print_suppressions=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "ASAN_OPTIONS": "abort_on_error=1:detect_stack_use_after_return=1",
    }
