"""The step `cost`: latency, memory and size of one bundle, measured in seconds.

Each figure is less exact than a benchmark's: enough to tell what cannot fit a budget.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from edgeseq.formats.codec import from_builtins
from edgeseq.formats.result import Runner
from edgeseq.formats.storage import write_json
from edgeseq.progress import ProgressCallback
from edgeseq_benchmarks.bench.runner import bench, default_settings

# A p95 needs some hundred queries, and intervals are not asked for.
_QUERIES = 512
_SECONDS = 1.0
_EXAMPLES = 256
_SEARCH_S = 10.0


class CostArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The bundle, the program that runs it, and the result to write; `identity` is that of the
    machine, a part of the step's fingerprint."""

    bundle: str
    runner: Runner
    threads: int
    working_memory: bool
    identity: dict[str, str]
    out: str


def run(arguments: dict[str, Any], progress: ProgressCallback) -> dict[str, Any]:
    """Measures the bundle and writes the result `out`."""
    request = from_builtins(arguments, CostArguments)
    settings = default_settings(
        quick=True,
        threads=request.threads,
        runners=[request.runner],
        working_memory=request.working_memory,
        examples=_EXAMPLES,
    )
    settings = msgspec.structs.replace(
        settings,
        min_queries=_QUERIES,
        min_duration_s=_SECONDS,
        rounds=4,
        cold_starts=1,
        length_tokens=(),
        search_budget_s=_SEARCH_S,
    )
    write_json(
        Path(request.out), bench([Path(request.bundle)], settings=settings, progress=progress)
    )
    return {}
