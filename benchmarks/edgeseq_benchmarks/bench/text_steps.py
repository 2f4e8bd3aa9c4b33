"""The steps of a query of a model with one row of logits per text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgeseq.runtime.interpreter import TfliteRuntime
from edgeseq.runtime.text_tokenizer import TextTokenizer
from edgeseq_benchmarks.bench import protocol
from edgeseq_benchmarks.bench.protocol import Classes, Text, TextPrediction, TokenizationFlags
from edgeseq_benchmarks.bench.query_steps import StatelessSteps
from edgeseq_benchmarks.bench.tokenized_steps import TokenizedSteps


class TextSteps(TokenizedSteps, StatelessSteps):
    """What is alike for one label and for any number of labels per text."""

    by_token = False

    def __init__(
        self, command: protocol.LoadModel, runtime: TfliteRuntime, tokenizer: TextTokenizer
    ) -> None:
        super().__init__(command, runtime, tokenizer)
        self.tokenize: Callable[[Any], Any] = tokenizer.token_ids
        self.infer: Callable[[Any], Any] = self._model.infer
        self.count: Callable[[Any], int] = len

    def allocate(self, text: Text) -> None:
        self._model.allocate(len(self.tokenize(text)))

    def decode(self, logits: Any) -> Classes:
        """The classes of a text from its logits [labels]. This is what is timed as decoding."""
        raise NotImplementedError

    def predict(self, text: Any) -> TextPrediction:
        encoded = self._tokenizer.encode(text)
        logits = self.infer(encoded.token_ids)
        return TextPrediction(
            token_ids=tuple(encoded.token_ids),
            logits=tuple(logits.tolist()),
            classes=self.decode(logits),
            flags=TokenizationFlags(encoded.truncated, encoded.unknown_only),
        )

    def flags(self, text: Any) -> TokenizationFlags:
        encoded = self._tokenizer.encode(text)
        return TokenizationFlags(encoded.truncated, encoded.unknown_only)


class TextClassificationSteps(TextSteps):
    """One label per text."""

    def decode(self, logits: Any) -> int:
        """The class of the largest logit."""
        return int(logits.argmax())
