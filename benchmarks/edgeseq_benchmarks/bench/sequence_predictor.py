"""A bundle's predictions for numeric sequences; a module apart, because it loads NumPy."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edgeseq.datasets.sequence_arrays import SequenceArrays, arrays_of, read_arrays
from edgeseq.errors import BundleError, DataError
from edgeseq.formats.bundle import BundleFiles
from edgeseq.formats.bundle_zip import open_bundle
from edgeseq.formats.drafts import temporary_folder
from edgeseq.tasks.head import is_numeric
from edgeseq.tasks.sequence_places import sequence_place
from edgeseq_benchmarks.bench import protocol
from edgeseq_benchmarks.bench.predictor import (
    TIMEOUT_S,
    SequencePrediction,
    checked_worker,
    finite_logits,
    softmax,
)
from edgeseq_benchmarks.bench.worker_client import load_command


def predict_sequences(
    path: Path, sequences: Sequence[Any] | str | Path, *, threads: int = 1
) -> tuple[SequencePrediction, ...]:
    """The predictions of the bundle at `path` for numeric sequences, in their order: arrays
    [steps, features], or a file of them.

    Raises `DataError` for sequences that the model does not take, and `BundleError` for a bundle
    that cannot be used or reads texts.
    """
    if isinstance(sequences, str | Path):
        arrays = read_arrays(Path(sequences))
    else:
        arrays = arrays_of(sequences)
    with temporary_folder() as folder, open_bundle(path, verify_hashes=False) as bundle:
        if not is_numeric(bundle.head):
            raise BundleError(
                "reads texts, not numeric sequences", where=path, fix="give texts to predict"
            )
        _check_arrays(bundle, arrays)
        rows = folder / bundle.input_file
        np.save(rows, arrays.rows, allow_pickle=False)
        ends = itertools.accumulate(arrays.lengths)
        row_ranges = [
            sequence_place(end - steps, steps)
            for end, steps in zip(ends, arrays.lengths, strict=True)
        ]
        with checked_worker(bundle) as child:
            load = load_command(bundle, child, threads=threads, first_text=row_ranges[0])
            load = msgspec.structs.replace(load, tokenizer_path=str(rows))
            child.request(load, protocol.ModelLoaded, timeout_s=TIMEOUT_S)
            command = protocol.PredictTexts(tuple(row_ranges))
            reply = child.request(command, protocol.TextPredictions, timeout_s=TIMEOUT_S)
        return tuple(
            _sequence_prediction(bundle, output, steps)
            for output, steps in zip(reply.predictions, arrays.lengths, strict=True)
        )


def _check_arrays(bundle: BundleFiles, arrays: SequenceArrays) -> None:
    _, steps, features = bundle.manifest.signature.inputs[0].shape
    wrong = [length for length in arrays.lengths if steps not in (-1, length)]
    if arrays.rows.shape[1] != features or wrong:
        raise DataError(
            "are not sequences of this model",
            where="the arrays",
            found=f"[{wrong[0] if wrong else 'steps'}, {arrays.rows.shape[1]}]",
            expected=f"[{'steps' if steps == -1 else steps}, {features}]",
        )


def _sequence_prediction(
    bundle: BundleFiles, output: protocol.TextPrediction, steps: int
) -> SequencePrediction:
    if bundle.head == "sequence-classification":
        scores = softmax(bundle, output.logits)
        return SequencePrediction(scores, max(scores, key=lambda label: scores[label]), steps)
    values = dict(zip(bundle.labels, finite_logits(bundle, output.logits), strict=True))
    return SequencePrediction(values, None, steps)
