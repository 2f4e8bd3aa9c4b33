"""litert-torch's file of a checkpoint, quantized by ai-edge-quantizer."""

from __future__ import annotations

from pathlib import Path

import litert_torch
import torch
from ai_edge_quantizer import quantizer, recipe

from studies.peers.bert_files import BertBuildOrder
from studies.peers.bert_torch import torch_model


def build(order: BertBuildOrder) -> None:
    """Writes the file that the order names."""
    ids = torch.zeros((1, order.length), dtype=torch.int32)
    mask = torch.ones((1, order.length), dtype=torch.int32)
    exported = litert_torch.convert(torch_model(order.checkpoint, masked=True), (ids, mask))
    if order.precision == "float32":
        exported.export(order.path)
        return
    plain = Path(order.path).with_suffix(".plain.tflite")
    exported.export(str(plain))
    quantizer_of_file = quantizer.Quantizer(str(plain), recipe.dynamic_wi8_afp32())
    quantizer_of_file.quantize().export_model(order.path, overwrite=True)
