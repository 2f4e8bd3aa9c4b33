"""A Dask cluster that runs already, whose workers share a store and nothing else."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import msgspec
from distributed import Client

import edgeseq
from edgeseq.errors import ClusterError
from edgeseq.formats.codec import decode_json
from edgeseq.progress import ProgressCallback, ProgressUpdate
from edgeseq.suite.workers import WorkerFacts, check_version, describe_worker

CONNECT_S = 10.0
WORKERS_S = 30.0
"""How long a scheduler may take to answer, and to have its first worker."""
MEASURE = "measure"
"""The resource of workers on which models are measured; where none has it, any may."""


class Cluster:
    """The scheduler at an address, and its workers."""

    def __init__(self, client: Client, address: str, facts: dict[str, WorkerFacts]) -> None:
        self.client = client
        self.address = address
        self._facts = facts

    @property
    def machine(self) -> dict[str, str]:
        """The machine on which models are measured."""
        return self._facts[self.measuring_workers[0]].machine

    @cached_property
    def measuring_workers(self) -> list[str]:
        """The workers of one machine, the first by name of those that measure."""
        with_resource = [
            worker for worker in self._facts if MEASURE in self._resources().get(worker, {})
        ]
        candidates = with_resource or list(self._facts)
        node = min(self._facts[worker].node for worker in candidates)
        return sorted(worker for worker in candidates if self._facts[worker].node == node)

    def workers(self) -> list[str]:
        """The addresses of the workers that are there now."""
        return list(self.client.scheduler_info(n_workers=-1)["workers"])

    def check_boards(self, boards: Sequence[str]) -> None:
        """Raises `ClusterError` where no worker reaches all of these devices."""
        resources = self._resources()
        for board in boards:
            if not any(board in supplied for supplied in resources.values()):
                raise ClusterError(
                    "no worker reaches this device",
                    where=board,
                    fix=f'start one that does: dask worker {self.address} --resources "{board}=1"',
                )
        if not any(set(boards) <= set(supplied) for supplied in resources.values()):
            raise ClusterError(
                "no worker reaches all of these devices", found=", ".join(boards), fix="start one"
            )

    def _resources(self) -> dict[str, dict[str, Any]]:
        workers = self.client.scheduler_info(n_workers=-1)["workers"]
        return {address: about["resources"] for address, about in workers.items()}


@contextlib.contextmanager
def connect(address: str, progress: ProgressCallback) -> Iterator[Cluster]:
    """A connection to the scheduler at `address`; tells its dashboard's address.

    Raises `ClusterError` where it does not answer, has no worker, or has one whose edgeseq is
    another version or missing.
    """
    for name in (*logging.root.manager.loggerDict, "tornado.application"):
        if name.startswith(("distributed", "tornado")):  # what matters is raised
            logging.getLogger(name).setLevel(logging.CRITICAL)
    progress(ProgressUpdate("cluster", note=address))
    try:
        client = Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError, socket.gaierror) as error:
        raise ClusterError(
            "the scheduler does not answer",
            where=address,
            found=str(error).splitlines()[0][:200] or type(error).__name__,
            fix="start it with `dask scheduler`, and its workers with `dask worker`",
        ) from error
    with client:
        # A lost scheduler ends several of its tasks with errors that nobody waits for.
        client.loop.asyncio_loop.set_exception_handler(lambda *_: None)
        try:
            client.wait_for_workers(1, timeout=WORKERS_S)
        except TimeoutError as error:
            raise ClusterError(
                "the scheduler has no workers", where=address, fix=f"dask worker {address}"
            ) from error
        facts = _facts(client)
        dashboard = f", dashboard {client.dashboard_link}" if client.dashboard_link else ""
        workers = "1 worker" if len(facts) == 1 else f"{len(facts)} workers"
        progress(ProgressUpdate("cluster", 1, 1, note=f"{workers}{dashboard}"))
        yield Cluster(client, address, facts)


def _facts(client: Client) -> dict[str, WorkerFacts]:
    answers = client.run(describe_worker, on_error="return")
    facts = {}
    for worker, answer in answers.items():
        if not isinstance(answer, bytes):
            raise ClusterError(
                "cannot run edgeseq",
                where=f"worker {worker}",
                found=str(answer),
                fix=f"pip install 'edgeseq[convert]=={edgeseq.__version__}' there",
            )
        try:
            facts[worker] = decode_json(answer, WorkerFacts)
        except msgspec.ValidationError as error:
            raise ClusterError("runs another edgeseq", where=f"worker {worker}") from error
        check_version(
            edgeseq.__version__, of=f"worker {worker}", found=facts[worker].edgeseq_version
        )
    return facts
