"""The step `data`: reads the data set and writes its description, not its texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from edgeseq.datasets.splits import SPLITS
from edgeseq.datasets.unlabelled import is_absent, read_unlabelled
from edgeseq.errors import DataError
from edgeseq.formats.codec import from_builtins
from edgeseq.formats.storage import write_json
from edgeseq.formats.train_logits import texts_sha256
from edgeseq.progress import ProgressCallback
from edgeseq.suite.data import load_section
from edgeseq.suite.schema import DataSection
from edgeseq.tasks.examples import AnyDataset


class DataArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a data step reads; paths in `data` are absolute, `out` is relative to the run;
    `unlabelled` are collections of texts for students."""

    task: str
    data: DataSection
    data_dir: str | None
    out: str
    unlabelled: tuple[str, ...] = ()


def run(arguments: dict[str, Any], progress: ProgressCallback) -> dict[str, Any]:
    """Writes name, labels, sizes and hash of the data set to `out`, and the hashes of the
    collections of unlabelled texts that are at hand."""
    request = from_builtins(arguments, DataArguments)
    dataset = _load(request, progress)
    at_hand = [name for name in request.unlabelled if not is_absent(name, _data_dir(request))]
    texts = {
        name: read_unlabelled(name, data_dir=_data_dir(request), progress=progress)
        for name in at_hand
    }
    answer: dict[str, Any] = {
        "name": dataset.name,
        "sha256": dataset.sha256,
        "labels": list(dataset.labels),
        "sizes": {part: len(getattr(dataset, part)) for part in SPLITS},
        "licence": dataset.licence,
        "origin": dataset.origin,
        "unlabelled_sha256": {name: texts_sha256(lines) for name, lines in texts.items()},
    }
    write_json(Path(request.out), answer)
    sizes = " / ".join(f"{size:,}" for size in answer["sizes"].values())
    notes = [f"{dataset.name}: {sizes} texts"]
    notes += [f"{name}: {len(lines):,} unlabelled texts" for name, lines in texts.items()]
    notes += [
        f"{name} is not on this machine: students learn without its texts (see --data-dir)"
        for name in request.unlabelled
        if name not in texts
    ]
    return {**answer, "note": "; ".join(notes)}


def load_unchanged(request: DataArguments, sha256: str, progress: ProgressCallback) -> AnyDataset:
    """The data set again; raises `DataError` where it is another than the data step read."""
    dataset = _load(request, progress)
    if dataset.sha256 != sha256:
        raise DataError(
            "the data set is another than the suite began with",
            where=dataset.name,
            found=dataset.sha256[:12],
            expected=sha256[:12],
            fix="run the suite again; a worker of a cluster needs the same files",
        )
    return dataset


def _load(request: DataArguments, progress: ProgressCallback) -> AnyDataset:
    return load_section(request.data, request.task, data_dir=_data_dir(request), progress=progress)


def _data_dir(request: DataArguments) -> Path | None:
    return None if request.data_dir is None else Path(request.data_dir)
