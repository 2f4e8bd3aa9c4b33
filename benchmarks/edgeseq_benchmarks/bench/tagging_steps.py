"""The steps of a query in token classification: one label per word."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from edgeseq.runtime.interpreter import TfliteRuntime
from edgeseq.runtime.text_tokenizer import TextTokenizer
from edgeseq.tasks.tagging import TagDecoder
from edgeseq.tasks.word_features import FEATURES, NO_WORD
from edgeseq.tasks.word_windows import Windowed, WordEncoder, word_rows
from edgeseq_benchmarks.bench import protocol
from edgeseq_benchmarks.bench.protocol import Text, TextPrediction, TokenizationFlags
from edgeseq_benchmarks.bench.query_steps import StatelessSteps
from edgeseq_benchmarks.bench.tokenized_steps import TokenizedSteps

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class TokenClassificationSteps(TokenizedSteps, StatelessSteps):
    """One label per word; BIO rules are kept when decoding where labels are spans, and the
    model's transitions are added where it has any."""

    by_token = True

    def __init__(
        self, command: protocol.LoadModel, runtime: TfliteRuntime, tokenizer: TextTokenizer
    ) -> None:
        super().__init__(command, runtime, tokenizer)
        self._encoder = WordEncoder(
            tokenizer.disable_truncation(), command.max_tokens, command.word_features
        )
        self._has_features = command.word_features is not None
        self._decoder = TagDecoder(command.span_labels, command.transitions)

    def allocate(self, text: Text) -> None:
        self._model.allocate(max(map(len, self.tokenize(text).windows)))

    def tokenize(self, text: Text) -> Windowed:
        """The windows that cover a text; a string is divided at white space."""
        return self._encoder.encode(text.split() if isinstance(text, str) else text)

    def infer(self, inputs: Windowed) -> tuple[Windowed, list[Any]]:
        """The logits [tokens, labels] of every window."""
        return inputs, [self._model.infer(row) for row in inputs.model_inputs]

    def decode(self, outputs: tuple[Windowed, list[Any]]) -> tuple[int, ...]:
        """The best tags of all words, by the rules and transitions."""
        inputs, logits = outputs
        return tuple(self._decoder.best_tags(word_rows(logits, inputs)).tolist())

    def logits(
        self, token_ids: Sequence[int], word_rows: Sequence[int] = (), /
    ) -> npt.NDArray[np.float32]:
        if not self._has_features:
            return self._model.infer(token_ids)
        return self._model.infer(_with_rows(token_ids, word_rows))

    def repeatable(self, inputs: list[Any]) -> Callable[[int], object]:
        if self._has_features:
            inputs = [_with_rows(token_ids, ()) for token_ids in inputs]
        return super().repeatable(inputs)

    def count(self, inputs: Windowed) -> int:
        """Tokens that are computed."""
        return inputs.n_tokens

    def predict(self, text: Text) -> TextPrediction:
        inputs = self.tokenize(text)
        outputs = self.infer(inputs)
        logits, tags = word_rows(outputs[1], inputs), self.decode(outputs)
        return TextPrediction(
            token_ids=tuple(token_id for row in inputs.windows for token_id in row),
            logits=tuple(logits.ravel().tolist()),
            classes=tags,
            flags=_window_flags(inputs),
            word_rows=tuple(
                row for window in inputs.features or () for rows in window for row in rows
            ),
            tag_scores=self._decoder.path_shares(logits, tags),
        )

    def flags(self, text: Text) -> TokenizationFlags:
        return _window_flags(self.tokenize(text))


def _with_rows(token_ids: Sequence[int], word_rows: Sequence[int]) -> list[tuple[int, ...]]:
    """Each token's id and its word's rows, which are given flat; without any no word's."""
    rows = word_rows or NO_WORD * len(token_ids)
    by_token = zip(*[iter(rows)] * len(FEATURES), strict=True)
    return [(token_id, *words) for token_id, words in zip(token_ids, by_token, strict=True)]


def _window_flags(inputs: Windowed) -> TokenizationFlags:
    return TokenizationFlags(bool(inputs.cut_words), inputs.unknown_only, len(inputs.windows) > 1)
