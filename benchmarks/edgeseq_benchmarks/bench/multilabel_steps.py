"""The steps of a query in multilabel classification: any number of labels per text."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeseq.runtime.interpreter import TfliteRuntime
from edgeseq.runtime.text_tokenizer import TextTokenizer
from edgeseq_benchmarks.bench import protocol
from edgeseq_benchmarks.bench.text_steps import TextSteps


class MultilabelSteps(TextSteps):
    """For each label whether a text has it."""

    def __init__(
        self, command: protocol.LoadModel, runtime: TfliteRuntime, tokenizer: TextTokenizer
    ) -> None:
        super().__init__(command, runtime, tokenizer)
        self._thresholds = np.array(command.thresholds, np.float32)

    def decode(self, logits: Any) -> tuple[int, ...]:
        """1 for each label whose logit reaches its threshold, else 0."""
        return tuple((logits >= self._thresholds).astype(int).tolist())
