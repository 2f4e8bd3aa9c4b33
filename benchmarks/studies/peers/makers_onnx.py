"""Files of ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from studies.peers.contenders import BuildJob
from studies.peers.inputs import CLASSES, FloatArray
from studies.peers.makers import BuildOrder


def build(job: BuildJob, order: BuildOrder, weights: dict[str, FloatArray]) -> bytes:
    """The content of the .onnx file that `job` names."""
    plain = Path(order.folder) / f"plain-{job.filename}"
    onnx.save(_onnx_model(weights), plain)
    if job.precision == "float32":
        return plain.read_bytes()
    quantized = plain.with_suffix(".int8.onnx")
    quantize_dynamic(plain, quantized, weight_type=QuantType.QInt8)
    return quantized.read_bytes()


def _onnx_model(weights: dict[str, FloatArray]) -> Any:
    """`ids` int64 [1, n] → `logits` [1, 3] by an LSTM, whose gates are in the order i, o, f, c."""

    def gates_first(array: FloatArray) -> FloatArray:
        i, f, c, o = np.split(array, 4, axis=-1)
        rows: FloatArray = np.concatenate([i, o, f, c], axis=-1).T
        return np.ascontiguousarray(rows[None])

    hidden = weights["recurrent"].shape[0]
    bias = gates_first(weights["bias"])
    constants = {
        "table": weights["table"],
        "W": gates_first(weights["kernel"]),
        "R": gates_first(weights["recurrent"]),
        "B": np.concatenate([bias, np.zeros_like(bias)], axis=1),
        "head": weights["head"],
        "head_bias": weights["head_bias"],
        "directions": np.array([0], np.int64),
    }
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("Transpose", ["rows"], ["steps"], perm=[1, 0, 2]),
        helper.make_node("LSTM", ["steps", "W", "R", "B"], ["", "states"], hidden_size=hidden),
        helper.make_node("Squeeze", ["states", "directions"], ["state"]),
        helper.make_node("MatMul", ["state", "head"], ["product"]),
        helper.make_node("Add", ["product", "head_bias"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "lstm",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, [1, "n"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, CLASSES])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
