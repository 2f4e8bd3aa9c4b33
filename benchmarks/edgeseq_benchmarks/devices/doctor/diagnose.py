"""What the facts mean: the whole list, in the order in which things are to be mended."""

from __future__ import annotations

from collections.abc import Sequence

from edgeseq_benchmarks.devices.doctor.diagnosis import Diagnosis
from edgeseq_benchmarks.devices.doctor.facts import Facts
from edgeseq_benchmarks.devices.doctor.machine import machine_diagnoses
from edgeseq_benchmarks.devices.doctor.system import python_diagnoses, system_diagnoses

__all__ = ["Diagnosis", "can_bench", "diagnose"]


def diagnose(facts: Facts) -> tuple[Diagnosis, ...]:
    """Everything that was looked at on a device, also what is fine. It asks nobody."""
    found = list(system_diagnoses(facts))
    if not any(one.severity == "problem" for one in found):
        # On the wrong system, no Python can be mended.
        found += python_diagnoses(facts)
    return (*found, *machine_diagnoses(facts))


def can_bench(diagnoses: Sequence[Diagnosis]) -> bool:
    """Whether nothing stands in the way of measuring."""
    return all(one.severity != "problem" for one in diagnoses)
