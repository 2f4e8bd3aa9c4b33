"""Measures how well the minimum working memory repeats, and what its search costs.

    edgeseq run demo --out demo
    python benchmarks/studies/working_memory_repeats.py demo/bundles/*int8* [--repeats 5]

Each bundle is measured in each runner `--repeats` times, with real test sentences and nothing else
of a benchmark. Printed per repetition: the smallest limit that keeps the speed, the largest that
does not, the p95 under it and without a limit, runs under a limit and without one, and seconds; per
bundle and runner: by how much the results differ. The bound is 2 MB or 5 %, whichever is larger.
NumPy is not imported: its pages would be shared with the processes that are measured.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from edgeseq.formats.memory_limits import WorkingMemorySearch
from edgeseq.formats.result import Run, Settings
from edgeseq.stats.working_memory import reference_speed, working_memory
from edgeseq.units import format_bytes, format_duration_ns
from edgeseq_benchmarks.bench.runner import bench, default_settings

BOUND_BYTES, BOUND_SHARE = 2_000_000, 0.05


def settings_of_study() -> Settings:
    """As little as possible besides the search."""
    return msgspec.structs.replace(
        default_settings(quick=True),
        min_queries=1,
        min_duration_s=0.0,
        rounds=1,
        cold_starts=1,
        length_tokens=(),
        search_budget_s=120.0,
    )


def describe(search: WorkingMemorySearch) -> str:
    """One repetition as a line."""
    found, speed = (
        working_memory(search.references, search.runs),
        reference_speed(search.references),
    )
    if found.limit_bytes is None or found.p95_ns is None or speed is None:
        return "not found"
    shared = search.runs[-1].files.rpartition("; ")[2]
    return (
        f"{format_bytes(found.limit_bytes)} (not {format_bytes(found.failing_bytes)}), "
        f"p95 {format_duration_ns(found.p95_ns)}, without a limit "
        f"{format_duration_ns(speed.p95_ns)}, {len(search.runs)} + {len(search.references)} runs "
        f"({shared})"
    )


def summarize(name: str, limits: Sequence[int]) -> bool:
    """Prints how far the limits lie apart; returns whether that is within the bound."""
    if not limits:
        sys.stdout.write(f"{name}: not found\n")
        return False
    spread, middle = max(limits) - min(limits), sorted(limits)[len(limits) // 2]
    is_within = spread <= max(BOUND_BYTES, BOUND_SHARE * middle)
    sys.stdout.write(
        f"{name}: {len(limits)} times, median {format_bytes(middle)}, apart by "
        f"{format_bytes(spread)} ({spread / middle:.1%}), {'within' if is_within else 'BEYOND'} "
        "the bound\n"
    )
    return is_within


def repeat(bundle: Path, repeats: int) -> bool:
    """Measures one bundle; returns whether its results are within the bound in each runner."""
    limits: dict[str, list[int]] = {}
    for _ in range(repeats):
        began = time.monotonic()
        runs: Sequence[Run] = bench([bundle], settings=settings_of_study()).runs
        seconds = time.monotonic() - began
        for run in runs:
            name = f"{run.bundle.name}, {run.runner}"
            search = run.working_memory
            sys.stdout.write(f"{name}: {describe(search) if search else 'not measured'}\n")
            found = working_memory(search.references, search.runs) if search else None
            if found and found.limit_bytes is not None:
                limits.setdefault(name, []).append(found.limit_bytes)
        sys.stdout.write(f"  {seconds:.1f} s\n")
        sys.stdout.flush()
    within = [summarize(name, found) for name, found in limits.items()]
    return all(within)


def main(arguments: Sequence[str]) -> int:
    """Runs the study; 1 when a result repeats worse than the bound."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args(arguments)
    within = [repeat(path, options.repeats) for path in options.bundles]
    return 0 if all(within) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
