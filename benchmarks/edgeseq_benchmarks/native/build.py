"""Compiles the native runner from the C sources of this package, once per machine.

The program is kept in the user's cache folder under a hash of everything that it depends on:
sources, flags, compiler and target. It is written beside its place and renamed, so that a build
that was interrupted is never run, and two at a time do no harm.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from edgeseq.errors import DeviceError
from edgeseq.progress import ProgressCallback, ProgressUpdate, no_progress
from edgeseq.subprocesses.c_compilers import (
    SYSTEM_COMPILERS,
    find_system_compiler,
    find_zig_compiler,
    run_compiler,
)
from edgeseq.subprocesses.command_runs import command_text
from edgeseq_benchmarks.native.targets import NativeTarget, host_target

RUNNER = "edgeseq-runner"
SOURCE_DIR = Path(__file__).parent / "src"
FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off")
"""The standard, no fused multiply-add (a sum must be the same on every processor), no warning."""
LIBRARIES = ("-lm", "-ldl", "-lpthread")

_FIX = "install a C compiler (sudo apt install gcc), or zig's: pip install 'edgeseq[native]'"


class Compiler(NamedTuple):
    """The command that compiles for one target, and what tells its release from another."""

    command: tuple[str, ...]
    identity: str


def find_compiler(target: NativeTarget, *, portable: bool = False) -> Compiler:
    """The compiler for `target`: the system's own, or PyPI's `ziglang`.

    With `portable`, or for another machine than this one, zig goes first: it links against the
    oldest C library that is supported, the system's compiler against this machine's.

    Raises `DeviceError` with what to install when there is none.
    """
    is_host = target == host_target()
    zig = _find_zig(target)
    system = _find_system(SYSTEM_COMPILERS if is_host else (target.gcc,))
    found = (zig or system) if portable or not is_host else (system or zig)
    if found is None:
        raise DeviceError(
            "the native runner cannot be built: there is no C compiler",
            where=target.name,
            fix=_FIX if is_host else "install zig's: pip install 'edgeseq[native]'",
        )
    return found


def _find_zig(target: NativeTarget) -> Compiler | None:
    command = find_zig_compiler()
    if command is None:
        return None
    version = importlib.metadata.version("ziglang")
    return Compiler((*command, "-target", target.zig), f"zig {version}")


def _find_system(names: Sequence[str]) -> Compiler | None:
    command = find_system_compiler(names)
    if command is None:
        return None
    lines = command_text([*command, "--version"], timeout_s=30.0).splitlines()
    return Compiler(command, lines[0] if lines else command[0])


def build_runner(
    target: NativeTarget | None = None,
    *,
    portable: bool = False,
    cache_dir: Path | None = None,
    source_dir: Path = SOURCE_DIR,
    progress: ProgressCallback = no_progress,
) -> Path:
    """The path of `edgeseq-runner` for `target` (default: this machine), compiled when needed.

    `portable` is for a program that is sent elsewhere (see `find_compiler`); `cache_dir` replaces
    the user's cache folder of edgeseq.

    Raises `DeviceError` when this machine has no compiler, it refuses the sources, or the cache
    folder may not be written to.
    """
    target = target or host_target()
    if target is None:
        raise DeviceError(
            "the native runner does not run on this machine",
            expected="64-bit Linux on x86-64 or aarch64, where LiteRT's library exists",
        )
    # A board's Python, where nothing is built, does not have it.
    import platformdirs  # noqa: PLC0415 - see above

    compiler = find_compiler(target, portable=portable)
    folder = (cache_dir or platformdirs.user_cache_path("edgeseq")) / "native"
    program = folder / f"{target.name}-{_cache_key(compiler, target, source_dir)}" / RUNNER
    if not program.is_file():
        progress(ProgressUpdate("build the native runner", 0, 1, compiler.identity))
        compile_program(compiler, sorted(source_dir.glob("*.c")), program)
        progress(ProgressUpdate("build the native runner", 1, 1))
    return program


def _cache_key(compiler: Compiler, target: NativeTarget, source_dir: Path) -> str:
    """A hash of everything that the program depends on."""
    digest = hashlib.sha256()
    for part in _key_parts(compiler, target, source_dir):
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()[:24]


def _key_parts(compiler: Compiler, target: NativeTarget, source_dir: Path) -> Iterator[bytes]:
    for text in (target.name, compiler.identity, *compiler.command, *FLAGS, *LIBRARIES):
        yield text.encode()
    for path in sorted(source_dir.iterdir()):
        if path.suffix in (".c", ".h"):
            yield path.name.encode()
            yield path.read_bytes()


def compile_program(
    compiler: Compiler,
    sources: Sequence[Path],
    program: Path,
    *,
    flags: Sequence[str] = FLAGS,
) -> None:
    """Compiles C sources to `program`, whole or not at all.

    Raises `DeviceError` with the compiler's first error, or where the folder may not be written to.
    """
    try:
        program.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=program.parent, prefix=".build.") as draft_dir:
            draft = Path(draft_dir) / program.name
            command = [*compiler.command, *flags, *map(str, sources), "-o", str(draft), *LIBRARIES]
            run_compiler(command, what="the native runner cannot be built")
            draft.chmod(0o755)
            draft.replace(program)
    except OSError as error:
        raise DeviceError(
            "the native runner cannot be kept there",
            where=program.parent,
            found=error.strerror or str(error),
            fix="make the folder writable, or set XDG_CACHE_HOME to one that is",
        ) from error
