"""The steps of a query in language modeling: the next word."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeseq.runtime.interpreter import TfliteRuntime
from edgeseq.runtime.stateful import StatefulModel, next_tokens, score_document, top_k
from edgeseq.runtime.text_tokenizer import TextTokenizer
from edgeseq_benchmarks.bench import protocol
from edgeseq_benchmarks.bench.protocol import Text, TextPrediction, TokenizationFlags
from edgeseq_benchmarks.bench.tokenized_steps import TokenizedSteps


class LanguageModelSteps(TokenizedSteps):
    """The next word: each timed text continues the one before it."""

    fixed_length: int | None = None

    def __init__(
        self, command: protocol.LoadModel, runtime: TfliteRuntime, tokenizer: TextTokenizer
    ) -> None:
        self._tokenizer = tokenizer
        self._model = StatefulModel(
            command.model_path,
            max_tokens=command.max_tokens,
            runtime=runtime,
            signature_key=command.signature_key,
            vocabulary_size=command.labels,
            threads=command.threads,
        )
        tokenizer.disable_truncation()  # however little of a text the model sees at a time
        self.count: Callable[[Any], int] = len

    def allocate(self, text: Text) -> None:
        self._model.allocate(len(self.tokenize(text)))

    def tokenize(self, text: Text) -> list[int]:
        """The ids of one more word, or of several."""
        return self._tokenizer.token_ids(text if isinstance(text, str) else " ".join(text))

    def infer(self, token_ids: list[int]) -> Any:
        """The logits [vocabulary] of the next token."""
        return self._model.feed(token_ids)[-1]

    def decode(self, logits: Any) -> int:
        """The first of the three words that an application would suggest."""
        return top_k(logits)[0]

    def predict(self, text: Text) -> TextPrediction:
        """ln p of each token of a text, from a fresh state."""
        token_ids = self.tokenize(text)
        nats = self._model.token_log_probabilities(token_ids).tolist()
        return TextPrediction(token_ids=tuple(token_ids), logits=tuple(nats))

    def flags(self, _text: Text) -> TokenizationFlags:
        return TokenizationFlags()

    def logits(
        self, token_ids: Sequence[int], _word_rows: Sequence[int] = (), /
    ) -> npt.NDArray[np.float64]:
        return self._model.token_log_probabilities(token_ids)

    def repeatable(self, inputs: list[list[int]]) -> Callable[[int], object]:
        """The next word after the first input, from the state that its other words lead to."""
        feed_last = self._model.prefill(inputs[0])
        return lambda _number: feed_last()

    def score_document(self, text: str, start_text: str) -> protocol.DocumentScored:
        """Scores a document from a fresh state; `start_text` is the word before its first one."""
        score = score_document(self._model, self._ids(text), self._ids(start_text)[-1])
        return protocol.DocumentScored(*score)

    def complete(self, text: str, start_text: str, count: int) -> protocol.TopK:
        """The `count` most probable words after a text that is read from a fresh state."""
        token_ids = self._ids(text)
        best, scores = next_tokens(self._model, token_ids, self._ids(start_text)[-1], count)
        return protocol.TopK(
            words=tuple(self._tokenizer.token(token_id) for token_id in best),
            probabilities=tuple(scores),
            tokens_read=len(token_ids),
            unknown=self._tokenizer.count_unknown(token_ids),
        )

    def _ids(self, text: str) -> list[int]:
        return self._tokenizer.token_ids(text) if text.strip() else []
