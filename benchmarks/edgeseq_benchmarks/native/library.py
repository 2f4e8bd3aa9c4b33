"""LiteRT's C library, which the native runner loads: out of the package `ai-edge-litert`."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path

from edgeseq.errors import DeviceError

LIBRARY = "libLiteRt.so"
PACKAGE = "ai-edge-litert"
MODULE = "ai_edge_litert"


def installed_library() -> Path:
    """The library of the package that is installed for this machine; nothing is imported.

    Raises `DeviceError` when the package is missing or has no such library (before 2.1).
    """
    spec = importlib.util.find_spec(MODULE)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    for folder in folders:
        if (path := Path(folder) / LIBRARY).is_file():
            return path
    raise DeviceError(
        f"the native runner needs {LIBRARY}",
        found=f"{PACKAGE} {installed_version()} without it" if folders else f"no {PACKAGE}",
        fix="install it: pip install 'edgeseq[device]'",
    )


def installed_version() -> str | None:
    """The release of LiteRT that is installed here, None for none."""
    try:
        return importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return None
