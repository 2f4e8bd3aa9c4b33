"""The devices that a suite measures on, and where their results are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeseq.errors import InputError
from edgeseq_benchmarks.devices.measure import DeviceTarget, find_targets
from edgeseq_benchmarks.devices.registry import KINDS

RESULTS_FOLDER = Path("results")
MEASURED_FOLDER = Path("measured")


def suite_targets(on: Sequence[str], python: str | None) -> tuple[DeviceTarget, ...]:
    """The devices of these names; () when only this machine measures.

    Raises `InputError` for a name that is none, for a phone, which needs a native tool, for a
    browser, which a user opens, and for MediaPipe, which needs an export.
    """
    if list(on) in ([], ["local"]):
        return ()
    targets = find_targets(on, python=python)
    for target in targets:
        if KINDS[target.address.kind].measured_by in ("a page", "MediaPipe"):
            raise InputError(
                "a suite cannot measure there",
                where="--on",
                found=target.name,
                fix=f"run the suite without it, then `edgeseq bench BUNDLE --on {target.name}`",
            )
        if KINDS[target.address.kind].measured_by == "benchmark_model":
            raise InputError(
                "a suite cannot measure on a phone",
                where="--on",
                found=target.name,
                fix="run the suite without it, then `edgeseq bench --native TOOL --on` on its "
                "bundles, and `edgeseq report` with both results",
            )
    return targets


def result_path(label: str) -> Path:
    """Where the result of a device is, below the suite's folder."""
    return RESULTS_FOLDER / f"{label}.json"


def measured_path(label: str) -> Path:
    """The same as it was measured, without the winner's run under the budget's limits."""
    return MEASURED_FOLDER / f"{label}.json"
