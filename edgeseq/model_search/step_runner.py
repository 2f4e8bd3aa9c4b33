"""The steps of a search one by one, on this machine or on the workers of a cluster."""

from __future__ import annotations

import threading
from collections import defaultdict
from pathlib import Path

from edgeseq.errors import StepError
from edgeseq.model_search.disturbances import wait_for_idle_machine
from edgeseq.progress import ProgressCallback, ProgressUpdate, no_progress
from edgeseq.suite.elsewhere import Elsewhere, load_dask
from edgeseq.suite.step_process import run_step_alone
from edgeseq.suite.steps import Step, StepRecord
from edgeseq.suite.stored_steps import fetch_step, store_step


class StepRunner:
    """Runs steps below the folder `root`; several threads may do so at a time."""

    def __init__(self, root: Path, elsewhere: Elsewhere) -> None:
        self._root = root
        self._elsewhere = elsewhere
        self._is_stopped = False
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    @property
    def num_workers(self) -> int:
        """How many steps can run at a time; this machine measures and trains in turns."""
        cluster = self._elsewhere.cluster
        return 1 if cluster is None else max(1, len(cluster.workers()))

    def run(self, step: Step, progress: ProgressCallback = no_progress) -> StepRecord:
        """The record of the step, which is run unless an earlier run finished it or the store has
        its output.

        Raises what the step raised, `StoreError` and `ClusterError`, and what `progress` raises,
        after the process has been ended.
        """
        with self._locks[step.name]:  # candidates of equal shape share steps
            record = step.finished(self._root)
            return self._run(step, progress) if record is None else record

    def _run(self, step: Step, progress: ProgressCallback) -> StepRecord:
        step.check_output(self._root)
        if self._elsewhere.cluster is not None:
            return self._run_on_cluster(step, progress)
        store = self._elsewhere.store
        if store is not None and (record := fetch_step(step, self._root, store)) is not None:
            return record
        record = run_step_alone(step, self._root, progress)
        if store is not None:
            store_step(step, record, self._root, store)
        return record

    def stop(self) -> None:
        """Ends the steps that other threads run, at their next progress update."""
        self._is_stopped = True

    def wait_for_idle_machine(self, progress: ProgressCallback) -> bool:
        """Waits a while where this machine measures; of others the load is not known.

        False where other programs continue, so that nothing is gained by measuring again.
        """
        return self._elsewhere.cluster is not None or wait_for_idle_machine(progress)

    def expire(self, step: Step) -> None:
        """Lets the step run again."""
        step.expire(self._root)
        self._elsewhere.forget(step)

    def _run_on_cluster(self, step: Step, progress: ProgressCallback) -> StepRecord:
        records: list[StepRecord] = []

        def hear(update: ProgressUpdate) -> None:
            if self._is_stopped:
                raise StepError("the search was stopped", where=step.title)
            progress(update)

        load_dask().run_steps(
            [step],
            self._root,
            finished=[needed.name for needed in step.after],
            progress=lambda _: hear,
            on_finished=lambda _, record: records.append(record),
            on_fetched=lambda _, record: records.append(record),
            cluster=self._elsewhere.cluster,
            store=self._elsewhere.store,
        )
        return records[0]
