"""What makes two measurements comparable: the machine, its kernel, and the runtime's version."""

from __future__ import annotations

import importlib.metadata
import platform


def machine_identity() -> dict[str, str]:
    """Machine, kernel, Python and runtime version; a change of any asks for a new measurement."""
    identity = {
        "node": platform.node(),
        "machine": platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }
    for package in ("ai-edge-litert", "tflite-runtime", "tensorflow"):
        try:
            identity[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return identity
