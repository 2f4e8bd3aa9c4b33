"""Which runtime has a wheel for which Python, processor and C library.

Source: the file names of the releases in the package index (ai-edge-litert 2.3.0, tflite-runtime
2.14.0). The 32-bit wheels of tflite-runtime say `manylinux_2_34`, the 64-bit ones of
ai-edge-litert `manylinux_2_27`. For 32-bit ARM the index has tokenizers, but neither NumPy nor
msgspec: NumPy 1 comes with the system (Debian 12), msgspec from piwheels, which 32-bit Raspberry
Pi OS asks by itself, or is built on the board with gcc.
"""

from __future__ import annotations

from typing import NamedTuple

Minor = tuple[int, int]

OLDEST_PYTHON: Minor = (3, 10)
"""The oldest Python that edgeseq itself runs on."""


class RuntimeWheels(NamedTuple):
    """One runtime: its package, the Pythons and processors it has wheels for, and what the
    wheel of a device needs beside it. `requirements` are pip's words."""

    package: str
    module: str
    newest_python: Minor
    oldest_glibc: Minor
    processors: tuple[str, ...]
    requirements: tuple[str, ...]


# What measuring needs beside a runtime and has native code, as in pyproject.toml (a test holds them
# together); what is pure Python is sent along with a run, or comes with edgeseq's own wheel.
BASE = ("tokenizers>=0.20", "msgspec>=0.19")
NEEDED_MODULES = ("numpy", "tokenizers", "msgspec")

RUNTIME_MODULES = {
    "ai_edge_litert": "ai_edge_litert.interpreter",
    "tflite_runtime": "tflite_runtime.interpreter",
    "tensorflow": "tensorflow.lite.python.interpreter",
}
"""Runtimes by module, with the module of their interpreter, in the order in which a run looks for
them (see `edgeseq.runtime.interpreter`)."""

LITERT = RuntimeWheels(
    package="ai-edge-litert",
    module="ai_edge_litert",
    newest_python=(3, 14),
    oldest_glibc=(2, 27),
    processors=("x86_64", "aarch64"),
    requirements=("ai-edge-litert>=2.1", "numpy>=1.26", *BASE),
)
LEGACY = RuntimeWheels(
    package="tflite-runtime",
    module="tflite_runtime",
    newest_python=(3, 11),
    oldest_glibc=(2, 34),
    processors=("armv7l",),
    requirements=("tflite-runtime==2.14.0", "numpy>=1.24,<2", *BASE),
)


def processor_of(machine: str, pointer_bits: int | None) -> str:
    """The processor that programs are built for: a 32-bit system on a 64-bit kernel is `armv7l`."""
    machine = {"amd64": "x86_64", "arm64": "aarch64", "armv8l": "armv7l"}.get(machine, machine)
    if pointer_bits == 32:
        return {"aarch64": "armv7l", "x86_64": "i686"}.get(machine, machine)
    return machine


def runtime_for(processor: str) -> RuntimeWheels | None:
    """The runtime with wheels for that processor, or None where there is none."""
    return next((runtime for runtime in (LITERT, LEGACY) if processor in runtime.processors), None)
