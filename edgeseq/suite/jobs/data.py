"""The step `data`: reads the data set and writes its description, not its texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from edgeseq.datasets.splits import SPLITS
from edgeseq.errors import DataError
from edgeseq.formats.codec import from_builtins
from edgeseq.formats.storage import write_json
from edgeseq.progress import ProgressCallback
from edgeseq.suite.data import load_section
from edgeseq.suite.schema import DataSection
from edgeseq.tasks.examples import AnyDataset


class DataArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a data step reads; paths in `data` are absolute, `out` is relative to the run."""

    task: str
    data: DataSection
    data_dir: str | None
    out: str


def run(arguments: dict[str, Any], progress: ProgressCallback) -> dict[str, Any]:
    """Writes name, labels, sizes and hash of the data set to `out`."""
    request = from_builtins(arguments, DataArguments)
    dataset = _load(request, progress)
    answer: dict[str, Any] = {
        "name": dataset.name,
        "sha256": dataset.sha256,
        "labels": list(dataset.labels),
        "sizes": {part: len(getattr(dataset, part)) for part in SPLITS},
        "licence": dataset.licence,
        "origin": dataset.origin,
    }
    write_json(Path(request.out), answer)
    sizes = " / ".join(f"{size:,}" for size in answer["sizes"].values())
    return {**answer, "note": f"{dataset.name}: {sizes} texts"}


def load_unchanged(request: DataArguments, sha256: str, progress: ProgressCallback) -> AnyDataset:
    """The data set again; raises `DataError` when it changed since the data step read it."""
    dataset = _load(request, progress)
    if dataset.sha256 != sha256:
        raise DataError("the data set changed while the suite ran", fix="run the suite again")
    return dataset


def _load(request: DataArguments, progress: ProgressCallback) -> AnyDataset:
    data_dir = None if request.data_dir is None else Path(request.data_dir)
    return load_section(request.data, request.task, data_dir=data_dir, progress=progress)
