"""What windows of energy say: joules a query above the idle machine."""

from __future__ import annotations

from edgeseq.formats.result import EnergyWindow

NOT_MEASURED = "not measured"


def joules_per_query(busy: EnergyWindow | None, idle: EnergyWindow | None) -> float | None:
    """(E_busy - P_idle * t_busy) / queries, in joules: what answering takes beyond doing nothing.

    None where either was not measured, or by different readers, or where nothing was answered.
    May be below 0 where the difference is within the sensor's noise; that is told, not hidden.
    """
    if busy is None or idle is None or busy.reader != idle.reader:
        return None
    if not busy.queries or idle.duration_s <= 0:
        return None
    idle_w = idle.joules / idle.duration_s
    return (busy.joules - idle_w * busy.duration_s) / busy.queries


def energy_words(busy: EnergyWindow | None, idle: EnergyWindow | None) -> str:
    """`12.3 mJ a query above idle (RAPL, 60 s)`, or that it was not measured."""
    joules = joules_per_query(busy, idle)
    if joules is None or busy is None:
        return NOT_MEASURED
    if joules <= 0:
        return f"not above the idle machine ({busy.reader}, {busy.duration_s:.0f} s)"
    return f"{1e3 * joules:.3g} mJ a query above idle ({busy.reader}, {busy.duration_s:.0f} s)"
