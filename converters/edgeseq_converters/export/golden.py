"""What an export's golden texts must give: a bundle's own outputs, in LiteRT on this machine."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Sequence
from typing import Literal

import numpy as np

from edgeseq.formats.bundle import BundleFiles
from edgeseq.formats.bundle_manifest import GoldenExample
from edgeseq.formats.export_folder import ExportExample, ExportGolden
from edgeseq_converters.convert.verify.interpreter_process import ModelFile, run_model
from edgeseq_converters.models.arrays import FloatArray

SAME_KERNELS = 1e-4
"""What one set of kernels may differ by between two builds of it, in probabilities."""


def bundle_logits(
    bundle: BundleFiles, token_ids: Sequence[Sequence[int]], *, builtin_kernels: bool = False
) -> FloatArray:
    """The logits [texts, labels] of a text classifier's own file in LiteRT, in a child process.

    `builtin_kernels` are LiteRT's own, without XNNPACK. Raises `ConversionError` when the runtime
    does not run the model.
    """
    signature = bundle.manifest.signature
    file = ModelFile(
        bundle.model_path,
        bundle.path,
        signature_key=signature.key,
        output=signature.outputs[0].name,
        width=len(bundle.labels),
        per_token=False,
        builtin_kernels=builtin_kernels,
    )
    return np.stack(run_model(file, token_ids, stage="run the bundle in LiteRT"))


def export_golden(
    quantity: Literal["probabilities", "logits", "embeddings"],
    examples: Sequence[GoldenExample],
    outputs: FloatArray,
    tolerance: float,
) -> ExportGolden:
    """The golden texts `examples` with what LiteRT on this machine gives for them: `outputs`
    [examples, labels]."""
    version = importlib.metadata.version("ai-edge-litert")
    return ExportGolden(
        quantity=quantity,
        runtime=f"LiteRT {version} on {platform.machine()}, with XNNPACK",
        tolerance=tolerance,
        examples=tuple(
            ExportExample(example.text, example.token_ids, tuple(row.tolist()))
            for example, row in zip(examples, outputs, strict=True)
        ),
    )


def probabilities_golden(bundle: BundleFiles, examples: Sequence[GoldenExample]) -> ExportGolden:
    """The probabilities of a text classifier for `examples`.

    The tolerance is twice the largest difference between LiteRT's two sets of kernels, XNNPACK's
    and the built-in ones, on these texts, and at least `SAME_KERNELS`: an app's runtime may have
    either, or a third. Raises `ConversionError` when the runtime does not run the model.
    """
    token_ids = [example.token_ids for example in examples]
    default, builtin = (
        softmax(bundle_logits(bundle, token_ids, builtin_kernels=builtin_kernels))
        for builtin_kernels in (False, True)
    )
    difference = float(np.abs(default - builtin).max())
    return export_golden("probabilities", examples, default, max(SAME_KERNELS, 2 * difference))


def softmax(logits: FloatArray) -> FloatArray:
    """Probabilities [n, labels] of logits [n, labels]."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: FloatArray = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities
