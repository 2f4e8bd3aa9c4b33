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
from typing import Any

from edgeseq_benchmarks.protocol import Columns

Tokenize = Callable[[str], list[int]]
Infer = Callable[[list[int]], Any]
Decode = Callable[[Any], int]


class Recorder:
    """Growing columns of what was timed, one entry a query."""

    def __init__(self) -> None:
        self.text = array("q")
        self.tokens = array("q")
        self.predicted = array("q")
        self.tokenize_ns = array("q")
        self.inference_ns = array("q")
        self.decode_ns = array("q")
        self.total_ns = array("q")

    def columns(self) -> Columns:
        """The columns as they travel to the parent."""
        return Columns(
            text=self.text.tobytes(),
            tokens=self.tokens.tobytes(),
            predicted=self.predicted.tobytes(),
            tokenize_ns=self.tokenize_ns.tobytes(),
            inference_ns=self.inference_ns.tobytes(),
            decode_ns=self.decode_ns.tobytes(),
            total_ns=self.total_ns.tobytes(),
        )


def time_texts(
    texts: Sequence[str], tokenize: Tokenize, infer: Infer, decode: Decode, record: Recorder
) -> None:
    """Answers the texts in order and appends their times, in ns of `time.perf_counter_ns`.

    Nothing but the three steps lies between the four readings of the clock; what is stored is
    stored after the last one.
    """
    clock = time.perf_counter_ns
    for number, text in enumerate(texts):
        begun = clock()
        token_ids = tokenize(text)
        tokenized = clock()
        logits = infer(token_ids)
        inferred = clock()
        predicted = decode(logits)
        decoded = clock()
        record.text.append(number)
        record.tokens.append(len(token_ids))
        record.predicted.append(predicted)
        record.tokenize_ns.append(tokenized - begun)
        record.inference_ns.append(inferred - tokenized)
        record.decode_ns.append(decoded - inferred)
        record.total_ns.append(decoded - begun)


def time_overhead(queries: int) -> array[int]:
    """`total_ns` of queries that do nothing: what the loop itself adds to each."""
    record = Recorder()
    nothing: list[int] = []
    with collector_off():
        time_texts([""] * queries, lambda _: nothing, lambda _: None, lambda _: 0, record)
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
