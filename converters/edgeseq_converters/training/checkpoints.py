"""A training's state on disk, so that a killed training resumes and ends with the same weights.

One safetensors file beside the output folder, `OUT.training.safetensors`, removed when the folder
is written. It holds everything that the next step depends on (weights, Adam's moments, random
generators, the best weights so far) and its identity: the SHA-256 of all that the training started
from. The file of another training is ignored.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

from edgeseq.errors import CheckpointError, OutputError
from edgeseq.formats.arrays import array_bytes, read_metadata
from edgeseq.formats.codec import decode_json
from edgeseq.formats.storage import read_bytes, write_bytes

FORMAT_VERSION = "2"

INTERVAL_S = 60.0
"""The most that a kill costs: a minute of training."""

WRITE_SHARE = 0.02
"""At most this share of the time goes into writing: after a write that took a second, the next
waits 50 seconds at least."""


class Snapshot(msgspec.Struct, frozen=True):
    """Arrays by name, and `position`, a small plain table of the loop."""

    position: dict[str, Any]
    arrays: dict[str, Any]


class CheckpointFile:
    """The file of one running training.

    `interval_s` is the least time between two writes (0: after every step); `clock` gives seconds.
    """

    def __init__(
        self,
        path: Path,
        *,
        interval_s: float = INTERVAL_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self._interval_s = interval_s
        self._clock = clock
        self._next = clock() + interval_s

    @property
    def due(self) -> bool:
        """Whether it is time to write again."""
        return self._clock() >= self._next

    def write(self, identity: str, snapshot: Snapshot) -> None:
        """Replaces the file by `snapshot` of the training `identity`, completely or not at all.

        Raises `OutputError` when it cannot be written.
        """
        began = self._clock()
        metadata = {
            "format_version": FORMAT_VERSION,
            "identity": identity,
            "position": msgspec.json.encode(snapshot.position).decode(),
        }
        write_bytes(self.path, array_bytes(snapshot.arrays, metadata))
        now = self._clock()
        self._next = now + (
            max(self._interval_s, (now - began) / WRITE_SHARE) if self._interval_s else 0.0
        )

    def read(self, identity: str) -> Snapshot | None:
        """The snapshot of the training `identity`; None without a file, or with another's.

        Raises `CheckpointError` when the file is damaged.
        """
        if not self.path.exists():
            return None
        content = read_bytes(self.path, error=CheckpointError)
        try:
            metadata = read_metadata(content)
            if metadata.get("format_version") != FORMAT_VERSION:
                return None
            if metadata.get("identity") != identity:
                return None
            position = decode_json(metadata["position"], dict[str, Any])
            return Snapshot(position, load(content))
        except (SafetensorError, msgspec.MsgspecError, KeyError, ValueError) as failure:
            raise CheckpointError(
                "is not a training checkpoint",
                where=self.path,
                found=str(failure) or type(failure).__name__,
                fix="remove it and train from the beginning",
            ) from failure

    def remove(self) -> None:
        """Removes the file if it exists."""
        self.path.unlink(missing_ok=True)


def checkpoint_file(out: Path, *, interval_s: float | None = INTERVAL_S) -> CheckpointFile | None:
    """The checkpoint of the training that writes the folder `out`; None without an interval."""
    if interval_s is None:
        return None
    return CheckpointFile(out.with_name(f"{out.name}.training.safetensors"), interval_s=interval_s)


def identity_of(facts: Mapping[str, Any], arrays: Iterable[Any]) -> str:
    """SHA-256 over plain `facts` and over every array's type, shape and bytes, in order."""
    digest = hashlib.sha256(msgspec.json.encode(dict(facts), order="sorted"))
    for array in arrays:
        values = np.ascontiguousarray(array)
        digest.update(f"{values.dtype.str}{values.shape}".encode())
        digest.update(values.data)
    return digest.hexdigest()


def check_output(out: Path, *, overwrite: bool) -> None:
    """Raises `OutputError` when `out` exists, unless it may be overwritten."""
    if out.exists() and not overwrite:
        raise OutputError("already exists", where=out, fix="choose another --out or remove it")
