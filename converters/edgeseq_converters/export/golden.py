"""What an export's golden texts must give: a bundle's own outputs, in LiteRT on this machine."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Sequence

import msgspec
import numpy as np

from edgeseq.formats.bundle import BundleFiles, GoldenExample
from edgeseq.formats.export_folder import ExportExample, ExportGolden
from edgeseq_converters.convert.verify.interpreter_process import ModelFile, run_model
from edgeseq_converters.models.arrays import FloatArray

SAME_KERNELS = 1e-4
"""What one set of kernels may differ by between two builds of it, in probabilities."""


def classifier_golden(bundle: BundleFiles, examples: Sequence[GoldenExample]) -> ExportGolden:
    """The probabilities of a text classifier for `examples`.

    The tolerance is twice the largest difference between LiteRT's two sets of kernels, XNNPACK's
    and the built-in ones, on these texts, and at least `SAME_KERNELS`: an app's runtime may have
    either, or a third. Raises `ConversionError` when the runtime does not run the model.
    """
    signature = bundle.manifest.signature
    file = ModelFile(
        bundle.model_path,
        bundle.path,
        signature_key=signature.key,
        output=signature.outputs[0].name,
        width=len(bundle.labels),
        per_token=False,
    )
    token_ids = [example.token_ids for example in examples]
    default, builtin = (
        softmax(np.stack(run_model(kernels, token_ids, stage="run the golden texts")))
        for kernels in (file, msgspec.structs.replace(file, builtin_kernels=True))
    )
    difference = float(np.abs(default - builtin).max())
    version = importlib.metadata.version("ai-edge-litert")
    return ExportGolden(
        quantity="probabilities",
        runtime=f"LiteRT {version} on {platform.machine()}, XNNPACK kernels",
        tolerance=max(SAME_KERNELS, 2 * difference),
        examples=tuple(
            ExportExample(example.text, example.token_ids, tuple(map(float, row)))
            for example, row in zip(examples, default, strict=True)
        ),
    )


def softmax(logits: FloatArray) -> FloatArray:
    """Probabilities [n, labels] of logits [n, labels]."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: FloatArray = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities
