"""What steps use besides this process: the workers of a cluster, a store, and the machine that
measures."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from edgeseq.errors import InputError
from edgeseq.progress import ProgressCallback
from edgeseq.suite.identity import machine_identity
from edgeseq.suite.steps import Step
from edgeseq.suite.store import Store

if TYPE_CHECKING:
    from edgeseq.suite.cluster import Cluster


class Elsewhere(NamedTuple):
    """`machine` is the identity of the machine that measures; without a
    cluster steps run in processes of this one."""

    machine: dict[str, str]
    cluster: Cluster | None = None
    store: Store | None = None

    def forget(self, step: Step) -> None:
        """Removes the output of a step from the store."""
        if self.store is not None:
            self.store.remove("steps", step.fingerprint)


@contextlib.contextmanager
def open_elsewhere(
    scheduler: str | None, store: str | None, progress: ProgressCallback
) -> Iterator[Elsewhere]:
    """The workers of the scheduler at an address and the store at a URL, or neither.

    Raises `InputError` for a scheduler without a store, `ClusterError` and `StoreError`.
    """
    check_shared_store(scheduler, store)
    opened = None if store is None else Store(store)
    if scheduler is None:
        yield Elsewhere(machine_identity(), store=opened)
        return
    with load_dask().connect(scheduler, progress) as cluster:
        yield Elsewhere(cluster.machine, cluster, opened)


def check_shared_store(scheduler: str | None, store: str | None) -> None:
    """Raises `InputError` for a scheduler without a store."""
    if scheduler is not None and store is None:
        raise InputError(
            "a scheduler needs a store that its workers reach",
            where="--store",
            fix="name a folder that all mount, ssh://host/folder or s3://bucket/folder",
        )


class _DaskFunctions(NamedTuple):
    connect: Callable[[str, ProgressCallback], contextlib.AbstractContextManager[Cluster]]
    run_steps: Callable[..., None]


def load_dask() -> _DaskFunctions:
    """Takes half a second: not for a help text, and not where nothing is left to run."""
    from edgeseq.suite import cluster, scheduler  # noqa: PLC0415 - see above

    return _DaskFunctions(cluster.connect, scheduler.run_steps)
