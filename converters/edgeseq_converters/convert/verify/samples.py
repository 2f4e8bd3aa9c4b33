"""From a trained model's data set to the token ids that a conversion is compared on."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from edgeseq.errors import CheckpointError, DataError
from edgeseq.formats.trained_model import TrainedModel
from edgeseq.runtime.text_tokenizer import TextTokenizer
from edgeseq.tasks.examples import AnyDataset, AnyExample, TextExample
from edgeseq.tasks.registry import task_of
from edgeseq.tasks.word_windows import Windowed, WordEncoder

N_COMPARED = 512
"""Development texts that a conversion is compared on, evenly spread over the set: an agreement of
0.98 is then known to ±0.012 (95 %), and a MiniLM-L6 takes seconds."""
N_GOLDEN = 16
N_CALIBRATED = 200
"""Training texts that a static recipe takes its ranges from, evenly spread over the set."""


class Texts:
    """Encodes texts as a device does: at their real length, cut at `max_tokens`."""

    def __init__(
        self, model: TrainedModel, vocabulary_size: int, max_tokens: int | None = None
    ) -> None:
        """`max_tokens` cuts texts earlier than the model does.

        Raises `CheckpointError` when tokenizer.json is damaged or knows more tokens than the
        model has rows for.
        """
        where = f"{model.manifest.name}: tokenizer.json"
        self._max_tokens = max_tokens or model.manifest.max_tokens
        try:
            self._tokenizer = TextTokenizer.from_json(model.tokenizer_json, self._max_tokens)
        except Exception as failure:  # tokenizers raises a bare Exception, nothing finer
            raise CheckpointError(
                "is not a tokenizer file", where=where, found=failure, fix="train again"
            ) from failure
        self.head = task_of(model.manifest.task).head
        if (size := self._tokenizer.vocabulary_size) > vocabulary_size:
            raise CheckpointError(
                "knows more tokens than the model",
                where=where,
                found=size,
                expected=f"<= {vocabulary_size}",
                fix="train again",
            )
        if self.head != "text-classification":
            self._words = WordEncoder(self._tokenizer.disable_truncation(), self._max_tokens)

    def inputs(self, example: AnyExample) -> Windowed:
        """The model's inputs for an example: one, or the windows of a long tagged sentence."""
        if isinstance(example, TextExample):
            return Windowed([list(self.encode(example.text))], [], [], 0, unknown_only=False)
        return self._words.encode(example.words)

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of one text; never empty: a text without a token is one unknown token.

        Raises `DataError` when the mentions of a marked text are too long.
        """
        return tuple(self._tokenizer.token_ids_strict(text))

    def words(self) -> dict[int, str]:
        """The token of each id."""
        return {place: token for token, place in self._tokenizer.vocabulary.items()}


class Compared(msgspec.Struct, frozen=True):
    """The texts that a conversion is compared on; the first `n_golden` inputs are the golden ones.

    `token_ids` are the model's inputs: one an example, or with one label a word the windows of all
    examples in order. Then `places` has for each input the tokens that carry a word there, and
    `words` these words' numbers among all words of the examples.
    """

    examples: tuple[AnyExample, ...]
    token_ids: tuple[tuple[int, ...], ...]
    n_golden: int
    places: tuple[tuple[int, ...], ...] = ()
    words: tuple[tuple[int, ...], ...] = ()


def choose_compared(dataset: AnyDataset, texts: Texts, *, everything: bool = False) -> Compared:
    """At most `N_COMPARED` development examples (or `everything`), with golden ones of all
    lengths in front; of tagged sentences those that take one window.

    Raises `DataError` when the development set is empty.
    """
    if not dataset.dev:
        raise DataError(
            "has no development examples to compare a conversion on", where=dataset.name
        )
    wanted = len(dataset.dev) if everything else N_COMPARED
    examples = [dataset.dev[place] for place in _spread(len(dataset.dev), wanted)]
    inputs = [texts.inputs(example) for example in examples]
    whole = [place for place, one in enumerate(inputs) if len(one.windows) == 1]
    by_length = sorted(whole, key=lambda place: inputs[place].n_tokens)
    golden = [by_length[place] for place in _spread(len(whole), N_GOLDEN)]
    chosen = set(golden)
    order = golden + [place for place in range(len(examples)) if place not in chosen]
    compared = Compared(
        examples=tuple(examples[place] for place in order),
        token_ids=tuple(tuple(row) for place in order for row in inputs[place].windows),
        n_golden=len(golden),
    )
    if texts.head == "text-classification":
        return compared
    places, words = _words_of([inputs[place] for place in order])
    return msgspec.structs.replace(compared, places=places, words=words)


Numbers = tuple[tuple[int, ...], ...]


def _words_of(texts: Sequence[Windowed]) -> tuple[Numbers, Numbers]:
    """For each input of all texts: its tokens that carry a word, and those words' numbers."""
    places: list[tuple[int, ...]] = []
    words: list[tuple[int, ...]] = []
    before = 0
    for text in texts:
        for number in range(len(text.windows)):
            own = [
                word
                for word, (owner, token) in enumerate(zip(text.inputs, text.tokens, strict=True))
                if owner == number and token >= 0
            ]
            places.append(tuple(text.tokens[word] for word in own))
            words.append(tuple(before + word for word in own))
        before += len(text.tokens)
    return tuple(places), tuple(words)


def choose_calibrated(dataset: AnyDataset, texts: Texts) -> tuple[tuple[int, ...], ...]:
    """Token ids of at most `N_CALIBRATED` training texts (development texts where there are
    none), of a long one its first window."""
    part = dataset.train or dataset.dev
    return tuple(
        tuple(texts.inputs(part[place]).windows[0]) for place in _spread(len(part), N_CALIBRATED)
    )


def _spread(count: int, wanted: int) -> Sequence[int]:
    """At most `wanted` places out of `count`, evenly spread, first and last among them."""
    if not count:
        return []
    return sorted(set(np.linspace(0, count - 1, min(count, wanted)).round().astype(int).tolist()))
