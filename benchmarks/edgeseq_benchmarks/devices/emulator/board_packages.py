"""The Python packages that measure, in the disk of an emulated board.

They are fetched and unpacked by this machine's pip, with this machine's settings, for the board's
processor: what the guide's commands do on a board takes an emulated one many minutes.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

from edgeseq.errors import DeviceError
from edgeseq_benchmarks.devices.emulator.host_tools import find_tool, run_tool
from edgeseq_benchmarks.devices.wheels import LITERT

_TIMEOUT_S = 900.0
# The processor's name in wheels, by the glibc that they need (PEP 600); Debian 12 has 2.36.
_GLIBC_MINORS = (35, 34, 31, 28, 27, 26, 24, 17)


def pip_settings(python: str) -> list[str]:
    """pip's options for a 64-bit ARM Linux with that Python (`3.11`)."""
    platforms = [f"manylinux_2_{minor}_aarch64" for minor in _GLIBC_MINORS]
    platforms += ["manylinux2014_aarch64", "linux_aarch64"]
    abis = (f"cp{python.replace('.', '')}", "abi3", "none")
    return [
        *("--only-binary=:all:", "--implementation", "cp", "--python-version", python),
        *(word for name in platforms for word in ("--platform", name)),
        *(word for abi in abis for word in ("--abi", abi)),
    ]


def install(tree: Path, venv_path: str, python: str) -> list[str]:
    """Makes an environment at `venv_path` in the board's tree, with `LITERT.requirements` in it.

    Returns the names and versions that were installed. Raises `DeviceError` with pip's own words.
    """
    environment = tree / venv_path.lstrip("/")
    packages = environment / "lib" / f"python{python}" / "site-packages"
    packages.mkdir(parents=True)
    bin_folder = environment / "bin"
    bin_folder.mkdir()
    # What `python3 -m venv --without-pip` makes (the standard library's `venv`).
    for name in ("python", "python3", f"python{python}"):
        (bin_folder / name).symlink_to("/usr/bin/python3")
    settings = "home = /usr/bin\ninclude-system-site-packages = false\n"
    (environment / "pyvenv.cfg").write_text(settings, encoding="utf-8")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile"]
    run_tool(
        [*command, "--target", str(packages), *pip_settings(python), *LITERT.requirements],
        timeout_s=_TIMEOUT_S,
    )
    # Commands of packages: they name this machine's Python, and nothing needs them there.
    shutil.rmtree(packages / "bin", ignore_errors=True)
    if not any(packages.glob("ai_edge_litert-*.dist-info")):
        raise DeviceError("has installed no runtime", where="pip", found=str(packages))
    versions = (path.name.removesuffix(".dist-info") for path in packages.glob("*.dist-info"))
    return sorted(versions)


def compile_modules(tree: Path, python: str, venv_path: str) -> bool:
    """Compiles the board's Python modules with a Python of that version, if there is one here.

    Without, the board does it at each start, slowly. Returns whether it was done.
    """
    program = _same_python(python)
    if program is None:
        return False
    folders = [tree / f"usr/lib/python{python}", tree / "usr/lib/python3/dist-packages"]
    folders.append(tree / venv_path.lstrip("/") / "lib")
    command = [program, "-m", "compileall", "-q", "-q", "-j", "0", "-s", str(tree), "-p", "/"]
    for folder in folders:
        # A module for tests that is broken on purpose makes the exit status 1.
        script = '"$@" || true'
        run_tool(["sh", "-c", script, "sh", *command, str(folder)], timeout_s=_TIMEOUT_S)
    return True


def _same_python(python: str) -> str | None:
    """A Python of that version on this machine: the system's own, where the releases are one."""
    host_version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if host_version == python and os.access(sys.executable, os.X_OK):
        return sys.executable
    program = find_tool(f"python{python}")
    return program if program and re.search(r"python3\.\d+$", program) else None
