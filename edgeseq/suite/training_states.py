"""The state of a training in the store, so that a lost worker costs a minute and not a training.

A training saves its state beside its output (`edgeseq_converters.training.checkpoints`): what is
there, but for the step's inputs, is put into the store when it changed.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from edgeseq.errors import StoreError
from edgeseq.formats.drafts import is_draft, temporary_folder
from edgeseq.suite.outputs import list_output
from edgeseq.suite.store import Store, StoredRecord

INTERVAL_S = 5.0
"""How often the files are looked at; a training writes them once per minute."""


@contextlib.contextmanager
def kept_training_state(store: Store, key: str, folder: Path, output: str) -> Iterator[None]:
    """Fetches the state of a step if there is one, and keeps it in the store within the block.

    Args:
        store: Where states are.
        key: The step's key.
        folder: The folder in which the step runs, with its inputs.
        output: The step's output, relative to `folder`.

    A state that is damaged or cannot be stored costs time alone.
    """
    inputs = set(_siblings(folder / output))
    with contextlib.suppress(StoreError):
        store.fetch("states", key, folder)
    ended = threading.Event()
    put = partial(_put, store, key, folder)
    watch = partial(_state, folder / output, inputs)
    thread = threading.Thread(target=_keep, args=(watch, put, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _keep(
    watch: Callable[[], dict[Path, int]],
    put: Callable[[Iterable[Path]], None],
    ended: threading.Event,
) -> None:
    stored = watch()
    while not ended.wait(INTERVAL_S):
        with contextlib.suppress(OSError, StoreError):
            state = watch()
            if state and state != stored:
                put(state)
                stored = state


def _put(store: Store, key: str, folder: Path, state: Iterable[Path]) -> None:
    """Stores copies: the training may replace a file between its hash and its content."""
    with temporary_folder(folder) as copy:
        for path in state:
            target = copy / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        store.put("states", key, StoredRecord(list_output(copy, copy, {})), copy)


def _state(output: Path, inputs: set[Path]) -> dict[Path, int]:
    """The files of the state with their times."""
    state = {}
    for sibling in _siblings(output):
        if sibling not in inputs:
            for file in (sibling, *sibling.rglob("*")):
                if file.is_file() and not any(map(is_draft, file.parts)):
                    state[file] = file.stat().st_mtime_ns
    return state


def _siblings(output: Path) -> list[Path]:
    return list(output.parent.glob(f"{output.name}.*"))
