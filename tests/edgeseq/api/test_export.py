"""Exports: what a check finds, and which options a target takes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import pytest

import edgeseq as es
from edgeseq.api import export as export_module
from edgeseq.errors import InputError
from edgeseq.formats.export_folder import (
    ExportExample,
    ExportFolder,
    ExportGolden,
    ExportManifest,
    write_export_files,
)
from edgeseq.formats.export_target import RuntimeOutputs

MANIFEST = ExportManifest(
    target="web",
    bundle="lstm",
    bundle_sha256="0" * 64,
    task="sentiment",
    recipe="float32",
    lowering="loop",
    labels=("bad", "good"),
    files={},
    edgeseq_version="0.1.0",
)
GOLDEN = ExportGolden("logits", "litert", 0.1, (ExportExample("soup", (2, 3), (0.5, -0.5)),))


class FakeTarget:
    """A runtime that gives these outputs."""

    def __init__(self, *outputs: tuple[float, ...]) -> None:
        self._outputs = outputs

    def run_golden(self, export: ExportFolder) -> RuntimeOutputs:
        return RuntimeOutputs("fake 1.0", self._outputs)


@pytest.mark.parametrize(
    ("outputs", "difference"),
    [
        (((0.5, -0.45),), 0.05),
        (((0.5, -0.75),), 0.25),
        (((0.5, math.nan),), math.inf),
        (((math.nan, -0.5),), math.inf),
        (((0.5,),), math.inf),
        ((), math.inf),
    ],
)
def test_a_check_finds_each_output_that_is_off(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    outputs: tuple[tuple[float, ...], ...],
    difference: float,
) -> None:
    write_export_files(tmp_path, MANIFEST, GOLDEN, "# How to call it\n")
    monkeypatch.setattr(export_module, "_target", lambda _: FakeTarget(*outputs))
    checked = es.check_export(tmp_path)
    assert checked.max_abs_difference == pytest.approx(difference)
    assert len(checked.findings) == (difference > GOLDEN.tolerance)


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ("mediapipe", {"lengths": (16, 32)}, "--length: is not an option of the target mediapipe"),
        (
            "micro",
            {"system": "linux-x86_64"},
            "--target: is not an option .* expected the target native",
        ),
        ("web", {"data": "reviews.csv"}, "--data: .* expected the target mediapipe or micro"),
    ],
)
def test_an_option_of_another_target_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    target: str,
    options: dict[str, Any],
    message: str,
) -> None:
    monkeypatch.setattr(export_module, "_target", lambda _: FakeTarget())
    with pytest.raises(InputError, match=message):
        es.export(tmp_path / "no-bundle", target, out=tmp_path / "out", **options)


def test_an_export_without_a_model_is_not_inspected(tmp_path: Path) -> None:
    native = msgspec.structs.replace(MANIFEST, target="native")
    write_export_files(tmp_path, native, GOLDEN, "# How to call it\n")
    with pytest.raises(InputError, match=r"an export for native contains no model\.tflite"):
        es.inspect(tmp_path)
