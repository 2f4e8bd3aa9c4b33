"""Options of `edgeseq bench` that some devices do not have."""

from __future__ import annotations

from collections.abc import Mapping

from edgeseq.errors import InputError
from edgeseq.formats.result import Settings


def check_no_limits(settings: Settings, refusal: str, *, fix: str = "leave it out") -> None:
    """Raises `InputError` with `refusal` and `fix` for limits on memory or CPUs, and for energy."""
    options = {
        "--memory": settings.memory_limits_bytes,
        "--memory-curve": settings.memory_curve or settings.memory_curve_bundles,
        "--cpus": settings.cpus,
        "--as": settings.board,
        "--energy": settings.energy,
    }
    _check_absent(options, refusal, fix)


def check_times_alone(settings: Settings, refusal: str) -> None:
    """The same, and for all other options of a process that edgeseq does not start itself."""
    check_no_limits(settings, refusal)
    options = {
        "--profile": settings.profile,
        "--examples": settings.examples,
        "--threads": settings.threads > 1,
    }
    _check_absent(options, refusal, "leave it out")
    check_not_native(settings, refusal)


def check_not_native(settings: Settings, refusal: str) -> None:
    """Raises `InputError` with `refusal` where the native runner alone was asked for."""
    options = {"--runner native": settings.runners == ("native",)}
    _check_absent(options, refusal, "leave it out")


def _check_absent(options: Mapping[str, object], refusal: str, fix: str) -> None:
    for option, value in options.items():
        if value:
            raise InputError(refusal, where=option, fix=fix)
