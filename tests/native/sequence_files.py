"""Small models of numeric sequences, as files for both runners."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edgeseq.formats.bundle_manifest import Lowering
from edgeseq.tasks.head import Head
from edgeseq_benchmarks.bench import protocol
from edgeseq_converters.convert.lower.dispatch import OUTPUT, Target, network_to_tflite
from edgeseq_converters.convert.lower.recurrent.whole import FLOAT_INPUT, SIGNATURE
from edgeseq_converters.convert.recipes import get_recipe
from edgeseq_converters.models.read import read_network

from ..sequence_models import write_sequence_model

FEATURES, STEPS, OUTPUTS, ROWS = 3, 9, 4, 60
PLACES = ("0:9", "1:9", "51:9", "20:9")


class SequenceCase(NamedTuple):
    """What a model predicts, and how it is converted."""

    head: Head
    recipe: str
    lowering: Lowering

    @property
    def name(self) -> str:
        return "-".join(self)


CASES = (
    SequenceCase("sequence-regression", "float32", "loop"),
    SequenceCase("sequence-regression", "dynamic_wi8_afp32", "unrolled"),
    SequenceCase("sequence-classification", "static_wi8_ai8", "loop"),
)


def write_sequence_case(case: SequenceCase, folder: Path) -> None:
    """Writes `model.tflite` and the rows `eval.npy`."""
    rng = np.random.default_rng(3)
    weights, description = write_sequence_model(
        folder, rng, sizes=(FEATURES, 16, OUTPUTS), scale=0.4
    )
    rows = rng.normal(size=(ROWS, FEATURES)).astype(np.float32)
    np.save(folder / "eval.npy", rows)
    target = Target(case.lowering, STEPS if case.lowering == "unrolled" else None, None)
    content = network_to_tflite(
        read_network(weights, description=description),
        get_recipe(case.recipe),
        target,
        [rows[begin : begin + STEPS] for begin in range(0, ROWS - STEPS, STEPS)],
        output=OUTPUT,
    )
    (folder / "model.tflite").write_bytes(content)


def load_command(case: SequenceCase, folder: Path, **changed: Any) -> protocol.LoadModel:
    """The command that loads a case in either runner."""
    settings: dict[str, Any] = {
        "model_path": str(folder / "model.tflite"),
        "tokenizer_path": str(folder / "eval.npy"),
        "max_tokens": STEPS,
        "labels": OUTPUTS,
        "signature_key": SIGNATURE,
        "input_name": FLOAT_INPUT,
        "output_name": OUTPUT,
        "threads": 1,
        "first_text": PLACES[0],
        "spawned_ns": 0,
        "head": case.head,
        "features": FEATURES,
    }
    return protocol.LoadModel(**(settings | changed))
