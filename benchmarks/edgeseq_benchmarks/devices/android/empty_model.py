"""A TFLite file without an operator: what the native tool holds before it has a model.

Its output is its input, int32 [1, 1]. The process that runs it has loaded the runtime and nothing
else, which is what the memory of every model is counted from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flatbuffers
import tflite


def empty_model() -> bytes:
    """The file's content, under 1 kB."""
    builder: Any = flatbuffers.Builder(256)
    name = builder.CreateString("input_ids")
    shape = _vector(builder, tflite.TensorStartShapeVector, (1, 1), builder.PrependInt32)
    tflite.TensorStart(builder)
    tflite.TensorAddShape(builder, shape)
    tflite.TensorAddType(builder, tflite.TensorType.INT32)
    tflite.TensorAddBuffer(builder, 0)
    tflite.TensorAddName(builder, name)
    tensor = tflite.TensorEnd(builder)
    offset = builder.PrependUOffsetTRelative
    tensors = _vector(builder, tflite.SubGraphStartTensorsVector, (tensor,), offset)
    inputs = _vector(builder, tflite.SubGraphStartInputsVector, (0,), builder.PrependInt32)
    outputs = _vector(builder, tflite.SubGraphStartOutputsVector, (0,), builder.PrependInt32)
    tflite.SubGraphStart(builder)
    tflite.SubGraphAddTensors(builder, tensors)
    tflite.SubGraphAddInputs(builder, inputs)
    tflite.SubGraphAddOutputs(builder, outputs)
    subgraph = tflite.SubGraphEnd(builder)
    subgraphs = _vector(builder, tflite.ModelStartSubgraphsVector, (subgraph,), offset)
    tflite.BufferStart(builder)
    buffer = tflite.BufferEnd(builder)
    buffers = _vector(builder, tflite.ModelStartBuffersVector, (buffer,), offset)
    tflite.ModelStart(builder)
    tflite.ModelAddVersion(builder, 3)
    tflite.ModelAddSubgraphs(builder, subgraphs)
    tflite.ModelAddBuffers(builder, buffers)
    builder.Finish(tflite.ModelEnd(builder), b"TFL3")
    return bytes(builder.Output())


def _vector(
    builder: Any,
    start: Callable[[Any, int], Any],
    values: Sequence[int],
    prepend: Callable[[int], None],
) -> int:
    start(builder, len(values))
    for value in reversed(values):
        prepend(value)
    end: int = builder.EndVector()
    return end
