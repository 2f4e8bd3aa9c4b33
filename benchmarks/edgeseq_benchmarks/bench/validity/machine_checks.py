"""Findings about the machine: other programs, throttling, emulation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edgeseq.formats.result import DeviceInfo, Finding, MachineState
from edgeseq.units import format_bytes

# Half a core: on the smallest machines that are measured (2 cores, 1 thread) the scheduler still
# finds the measured thread a core, but cache, memory and clock are shared for much of the time. A
# tenth is what an idle system with its services shows at most. Both are means over all rounds.
LOAD_INVALID_CORES = 0.5
LOAD_WARNING_CORES = 0.1


def machine_findings(states: Iterable[MachineState], device: DeviceInfo) -> list[Finding]:
    """Findings about the machine, from its states in order."""
    findings = []
    if device.emulated:
        findings.append(
            Finding(
                "emulated",
                "invalid",
                "latencies are not valid under emulation; memory and predictions are",
            )
        )
    states = list(states)
    during = [state for state in states if state.when == "during"]
    findings += _load_findings(during)
    findings += _throttle_findings(states)
    swap = [state.swap_used_bytes for state in states if state.swap_used_bytes is not None]
    if swap and swap[-1] > swap[0]:
        findings.append(
            Finding(
                "swap-grew",
                "warning",
                f"swap in use grew from {format_bytes(swap[0])} to {format_bytes(swap[-1])}: "
                "the machine is short of memory",
            )
        )
    governors = {state.governor for state in states if state.governor}
    if governors - {"performance"}:
        findings.append(
            Finding(
                "governor",
                "note",
                f"the clock follows the load (governor {', '.join(sorted(governors))}): the first "
                "queries of a round may be slower",
            )
        )
    return findings


def _load_findings(during: Sequence[MachineState]) -> list[Finding]:
    findings = []
    for code, what, loads in (
        ("background-load", "other programs used", [s.load_other_cores for s in during]),
        ("stolen-time", "the hypervisor took", [s.steal_cores for s in during]),
    ):
        known = [load for load in loads if load is not None]
        if not known:
            continue
        mean = sum(known) / len(known)
        if mean <= LOAD_WARNING_CORES:
            continue
        invalid = mean > LOAD_INVALID_CORES
        findings.append(
            Finding(
                code,
                "invalid" if invalid else "warning",
                f"{what} {mean:.2f} of a core on average while models were measured (at most "
                f"{max(known):.2f}); more than {LOAD_INVALID_CORES} is not accepted: end them "
                "and measure again",
            )
        )
    return findings


def _throttle_findings(states: Sequence[MachineState]) -> list[Finding]:
    if not states:
        return []
    before = set(states[0].throttled)
    # "since boot" bits that were set before the run are history; set during it, they are not.
    reasons = {
        reason
        for state in states
        for reason in state.throttled
        if "since boot" not in reason or reason not in before
    }
    if reasons:
        return [
            Finding(
                "throttled",
                "invalid",
                f"the board slowed itself down ({', '.join(sorted(reasons))}): cool it or give it "
                "a stronger power supply, and measure again",
            )
        ]
    if before:
        return [
            Finding(
                "throttled-before",
                "note",
                f"the board has slowed itself down before this run ({', '.join(sorted(before))})",
            )
        ]
    return []
