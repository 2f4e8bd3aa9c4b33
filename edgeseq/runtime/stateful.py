"""A model of the next word on the device: words go in one at a time, the state stays here.

The model's signature takes `input_ids` int32 [1, n] and its states by name (`h0`, `c0`, …), and
gives `logits` float32 [1, n, vocabulary] and the states behind them (`h0_next`, …), which go in
with the next words. A model that takes `places` int32 [m] too, those of its tokens that answers are
wanted for, sees a window of the last tokens: without states it is given them again at every word;
with states, a cache of what it has computed of them, the new ones alone. When its cache is full, it
reads the last half of a window again into an empty one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from edgeseq.errors import BundleError
from edgeseq.runtime.interpreter import Runtime

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

INPUT, PLACES, OUTPUT, NEXT = "input_ids", "places", "logits", "_next"
CHUNK = 32
"""Tokens that are fed together when a document is scored: nothing waits for each answer then, and
the products with the vocabulary's table read it once for all of them."""


class DocumentScore(NamedTuple):
    """One document: the sum of ln p over its tokens in nats, how many there are, and how many were
    the likeliest one or among the three likeliest."""

    nats: float
    tokens: int
    first: int
    among_three: int


class StreamModel:
    """A model of the next token in an interpreter, with its state; one thread of use at a time.

    `chunk` is how many tokens of a document are best fed together. For a model that sees a window
    it is half of one: then each token has at least half a window before it, itself included, or
    all that the document has.
    """

    fixed_length: int | None = None

    def __init__(
        self,
        runtime: Runtime,
        path: str,
        *,
        signature_key: str,
        vocabulary: int,
        max_tokens: int,
        threads: int,
    ) -> None:
        """Maps the file at `path`; `max_tokens` is the window of a model without states. Raises
        `BundleError` when it is not such a model."""
        import numpy as np

        self._np, self._path, self._vocabulary = np, path, vocabulary
        try:
            self._interpreter: Any = runtime.interpreter(model_path=path, num_threads=threads)
            # The runner is dropped at once: while one lives, the interpreter refuses to resize.
            runner = self._interpreter.get_signature_runner(signature_key)
            inputs, outputs = runner.get_input_details(), runner.get_output_details()
        except (ValueError, RuntimeError) as failure:
            raise BundleError(
                "is not a TFLite model that this runtime can load",
                where=path,
                found=str(failure),
                fix=f"convert it for {runtime.package} or copy the file again",
            ) from failure
        del runner
        states = sorted(set(inputs) - {INPUT, PLACES})
        wanted = {OUTPUT, *(f"{name}{NEXT}" for name in states)}
        if INPUT not in inputs or set(outputs) != wanted:
            raise BundleError(
                "has another signature than a model of the next word",
                where=path,
                found=f"{sorted(inputs)} to {sorted(outputs)}",
                expected=f"{INPUT}, states and perhaps {PLACES} to {OUTPUT} and the states with "
                f"{NEXT}",
                fix="convert the bundle again",
            )
        self._input, self._output = inputs[INPUT]["index"], outputs[OUTPUT]["index"]
        self._states = [
            (inputs[name]["index"], outputs[f"{name}{NEXT}"]["index"], inputs[name]["shape"])
            for name in states
        ]
        self._places = inputs[PLACES]["index"] if PLACES in inputs else None
        self._window = max_tokens
        self.chunk = CHUNK if self._places is None else max(1, max_tokens // 2)
        self._allocated = (0, 0)
        self._seen: list[int] = []
        self._used = 0  # tokens that a cache holds
        self._kept: list[npt.NDArray[np.float32]] = []
        self.reset()

    def reset(self) -> None:
        """Forgets everything: a document begins."""
        self._seen = []
        self._forget()

    def _forget(self) -> None:
        self._used = 0
        self._kept = [self._np.zeros(shape, self._np.float32) for _, _, shape in self._states]

    def allocate(self, tokens: int, answers: int | None = None) -> None:
        """Makes room for `tokens` at a time, of which the last `answers` (default: all) are to be
        answered; does nothing when there is room already."""
        wanted = (tokens, tokens if answers is None else answers)
        if wanted == self._allocated:
            return
        try:
            self._interpreter.resize_tensor_input(self._input, [1, tokens], strict=True)
            if self._places is not None:
                self._interpreter.resize_tensor_input(self._places, [wanted[1]], strict=True)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as failure:
            self._allocated = (0, 0)
            raise self._failed(f"cannot take an input of {tokens} tokens", failure) from failure
        self._allocated = wanted

    def feed(self, token_ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """Logits [n, vocabulary] for what follows each of the tokens, the state going on. A model
        with a window sees no more of them than its last `max_tokens`.

        Raises `BundleError` when the runtime fails, on a token id out of range for one, and for
        more tokens than a window holds.
        """
        if self._places is None:
            return self._run(token_ids, len(token_ids))
        if len(token_ids) > self._window:
            raise self._failed("sees fewer tokens at once", f"{len(token_ids)} tokens")
        self._seen = [*self._seen, *token_ids][-self._window :]
        given = self._seen if not self._states else self._not_cached(len(token_ids))
        return self._run(given, len(token_ids))

    def _not_cached(self, new: int) -> list[int]:
        """What a cache lacks of the tokens seen, of which the last `new` are new: these, or where
        it has no room for them, as many before them as half a window, too."""
        if self._used + new > self._window:
            self._forget()
            new = min(self._window, len(self._seen), new + (self._window + 1) // 2)
        self._used += new
        return self._seen[-new:]

    def _run(self, given: Sequence[int], answers: int) -> npt.NDArray[np.float32]:
        """Logits [answers, vocabulary] of the last ones of the tokens `given`."""
        self.allocate(len(given), answers)
        interpreter, int32 = self._interpreter, self._np.int32
        try:
            interpreter.set_tensor(self._input, self._np.array([given], dtype=int32))
            if self._places is not None:
                places = self._np.arange(len(given) - answers, len(given), dtype=int32)
                interpreter.set_tensor(self._places, places)
            for (index, _, _), value in zip(self._states, self._kept, strict=True):
                interpreter.set_tensor(index, value)
            interpreter.invoke()
            logits: npt.NDArray[np.float32] = interpreter.get_tensor(self._output)
            self._kept = [interpreter.get_tensor(index) for _, index, _ in self._states]
        except (ValueError, RuntimeError) as failure:
            raise self._failed("the model failed to answer", failure) from failure
        if logits.shape != (1, answers, self._vocabulary):
            raise self._failed("answered with another shape than its vocabulary", logits.shape)
        rows: npt.NDArray[np.float32] = logits[0]
        return rows

    def answer(self, token_ids: Sequence[int]) -> npt.NDArray[np.float64]:
        """ln p [n] of each token of a text from a fresh state; the first one's is 0, since nothing
        stands before it. Raises `BundleError` as `feed` does."""
        from edgeseq.tasks.language_model import log_probabilities

        self.reset()
        size = len(token_ids)
        if self._places is not None and size > self._window:
            size = self.chunk
        parts = [self.feed(token_ids[at : at + size]) for at in range(0, len(token_ids), size)]
        logits = self._np.concatenate(parts)
        answer = self._np.zeros(len(token_ids))
        answer[1:] = log_probabilities(logits[:-1], token_ids[1:])
        return answer

    def ready(self, token_ids: Sequence[int]) -> Callable[[], npt.NDArray[np.float32]]:
        """Reads all but the last of the tokens; what is returned feeds the last one, each time
        from the state that was reached, and gives the logits [vocabulary] behind it."""
        self.reset()
        before, last = token_ids[:-1], token_ids[-1]
        if self._places is None:
            for begin in range(0, len(before), CHUNK):
                self.feed(before[begin : begin + CHUNK])
        else:
            self._seen = list(before[max(0, len(before) - self._window + 1) :])
        if self._seen and self._states:
            self._run(self._not_cached(len(self._seen)), 1)
        kept, seen, used = self._kept, self._seen, self._used

        def again() -> npt.NDArray[np.float32]:
            self._kept, self._seen, self._used = kept, seen, used
            row: npt.NDArray[np.float32] = self.feed([last])[-1]
            return row

        return again

    def _failed(self, what: str, found: object) -> BundleError:
        return BundleError(what, where=self._path, found=str(found), fix="convert it again")


def score_document(
    model: StreamModel, token_ids: Sequence[int], before: int, *, chunk: int | None = None
) -> DocumentScore:
    """Scores one document from a fresh state; `before` is the token that stands before its first
    one. An empty document has no token to be scored. `chunk` tokens are fed together, the model's
    own number by default.

    Raises `BundleError` when the model fails or answers with what is no number.
    """
    from edgeseq.errors import DataError
    from edgeseq.tasks.language_model import log_probabilities, ranks

    model.reset()
    chunk = chunk or model.chunk
    nats, first, among_three = 0.0, 0, 0
    given = [before, *token_ids[:-1]] if token_ids else []
    for begin in range(0, len(given), chunk):
        targets = token_ids[begin : begin + chunk]
        logits = model.feed(given[begin : begin + chunk])
        try:
            nats += float(log_probabilities(logits, targets).sum())
        except DataError as failure:
            raise BundleError(failure.what, found=failure.found, fix="convert it again") from None
        places = ranks(logits, targets)
        first += int((places < 1).sum())
        among_three += int((places < 3).sum())
    return DocumentScore(nats, len(token_ids), first, among_three)


def likeliest(logits: npt.NDArray[np.float32], count: int = 3) -> list[int]:
    """The `count` likeliest tokens of logits [vocabulary], the likeliest first."""
    best = logits.argpartition(-count)[-count:] if count < len(logits) else logits.argsort()
    return [int(place) for place in best[(-logits[best]).argsort(kind="stable")]]


def offer(
    model: StreamModel, token_ids: Iterable[int], before: int, count: int
) -> tuple[list[int], list[float]]:
    """The `count` likeliest tokens behind a text and their probabilities, the likeliest first; the
    text is read from a fresh state."""
    from edgeseq.tasks.language_model import log_probabilities

    logits = model.ready([before, *token_ids])()
    best = likeliest(logits, count)
    nats = [float(log_probabilities(logits[None], [place])[0]) for place in best]
    return best, [math.exp(one) for one in nats]
