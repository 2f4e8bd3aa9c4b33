"""Steps of a suite's output folder from a store and to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

import edgeseq
from edgeseq.errors import OutputError
from edgeseq.formats.drafts import draft_folder
from edgeseq.formats.replacement import place
from edgeseq.formats.storage import os_errors_as_output_errors
from edgeseq.subprocesses.job_processes import JobRequest
from edgeseq.suite.outputs import add_to_journal, content_sha256, list_output
from edgeseq.suite.plan import DATA_FILES
from edgeseq.suite.step_tasks import StoredWork
from edgeseq.suite.steps import Step, StepRecord
from edgeseq.suite.store import Store, StoredRecord, StoreKind

INPUTS = "inputs"
"""The folder of the user's files and checkpoints, below the folder where a worker runs a step."""


def fetch_step(step: Step, root: Path, store: Store) -> StepRecord | None:
    """Puts the output of a step from the store into `root`; None where the store has none.

    Raises `StoreError`, and `OutputError` where it cannot be written.
    """
    if not store.has("steps", step.fingerprint):
        return None
    output = step.relative_output(root)
    with os_errors_as_output_errors(root), draft_folder(root) as draft:
        stored = store.fetch("steps", step.fingerprint, draft)
        if stored is None:
            return None
        add_to_journal(step.journal_path(root), stored.files)
        target = root / output
        target.parent.mkdir(parents=True, exist_ok=True)
        place(draft / output, target)
    return step.finish(
        root,
        began_unix_s=stored.began_unix_s,
        seconds=stored.seconds,
        answer=stored.answer,
        peak=stored.peak_memory_bytes,
    )


def store_step(step: Step, record: StepRecord, root: Path, store: Store) -> None:
    """Puts the output of a finished step into the store if it is not there; raises `StoreError`."""
    if not store.has("steps", step.fingerprint):
        stored = StoredRecord(
            files=record.outputs,
            answer=record.answer,
            began_unix_s=record.began_unix_s or 0.0,
            seconds=record.seconds,
            peak_memory_bytes=record.peak_memory_bytes,
        )
        store.put("steps", step.fingerprint, stored, root)


class InputUploads:
    """The user's files and checkpoints in the store, each once, for workers elsewhere."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._entries: dict[str, tuple[tuple[StoreKind, str], str]] = {}

    def describe(self, step: Step, request: JobRequest) -> tuple[JobRequest, StoredWork]:
        """What a worker elsewhere is told: the request with its paths there, and its inputs.

        Raises `StoreError`, and `OutputError` where a file of the user's cannot be read.
        """
        arguments = dict(request.arguments)
        entries: list[tuple[StoreKind, str]] = [
            ("steps", needed.fingerprint) for needed in step.after
        ]

        def uploaded(path: str) -> str:
            entry, there = self._upload(Path(path))
            entries.append(entry)
            return there

        if isinstance(arguments.get("data"), Mapping):
            arguments["data"] = _with_files(arguments["data"], uploaded)
        settings = arguments.get("settings")
        if isinstance(settings, Mapping) and "unlabelled" in settings:
            texts = [uploaded(n) if Path(n).is_file() else n for n in settings["unlabelled"]]
            arguments["settings"] = {**settings, "unlabelled": texts}
        if "teacher_outputs" in arguments:
            arguments["teacher_outputs"] = self._store.url
        checkpoint, teacher = arguments.get("checkpoint"), arguments.get("teacher")
        if checkpoint is not None and Path(checkpoint).is_dir():
            arguments["checkpoint"] = uploaded(checkpoint)
        if teacher is not None and Path(teacher).is_absolute():  # else the output of a step
            arguments["teacher"] = uploaded(teacher)
        if "search" in arguments:
            arguments["search"] = uploaded(arguments["search"])
        work = StoredWork(
            store=self._store.url,
            key=step.fingerprint,
            inputs=tuple(dict.fromkeys(entries)),
            edgeseq_version=edgeseq.__version__,
            keeps_state=step.kind == "train",
        )
        return msgspec.structs.replace(request, arguments=arguments), work

    def _upload(self, path: Path) -> tuple[tuple[StoreKind, str], str]:
        """The entry of a file or folder, and its path where a worker fetched it."""
        if str(path) not in self._entries:
            try:
                files = list_output(path, path.parent, {})
            except OSError as error:
                raise OutputError("cannot be read", where=path, found=error.strerror) from error
            key = content_sha256(files)
            folder = f"{INPUTS}/{key}"
            if self._store.read_record("inputs", key) is None:
                named = tuple(
                    msgspec.structs.replace(file, path=f"{folder}/{file.path}") for file in files
                )
                self._store.put(
                    "inputs", key, StoredRecord(named), path.parent, prefix=f"{folder}/"
                )
            self._entries[str(path)] = (("inputs", key), f"{folder}/{path.name}")
        return self._entries[str(path)]


def _with_files(data: Mapping[str, Any], uploaded: Callable[[str], str]) -> dict[str, Any]:
    """The arguments of a data step with the user's files where a worker has them."""
    section = dict(data["data"])
    for name in DATA_FILES:
        if section[name] is not None:
            section[name] = uploaded(section[name])
    if section["train"] is None and Path(section["name"]).is_file():
        section["name"] = uploaded(section["name"])
    return {**data, "data": section, "data_dir": None}
