"""A checkpoint as a PyTorch module, ready to be exported."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForSequenceClassification


def torch_model(checkpoint: str, *, masked: bool) -> Any:
    """ids, and with `masked` a mask, to logits; ready to be exported."""
    # The attention in plain operators is what exporters are told to take by their own guides.
    model = AutoModelForSequenceClassification.from_pretrained(
        checkpoint, attn_implementation="eager"
    ).eval()

    class Logits(torch.nn.Module):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, ids: Any, mask: Any = None) -> Any:
            mask = mask if masked else torch.ones_like(ids)
            return self.model(input_ids=ids, attention_mask=mask).logits

    return Logits().eval()
