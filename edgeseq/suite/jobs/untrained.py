"""The step `untrained`: the bundle of a model that was not trained, to be measured.

Its test examples are those of the development split: a search chooses by what is measured on them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from edgeseq.formats.codec import from_builtins
from edgeseq.formats.trained_model import Arch
from edgeseq.progress import ProgressCallback
from edgeseq.suite.jobs.data import DataArguments, load_unchanged
from edgeseq_converters.convert.import_model import ImportedModel
from edgeseq_converters.convert.pipeline import convert
from edgeseq_converters.convert.plan import ConversionOptions
from edgeseq_converters.training.settings import (
    TrainerOptions,
    read_classifier_settings,
)
from edgeseq_converters.training.untrained import untrained_model


class UntrainedArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The settings that the size of the model depends on, how it is converted, and the bundle to
    write; the files of a teacher or a checkpoint are known by their hash."""

    arch: Arch
    task: str
    settings: dict[str, Any]
    recipe: str
    lowering: str
    data: DataArguments
    data_sha256: str
    out: str
    checkpoint: str | None = None
    checkpoint_sha256: str | None = None
    teacher: str | None = None
    teacher_sha256: str | None = None


def run(arguments: dict[str, Any], progress: ProgressCallback) -> dict[str, Any]:
    """Writes the bundle `out`."""
    request = from_builtins(arguments, UntrainedArguments)
    out, data_dir = Path(request.out), request.data.data_dir
    dataset = load_unchanged(request.data, request.data_sha256, progress)
    dataset = msgspec.structs.replace(dataset, test=dataset.dev)
    trainer_options = TrainerOptions(
        teacher=None if request.teacher is None else Path(request.teacher),
        checkpoint=request.checkpoint,
        data_dir=None if data_dir is None else Path(data_dir),
    )
    settings = read_classifier_settings(request.settings, request.arch, request.task)
    model = untrained_model(dataset, settings, trainer_options, name=out.name, progress=progress)
    options = ConversionOptions(
        recipes=(request.recipe,),
        lowerings=(request.lowering,),
        is_untrained=True,
        overwrite=True,
    )
    imported = ImportedModel(out, model, is_trained_here=True)
    convert(imported, dataset, out, options, progress=progress)
    return {"parameters": model.parameters, "note": f"{model.parameters / 1e6:.2f} M parameters"}
