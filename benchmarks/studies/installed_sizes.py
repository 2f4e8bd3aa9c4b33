"""Measures what the device half takes on a disk, per extra, and keeps it.

    python benchmarks/studies/installed_sizes.py                       prints
    python benchmarks/studies/installed_sizes.py --write               and keeps the JSON and the
    table
    python benchmarks/studies/installed_sizes.py --write --again       the table, of the kept
    numbers
    python benchmarks/studies/installed_sizes.py --python python3.11   the Python of the
    environments

The wheel is built from the checkout and installed into new environments. Counted are the
bytes of all files that the packages brought (without the `.pyc` files that Python makes later),
and of none that pip itself has. The table goes between the markers `installed-sizes` of README.md,
the numbers to `benchmarks/studies/installed_sizes.json`.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from edgeseq.errors import EdgeseqError
from edgeseq.formats.storage import read_json, write_json
from edgeseq.units import format_bytes
from studies.figures import put

STUDIES_DIR = Path(__file__).parent

RECORD = STUDIES_DIR / "installed_sizes.json"
EXTRAS = ("device", "device-legacy")
_NUM_LARGEST = 4
_TIMEOUT_S = 600


class Installed(msgspec.Struct, frozen=True):
    """One environment: bytes by package, the extra that was installed, and on what."""

    extra: str
    machine: str
    python: str
    size_bytes: dict[str, int]
    versions: dict[str, str]

    @property
    def total_bytes(self) -> int:
        return sum(self.size_bytes.values())


def measure(wheel: Path, extra: str, folder: Path, python: str) -> Installed:
    """Installs `wheel[extra]` into a new environment below `folder` and weighs it.

    Raises `subprocess.CalledProcessError` when that cannot be done.
    """
    _run([python, "-m", "venv", str(folder / "venv")])
    venv_python = str(folder / "venv" / "bin" / "python")
    _run([venv_python, "-m", "pip", "install", "--quiet", "--no-compile", f"{wheel}[{extra}]"])
    # By the records of the installed packages themselves (PEP 376), read in that environment.
    script = (
        "import importlib.metadata as m, json, platform\n"
        "found = {d.metadata['Name']: (d.version, sum(f.locate().stat().st_size "
        "for f in d.files or () if f.suffix != '.pyc' and f.locate().is_file())) "
        "for d in m.distributions() if d.metadata['Name'] not in ('pip', 'setuptools')}\n"
        "print(json.dumps([platform.machine(), platform.python_version(), found]))"
    )
    machine, version, sizes = msgspec.json.decode(_run([venv_python, "-c", script]).stdout)
    return Installed(
        extra=extra,
        machine=machine,
        python=version,
        size_bytes={name: size for name, (_, size) in sorted(sizes.items())},
        versions={name: number for name, (number, _) in sorted(sizes.items())},
    )


def table(measured: tuple[Installed, ...]) -> Iterator[str]:
    """The sizes as lines of a Markdown table."""
    yield "| installed | size | most of it |"
    yield "|---|---|---|"
    for installed in measured:
        largest = sorted(installed.size_bytes.items(), key=lambda item: -item[1])[:_NUM_LARGEST]
        largest_text = ", ".join(f"{name} {format_bytes(size)}" for name, size in largest)
        where = f"Python {'.'.join(installed.python.split('.')[:2])}, {installed.machine}"
        total = format_bytes(installed.total_bytes)
        yield f"| `edgeseq[{installed.extra}]` ({where}) | {total} | {largest_text} |"


def _run(command: list[str], cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, check=True, capture_output=True, timeout=_TIMEOUT_S, cwd=cwd)


def _measure_all(python: str) -> tuple[Installed, ...]:
    with tempfile.TemporaryDirectory(prefix="edgeseq-sizes-") as scratch:
        folder = Path(scratch)
        build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), "."]
        _run(build, cwd=STUDIES_DIR.parents[1])
        [wheel] = folder.glob("*.whl")
        return tuple(measure(wheel, extra, folder / extra, python) for extra in EXTRAS)


def main(arguments: list[str], *, page: Path = STUDIES_DIR.parents[1] / "README.md") -> int:
    """Measures and prints; with `--write` keeps. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--again", action="store_true", help="the kept numbers, not measured anew")
    options = parser.parse_args(arguments)
    try:
        if options.again:
            measured = read_json(RECORD, tuple[Installed, ...])
        else:
            measured = _measure_all(options.python)
        text = "\n".join(table(measured))
        sys.stdout.write(f"{text}\n{platform.platform()}\n")
        if options.write and not options.again:
            write_json(RECORD, measured)
        if options.write:
            put(page, "installed-sizes", f"\n\n{text}\n\n")
    except EdgeseqError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except subprocess.CalledProcessError as error:
        sys.stderr.write(error.stderr.decode(errors="replace"))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
