"""Starts `edgeseq.runtime.isolated_run` (`python -I interpreter_child.py EDGESEQ_DIR`).

The environment may be that of an older runtime, which has NumPy and msgspec but not edgeseq: the
package is loaded from the folder EDGESEQ_DIR, and nothing that lies beside it.
"""

from __future__ import annotations

import importlib.util
import runpy
import sys


def load_edgeseq(folder: str) -> None:
    """Makes the package in `folder` importable."""
    spec = importlib.util.spec_from_file_location(
        "edgeseq", f"{folder}/__init__.py", submodule_search_locations=[folder]
    )
    if spec is None or spec.loader is None:
        raise ImportError(folder)
    sys.modules["edgeseq"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


if __name__ == "__main__":
    load_edgeseq(sys.argv[1])
    runpy.run_module("edgeseq.runtime.isolated_run", run_name="__main__")
