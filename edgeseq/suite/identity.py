"""What makes two measurements comparable: the machine, its kernel, and the runtime's version."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform

from edgeseq.errors import DeviceError
from edgeseq_benchmarks.native.build import find_compiler
from edgeseq_benchmarks.native.targets import host_target


def machine_identity() -> dict[str, str]:
    """Machine, kernel, Python, runtime, C compiler; a change of any asks for a new measurement."""
    identity = {
        "node": platform.node(),
        "machine": platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }
    if (target := host_target()) is not None:
        with contextlib.suppress(DeviceError):
            identity["c_compiler"] = find_compiler(target).identity
    for package in ("ai-edge-litert", "tflite-runtime", "tensorflow"):
        try:
            identity[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return identity
