"""What a model predicts; a module apart, because the measured process imports nothing else."""

from __future__ import annotations

from typing import Literal

Head = Literal["text-classification", "token-classification", "language-modeling"]
