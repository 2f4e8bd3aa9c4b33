"""A .tflite file as the schema's objects, for code that writes it again as another file.

The file is one that was checked (`edgeseq.formats.tflite_file`), or that this package wrote.
"""

from __future__ import annotations

from typing import Any, Literal

from ai_edge_litert import schema_py_generated as schema

from edgeseq_converters.convert.tflite.quantization import Quantization

Dtype = Literal["float32", "float16", "int64", "int32", "int16", "int8", "int4", "bool"]
TYPES: dict[Dtype, int] = {
    "float32": schema.TensorType.FLOAT32,
    "float16": schema.TensorType.FLOAT16,
    "int64": schema.TensorType.INT64,
    "int32": schema.TensorType.INT32,
    "int16": schema.TensorType.INT16,
    "int8": schema.TensorType.INT8,
    "int4": schema.TensorType.INT4,
    "bool": schema.TensorType.BOOL,
}
_DTYPES: dict[int, Dtype] = {number: dtype for dtype, number in TYPES.items()}
_OPERATORS: dict[int, str] = {
    value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)
}


class StoredModel:
    """The content of a file: `graphs` and `signatures` are the schema's `SubGraphT` and
    `SignatureDefT`, `operators` the name and version that an operator's `opcodeIndex` stands for.
    """

    def __init__(self, content: bytes) -> None:
        model = schema.ModelT.InitFromPackedBuf(content, 0)
        self.description = text_of(model.description)
        self.graphs: list[Any] = model.subgraphs
        self.signatures: list[Any] = model.signatureDefs or []
        # Codes above 127 are in the newer field; the older one then holds 127.
        self.operators: list[tuple[str, int]] = [
            (_OPERATORS[max(code.builtinCode, code.deprecatedBuiltinCode)], code.version)
            for code in model.operatorCodes
        ]
        self.buffers = [
            b"" if buffer.data is None else bytes(buffer.data) for buffer in model.buffers
        ]

    def name(self, operator: Any) -> str:
        """The name of an operator of a graph, such as `FULLY_CONNECTED`."""
        return self.operators[int(operator.opcodeIndex)][0]

    def constant(self, tensor: Any) -> bytes:
        """The content of a tensor; empty for one that is computed."""
        return self.buffers[int(tensor.buffer)]


def text_of(value: bytes | str | None) -> str:
    """A name in the file; "" for none."""
    if value is None:
        return ""
    return value if isinstance(value, str) else value.decode("utf-8")


def dtype_of(tensor: Any) -> Dtype:
    """The dtype of a `TensorT`."""
    return _DTYPES[tensor.type]


def shape_of(tensor: Any) -> tuple[int, ...]:
    """The shape of a `TensorT`; −1 is an open axis."""
    shape = tensor.shape if tensor.shapeSignature is None else tensor.shapeSignature
    return () if shape is None else tuple(int(size) for size in shape)


def quantization_of(tensor: Any) -> Quantization | None:
    """The scales and zero points of a `TensorT`; None for one that is not quantized."""
    stored = tensor.quantization
    if stored is None or stored.scale is None or not len(stored.scale):
        return None
    scales = tuple(float(scale) for scale in stored.scale)
    zero_points = tuple(int(zero) for zero in stored.zeroPoint)
    return Quantization(scales, zero_points, int(stored.quantizedDimension))
