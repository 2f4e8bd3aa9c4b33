"""A Dask cluster in this process's threads, for the steps that this machine runs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
from distributed import Client, LocalCluster

_QUIET: dict[str, Any] = {
    "distributed.worker.profile.enabled": False,
    "distributed.scheduler.active-memory-manager.start": False,
    "distributed.scheduler.work-stealing": False,
    "distributed.scheduler.worker-ttl": None,
    "distributed.admin.tick.limit": "1d",  # nothing looks for a slow loop, and nothing complains
    "distributed.client.heartbeat": "1h",
    "distributed.client.scheduler-info-interval": "1h",
    "distributed.diagnostics.nvml": False,
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
}
TRAINING = "training"
"""What a training takes of its worker, which has one of it."""


@contextmanager
def local_client(workers: int, scratch: Path) -> Iterator[Client]:
    """A client of a new cluster of one worker with so many threads; `scratch` is for its files."""
    with (
        dask.config.set({**_QUIET, "temporary-directory": str(scratch)}),
        LocalCluster(
            processes=False,
            n_workers=1,
            threads_per_worker=workers,
            resources={TRAINING: 1},
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
            memory_limit=0,
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):
        # Nothing may move by itself while a model is measured. What Dask looks after regularly,
        # lost connections and idle workers, cannot happen within one process.
        for server in (cluster.scheduler, *cluster.workers.values()):
            client.loop.add_callback(server.http_server.stop)  # nobody asks over the network
            for callback in server.periodic_callbacks.values():
                client.loop.add_callback(callback.stop)
        yield client
