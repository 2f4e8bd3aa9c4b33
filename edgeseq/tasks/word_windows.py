"""Words as a model's tokens: which token stands for which word, and texts longer than the model.

A tokenizer cuts a word into pieces; its label is read at the first one, as in BERT's own tagging
(Devlin et al. 2019, section 5.3). A text that the model cannot take at once is answered in windows
of whole words that overlap by half, and each word is read from the window in which it has the most
context: nothing is cut, but for the end of a single word that is longer than the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgeseq.tasks.word_features import NO_WORD, WordFeatures


class Windowed(NamedTuple):
    """A text's words as inputs of the model.

    `windows` are token ids with special tokens, one list an input (one for most texts). The logits
    of word w are those of token `tokens[w]` in input `inputs[w]`; token -1 is a word for which the
    tokenizer has nothing at all. `cut_words` counts words whose end had to be cut off. Of a model
    with word features `features` has each window's rows [tokens, 3].
    """

    windows: list[list[int]]
    inputs: list[int]
    tokens: list[int]
    cut_words: int
    unknown_only: bool
    features: list[list[tuple[int, ...]]] | None = None

    @property
    def model_inputs(self) -> list[Any]:
        """What the model is given for each window: token ids, or with word features a row for each
        token, its id and then its features' rows."""
        if self.features is None:
            return self.windows
        return [
            [(token_id, *rows) for token_id, rows in zip(window, features, strict=True)]
            for window, features in zip(self.windows, self.features, strict=True)
        ]

    @property
    def n_tokens(self) -> int:
        """Tokens of all inputs together: what is computed."""
        return sum(map(len, self.windows))


class WordEncoder:
    """A tokenizer for texts that come as words; `tokenizer` has neither padding nor truncation."""

    def __init__(
        self, tokenizer: Any, max_tokens: int, word_features: WordFeatures | None = None
    ) -> None:
        """`max_tokens` is the model's longest input, special tokens included; `word_features` are
        those of the model."""
        self._features = word_features
        self._tokenizer = tokenizer
        special = tokenizer.encode([], is_pretokenized=True).ids
        # An empty text gets the special tokens alone: half precede a text and half follow it.
        marked = tokenizer.encode(["a"], is_pretokenized=True)
        before = list(marked.special_tokens_mask).index(0) if 0 in marked.special_tokens_mask else 0
        self._before, self._after = list(special[:before]), list(special[before:])
        self._room = max(1, max_tokens - len(special))
        self._unknown = getattr(tokenizer.model, "unk_token", None)
        known = None if self._unknown is None else tokenizer.token_to_id(self._unknown)
        self._unknown_id = known

    def encode(self, words: Sequence[str]) -> Windowed:
        """The words as inputs; a text without a word is one unknown token."""
        encoding = self._tokenizer.encode(list(words), is_pretokenized=True)
        word_ids = encoding.word_ids
        first = _first_tokens(word_ids, len(words))
        if self._unknown is not None and -1 in first:
            # Control characters alone make no token: such a word is an unknown one.
            named = [
                word if position >= 0 else self._unknown
                for word, position in zip(words, first, strict=True)
            ]
            encoding = self._tokenizer.encode(named, is_pretokenized=True)
            word_ids = encoding.word_ids
            first = _first_tokens(word_ids, len(words))
        ids = encoding.ids
        known = any(
            word is not None and token_id != self._unknown_id
            for word, token_id in zip(word_ids, ids, strict=True)
        )
        if len(ids) <= self._room + len(self._before) + len(self._after):
            row = list(ids) or [self._unknown_id or 0]
            features = self._feature_rows(words, [list(word_ids) or [None]])
            return Windowed([row], [0] * len(words), first, 0, not known, features)
        return self._in_windows(ids, word_ids, words, unknown_only=not known)

    def _in_windows(
        self,
        ids: Sequence[int],
        word_ids: Sequence[int | None],
        words: Sequence[str],
        *,
        unknown_only: bool,
    ) -> Windowed:
        n = len(words)
        pieces: list[list[int]] = [[] for _ in range(n)]
        for token_id, word in zip(ids, word_ids, strict=True):
            if word is not None:
                pieces[word].append(token_id)
        cut = sum(len(piece) > self._room for piece in pieces)
        pieces = [piece[: self._room] for piece in pieces]
        lengths = [len(piece) for piece in pieces]
        ranges = windows(lengths, self._room)
        inputs, tokens, rows = [0] * n, [-1] * n, []
        words_of_rows: list[list[int | None]] = []
        for start, end in ranges:
            row = list(self._before)
            words_of_row: list[int | None] = [None] * len(self._before)
            for word in range(start, end):
                row += pieces[word]
                words_of_row += [word] * lengths[word]
            rows.append([*row, *self._after])
            words_of_rows.append([*words_of_row, *[None] * len(self._after)])
        ends = np.cumsum([0, *lengths])
        for word, number in enumerate(best_windows(ranges, lengths)):
            inputs[word] = number
            if lengths[word]:
                begin = ranges[number][0]
                tokens[word] = len(self._before) + int(ends[word] - ends[begin])
        features = self._feature_rows(words, words_of_rows)
        return Windowed(rows, inputs, tokens, cut, unknown_only, features)

    def _feature_rows(
        self, words: Sequence[str], words_of_rows: Sequence[Sequence[int | None]]
    ) -> list[list[tuple[int, ...]]] | None:
        """The features' rows of each window from the numbers of its tokens' words."""
        if self._features is None:
            return None
        rows = [self._features.rows_of(word) for word in words]
        return [
            [NO_WORD if word is None else rows[word] for word in words_of_row]
            for words_of_row in words_of_rows
        ]


def _first_tokens(word_ids: Sequence[int | None], n: int) -> list[int]:
    """For each of `n` words the place of its first token, -1 where it has none."""
    first = [-1] * n
    for position in range(len(word_ids) - 1, -1, -1):
        word = word_ids[position]
        if word is not None:
            first[word] = position
    return first


def windows(lengths: Sequence[int], room: int) -> list[tuple[int, int]]:
    """Ranges of words that cover all words, each of at most `room` tokens (or one word).

    `lengths` [words] are in tokens. The next range begins at the first word that leaves at most
    half of the room to what was there already, and always at least a word later.
    """
    ranges: list[tuple[int, int]] = []
    start, n = 0, len(lengths)
    while start < n:
        end, used = start, 0
        while end < n and (used + lengths[end] <= room or end == start):
            used += lengths[end]
            end += 1
        ranges.append((start, end))
        if end == n:
            break
        overlap, start_of_next = 0, end
        while start_of_next - 1 > start and overlap + lengths[start_of_next - 1] <= room // 2:
            start_of_next -= 1
            overlap += lengths[start_of_next]
        # The overlap must leave room for the word that did not fit.
        while start_of_next < end and overlap + lengths[end] > room:
            overlap -= lengths[start_of_next]
            start_of_next += 1
        start = start_of_next
    return ranges


def best_windows(ranges: Sequence[tuple[int, int]], lengths: Sequence[int]) -> list[int]:
    """For each word the range in which it has most context: the smaller of the tokens before and
    after it is largest. The text's ends count as full context; of equals the first."""
    ends = np.cumsum([0, *lengths])
    n = len(lengths)
    best = np.full(n, -1, dtype=np.int64)
    largest = np.full(n, -1.0)
    for number, (start, end) in enumerate(ranges):
        words = np.arange(start, end)
        before = ends[words] - ends[start] if start else np.full(len(words), np.inf)
        after = ends[end] - ends[words + 1] if end < n else np.full(len(words), np.inf)
        context = np.minimum(before, after)
        is_larger = context > largest[words]
        largest[words[is_larger]] = context[is_larger]
        best[words[is_larger]] = number
    return [int(number) for number in best]


def word_rows(logits: Sequence[npt.NDArray[np.float32]], text: Windowed) -> npt.NDArray[np.float32]:
    """The logits [words, labels] from those of each input [tokens, labels].

    A word without a token gets zeros: nothing is known of it.
    """
    if len(logits) == 1 and -1 not in text.tokens:
        row: npt.NDArray[np.float32] = logits[0][text.tokens]
        return row
    labels = logits[0].shape[-1]
    rows = [
        logits[number][token] if token >= 0 else np.zeros(labels, np.float32)
        for number, token in zip(text.inputs, text.tokens, strict=True)
    ]
    return np.stack(rows) if rows else np.zeros((0, labels), np.float32)
