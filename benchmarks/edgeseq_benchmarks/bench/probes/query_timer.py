"""The measuring loop: one text at a time, closed loop, every step timed by itself.

Closed loop means service time: the next text waits until the last one is answered, as one
keystroke follows another. Whoever needs response times at a given arrival rate must derive them.
"""

from __future__ import annotations

import gc
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from edgeseq_benchmarks.bench.protocol import Answer, QueryColumns, Text


class Steps(Protocol):
    """What is done for one query, and how many tokens that was."""

    @property
    def tokenize(self) -> Callable[[Any], Any]: ...
    @property
    def infer(self) -> Callable[[Any], Any]: ...
    @property
    def decode(self) -> Callable[[Any], Answer]: ...
    @property
    def count(self) -> Callable[[Any], int]: ...


class Nothing:
    """Steps that do nothing."""

    def tokenize(self, text: Any) -> Any:
        return text

    def infer(self, inputs: Any) -> Any:
        return inputs

    def decode(self, _outputs: Any) -> int:
        return 0

    def count(self, _inputs: Any) -> int:
        return 0


class Recorder:
    """Growing columns of what was timed, one entry a query; the first answer to each text, and
    which texts were answered otherwise later."""

    def __init__(self) -> None:
        self.text = array("q")
        self.tokens = array("q")
        self.tokenize_ns = array("q")
        self.inference_ns = array("q")
        self.decode_ns = array("q")
        self.total_ns = array("q")
        self.answers: dict[int, Answer] = {}
        self.varied: set[int] = set()

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


def time_texts(texts: Sequence[Text], steps: Steps, record: Recorder) -> None:
    """Answers the texts in order and appends their times, in ns of `time.perf_counter_ns`.

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
        answer = decode(outputs)
        decoded = clock()
        record.text.append(number)
        record.tokens.append(count(inputs))
        if record.answers.setdefault(number, answer) != answer:
            record.varied.add(number)
        record.tokenize_ns.append(tokenized - begun)
        record.inference_ns.append(inferred - tokenized)
        record.decode_ns.append(decoded - inferred)
        record.total_ns.append(decoded - begun)


def time_overhead(queries: int) -> array[int]:
    """`total_ns` of queries that do nothing: what the loop itself adds to each."""
    record = Recorder()
    with collector_off():
        time_texts([""] * queries, Nothing(), record)
    return record.total_ns


@contextmanager
def collector_off() -> Iterator[None]:
    """Keeps the garbage collector out of what is timed inside; what there is goes before."""
    gc.collect()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
