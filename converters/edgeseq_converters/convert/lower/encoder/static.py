"""Products in integers with calibrated ranges where that is close enough; the rest in float32.

What a static quantization of a whole encoder breaks is layer norm, softmax, GELU and the sums of
residuals: one scale has to hold a few values that are hundreds of times the others. They cost
little, so they stay float32; the products, nearly all of the work, are int8 from end to end.

A product whose inputs or outputs have such values themselves (in MiniLM the second one of each
feed-forward part: 164 beside a spread of less than 1) keeps its scales to the running model, as in
`dynamic_wi8_afp32`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeseq.errors import ConversionError
from edgeseq.formats.trained_model import TrainedModel
from edgeseq_converters.convert.quantize.gptq import first_tokens
from edgeseq_converters.convert.tflite import operators as op
from edgeseq_converters.convert.tflite.model import GraphTensor
from edgeseq_converters.convert.tflite.quantization import Quantization, asymmetric
from edgeseq_converters.models.arrays import FloatArray, ModelInput
from edgeseq_converters.models.reference_encoder import BertReference

PERCENTILE = 99.99
"""Of the values of a tensor over the calibration texts; what lies beyond is cut."""
MAX_NOISE = 0.1
"""The largest rounding error (standard deviation, step/√12) that a static tensor may have, as a
fraction of the spread of the middle half of its values."""
_KEPT_VALUES = 20_000
"""Values that are kept of a tensor and text, besides its extremes."""


@dataclass(frozen=True)
class LinearRange:
    """Smallest and largest value of a linear layer's inputs and of its outputs."""

    inputs: tuple[float, float]
    outputs: tuple[float, float]


def linear_ranges(model: TrainedModel, texts: Sequence[ModelInput]) -> dict[str, LinearRange]:
    """The ranges of those linear layers that can be static (see `MAX_NOISE`), over the
    first tokens of `texts` (`gptq.first_tokens`).

    Raises `ConversionError` without texts.
    """
    if not texts:
        raise ConversionError(
            "a static recipe needs texts to calibrate on",
            where=model.manifest.name,
            found="none",
            fix="name data with --data or --ids, or choose a dynamic recipe",
        )
    observed: dict[str, tuple[list[FloatArray], list[FloatArray]]] = {}
    generator = np.random.default_rng(0)

    def observe(name: str, inputs: FloatArray, outputs: FloatArray) -> None:
        if name == "decoder":
            return  # its logits are compared with each other: they stay as fine as float32
        for previous, values in zip(
            observed.setdefault(name, ([], [])), (inputs, outputs), strict=True
        ):
            flat = values.reshape(-1)
            previous.append(np.asarray([flat.min(), flat.max()], np.float32))
            if flat.size > _KEPT_VALUES:
                flat = generator.choice(flat, _KEPT_VALUES, replace=False)
            previous.append(flat)

    reference = BertReference(model, observe)
    for text in first_tokens(texts):
        reference(np.asarray([text], np.int32))
    ranges = {name: tuple(map(_range, parts)) for name, parts in observed.items()}
    return {
        name: LinearRange(inputs, outputs)
        for name, (inputs, outputs) in ranges.items()
        if inputs is not None and outputs is not None
    }


def _range(parts: list[FloatArray]) -> tuple[float, float] | None:
    """The range of a tensor, or None when 256 steps of it are too coarse for most values."""
    ends = [100 - PERCENTILE, 25, 75, PERCENTILE]
    low, first, third, high = map(float, np.percentile(np.concatenate(parts), ends))
    step = asymmetric(low, high).scales[0]
    # The middle half of normally distributed values spans 1.349 standard deviations.
    if step / np.sqrt(12) > MAX_NOISE * (third - first) / 1.349:
        return None
    return low, high


def product(
    x: GraphTensor,
    name: str,
    matrix: tuple[npt.NDArray[np.int8], Quantization],
    bias: FloatArray,
    of: LinearRange,
    *,
    factor: float,
) -> GraphTensor:
    """x float32 [n, in] times `matrix` [out, in], plus `bias` [out] → float32 [n, out], computed
    in int8; `factor` is what the outputs are multiplied by beside `of`."""
    graph = x.graph
    input_range = asymmetric(*of.inputs)
    answered = asymmetric(*(factor * end for end in of.outputs))
    stored, weights = matrix
    # TFLite's specification: the bias is int32 with the product of both scales, zero point 0.
    scales = np.asarray(weights.scales) * input_range.scales[0]
    limits = np.iinfo(np.int32)
    added = np.clip(np.rint(bias / scales), limits.min, limits.max).astype(np.int32)
    integers = op.fully_connected(
        op.quantize(x, "int8", input_range),
        graph.constant(f"{name}.weight", stored, weights),
        graph.constant(
            f"{name}.bias", added, Quantization(tuple(scales.tolist()), (0,) * len(scales))
        ),
        answered,
    )
    return op.dequantize(integers)
