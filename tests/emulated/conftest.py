"""Two small trained models in three forms each, and the emulated board that they are asked on.

What is built is kept in `EDGESEQ_EMULATED_WORK` (default: `emulated` in the user's cache folder).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import platformdirs
import pytest
from edgeseq_benchmarks.emulator.image import Image, build_image

RECIPES = ("float32", "dynamic_wi8_afp32", "static_wi8_ai8")
MODELS = {
    "lstm": ["--arch", "lstm", "--epochs", "2"],
    "bert": ["--arch", "bert", "--layers", "1", "--epochs", "1"],
}


def _edgeseq(*arguments: str | Path) -> str:
    """Types an `edgeseq` command and returns its stdout; a failure shows what it said."""
    command = [sys.executable, "-m", "edgeseq", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture(scope="session")
def edgeseq() -> Callable[..., str]:
    """The function that types a command."""
    return _edgeseq


@pytest.fixture(scope="session")
def work() -> Path:
    default = platformdirs.user_cache_path("edgeseq") / "emulated-test"
    folder = Path(os.environ.get("EDGESEQ_EMULATED_WORK", default))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def bundles(work: Path) -> Sequence[Path]:
    """Bundles of an LSTM and a BERT of one layer, each in three recipes, trained on real texts."""
    found: list[Path] = []
    for name, settings in MODELS.items():
        model = work / "models" / name
        if not model.exists():
            _edgeseq("train", "sentiment", *settings, "--out", model)
        folder = work / "bundles" / name
        if not folder.exists():
            recipes = [word for recipe in RECIPES for word in ("--recipe", recipe)]
            _edgeseq("convert", model, "--out", folder, *recipes)
        found += sorted(path.parent for path in folder.rglob("bundle.json"))
    assert len(found) == len(MODELS) * len(RECIPES)
    return found


@pytest.fixture(scope="session")
def image() -> Image:
    """The board's image, built here if it was not yet."""
    return build_image()
