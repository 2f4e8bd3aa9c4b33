"""From a trained model's data set to the token ids that a conversion is compared on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from edgeseq.data.examples import Dataset, TextExample
from edgeseq.errors import CheckpointError, DataError
from edgeseq.marked_text import encode_marked, marker_ids
from edgeseq.model_folder import TrainedModel

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
        from tokenizers import Tokenizer

        where = f"{model.manifest.name}: tokenizer.json"
        try:
            self._tokenizer: Any = Tokenizer.from_str(model.tokenizer_json)
        except Exception as failure:  # tokenizers raises a bare Exception, nothing finer
            raise CheckpointError(
                "is not a tokenizer file", where=where, found=failure, fix="train again"
            ) from failure
        self._tokenizer.no_padding()
        self._max_tokens = max_tokens or model.manifest.max_tokens
        self._marked = marker_ids(self._tokenizer) is not None
        if self._marked:
            self._tokenizer.no_truncation()
        else:
            self._tokenizer.enable_truncation(max_length=self._max_tokens)
        if (size := self._tokenizer.get_vocab_size()) > vocabulary_size:
            raise CheckpointError(
                "knows more tokens than the model",
                where=where,
                found=size,
                expected=f"<= {vocabulary_size}",
                fix="train again",
            )
        unknown = getattr(self._tokenizer.model, "unk_token", None)
        self._unknown_id = self._tokenizer.token_to_id(unknown) if unknown else None

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of one text; never empty: a text without a token is one unknown token.

        Raises `DataError` when the mentions of a marked text are too long.
        """
        if self._marked:
            return encode_marked(self._tokenizer, text, self._max_tokens).ids
        return tuple(self._tokenizer.encode(text).ids) or (self._unknown_id or 0,)


class Compared(msgspec.Struct, frozen=True):
    """The texts that a conversion is compared on; the first `n_golden` are the golden ones."""

    examples: tuple[TextExample, ...]
    token_ids: tuple[tuple[int, ...], ...]
    n_golden: int


def choose_compared(dataset: Dataset, texts: Texts, *, everything: bool = False) -> Compared:
    """At most `N_COMPARED` development examples (or `everything`), with golden ones of all
    lengths in front.

    Raises `DataError` when the development set is empty.
    """
    if not dataset.dev:
        raise DataError(
            "has no development examples to compare a conversion on", where=dataset.name
        )
    wanted = len(dataset.dev) if everything else N_COMPARED
    examples = [dataset.dev[place] for place in _spread(len(dataset.dev), wanted)]
    token_ids = [texts.encode(example.text) for example in examples]
    by_length = sorted(range(len(examples)), key=lambda place: len(token_ids[place]))
    golden = [by_length[place] for place in _spread(len(examples), N_GOLDEN)]
    chosen = set(golden)
    order = golden + [place for place in range(len(examples)) if place not in chosen]
    return Compared(
        examples=tuple(examples[place] for place in order),
        token_ids=tuple(token_ids[place] for place in order),
        n_golden=len(golden),
    )


def choose_calibrated(dataset: Dataset, texts: Texts) -> tuple[tuple[int, ...], ...]:
    """Token ids of at most `N_CALIBRATED` training texts (development texts where there are
    none)."""
    part = dataset.train or dataset.dev
    return tuple(texts.encode(part[place].text) for place in _spread(len(part), N_CALIBRATED))


def _spread(count: int, wanted: int) -> Sequence[int]:
    """At most `wanted` places out of `count`, evenly spread, first and last among them."""
    return sorted(set(np.linspace(0, count - 1, min(count, wanted)).round().astype(int).tolist()))
