"""What a worker of a cluster tells of itself, and what it gives the processes of steps."""

from __future__ import annotations

import os
import platform

import msgspec

import edgeseq
from edgeseq.errors import ClusterError
from edgeseq.suite.identity import machine_identity

_OF_NANNIES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Dask sets them to 1 for workers; trainings would take longer, and end with other numbers."""


class WorkerFacts(msgspec.Struct, frozen=True):
    """A worker's version of edgeseq and its machine, as measurements are told apart by it."""

    edgeseq_version: str
    node: str
    machine: dict[str, str]


def describe_worker() -> bytes:
    """The `WorkerFacts` of this process, as JSON."""
    facts = WorkerFacts(edgeseq.__version__, platform.node(), machine_identity())
    return msgspec.json.encode(facts)


def check_version(version: str, of: str | None = None, found: str = edgeseq.__version__) -> None:
    """Raises `ClusterError` where a worker's edgeseq (`found`) is another than the run's."""
    if found != version:
        raise ClusterError(
            "runs another version of edgeseq",
            where=of,
            found=found,
            expected=version,
            fix=f"pip install edgeseq=={version} there, and start the worker again",
        )


def worker_environment() -> dict[str, str]:
    """The environment of a step's process: this one without what Dask adds."""
    return {name: value for name, value in os.environ.items() if name not in _OF_NANNIES}
