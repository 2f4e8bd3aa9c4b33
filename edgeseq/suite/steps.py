"""What makes a step finished: its output is there, and was made from the same inputs.

A step's fingerprint is the SHA-256 of its settings, of the fingerprints of the steps it builds
on, and of the version of edgeseq. The record is written after the output, so an interrupted step
has no record and runs again.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

import msgspec

import edgeseq
from edgeseq.formats.codec import decode_json
from edgeseq.formats.storage import write_json

Kind = Literal["train", "measure", "other"]


class StepRecord(msgspec.Struct, frozen=True):
    """`steps/NAME.json`: that a step finished, from what, and how long it took.

    `began_unix_s` is when it began, in seconds since 1970: steps run at the same time, so their
    seconds do not add up to the run's (`edgeseq.suite.times`). Records of before have none.
    """

    name: str
    fingerprint: str
    seconds: float
    answer: dict[str, Any]
    peak_memory_bytes: int | None = None
    began_unix_s: float | None = None


class Step(msgspec.Struct, frozen=True):
    """One step of a suite.

    `job` is the name of a function in `edgeseq.suite.jobs`, `arguments` what it is called with;
    `after` are the steps whose outputs it reads; `output` is the path that it makes. `kind` says
    what may run beside it (`edgeseq.suite.scheduler`); the output does not depend on it.
    """

    name: str
    title: str
    job: str
    arguments: dict[str, Any]
    output: Path
    after: tuple[Step, ...] = ()
    kind: Kind = "other"

    @property
    def fingerprint(self) -> str:
        """SHA-256 over everything that the output depends on."""
        content = {
            "edgeseq": edgeseq.__version__,
            "job": self.job,
            "arguments": self.arguments,
            "after": [step.fingerprint for step in self.after],
        }
        return hashlib.sha256(msgspec.json.encode(content, order="deterministic")).hexdigest()

    def record_path(self, folder: Path) -> Path:
        """Where the record of this step is kept below the suite's output folder."""
        return folder / "steps" / f"{self.name}.json"

    def finished(self, folder: Path) -> StepRecord | None:
        """The record of an earlier run with the same fingerprint whose output is still there."""
        path = self.record_path(folder)
        if not path.is_file() or not self.output.exists():
            return None
        try:
            record = decode_json(path.read_bytes(), StepRecord)
        except msgspec.DecodeError:
            return None  # damaged: the step runs again
        return record if record.fingerprint == self.fingerprint else None

    def finish(
        self,
        folder: Path,
        *,
        began_unix_s: float,
        seconds: float,
        answer: dict[str, Any],
        peak: int | None,
    ) -> StepRecord:
        """Writes the record; raises `OutputError` when that cannot be done."""
        record = StepRecord(
            name=self.name,
            fingerprint=self.fingerprint,
            seconds=seconds,
            answer=answer,
            peak_memory_bytes=peak,
            began_unix_s=round(began_unix_s, 3),
        )
        write_json(self.record_path(folder), record)
        return record
