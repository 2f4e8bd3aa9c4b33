"""Two small trained models in three forms each, and the emulated board that they are asked on.

What is built is kept in `EDGESEQ_EMULATED_WORK` (default: `emulated` in the user's cache folder).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import platformdirs
import pytest

from edgeseq.formats.bundle_manifest import SCHEMA_VERSION
from edgeseq.formats.runner_file.layout import FORMAT_VERSION
from edgeseq_benchmarks.devices.emulator.board_image import BoardImage, build_image

RECIPES = ("float32", "dynamic_wi8_afp32", "static_wi8_ai8")
MODELS = {
    "lstm": ["--arch", "lstm", "--epochs", "2"],
    "bert": ["--arch", "bert", "--layers", "1", "--epochs", "1"],
}
Prepared = tuple[Sequence[Path], BoardImage]


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


def _make_bundles(work: Path, name: str) -> list[Path]:
    """A model trained on real texts, in every recipe."""
    model = work / "models" / name
    if not model.exists():
        _edgeseq("train", "sentiment", *MODELS[name], "--out", model)
    folder = work / f"bundles-{SCHEMA_VERSION}-{FORMAT_VERSION}" / name
    if not folder.exists():
        recipes = [word for recipe in RECIPES for word in ("--recipe", recipe)]
        _edgeseq("convert", model, "--out", folder, *recipes)
    return sorted(path.parent for path in folder.rglob("bundle.json"))


@pytest.fixture(scope="session")
def lstm_bundles(work: Path) -> Sequence[Path]:
    """Those of the LSTM, for tests that need no board."""
    return _make_bundles(work, "lstm")


@pytest.fixture(scope="session")
def prepared(work: Path) -> Prepared:
    """Bundles of an LSTM and a BERT of one layer, each in three recipes, and the board's image,
    built here if they were not yet: side by side, since none of them fills two processors."""
    with ThreadPoolExecutor(3) as beside:
        image = beside.submit(build_image)
        made = list(beside.map(lambda name: _make_bundles(work, name), MODELS))
        found = [path for paths in made for path in paths]
        assert len(found) == len(MODELS) * len(RECIPES)
        return found, image.result()


@pytest.fixture(scope="session")
def bundles(prepared: Prepared) -> Sequence[Path]:
    return prepared[0]


@pytest.fixture(scope="session")
def image(prepared: Prepared) -> BoardImage:
    return prepared[1]
