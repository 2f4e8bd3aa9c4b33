"""Who takes part: the files to be made, and how each is fed."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from studies.peers.inputs import LENGTHS, PADDED_LENGTH, REAL

Peer = Literal["edgeseq", "tf_keras", "keras3", "onnxruntime", "litert-torch"]
Precision = Literal["float32", "dynamic", "int4", "integer", "integer16", "weights"]
"""float32; int8 weights with float activations that are quantized to multiply; int4 weights in the
same way (other tools have no such LSTM); int8 weights and
activations; int8 weights and int16 activations; smaller weights, multiplied as float32."""
Feeding = Literal["open", "fixed", "padded", "resized"]
"""A file takes any length; each length has a separate file; texts are padded to the one
length; a file of a fixed length is resized to the text, which its maker did not mean it for."""

OPEN = 0
"""Stands for the length of a file that takes any."""


class Contender(msgspec.Struct, frozen=True):
    """One row of the table. `files` are paths by length (`OPEN` for a file that takes any).

    A text shorter than a fixed file is filled up with 0 on its right, and the file answers for
    what it was given; one with a `padding_id` gives the output of the text alone.
    """

    name: str
    peer: Peer
    precision: Precision
    feeding: Feeding
    files: dict[int, str]
    workloads: tuple[str, ...]
    recipe: str = ""
    lowering: str = ""
    padding_id: int | None = None

    @property
    def runtime(self) -> Literal["tflite", "onnx"]:
        return "onnx" if self.peer == "onnxruntime" else "tflite"

    @property
    def size_bytes(self) -> int:
        """Of its largest file."""
        return max(Path(path).stat().st_size for path in self.files.values())

    def file_for(self, workload: str) -> tuple[int, str]:
        """(length, path) of what answers a workload."""
        if OPEN in self.files:
            return OPEN, self.files[OPEN]
        length = PADDED_LENGTH if workload == REAL else int(workload)
        return length, self.files[length]


class BuildFailure(msgspec.Struct, frozen=True):
    """A contender that could not be made, or whose answers are wrong, and why."""

    name: str
    cause: str


class BuildJob(msgspec.Struct, frozen=True):
    """One file for a child of `studies.peers.makers` to write; `length` may be `OPEN`."""

    name: str
    peer: Peer
    precision: Precision
    length: int

    @property
    def filename(self) -> str:
        suffix = "onnx" if self.peer == "onnxruntime" else "tflite"
        return f"{self.name.replace(' ', '-')}-{self.length or 'open'}.{suffix}"


def peer_jobs() -> tuple[BuildJob, ...]:
    """Every file of other tools for one shape of network."""
    jobs = [
        BuildJob(f"{peer} {precision}", peer, precision, length)
        for peer, precisions in _FIXED.items()
        for precision in precisions
        for length in LENGTHS
    ]
    jobs += [
        BuildJob(f"keras3 {precision} open", "keras3", precision, OPEN) for precision in _FLOATS
    ]
    jobs += [
        BuildJob(f"onnxruntime {float_kind}", "onnxruntime", float_kind, OPEN)
        for float_kind in _FLOATS
    ]
    return tuple(jobs)


_FLOATS: tuple[Precision, ...] = ("float32", "dynamic")
_FIXED: dict[Peer, tuple[Precision, ...]] = {
    "tf_keras": ("float32", "dynamic", "integer"),
    "keras3": ("float32", "dynamic", "integer"),
}


def peer_contenders(built_files: dict[BuildJob, Path]) -> tuple[Contender, ...]:
    """The rows that the files in `made` allow.

    A stock fixed file is padded for real lengths. The fused operator of tf_keras would also take
    an input that is resized to the text, so this is shown too, as the generous reading.
    """
    rows: list[Contender] = []
    names = dict.fromkeys(job.name for job in built_files)
    for name in names:
        jobs = [job for job in built_files if job.name == name]
        files = {job.length: str(built_files[job]) for job in jobs}
        first = jobs[0]
        everywhere = (*map(str, LENGTHS), REAL)
        if OPEN in files:
            rows.append(
                Contender(name, first.peer, first.precision, "open", files, everywhere),
            )
            continue
        fixed = tuple(str(length) for length in sorted(files))
        rows.append(Contender(name, first.peer, first.precision, "fixed", files, fixed))
        if PADDED_LENGTH not in files:
            continue
        longest = {PADDED_LENGTH: files[PADDED_LENGTH]}
        padded = f"{name} padded"
        rows.append(Contender(padded, first.peer, first.precision, "padded", longest, (REAL,)))
        if first.peer == "tf_keras":
            resized = {OPEN: files[PADDED_LENGTH]}
            title = f"{name} resized"
            rows.append(
                Contender(title, first.peer, first.precision, "resized", resized, (REAL,)),
            )
    return tuple(rows)
