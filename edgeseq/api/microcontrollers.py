"""`edgeseq bench --on micro`: what bundles take of a microcontroller."""

from __future__ import annotations

import datetime
import importlib
import platform
from collections.abc import Sequence
from pathlib import Path

import edgeseq
from edgeseq.formats.bundle_zip import open_bundle
from edgeseq.formats.result import ResultRecord, RuntimeInfo, Settings
from edgeseq_benchmarks.bench.probes.machine_state import device_info
from edgeseq_benchmarks.devices.option_checks import check_times_alone

DEVICE = "micro"
"""The name under which `bench` measures footprints in place of a device."""


def bench_footprints(
    bundles: Sequence[Path], settings: Settings, command: Sequence[str]
) -> ResultRecord:
    """A result without runs: the memory and flash of each bundle, or why it cannot run.

    Raises `InputError` for settings of a measurement, `BundleError` for a damaged bundle, and
    `DeviceError` when TensorFlow Lite Micro's
    interpreter is not installed.
    """
    check_times_alone(settings, "is not possible for a microcontroller")
    # The workstation half, which a board lacks.
    micro = importlib.import_module("edgeseq_converters.export.micro.footprint")
    package, version = micro.runtime_name().split()
    footprints = []
    for path in bundles:
        with open_bundle(path) as bundle:
            footprints.append(micro.measure_footprint(bundle))
    now = datetime.datetime.now(datetime.timezone.utc)
    return ResultRecord(
        created_utc=now.isoformat(timespec="seconds"),
        edgeseq_version=edgeseq.__version__,
        command=tuple(command),
        device=device_info(),
        runtime=RuntimeInfo(package, version, platform.python_version(), delegate="none"),
        requested=settings,
        effective=settings,
        machine=(),
        runs=(),
        footprints=tuple(footprints),
    )
