"""The steps `convert`: one bundle of one model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from edgeseq.formats.bundle_manifest import MODEL_FILE
from edgeseq.formats.codec import from_builtins
from edgeseq.progress import ProgressCallback
from edgeseq.suite.jobs.data import DataArguments, load_unchanged
from edgeseq.units import format_bytes, format_share
from edgeseq_converters.convert.import_model import load_model
from edgeseq_converters.convert.pipeline import convert
from edgeseq_converters.convert.plan import ConversionOptions

_ALL_POINTS = 100.0
"""A limit on lost points that nothing exceeds."""


class ConvertArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a conversion step reads and writes.

    `all_dev`: the score is that of all development texts, whatever quantization takes of it.
    """

    source: str
    recipe: str
    out: str
    data: DataArguments
    data_sha256: str
    lowering: str = "auto"
    all_dev: bool = False


def run(arguments: dict[str, Any], progress: ProgressCallback) -> dict[str, Any]:
    """Converts a trained model by one recipe and writes its bundle to `out`."""
    request = from_builtins(arguments, ConvertArguments)
    options = ConversionOptions(
        recipes=(request.recipe,),
        lowerings=() if request.lowering == "auto" else (request.lowering,),
        max_drop=_ALL_POINTS if request.all_dev else None,
        overwrite=True,
    )
    dataset = load_unchanged(request.data, request.data_sha256, progress)
    model = load_model(Path(request.source), progress=progress)
    converted = convert(model, dataset, Path(request.out), options, progress=progress)
    [(_, manifest)] = converted.bundles
    fidelity = manifest.fidelity
    size_bytes = manifest.files[MODEL_FILE].size_bytes
    agreement = format_share(fidelity.label_agreement or 0.0)  # a suite trains no regression
    return {
        "size_bytes": size_bytes,
        "label_agreement": fidelity.label_agreement,
        "max_abs_error": fidelity.max_abs_error,
        "dev_score": fidelity.score,
        "note": f"{format_bytes(size_bytes)}, {agreement} of the float model's labels",
    }
