"""The three steps of one query, by the head of the task: tokenize, infer, decode.

What is timed is what an application would do: for words, cutting them into pieces, running every
window of a long text, and finding the best tags are all part of the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from edgeseq.runtime.interpreter import TfliteModel
from edgeseq.runtime.stateful import StatefulModel, top_k
from edgeseq.runtime.text_tokenizer import TextTokenizer
from edgeseq.tasks.task import Head
from edgeseq_benchmarks.bench.probes.query_timer import Steps
from edgeseq_benchmarks.bench.protocol import Answer, Text

if TYPE_CHECKING:
    from edgeseq.tasks.word_windows import Windowed


class Read(NamedTuple):
    """One text as the model saw it: all inputs' ids in a row, logits [labels] or [words, labels]
    in a row, the answer (a class, or one a word), and what happened to the text."""

    token_ids: list[int]
    logits: list[float]
    answer: Answer
    truncated: bool
    unknown_only: bool
    windowed: bool


class TextReader:
    """One label a text."""

    def __init__(self, texts: TextTokenizer, model: TfliteModel) -> None:
        self.tokenize: Callable[[Any], Any] = texts.token_ids
        self.infer: Callable[[Any], Any] = model.infer
        self.count: Callable[[Any], int] = len
        self._texts = texts

    def decode(self, logits: Any) -> int:
        """The class of a text: the largest logit. This is what is timed as decoding."""
        return int(logits.argmax())

    def read(self, text: Any) -> Read:
        """Everything about one text, untimed."""
        encoded = self._texts.encode(text)
        logits = self.infer(encoded.token_ids)
        return Read(
            encoded.token_ids,
            logits.tolist(),
            self.decode(logits),
            encoded.truncated,
            encoded.unknown_only,
            windowed=False,
        )

    def happened(self, text: Any) -> tuple[bool, bool, bool]:
        """Whether the text was cut, holds nothing known, and took several windows."""
        encoded = self._texts.encode(text)
        return encoded.truncated, encoded.unknown_only, False


class WordReader:
    """One label a word; `span_labels` are the labels whose BIO rules decoding keeps, if any."""

    def __init__(
        self, texts: TextTokenizer, model: TfliteModel, max_tokens: int, span_labels: Sequence[str]
    ) -> None:
        # Imported late: the process that starts the measured ones holds no numpy.
        from edgeseq.tasks import tagging
        from edgeseq.tasks import word_windows as word_tokens

        self._encoder = word_tokens.WordEncoder(texts.disable_truncation(), max_tokens)
        self._model = model
        self._rules = tagging.bio_rules(span_labels) if span_labels else None
        self._best_tags, self._word_rows = tagging.best_tags, word_tokens.word_rows

    def tokenize(self, text: Text) -> Windowed:
        """The inputs that answer a text; a string is divided at white space."""
        return self._encoder.encode(text.split() if isinstance(text, str) else text)

    def infer(self, inputs: Windowed) -> tuple[Windowed, list[Any]]:
        """The logits [tokens, labels] of every input."""
        return inputs, [self._model.infer(row) for row in inputs.windows]

    def decode(self, answered: tuple[Windowed, list[Any]]) -> tuple[int, ...]:
        """The best tags of all words under the rules."""
        inputs, logits = answered
        return tuple(self._best_tags(self._word_rows(logits, inputs), self._rules).tolist())

    def count(self, inputs: Windowed) -> int:
        """Tokens that are computed."""
        return inputs.n_tokens

    def read(self, text: Text) -> Read:
        """Everything about one text, untimed."""
        inputs = self.tokenize(text)
        answered = self.infer(inputs)
        return Read(
            [token_id for row in inputs.windows for token_id in row],
            self._word_rows(answered[1], inputs).ravel().tolist(),
            self.decode(answered),
            bool(inputs.cut_words),
            inputs.unknown_only,
            len(inputs.windows) > 1,
        )

    def happened(self, text: Text) -> tuple[bool, bool, bool]:
        """Whether a word of the text was cut, it holds nothing known, and took several windows."""
        inputs = self.tokenize(text)
        return bool(inputs.cut_words), inputs.unknown_only, len(inputs.windows) > 1


class NextWordReader:
    """The next word: each text that is asked about goes on where the one before it ended."""

    def __init__(self, texts: TextTokenizer, model: StatefulModel) -> None:
        texts.disable_truncation()  # nothing is cut, however little of a text a model sees at once
        self._texts, self._model = texts, model
        self.count: Callable[[Any], int] = len

    def tokenize(self, text: Text) -> list[int]:
        """The ids of one more word, or of several."""
        return self._texts.token_ids(text if isinstance(text, str) else " ".join(text))

    def infer(self, token_ids: list[int]) -> Any:
        """The logits [vocabulary] for what follows."""
        return self._model.feed(token_ids)[-1]

    def decode(self, logits: Any) -> int:
        """The likeliest of the three words that an application would offer."""
        return top_k(logits)[0]

    def read(self, text: Text) -> Read:
        """ln p of each token of a text, from a fresh state."""
        token_ids = self.tokenize(text)
        nats = self._model.token_log_probabilities(token_ids).tolist()
        return Read(token_ids, nats, 0, truncated=False, unknown_only=False, windowed=False)

    def happened(self, _text: Text) -> tuple[bool, bool, bool]:
        """Nothing is cut, and no word is too little."""
        return False, False, False


class Reader(Steps, Protocol):
    """The steps of a query, and what is said of a text besides."""

    def read(self, text: Any) -> Read: ...
    def happened(self, text: Any) -> tuple[bool, bool, bool]: ...


def reader(
    head: Head,
    texts: TextTokenizer,
    model: TfliteModel | StatefulModel,
    max_tokens: int,
    span_labels: Sequence[str],
) -> Reader:
    """The reader of a bundle's head."""
    if isinstance(model, StatefulModel):
        return NextWordReader(texts, model)
    if head == "token-classification":
        return WordReader(texts, model, max_tokens, span_labels)
    return TextReader(texts, model)
