"""Where the numbers of a group come from: device, runtime, runs, data and models, as text."""

from __future__ import annotations

from collections.abc import Sequence

from edgeseq.formats.bundle_manifest import MODEL_FILE
from edgeseq.formats.result import MachineState, Settings
from edgeseq.reporting.format import NOT_MEASURED, format_range
from edgeseq.reporting.rows import ModelGroup
from edgeseq.units import format_bytes

Pairs = tuple[tuple[str, str], ...]
_SETTINGS = ("threads", "cpus", "quick", "min_queries", "min_duration_s", "rounds", "cold_starts")


def provenance(group: ModelGroup) -> tuple[tuple[str, Pairs], ...]:
    """Pairs of name and value, each under its title."""
    device, runtime = group.device, group.runtime
    meters = [result.energy_idle.reader for result in group.results if result.energy_idle]
    device_pairs: Pairs = (
        ("name", device.name),
        ("processor", f"{device.cpu_model} ({device.machine}), {device.cores} cores"),
        ("features", ", ".join(device.cpu_features) or "none listed"),
        ("memory", format_bytes(device.memory_bytes)),
        ("system", f"{device.os}, kernel {device.kernel}"),
        ("emulated", "yes" if device.emulated else "no"),
        ("energy", ", ".join(dict.fromkeys(meters)) or NOT_MEASURED),
    )
    runtime_pairs: Pairs = (
        ("package", f"{runtime.package} {runtime.version}"),
        ("delegate", runtime.delegate),
        ("Python", runtime.python),
    )
    runs: list[tuple[str, Pairs]] = [
        (
            f"Run of {result.created_utc}",
            (
                ("file", file or "not saved"),
                ("edgeseq", f"{result.edgeseq_version}, git {result.git_state or 'unknown'}"),
                *_settings(result.requested, result.effective),
                *_machine_states(result.machine),
            ),
        )
        for result, file in zip(group.results, group.files, strict=True)
    ]
    models: list[tuple[str, Pairs]] = [
        (
            f"Model {bundle.name}",
            (
                (MODEL_FILE, format_bytes(bundle.model_size_bytes)),
                ("SHA-256", bundle.model_sha256),
                *sorted(bundle.provenance.items()),
            ),
        )
        for bundle in (model.run.bundle for model in group.models)
    ]
    data: Pairs = (("name", group.data_name), ("SHA-256", group.data_sha256))
    return (("Device", device_pairs), ("Runtime", runtime_pairs), *runs, ("Data", data), *models)


def _settings(requested: Settings, effective: Settings) -> Pairs:
    """Effective settings, with the requested value where it differs."""
    pairs = []
    for name in _SETTINGS:
        before, after = getattr(requested, name), getattr(effective, name)
        if before is not None or after is not None:
            text = str(after) if before == after else f"{after} (requested {before})"
            pairs.append((name.replace("_", " "), text))
    return tuple(pairs)


def _machine_states(states: Sequence[MachineState]) -> Pairs:
    """The machine before, during and after, each in one line."""
    pairs = []
    for when in ("before", "during", "after"):
        now = [state for state in states if state.when == when]
        swap = [format_bytes(s.swap_used_bytes) for s in now if s.swap_used_bytes is not None]
        values = {
            "load of others": format_range([s.load_other_cores for s in now], "{:.2f} cores"),
            "stolen": format_range([s.steal_cores for s in now], "{:.2f} cores"),
            "temperature": format_range([s.temperature_c for s in now], "{:.1f} °C"),
            "swap": ", ".join(dict.fromkeys(swap)),
            "governor": ", ".join(dict.fromkeys(s.governor for s in now if s.governor)),
            "throttled": ", ".join(dict.fromkeys(why for s in now for why in s.throttled)),
        }
        if text := ", ".join(f"{name} {value}" for name, value in values.items() if value):
            pairs.append((f"machine {when}", text))
    return tuple(pairs)
