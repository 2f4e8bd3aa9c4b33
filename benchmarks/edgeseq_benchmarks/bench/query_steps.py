"""The three steps of one query, for each head: tokenize, infer, decode.

What is timed is what an application would do: for words, dividing them into tokens, running every
window of a long text, and finding the best tags are all part of the query. Only the measured
process imports this module: NumPy's pages must not be mapped in its parent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from edgeseq.runtime.interpreter import SignatureNames, TfliteModel, TfliteRuntime
from edgeseq.runtime.stateful import (
    DocumentScore,
    StatefulModel,
    next_tokens,
    score_document,
    top_k,
)
from edgeseq.runtime.text_tokenizer import TextTokenizer
from edgeseq.tasks.tagging import best_tags, bio_rules
from edgeseq.tasks.task import Head
from edgeseq.tasks.word_windows import Windowed, WordEncoder, word_rows
from edgeseq_benchmarks.bench import protocol
from edgeseq_benchmarks.bench.probes.query_timer import TimedSteps
from edgeseq_benchmarks.bench.protocol import Text, TextPrediction, TokenizationFlags


class TaskSteps(TimedSteps, Protocol):
    """The timed steps of a query, and what is needed of a loaded model besides."""

    fixed_length: int | None
    """Number of tokens that the model always takes, or None for an open axis."""

    def __init__(
        self, command: protocol.LoadModel, runtime: TfliteRuntime, tokenizer: TextTokenizer
    ) -> None:
        """Loads the model; raises `BundleError` when the file is not of that head."""

    def allocate(self, text: Text) -> None:
        """Allocates tensors for the longest input of `text`."""

    def predict(self, text: Text) -> TextPrediction:
        """Everything about one text, untimed."""

    def flags(self, text: Text) -> TokenizationFlags:
        """What was lost of a text when it was tokenized."""

    def logits(self, token_ids: Sequence[int]) -> npt.NDArray[np.floating[Any]]:
        """The logits of one input given as token ids."""

    def repeatable(self, inputs: list[list[int]]) -> Callable[[int], object]:
        """What is timed at one length: inference on the inputs in turn, by number."""


class _StatelessSteps:
    """What one label per text and one per token have in common: a model without state."""

    by_token: ClassVar[bool]

    def __init__(
        self, command: protocol.LoadModel, runtime: TfliteRuntime, tokenizer: TextTokenizer
    ) -> None:
        self._tokenizer = tokenizer
        self._model = TfliteModel(
            command.model_path,
            runtime=runtime,
            signature=SignatureNames(
                command.signature_key, command.input_name, command.output_name
            ),
            num_labels=command.labels,
            by_token=self.by_token,
            threads=command.threads,
        )
        self.fixed_length = self._model.fixed_length

    def logits(self, token_ids: Sequence[int]) -> npt.NDArray[np.float32]:
        return self._model.infer(token_ids)

    def repeatable(self, inputs: list[list[int]]) -> Callable[[int], object]:
        infer = self._model.infer
        return lambda number: infer(inputs[number % len(inputs)])


class TextClassificationSteps(_StatelessSteps):
    """One label per text."""

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

    def decode(self, logits: Any) -> int:
        """The class of a text: the largest logit. This is what is timed as decoding."""
        return int(logits.argmax())

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


class TokenClassificationSteps(_StatelessSteps):
    """One label per word; BIO rules are kept when decoding where labels are spans."""

    by_token = True

    def __init__(
        self, command: protocol.LoadModel, runtime: TfliteRuntime, tokenizer: TextTokenizer
    ) -> None:
        super().__init__(command, runtime, tokenizer)
        self._encoder = WordEncoder(tokenizer.disable_truncation(), command.max_tokens)
        self._rules = bio_rules(command.span_labels) if command.span_labels else None

    def allocate(self, text: Text) -> None:
        self._model.allocate(max(map(len, self.tokenize(text).windows)))

    def tokenize(self, text: Text) -> Windowed:
        """The windows that cover a text; a string is divided at white space."""
        return self._encoder.encode(text.split() if isinstance(text, str) else text)

    def infer(self, inputs: Windowed) -> tuple[Windowed, list[Any]]:
        """The logits [tokens, labels] of every window."""
        return inputs, [self._model.infer(row) for row in inputs.windows]

    def decode(self, outputs: tuple[Windowed, list[Any]]) -> tuple[int, ...]:
        """The best tags of all words under the rules."""
        inputs, logits = outputs
        return tuple(best_tags(word_rows(logits, inputs), self._rules).tolist())

    def count(self, inputs: Windowed) -> int:
        """Tokens that are computed."""
        return inputs.n_tokens

    def predict(self, text: Text) -> TextPrediction:
        inputs = self.tokenize(text)
        outputs = self.infer(inputs)
        return TextPrediction(
            token_ids=tuple(token_id for row in inputs.windows for token_id in row),
            logits=tuple(word_rows(outputs[1], inputs).ravel().tolist()),
            classes=self.decode(outputs),
            flags=_window_flags(inputs),
        )

    def flags(self, text: Text) -> TokenizationFlags:
        return _window_flags(self.tokenize(text))


def _window_flags(inputs: Windowed) -> TokenizationFlags:
    return TokenizationFlags(bool(inputs.cut_words), inputs.unknown_only, len(inputs.windows) > 1)


class LanguageModelSteps:
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

    def logits(self, token_ids: Sequence[int]) -> npt.NDArray[np.float64]:
        return self._model.token_log_probabilities(token_ids)

    def repeatable(self, inputs: list[list[int]]) -> Callable[[int], object]:
        """The next word after the first input, from the state that its other words lead to."""
        feed_last = self._model.prefill(inputs[0])
        return lambda _number: feed_last()

    def score_document(self, text: str, start_text: str) -> DocumentScore:
        """Scores a document from a fresh state; `start_text` is the word before its first one."""
        return score_document(self._model, self._ids(text), self._ids(start_text)[-1])

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


STEPS: dict[Head, type[TaskSteps]] = {
    "text-classification": TextClassificationSteps,
    "token-classification": TokenClassificationSteps,
    "language-modeling": LanguageModelSteps,
}
"""The steps of each head."""
