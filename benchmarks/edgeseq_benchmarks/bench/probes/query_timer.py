"""The measuring loop: one text at a time, closed loop, each step timed.

Closed loop means service time: the next text waits until the last one is done, as one keystroke
follows another. Response times at a given arrival rate must be derived from it.
"""

from __future__ import annotations

import gc
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from edgeseq_benchmarks.bench.protocol import Classes, QueryColumns, Text


class TimedSteps(Protocol):
    """The steps of one query, and its number of tokens."""

    @property
    def tokenize(self) -> Callable[[Any], Any]: ...
    @property
    def infer(self) -> Callable[[Any], Any]: ...
    @property
    def decode(self) -> Callable[[Any], Classes]: ...
    @property
    def count(self) -> Callable[[Any], int]: ...


class NoSteps:
    """Steps that do nothing."""

    def tokenize(self, text: Any) -> Any:
        return text

    def infer(self, inputs: Any) -> Any:
        return inputs

    def decode(self, _outputs: Any) -> int:
        return 0

    def count(self, _inputs: Any) -> int:
        return 0


class QueryRecorder:
    """Growing columns of times, one entry per query; the first prediction of each text, and the
    indices of texts that got another one later."""

    def __init__(self) -> None:
        self.text = array("q")
        self.tokens = array("q")
        self.tokenize_ns = array("q")
        self.inference_ns = array("q")
        self.decode_ns = array("q")
        self.total_ns = array("q")
        self.predictions: dict[int, Classes] = {}
        self.inconsistent: set[int] = set()

    def columns(self) -> QueryColumns:
        """The columns as they travel to the parent."""
        return QueryColumns(
            text=self.text.tobytes(),
            tokens=self.tokens.tobytes(),
            tokenize_ns=self.tokenize_ns.tobytes(),
            inference_ns=self.inference_ns.tobytes(),
            decode_ns=self.decode_ns.tobytes(),
            total_ns=self.total_ns.tobytes(),
        )


def time_texts(texts: Sequence[Text], steps: TimedSteps, record: QueryRecorder) -> None:
    """Runs the texts in order and appends their times, in ns of `time.perf_counter_ns`.

    Nothing but the three steps lies between the four readings of the clock; what is stored is
    stored after the last one.
    """
    clock = time.perf_counter_ns
    tokenize, infer, decode, count = steps.tokenize, steps.infer, steps.decode, steps.count
    for number, text in enumerate(texts):
        begun = clock()
        inputs = tokenize(text)
        tokenized = clock()
        outputs = infer(inputs)
        inferred = clock()
        classes = decode(outputs)
        decoded = clock()
        record.text.append(number)
        record.tokens.append(count(inputs))
        if record.predictions.setdefault(number, classes) != classes:
            record.inconsistent.add(number)
        record.tokenize_ns.append(tokenized - begun)
        record.inference_ns.append(inferred - tokenized)
        record.decode_ns.append(decoded - inferred)
        record.total_ns.append(decoded - begun)


def time_overhead(queries: int) -> array[int]:
    """`total_ns` of queries that do nothing: the time that the loop adds to each."""
    record = QueryRecorder()
    with garbage_collection_off():
        time_texts([""] * queries, NoSteps(), record)
    return record.total_ns


@contextmanager
def garbage_collection_off() -> Iterator[None]:
    """Switches the garbage collector off inside, after one collection."""
    gc.collect()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
