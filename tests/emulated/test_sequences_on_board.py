"""Numeric sequences on a board in QEMU: the same error as here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgeseq.formats.result import Run, read_result
from edgeseq.tasks.regression import MAE
from edgeseq_benchmarks.devices.emulator.board_image import BoardImage

from ..sequence_models import write_sequence_model

pytestmark = [pytest.mark.emulated, pytest.mark.timeout(3000)]
RECIPES = ("float32", "dynamic_wi8_afp32", "static_wi8_ai8")


def _error(run: Run) -> float:
    assert run.predictions is not None
    return float(MAE.value(MAE.counts(run.predictions, run.bundle.labels).sum(axis=0)))


def test_a_board_predicts_the_numbers_of_this_machine(
    tmp_path: Path, edgeseq: Callable[..., str], image: BoardImage
) -> None:
    del image  # built by the fixture, and found by its device
    rng = np.random.default_rng(0)
    weights, description = write_sequence_model(tmp_path, rng, sizes=(3, 32, 2), scale=0.3)
    x = rng.normal(size=(400, 20, 3)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x, y=rng.normal(size=(400, 2)))
    recipes = [word for recipe in RECIPES for word in ("--recipe", recipe)]
    model = ("convert", weights, "--data", tmp_path / "data.npz")
    described = ("--description", description)
    edgeseq(*model, *described, *recipes, "--out", tmp_path / "b")
    bundles = sorted(path.parent for path in (tmp_path / "b").rglob("bundle.json"))
    asked = ("--quick", "--runner", "python", "--no-working-memory")
    edgeseq("bench", *bundles, *asked, "--out", tmp_path / "here.json")
    edgeseq("bench", *bundles, *asked, "--on", "emulated:pi4", "--out", tmp_path / "there.json")
    here, there = read_result(tmp_path / "here.json"), read_result(tmp_path / "there.json")
    assert there.device.machine == "aarch64"
    assert len(here.runs) == len(there.runs) == len(RECIPES)
    for one, other in zip(here.runs, there.runs, strict=True):
        assert one.bundle.model_sha256 == other.bundle.model_sha256
        # Other kernels round activations of int8 to the other side now and then.
        assert _error(other) == pytest.approx(_error(one), rel=0.01)
