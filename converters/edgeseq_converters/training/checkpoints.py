"""A training's state on disk, so that one that was killed goes on and ends with the same weights.

One safetensors file beside the folder that is to be made, `OUT.training.safetensors`; it is gone
when the folder is there. It holds everything that the next step depends on (weights, Adam's
moments, the states of the random generators, the best weights so far) and says whose it is: the
SHA-256 of all that the training started from. A file of another training is not gone on with.
"""

from __future__ import annotations

import hashlib
import struct
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edgeseq.errors import CheckpointError
from edgeseq.formats.arrays import array_bytes
from edgeseq.formats.codec import decode_json
from edgeseq.formats.storage import read_bytes, write_bytes

FORMAT_VERSION = "1"

EVERY_S = 60.0
"""What a kill may cost: a minute of training."""

SHARE = 0.02
"""Of a training's time at most this much goes into writing: after a write that took a second, the
next waits 50 seconds at least."""

_HEADER_LIMIT_BYTES = 100_000_000
"""What safetensors itself takes for a header at most."""


class Snapshot(msgspec.Struct, frozen=True):
    """What is kept: arrays by name, and `position`, a small plain table of the loop's own."""

    position: dict[str, Any]
    arrays: dict[str, Any]


class TrainingFile:
    """The file of one training that is under way.

    `every_s` is the least time between two writes, 0 for one after every step; `clock` gives
    seconds.
    """

    def __init__(
        self,
        path: Path,
        *,
        every_s: float = EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self._every_s = every_s
        self._clock = clock
        self._next = clock() + every_s

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
        self._next = now + (max(self._every_s, (now - began) / SHARE) if self._every_s else 0.0)

    def read(self, identity: str) -> Snapshot | None:
        """What was kept of the training `identity`; None where there is nothing, or another's.

        Raises `CheckpointError` when the file is damaged.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

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
                "is no state of a training",
                where=self.path,
                found=str(failure) or type(failure).__name__,
                fix="remove it: the training begins anew then",
            ) from failure

    def remove(self) -> None:
        """Takes the file away; nothing happens where there is none."""
        self.path.unlink(missing_ok=True)


def training_file(out: Path, *, every_s: float | None = EVERY_S) -> TrainingFile | None:
    """The file of the training that makes the folder `out`; None where nothing shall be kept."""
    if every_s is None:
        return None
    return TrainingFile(out.with_name(f"{out.name}.training.safetensors"), every_s=every_s)


def read_metadata(content: bytes) -> dict[str, str]:
    """The `__metadata__` of a safetensors file (its header is JSON after a 64-bit length).

    Raises `ValueError` when there is no such header.
    """
    if len(content) < 8:
        raise ValueError("too short for a header")
    (length,) = struct.unpack_from("<Q", content)
    if length > min(len(content) - 8, _HEADER_LIMIT_BYTES):
        raise ValueError("the header is longer than the file")
    header = decode_json(content[8 : 8 + length], dict[str, dict[str, Any]])
    return {name: str(value) for name, value in header.get("__metadata__", {}).items()}


def identity_of(facts: Mapping[str, Any], arrays: Iterable[Any]) -> str:
    """SHA-256 over plain `facts` and over every array's type, shape and bytes, in order."""
    digest = hashlib.sha256(msgspec.json.encode(dict(facts), order="sorted"))
    for array in arrays:
        values = np.ascontiguousarray(array)
        digest.update(f"{values.dtype.str}{values.shape}".encode())
        digest.update(values.data)
    return digest.hexdigest()
