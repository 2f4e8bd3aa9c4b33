"""What a device lacks before it can measure, and the commands that fix it.

`fact_collection` runs the two probes (`system_probe.sh`, `python_probe.py`) on the device, `facts`
parses their output; `runtime_checks` and `health_checks` only look at the facts.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgeseq_benchmarks.devices.doctor.diagnosis import Diagnosis
from edgeseq_benchmarks.devices.doctor.fact_collection import collect_facts
from edgeseq_benchmarks.devices.doctor.facts import DeviceFacts
from edgeseq_benchmarks.devices.doctor.health_checks import check_health
from edgeseq_benchmarks.devices.doctor.native_checks import check_native, without_python
from edgeseq_benchmarks.devices.doctor.runtime_checks import check_python, check_system

__all__ = ["DeviceFacts", "Diagnosis", "can_bench", "collect_facts", "diagnose"]


def diagnose(facts: DeviceFacts) -> tuple[Diagnosis, ...]:
    """A diagnosis for everything that was checked, in the order in which to fix things."""
    diagnoses = list(check_system(facts))
    if can_bench(diagnoses):
        # On an unsuitable system, no Python can be fixed.
        native, python = check_native(facts), list(check_python(facts))
        if native.severity == "ok" and facts.device != "local":
            python = [without_python(diagnosis) for diagnosis in python]
        diagnoses += [native, *python]
    return (*diagnoses, *check_health(facts))


def can_bench(diagnoses: Sequence[Diagnosis]) -> bool:
    """Whether no problem keeps the device from measuring."""
    return all(diagnosis.severity != "problem" for diagnosis in diagnoses)
