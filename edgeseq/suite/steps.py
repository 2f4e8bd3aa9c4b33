"""What makes a step finished: its output is there as written, and was made from the same inputs.

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
from edgeseq.formats.storage import os_errors_as_output_errors, write_json
from edgeseq.suite.outputs import (
    Known,
    OutputFile,
    check_replaceable,
    group_by_path,
    is_unchanged,
    list_output,
    read_journal,
)

Kind = Literal["train", "measure", "other"]


class StepRecord(msgspec.Struct, frozen=True):
    """`steps/NAME.json`: that a step finished, from what, and how long it took.

    `began_unix_s` is when it began, in seconds since 1970: steps run at the same time, so their
    seconds do not add up to the run's (`edgeseq.suite.times`). `outputs` are the files that it
    wrote; without them it is not known to be finished.
    """

    name: str
    fingerprint: str
    seconds: float
    answer: dict[str, Any]
    peak_memory_bytes: int | None = None
    began_unix_s: float | None = None
    outputs: tuple[OutputFile, ...] = ()


class Step(msgspec.Struct, frozen=True):
    """One step of a suite.

    `job` is the name of a function in `edgeseq.suite.jobs`, `arguments` what it is called with.
    `identity` has those that the fingerprint takes in another form, because they say where
    something is and not what. `after` are the steps whose outputs it reads; `output` is the path
    that it makes. `kind` says
    what may run beside it (`edgeseq.suite.scheduler`); the output does not depend on it.
    """

    name: str
    title: str
    job: str
    arguments: dict[str, Any]
    output: Path
    after: tuple[Step, ...] = ()
    kind: Kind = "other"
    identity: dict[str, Any] = {}

    @property
    def fingerprint(self) -> str:
        """SHA-256 over everything that the output depends on."""
        content = {
            "edgeseq": edgeseq.__version__,
            "job": self.job,
            "arguments": {**self.arguments, **self.identity},
            "after": [step.fingerprint for step in self.after],
        }
        return hashlib.sha256(msgspec.json.encode(content, order="deterministic")).hexdigest()

    def record_path(self, folder: Path) -> Path:
        """Where the record of this step is kept below the suite's output folder."""
        return folder / "steps" / f"{self.name}.json"

    def journal_path(self, folder: Path) -> Path:
        """Where the step's process notes what it writes, until there is a record."""
        return folder / "steps" / f"{self.name}.journal"

    def finished(self, folder: Path) -> StepRecord | None:
        """The record of an earlier run with the same fingerprint, if its output is unchanged."""
        record = self._record(folder)
        if record is None or record.fingerprint != self.fingerprint or not record.outputs:
            return None
        return record if is_unchanged(record.outputs, folder) else None

    def check_output(self, folder: Path) -> None:
        """Raises `OutputError` when running the step would replace what no step wrote."""
        check_replaceable(folder / self.relative_output(folder), folder, self._known(folder))

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
        with os_errors_as_output_errors(self.output):
            output = folder / self.relative_output(folder)
            outputs = list_output(output, folder, self._known(folder))
        record = StepRecord(
            name=self.name,
            fingerprint=self.fingerprint,
            seconds=seconds,
            answer=answer,
            peak_memory_bytes=peak,
            began_unix_s=round(began_unix_s, 3),
            outputs=outputs,
        )
        write_json(self.record_path(folder), record)
        self.journal_path(folder).unlink(missing_ok=True)
        return record

    def expire(self, folder: Path) -> None:
        """Lets the step run again; what it wrote stays known."""
        record = self._record(folder)
        if record is not None:
            write_json(self.record_path(folder), msgspec.structs.replace(record, fingerprint=""))

    def relative_output(self, folder: Path) -> Path:
        """The output within the suite's folder; the data step's path is relative already."""
        return (
            self.output.relative_to(folder) if self.output.is_relative_to(folder) else self.output
        )

    def _record(self, folder: Path) -> StepRecord | None:
        try:
            return decode_json(self.record_path(folder).read_bytes(), StepRecord)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None  # damaged: the step runs again

    def _known(self, folder: Path) -> Known:
        record = self._record(folder)
        files = list(record.outputs) if record else []
        return group_by_path([*files, *read_journal(self.journal_path(folder))])
