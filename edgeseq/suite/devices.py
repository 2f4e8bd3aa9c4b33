"""The bench step of a suite on other devices: all at the same time, one result file each.

    results/DEVICE.json   what was measured there
    results/DEVICE.key    SHA-256 of what it was measured from

A device that was lost is missing there, and the suite's next run measures on it alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edgeseq.errors import InputError
from edgeseq.formats.storage import sha256_file, write_json, write_text
from edgeseq.progress import ProgressCallback
from edgeseq.units import parse_bytes

if TYPE_CHECKING:
    from edgeseq_benchmarks.devices.measure import Outcome, Target

RESULTS_FOLDER = Path("results")


def suite_targets(on: Sequence[str], python: str | None) -> tuple[Target, ...]:
    """The devices of these names; () when only this machine measures.

    Raises `InputError` for a name that is none, and for a phone, which needs a tool of its own.
    """
    if list(on) in ([], ["local"]):
        return ()
    from edgeseq_benchmarks.devices.measure import find_targets
    from edgeseq_benchmarks.devices.registry import KINDS

    targets = find_targets(on, python=python)
    for target in targets:
        if KINDS[target.address.kind].measured_by == "benchmark_model":
            raise InputError(
                "a suite cannot measure on a phone",
                where="--on",
                found=target.given,
                fix="run the suite without it, then `edgeseq bench --native TOOL --on` on its "
                "bundles, and `edgeseq report` with both results",
            )
    return targets


def result_path(label: str) -> Path:
    """Where the result of a device is, below the suite's folder."""
    return RESULTS_FOLDER / f"{label}.json"


def bench_on(
    *,
    bundles: list[str],
    quick: bool,
    threads: int,
    memory_limits: list[str],
    memory_curve: list[str],
    on: list[str],
    python: str | None,
    identity: dict[str, str],  # noqa: ARG001 - part of the step's fingerprint, not of the work
    progress: ProgressCallback,
) -> dict[str, Any]:
    """Measures the bundles on the devices `on` and writes a result record for each.

    What an earlier run has measured of the same bundles with the same settings is kept. The answer
    has a line for each device that was lost in `lost`; raises the first one's error when there is
    no device left.
    """
    from edgeseq_benchmarks.bench.runner import default_settings
    from edgeseq_benchmarks.devices.measure import Task, measure_on_all

    settings = default_settings(
        quick=quick,
        threads=threads,
        memory_limits_bytes=[parse_bytes(limit) for limit in memory_limits],
        memory_curve_bundles=memory_curve,
    )
    command = ["edgeseq", "bench", *bundles, "--threads", str(threads)]
    command += [*(["--quick"] if quick else [])]
    for name, values in (("--memory", memory_limits), ("--on", on)):
        command += [word for value in values for word in (name, value)]
    made_from = (settings, [sha256_file(Path(path) / "bundle.json") for path in bundles])
    targets = suite_targets(on, python)
    todo = [target for target in targets if not _kept(target, made_from)]

    def keep(outcome: Outcome) -> None:
        if outcome.result is not None:
            label = outcome.target.label
            write_json(result_path(label), outcome.result)
            write_text(result_path(label).with_suffix(".key"), _key(outcome.target, made_from))

    outcomes: tuple[Outcome, ...] = ()
    if todo:
        task = Task(tuple(map(Path, bundles)), settings, command=tuple(command))
        outcomes = measure_on_all(todo, task, progress=progress, ended=keep)
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    if len(errors) == len(targets):
        raise errors[0]
    done = len(targets) - len(errors)
    models = "1 model" if len(bundles) == 1 else f"{len(bundles)} models"
    note = f"{models} on {done} of {len(targets)} devices"
    return {"note": note, "lost": [str(error) for error in errors]}


def _key(target: Target, made_from: object) -> str:
    content = msgspec.json.encode((target.address, made_from), order="deterministic")
    return hashlib.sha256(content).hexdigest()


def _kept(target: Target, made_from: object) -> bool:
    """Whether the device's result is there and still right; one that is not is removed."""
    path = result_path(target.label)
    try:
        if path.exists() and path.with_suffix(".key").read_text() == _key(target, made_from):
            return True
    except OSError:
        pass
    path.unlink(missing_ok=True)
    return False
