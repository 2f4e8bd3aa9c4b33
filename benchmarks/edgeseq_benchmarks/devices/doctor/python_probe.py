"""Prints the facts about the Python that runs it, as one line of JSON.

Written for Python 3.5 and newer, so that one that is too old can report it.
"""

import importlib.util
import json
import os
import platform
import struct
import sys
import sysconfig

MODULES = (
    "numpy",
    "msgspec",
    "tokenizers",
    "ai_edge_litert",
    "tflite_runtime",
    "tensorflow",
    "edgeseq",
)


def version_of(module: str) -> str:
    """The version of an installed module, "" where it is unknown."""
    try:
        from importlib.metadata import version  # noqa: PLC0415 - missing before Python 3.8

        return version(module.replace("_", "-")) or ""
    except Exception:  # noqa: BLE001 - that, or a module without metadata
        return ""


def has(module: str) -> bool:
    """Whether a module is there; distributions split the standard library too."""
    return importlib.util.find_spec(module) is not None


def main() -> None:
    """Writes the answer."""
    marker = os.path.join(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED")  # noqa: PTH118
    answer = {
        "path": sys.executable or "",
        "version": list(sys.version_info[:3]),
        "system": platform.system(),
        "machine": platform.machine(),
        "implementation": platform.python_implementation(),
        "pointer_bits": struct.calcsize("P") * 8,
        "in_venv": sys.prefix != sys.base_prefix,
        "externally_managed": os.path.exists(marker),  # noqa: PTH110
        "has_ensurepip": has("ensurepip"),
        "has_pip": has("pip"),
        "modules": {name: version_of(name) for name in MODULES if has(name)},
    }
    sys.stdout.write(json.dumps(answer) + "\n")


main()
