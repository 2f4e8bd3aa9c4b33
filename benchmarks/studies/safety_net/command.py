"""Computes the entries of the safety net, writes or checks them.

Calibrated ranges of static recipes depend on the processor in their last bit: OpenBLAS and numpy
choose kernels by its features (81 of the static files differ between AVX2 and AVX-512 kernels; no
other file, and no int4 file, does). The entries are therefore computed in a process that is held
to AVX2 kernels and one thread, which gives the same on every x86-64 machine with AVX2. On other
machines static files are left out of the check.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .entries import Entries, differences

STORED_PATH = Path(__file__).resolve().parent.with_suffix(".json")
IS_X86 = platform.machine() in ("x86_64", "AMD64")
_PINNED = "EDGESEQ_SAFETY_NET_PINNED"


def pinned_environment() -> Mapping[str, str]:
    """The environment in which matrix products and functions give the same bits everywhere."""
    environment = dict(os.environ) | {
        _PINNED: "1",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "",
    }
    if IS_X86:
        environment |= {
            "OPENBLAS_CORETYPE": "Haswell",
            "NPY_DISABLE_CPU_FEATURES": " ".join(_features_beyond_avx2()),
        }
    return environment


def _features_beyond_avx2() -> list[str]:
    """The names by which this numpy knows AVX-512, as far as this processor has it."""
    umath: Any = importlib.import_module("numpy._core._multiarray_umath")
    return [
        name
        for name in umath.__cpu_dispatch__
        if umath.__cpu_features__.get(name) and (name.startswith("AVX512") or name == "X86_V4")
    ]


def read_stored(path: Path = STORED_PATH) -> Entries:
    """The stored entries."""
    entries: Entries = json.loads(path.read_text(encoding="utf-8"))
    return entries


def format_entries(entries: Entries) -> str:
    """JSON with one entry per line, sorted, so that a change is one line of a diff."""
    lines = [f"{json.dumps(key)}: {json.dumps(entries[key])}" for key in sorted(entries)]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def comparable(entries: Entries) -> Entries:
    """The entries that are the same on this machine as on any other."""
    return {key: value for key, value in entries.items() if IS_X86 or "static_" not in key}


def main(arguments: list[str]) -> int:
    """Prints, writes (`--write`) or checks (`--check`) the entries; 1 if they differ."""
    if len(arguments) > 1 or not set(arguments) <= {"--write", "--check"}:
        sys.stderr.write("usage: python -m studies.safety_net [--write | --check]\n")
        return 2
    if _PINNED not in os.environ:
        command = [sys.executable, "-m", __spec__.name.rpartition(".")[0], *arguments]
        return subprocess.run(command, env=pinned_environment(), check=False).returncode
    # NumPy reads the pinned environment when it is loaded, which must not be earlier.
    from .all_entries import compute_entries  # noqa: PLC0415 - see above

    entries = compute_entries()
    if "--write" in arguments:
        STORED_PATH.write_text(format_entries(entries), encoding="utf-8")
        return 0
    if "--check" not in arguments:
        sys.stdout.write(format_entries(entries))
        return 0
    lines = list(differences(comparable(read_stored()), comparable(entries)))
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 1 if lines else 0
