"""A language model on the device: tokens are fed one at a time, the state stays here.

The model's signature takes `input_ids` int32 [1, n] and its states by name (`h0`, `c0`, …), and
returns `logits` float32 [1, n, vocabulary] and the new states (`h0_next`, …), which go in with the
next tokens. A model that also takes `logit_positions` int32 [m], the positions whose logits are
needed, sees a window of the last tokens. Without states it is given the window again for every
token; with states, which are a KV cache, the new tokens alone. When its cache is full, it reads the
last half of a window again into an empty one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgeseq.errors import BundleError, DataError
from edgeseq.runtime.interpreter import TfliteRuntime, find_runtime, load_interpreter
from edgeseq.tasks.perplexity import log_probabilities, ranks

INPUT_IDS, LOGIT_POSITIONS, LOGITS, NEXT_SUFFIX = "input_ids", "logit_positions", "logits", "_next"
CHUNK_TOKENS = 32
"""Tokens that are fed together when a document is scored: the products with the embedding table
read it once for all of them."""


class DocumentScore(NamedTuple):
    """One document: the sum of ln p over its tokens in nats, the number of tokens, and how many of
    them had the highest probability, or one of the three highest."""

    nats: float
    tokens: int
    top1_correct: int
    top3_correct: int


class StatefulModel:
    """A language model in an interpreter, with its state; not safe for several threads at once.

    `chunk_tokens` is how many tokens of a document are best fed together. For a model that sees a
    window it is half of one: then each token has at least half a window before it, itself included,
    or all that the document has.
    """

    fixed_length: int | None = None

    def __init__(
        self,
        path: str | Path,
        *,
        max_tokens: int,
        runtime: TfliteRuntime | None = None,
        signature_key: str = "stream",
        vocabulary_size: int | None = None,
        threads: int = 1,
    ) -> None:
        """Maps the file at `path` in `runtime` (default: the installed one).

        `max_tokens` is the window of a model that sees one; `vocabulary_size`, if given, is checked
        against the logits. Raises `BundleError` when the file is not such a model.
        """
        self._path, self._vocabulary_size = str(path), vocabulary_size
        self._interpreter = load_interpreter(runtime or find_runtime(), self._path, threads)
        try:
            # The runner is dropped at once: while one lives, the interpreter refuses to resize.
            runner = self._interpreter.get_signature_runner(signature_key)
            inputs, outputs = runner.get_input_details(), runner.get_output_details()
        except (ValueError, RuntimeError) as failure:
            raise self._error(f"has no signature {signature_key}", failure) from failure
        del runner
        states = sorted(set(inputs) - {INPUT_IDS, LOGIT_POSITIONS})
        expected = {LOGITS, *(f"{name}{NEXT_SUFFIX}" for name in states)}
        if INPUT_IDS not in inputs or set(outputs) != expected:
            raise BundleError(
                "does not have the signature of a language model",
                where=path,
                found=f"{sorted(inputs)} to {sorted(outputs)}",
                expected=f"{INPUT_IDS}, states and perhaps {LOGIT_POSITIONS} to {LOGITS} and the "
                f"states with {NEXT_SUFFIX}",
                fix="convert the bundle again",
            )
        self._input, self._output = inputs[INPUT_IDS]["index"], outputs[LOGITS]["index"]
        self._states = [
            (inputs[name]["index"], outputs[f"{name}{NEXT_SUFFIX}"]["index"], inputs[name]["shape"])
            for name in states
        ]
        self._positions = inputs[LOGIT_POSITIONS]["index"] if LOGIT_POSITIONS in inputs else None
        self._window = max_tokens
        self.chunk_tokens = CHUNK_TOKENS if self._positions is None else max(1, max_tokens // 2)
        self._allocated = (0, 0)
        self._history: list[int] = []
        self._cached_tokens = 0
        self._state_values: list[npt.NDArray[np.float32]] = []
        self.reset()

    def reset(self) -> None:
        """Clears the history and all states: a document begins."""
        self._history = []
        self._clear_states()

    def _clear_states(self) -> None:
        self._cached_tokens = 0
        self._state_values = [np.zeros(shape, np.float32) for _, _, shape in self._states]

    def allocate(self, tokens: int, num_logits: int | None = None) -> None:
        """Allocates tensors for `tokens` tokens, of which the last `num_logits` (default: all)
        get logits, unless they already are."""
        sizes = (tokens, tokens if num_logits is None else num_logits)
        if sizes == self._allocated:
            return
        try:
            self._interpreter.resize_tensor_input(self._input, [1, tokens], strict=True)
            if self._positions is not None:
                self._interpreter.resize_tensor_input(self._positions, [sizes[1]], strict=True)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as failure:
            self._allocated = (0, 0)
            raise self._error(f"cannot take an input of {tokens} tokens", failure) from failure
        self._allocated = sizes

    def feed(self, token_ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """Logits [n, vocabulary] after each of the tokens, which are appended to the history. A
        model with a window sees no more of it than the last `max_tokens`.

        Raises `BundleError` when the runtime fails, on a token id out of range for one, and for
        more tokens than a window holds.
        """
        if self._positions is None:
            return self._run(token_ids, len(token_ids))
        if len(token_ids) > self._window:
            raise self._error("takes fewer tokens at a time", f"{len(token_ids)} tokens")
        self._history = [*self._history, *token_ids][-self._window :]
        inputs = self._history if not self._states else self._uncached(len(token_ids))
        return self._run(inputs, len(token_ids))

    def _uncached(self, num_new: int) -> list[int]:
        """The tokens of the history that are not in the cache: the last `num_new`, or where it has
        no room for them, also as many before them as half a window."""
        if self._cached_tokens + num_new > self._window:
            self._clear_states()
            num_new = min(self._window, len(self._history), num_new + (self._window + 1) // 2)
        self._cached_tokens += num_new
        return self._history[-num_new:]

    def _run(self, inputs: Sequence[int], num_logits: int) -> npt.NDArray[np.float32]:
        """Logits [num_logits, vocabulary] after the last ones of the tokens."""
        self.allocate(len(inputs), num_logits)
        interpreter, int32 = self._interpreter, np.int32
        try:
            interpreter.set_tensor(self._input, np.array([inputs], dtype=int32))
            if self._positions is not None:
                positions = np.arange(len(inputs) - num_logits, len(inputs), dtype=int32)
                interpreter.set_tensor(self._positions, positions)
            for (index, _, _), value in zip(self._states, self._state_values, strict=True):
                interpreter.set_tensor(index, value)
            interpreter.invoke()
            logits: npt.NDArray[np.float32] = interpreter.get_tensor(self._output)
            self._state_values = [interpreter.get_tensor(index) for _, index, _ in self._states]
        except (ValueError, RuntimeError) as failure:
            raise self._error("inference failed", failure) from failure
        if logits.shape != (1, num_logits, self._vocabulary_size or logits.shape[-1]):
            raise self._error("its logits do not have the shape of its vocabulary", logits.shape)
        rows: npt.NDArray[np.float32] = logits[0]
        return rows

    def token_log_probabilities(self, token_ids: Sequence[int]) -> npt.NDArray[np.float64]:
        """ln p [n] of each token of a text from a fresh state; 0 for the first one, which has
        nothing before it. Raises `BundleError` as `feed` does."""
        self.reset()
        size = len(token_ids)
        if self._positions is not None and size > self._window:
            size = self.chunk_tokens
        chunks = [self.feed(token_ids[at : at + size]) for at in range(0, len(token_ids), size)]
        logits = np.concatenate(chunks)
        nats = np.zeros(len(token_ids))
        nats[1:] = log_probabilities(logits[:-1], token_ids[1:])
        return nats

    def prefill(self, token_ids: Sequence[int]) -> Callable[[], npt.NDArray[np.float32]]:
        """Reads all but the last of the tokens; the returned function feeds the last one, each time
        from the state that was reached, and returns the logits [vocabulary] after it."""
        self.reset()
        prefix, last = token_ids[:-1], token_ids[-1]
        if self._positions is None:
            for begin in range(0, len(prefix), CHUNK_TOKENS):
                self.feed(prefix[begin : begin + CHUNK_TOKENS])
        else:
            self._history = list(prefix[max(0, len(prefix) - self._window + 1) :])
        if self._history and self._states:
            self._run(self._uncached(len(self._history)), 1)
        state, history, cached = self._state_values, self._history, self._cached_tokens

        def feed_last() -> npt.NDArray[np.float32]:
            self._state_values, self._history, self._cached_tokens = state, history, cached
            row: npt.NDArray[np.float32] = self.feed([last])[-1]
            return row

        return feed_last

    def _error(self, what: str, found: object) -> BundleError:
        return BundleError(what, where=self._path, found=str(found), fix="convert the bundle again")


def score_document(
    model: StatefulModel,
    token_ids: Sequence[int],
    start_id: int,
    *,
    chunk_tokens: int | None = None,
) -> DocumentScore:
    """Scores one document from a fresh state; `start_id` is the token before its first one.

    An empty document has no token to score. `chunk_tokens` are fed together, the model's own number
    by default. Raises `BundleError` when the model fails or returns NaN.
    """
    model.reset()
    chunk_tokens = chunk_tokens or model.chunk_tokens
    nats, top1_correct, top3_correct = 0.0, 0, 0
    inputs = [start_id, *token_ids[:-1]] if token_ids else []
    for begin in range(0, len(inputs), chunk_tokens):
        targets = token_ids[begin : begin + chunk_tokens]
        logits = model.feed(inputs[begin : begin + chunk_tokens])
        try:
            nats += float(log_probabilities(logits, targets).sum())
        except DataError as failure:
            raise BundleError(failure.what, found=failure.found, fix="convert it again") from None
        target_ranks = ranks(logits, targets)
        top1_correct += int((target_ranks < 1).sum())
        top3_correct += int((target_ranks < 3).sum())
    return DocumentScore(nats, len(token_ids), top1_correct, top3_correct)


def top_k(logits: npt.NDArray[np.float32], count: int = 3) -> list[int]:
    """The `count` tokens of the highest logits [vocabulary], the highest first."""
    best = logits.argpartition(-count)[-count:] if count < len(logits) else logits.argsort()
    return [int(token_id) for token_id in best[(-logits[best]).argsort(kind="stable")]]


def next_tokens(
    model: StatefulModel, token_ids: Iterable[int], start_id: int, count: int
) -> tuple[list[int], list[float]]:
    """The `count` most probable tokens after a text and their probabilities, the highest first; the
    text is read from a fresh state."""
    logits = model.prefill([start_id, *token_ids])()
    best = top_k(logits, count)
    nats = [float(log_probabilities(logits[None], [token_id])[0]) for token_id in best]
    return best, [math.exp(value) for value in nats]
