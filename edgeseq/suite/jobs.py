"""The work of each step, run in a process of its own (`edgeseq.suite.process`).

`python -m edgeseq.suite.jobs` reads one job from stdin. A job is a function of `JOBS`; it is
called with the job's arguments and a `report`, and gives a plain dictionary. A key `note`, if
present, is what the terminal shows beside the finished step.
"""

from __future__ import annotations

import resource
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from edgeseq.data.examples import Dataset
from edgeseq.errors import EdgeseqError, InputError
from edgeseq.files import write_json
from edgeseq.progress import Report
from edgeseq.suite.process import ChildSide, Failure, Message
from edgeseq.suite.schema import DataSection

Answer = dict[str, Any]


def _load(data: dict[str, Any], report: Report) -> Dataset:
    """The data set that a data step's arguments describe."""
    from edgeseq.data.own_files import load_files
    from edgeseq.data.readers import Columns
    from edgeseq.data.registry import load_dataset

    section = msgspec.convert(data["data"], DataSection)
    columns = Columns(text=section.text_column, label=section.label_column)
    if section.train is not None:
        return load_files(
            data["task"],
            train=Path(section.train),
            dev=None if section.dev is None else Path(section.dev),
            test=None if section.test is None else Path(section.test),
            columns=columns,
        )
    if section.name is None:  # the suite's schema excludes this
        raise InputError("[data] needs either a name or a train file")
    data_dir = None if data["data_dir"] is None else Path(data["data_dir"])
    return load_dataset(section.name, data_dir=data_dir, columns=columns, report=report)


def read_data(*, report: Report, **data: Any) -> Answer:
    """Reads the data set; writes what it holds, not its text, to `out`."""
    dataset = _load(data, report)
    answer: Answer = {
        "name": dataset.name,
        "sha256": dataset.sha256,
        "labels": list(dataset.labels),
        "sizes": {part: len(getattr(dataset, part)) for part in ("train", "dev", "test")},
        "licence": dataset.licence,
        "origin": dataset.origin,
    }
    write_json(Path(data["out"]), answer)
    sizes = " / ".join(f"{size:,}" for size in answer["sizes"].values())
    return {**answer, "note": f"{dataset.name}: {sizes} texts"}


JOBS: dict[str, Callable[..., Answer]] = {
    "read_data": read_data,
}


def main() -> int:
    """The child's whole life: one job, its answer or its error, and its peak memory."""
    side = ChildSide()
    try:
        answer = JOBS[side.job.name](report=side.report, **side.job.arguments)
    except EdgeseqError as error:
        side.send(Message(failure=Failure(type(error).__name__, str(error))))
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except Exception:  # noqa: BLE001 - the last stop of a process: the traceback goes to the log
        traceback.print_exc()
        return 1
    side.send(Message(answer=answer, peak_memory_bytes=_peak_memory_bytes()))
    return 0


def _peak_memory_bytes() -> int:
    """The highest resident set of this process or of one of its children, in bytes (Linux: KiB)."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(one).ru_maxrss for one in who) * 1024


if __name__ == "__main__":
    sys.exit(main())
