"""What the engine of a suite costs per step, with steps that do nothing.

    python benchmarks/studies/suite_engine.py              1,000 and 10,000 steps, minutes
    python benchmarks/studies/suite_engine.py --steps 100  a look

A step is a shell that writes an empty file. What such a process takes is measured first, as many at
a time as there are workers, and subtracted. The steps run on 4 threads of this process, as on one
machine, or (`--cluster`) on a scheduler with 4 workers and a store in a folder.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from distributed import LocalCluster

from edgeseq.formats.drafts import temporary_folder
from edgeseq.progress import no_progress
from edgeseq.subprocesses.job_processes import JobRequest, run_job
from edgeseq.suite.cluster import connect
from edgeseq.suite.scheduler import run_steps
from edgeseq.suite.steps import Step
from edgeseq.suite.store import Store

WORKERS = 4
WIDTH = 100
"""Each step builds on one of this many before it, as conversions on trainings."""
STUB = (
    "sh",
    "-c",
    'read -r line; out=${line##*\'"output":"\'}; : > "${out%%\'"\'*}"; echo \'{"answer": {}}\'',
)
"""Writes an empty file where its output is expected."""


def stub_steps(count: int, root: Path) -> list[Step]:
    """Steps in rows of `WIDTH`, each after the one above it."""
    steps: list[Step] = []
    for number in range(count):
        after = (steps[number - WIDTH],) if number >= WIDTH else ()
        # A fingerprint holds those of all steps before it: chains of a suite have five at most.
        after = after if number % (5 * WIDTH) >= WIDTH else ()
        steps.append(
            Step(f"s{number}", f"s{number}", "stub", {"out": number}, root / f"s{number}", after)
        )
    return steps


def process_seconds(count: int) -> float:
    """Seconds of `count` stub processes, `WORKERS` at a time, without an engine."""
    with temporary_folder() as folder, ThreadPoolExecutor(WORKERS) as threads:

        def run(number: int) -> None:
            request = JobRequest("stub", {}, output=str(number))
            run_job(request, log=folder / f"{number}.log", cwd=folder, command=STUB)

        began_s = time.monotonic()
        list(threads.map(run, range(count)))
        return time.monotonic() - began_s


def engine_seconds(count: int, *, with_cluster: bool) -> float:
    """Seconds of `count` stub steps, the start of the cluster included."""
    with temporary_folder() as folder:
        root = folder / "out"
        root.mkdir()
        steps = stub_steps(count, root)
        if not with_cluster:
            began_s = time.monotonic()
            _run(steps, root)
            return time.monotonic() - began_s
        with (
            LocalCluster(
                n_workers=WORKERS,
                threads_per_worker=1,
                processes=True,
                dashboard_address=None,
                local_directory=str(folder),
            ) as cluster,
            connect(cluster.scheduler_address, no_progress) as connection,
        ):
            began_s = time.monotonic()
            run_steps(
                steps,
                root,
                finished=(),
                progress=lambda _: no_progress,
                on_finished=lambda *_: None,
                command=STUB,
                cluster=connection,
                store=Store(str(folder / "store")),
            )
            return time.monotonic() - began_s


def _run(steps: Sequence[Step], root: Path) -> None:
    run_steps(
        steps,
        root,
        finished=(),
        progress=lambda _: no_progress,
        on_finished=lambda *_: None,
        workers=WORKERS,
        command=STUB,
    )


def main() -> int:
    """Prints a line per number of steps."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--cluster", action="store_true")
    options = parser.parse_args()
    for count in options.steps:
        stub_s = process_seconds(count)
        total_s = engine_seconds(count, with_cluster=options.cluster)
        each_ms = 1000 * (total_s - stub_s) / count
        print(  # noqa: T201 - a study prints its figures
            f"{count:,} steps: {total_s:.1f} s, of which {stub_s:.1f} s are their processes; "
            f"{each_ms:.1f} ms of engine per step",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
