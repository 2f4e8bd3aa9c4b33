"""The last layer of a model that predicts numbers, fitted to what its quantized layers give it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from edgeseq.formats.storage import write_bytes
from edgeseq.formats.trained_model import TrainedModel
from edgeseq.progress import ProgressCallback
from edgeseq_converters.convert.lower.dispatch import network_to_tflite
from edgeseq_converters.convert.plan import ConversionPlan
from edgeseq_converters.convert.quantize.output_correction import (
    correct_outputs,
    network_of_features,
)
from edgeseq_converters.convert.verify.interpreter_process import ModelFile, run_model
from edgeseq_converters.models.arrays import ModelInput
from edgeseq_converters.models.reference import reference_answers


def fit_outputs(
    model: TrainedModel,
    plan: ConversionPlan,
    file: ModelFile,
    calibration: Sequence[ModelInput],
    *,
    progress: ProgressCallback,
) -> TrainedModel:
    """The model with the last layer of `output_correction` for sequences of `calibration`, each
    [steps, features]; the model itself where its last layer is not a linear one.

    `file` is how the model is run; a file of the other layers lies at its path meanwhile. Raises
    `ConversionError` as `network_to_tflite` and `run_model` do, and `OutputError` when the file
    cannot be written.
    """
    network = network_of_features(model)
    if network is None:
        return model
    content = network_to_tflite(network, plan.recipe, plan.target, calibration, output=file.output)
    write_bytes(file.path, content)
    try:
        features = run_model(
            msgspec.structs.replace(file, width=network.outputs),
            calibration,
            stage="compare with the float model on calibration sequences",
            progress=progress,
        )
    finally:
        file.path.unlink()
    return correct_outputs(model, features, reference_answers(model, calibration))
