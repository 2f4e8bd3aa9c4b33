"""What a board's Python must have: the packages of the guide, and nothing else."""

from __future__ import annotations

import subprocess
import sys

BOARD_PACKAGES = ("numpy", "tokenizers", "msgspec", "ai_edge_litert")

PROGRAM = f"""
import importlib.metadata, sys

installed = importlib.metadata.packages_distributions()
others = set(installed) - set({BOARD_PACKAGES!r}) - {{"edgeseq", "edgeseq_benchmarks"}}

class OnlyOnTheBoard:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in others and name not in sys.modules:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, OnlyOnTheBoard())
import edgeseq_benchmarks.devices.remote.agent
import edgeseq_benchmarks.bench.worker
"""


def test_a_board_needs_four_packages() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
