"""ONNX Runtime's file of a checkpoint."""

from __future__ import annotations

from pathlib import Path

import msgspec
import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers.optimizer import optimize_model

from studies.peers.bert_files import BertBuildOrder
from studies.peers.bert_torch import torch_model


def build(order: BertBuildOrder) -> None:
    """Writes the file that the order names; fused by ONNX Runtime's optimizer where it says so."""
    fused = order.maker == "onnxruntime-fused"
    plain = Path(order.path).with_suffix(".plain.onnx")
    ids = torch.tensor([order.texts[0]])
    torch.onnx.export(
        torch_model(order.checkpoint, masked=False), (ids,), str(plain), dynamo=False,
        input_names=["ids"], output_names=["logits"], dynamic_axes={"ids": {1: "n"}},
        opset_version=17,
    )  # fmt: skip
    if fused:
        heads = msgspec.json.decode(Path(order.checkpoint, "config.json").read_bytes())
        optimized = optimize_model(
            str(plain), model_type="bert", num_heads=heads["num_attention_heads"],
            hidden_size=heads["hidden_size"],
        )  # fmt: skip
        optimized.save_model_to_file(str(plain))
    if order.precision == "float32":
        plain.replace(order.path)
        return
    # Of the optimizer's own operators shape inference knows no type: the quantizer asks for one.
    types = {"DefaultTensorType": onnx.TensorProto.FLOAT} if fused else {}
    # A scale a row, and 7 bits: what ONNX Runtime advises for processors without VNNI, whose sums
    # of two products of 8 bits saturate; with its defaults a quarter of the labels was wrong.
    quantize_dynamic(
        plain, order.path, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True,
        extra_options=types,
    )  # fmt: skip
