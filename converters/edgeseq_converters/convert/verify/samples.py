"""The token ids that a conversion is compared and calibrated on."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from edgeseq.errors import CheckpointError, DataError
from edgeseq.formats.trained_model import TrainedModel
from edgeseq.runtime.text_tokenizer import TextTokenizer
from edgeseq.tasks.examples import (
    AnyDataset,
    AnyExample,
    MultilabelExample,
    SequenceExample,
    TextExample,
)
from edgeseq.tasks.head import is_per_text
from edgeseq.tasks.registry import task_of
from edgeseq.tasks.word_windows import Windowed, WordEncoder
from edgeseq_converters.models.arrays import ModelInput

N_COMPARED = 512
"""Development texts that a conversion is compared on, evenly spread over the split: an agreement of
0.98 is then known to ±0.012 (95 %), and a MiniLM-L6 takes seconds."""
N_DECIDING = 4096
"""Those that label thresholds are chosen on, which are all compared then."""
N_GOLDEN = 16
N_CALIBRATED = 200
"""Training texts that activation ranges are calibrated on, evenly spread over the split."""


class TextInputs:
    """Encodes texts as a device does: truncated at `max_tokens`, padded where the model was."""

    def __init__(
        self, model: TrainedModel, vocabulary_size: int, max_tokens: int | None = None
    ) -> None:
        """`max_tokens` truncates texts earlier than the model does.

        Raises `CheckpointError` when tokenizer.json is damaged or knows more tokens than the
        model has rows for.
        """
        where = f"{model.manifest.name}: tokenizer.json"
        self._max_tokens = max_tokens or model.manifest.max_tokens
        try:
            self._tokenizer = TextTokenizer.from_json(
                model.tokenizer_json, self._max_tokens, model.manifest.padding
            )
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
        if not is_per_text(self.head):
            untruncated = self._tokenizer.disable_truncation()
            self._word_encoder = WordEncoder(
                untruncated, self._max_tokens, model.manifest.word_features
            )

    def inputs(self, example: AnyExample) -> Windowed:
        """The model's inputs for an example: one, or the windows of a long tagged sentence."""
        if isinstance(example, SequenceExample):
            raise TypeError("numbers are not tokenized")
        if isinstance(example, (TextExample, MultilabelExample)):
            return Windowed([list(self.encode(example.text))], [], [], 0, unknown_only=False)
        return self._word_encoder.encode(example.words)

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of one text; never empty: a text without a token is one unknown token.

        Raises `DataError` when the mentions of a marked text are too long.
        """
        return tuple(self._tokenizer.token_ids_strict(text))

    def tokens(self) -> dict[int, str]:
        """The token of each id."""
        return {token_id: token for token, token_id in self._tokenizer.vocabulary.items()}


class TextSample(msgspec.Struct, frozen=True):
    """The texts that a conversion is compared on; the first `n_golden` inputs are the golden ones.

    `token_ids` are the model's inputs (`Windowed.model_inputs`): one per example, or with one label
    per word the windows of all examples in order. Then `positions` has for each input the tokens
    that carry a word there, and `words` these words' numbers among all words of the examples.
    """

    examples: tuple[AnyExample, ...]
    token_ids: tuple[ModelInput, ...]
    n_golden: int
    positions: tuple[tuple[int, ...], ...] = ()
    words: tuple[tuple[int, ...], ...] = ()


def choose_sample(
    dataset: AnyDataset, inputs: TextInputs, *, count: int = N_COMPARED
) -> TextSample:
    """At most `count` development examples, with golden ones of all lengths in front; of tagged
    sentences those that take one window.

    Raises `DataError` when the development set is empty.
    """
    if not dataset.dev:
        raise DataError(
            "has no development examples to compare a conversion on", where=dataset.name
        )
    examples = [dataset.dev[index] for index in spread(len(dataset.dev), count)]
    encoded = [inputs.inputs(example) for example in examples]
    unsplit = [index for index, windowed in enumerate(encoded) if len(windowed.windows) == 1]
    by_length = sorted(unsplit, key=lambda index: encoded[index].n_tokens)
    golden = [by_length[rank] for rank in spread(len(unsplit), N_GOLDEN)]
    in_front = set(golden)
    order = golden + [index for index in range(len(examples)) if index not in in_front]
    sample = TextSample(
        examples=tuple(examples[index] for index in order),
        token_ids=tuple(tuple(row) for index in order for row in encoded[index].model_inputs),
        n_golden=len(golden),
    )
    if is_per_text(inputs.head):
        return sample
    positions, words = _word_positions([encoded[index] for index in order])
    return msgspec.structs.replace(sample, positions=positions, words=words)


IntRows = tuple[tuple[int, ...], ...]


def _word_positions(texts: Sequence[Windowed]) -> tuple[IntRows, IntRows]:
    """For each input of all texts: its tokens that carry a word, and those words' numbers."""
    positions: list[tuple[int, ...]] = []
    words: list[tuple[int, ...]] = []
    first_word = 0
    for text in texts:
        for window_index in range(len(text.windows)):
            in_window = [
                word
                for word, (window, token) in enumerate(zip(text.inputs, text.tokens, strict=True))
                if window == window_index and token >= 0
            ]
            positions.append(tuple(text.tokens[word] for word in in_window))
            words.append(tuple(first_word + word for word in in_window))
        first_word += len(text.tokens)
    return tuple(positions), tuple(words)


def calibration_inputs(dataset: AnyDataset, inputs: TextInputs) -> tuple[ModelInput, ...]:
    """Token ids of at most `N_CALIBRATED` training texts (development texts where there are
    none), of a long one its first window."""
    split = dataset.train or dataset.dev
    return tuple(
        tuple(inputs.inputs(split[index]).model_inputs[0])
        for index in spread(len(split), N_CALIBRATED)
    )


def spread(count: int, max_count: int) -> Sequence[int]:
    """At most `max_count` indices below `count`, evenly spread, first and last among them."""
    if not count:
        return []
    spread = np.linspace(0, count - 1, min(count, max_count))
    return sorted(set(spread.round().astype(int).tolist()))
