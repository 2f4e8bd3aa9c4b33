"""Interleaved timing: a process a contender, rounds in shuffled order, the parent asleep."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol, TypeVar, cast

import msgspec
import numpy as np

from edgeseq.errors import DeviceError
from edgeseq.formats.codec import decode_json
from studies.peers import measured
from studies.peers.contenders import Contender
from studies.peers.inputs import FloatArray, Ids, fit

MAX_ERROR = 1e-4
"""Largest difference of a float32 file's logits from the reference, whose largest are about 3."""
MAX_RELATIVE_ERROR, MIN_AGREEMENT = 0.25, 0.9
COARSER = {"integer": (0.6, 0.9), "int4": (0.6, 0.85)}
"""Largest relative error of a quantized file and smallest fraction of equal labels: the bounds that
edgeseq sets its own recipes `dynamic_wi8_afp32`, `static_wi8_ai8` and `dynamic_wi4_afp32`."""

SLICE_NS = 4_000_000
"""About as long as the scheduler leaves a process alone; a slice of one contender."""
WARMUP_QUERIES = 3


class LogitsSource(Protocol):
    """What the files are compared with."""

    def logits(self, ids: Sequence[int]) -> FloatArray: ...


R = TypeVar("R", measured.Acknowledged, measured.LogitsReply, measured.TimesReply)


class Agreement(msgspec.Struct, frozen=True):
    """A file's answers against the reference: what `Row.agreement` of the result keeps.

    `relative_error` is `max_error` over the largest logit; `equal_labels` a fraction of `texts`.
    """

    max_error: float
    relative_error: float
    equal_labels: float
    texts: int

    def wrong(self, contender: Contender) -> str | None:
        """What is wrong with the answers, None when they are those of the same network."""
        if contender.precision == "float32":
            if self.max_error <= MAX_ERROR:
                return None
            return f"logits differ by {self.max_error:.2g} (allowed: {MAX_ERROR:g})"
        usual = (MAX_RELATIVE_ERROR, MIN_AGREEMENT)
        allowed, labels = COARSER.get(contender.precision, usual)
        if self.relative_error <= allowed and self.equal_labels >= labels:
            return None
        return (
            f"{self.equal_labels:.0%} equal labels, logits differ by {self.relative_error:.0%} "
            f"(allowed: {labels:.0%} and {allowed:.0%})"
        )


class RoundTiming(msgspec.Struct, frozen=True):
    """One contender on one workload, ns a query; `rounds_ns` has one `slice_value` a round.

    They are processor time: the process has one thread and waits for nothing, so that is its
    latency on a machine that does nothing else, and other work on a shared machine does not count
    as ours. `wall_ns` is the same of the time that passed, the median of the rounds. `first_ns` is
    the median time that passed in the warm-up queries, which nothing else contains; `queries`
    counts the others.
    """

    rounds_ns: tuple[float, ...]
    wall_ns: float
    first_ns: float
    queries: int


class PeerProcess:
    """The process of one contender; a context manager. Raises `DeviceError` when it fails."""

    def __init__(
        self, contender: Contender, texts: dict[str, list[Ids]], *, threads: int = 1
    ) -> None:
        self.contender = contender
        self._process = subprocess.Popen(
            [sys.executable, "-m", "studies.peers.measured"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            cwd=Path(__file__).parents[2],
        )
        self._commands = cast("IO[bytes]", self._process.stdin)
        self._replies = cast("IO[bytes]", self._process.stdout)
        try:
            files = {workload: contender.file_for(workload) for workload in contender.workloads}
            self.request(
                measured.LoadFiles(
                    contender.runtime, files, contender.padding_id or 0, texts, threads=threads
                ),
                measured.Acknowledged,
            )
        except BaseException:
            self.close()
            raise

    def request(self, command: measured.Command, expected: type[R]) -> R:
        """Sends a command and sleeps until its reply is there."""
        process = self._process
        try:
            self._commands.write(msgspec.json.encode(command) + b"\n")
            self._commands.flush()
            line = self._replies.readline()
        except BrokenPipeError:
            line = b""
        name = self.contender.name
        if not line:
            raise DeviceError("the measured process died", where=name, found=process.wait())
        reply = decode_json(line, measured.Reply)
        if isinstance(reply, measured.FailureReply):
            raise DeviceError("the runtime refused", where=name, found=reply.cause)
        if not isinstance(reply, expected):
            raise DeviceError("unexpected reply", where=name, found=type(reply).__name__)
        return reply

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> PeerProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def check_answers(
    child: PeerProcess, reference: LogitsSource, texts: dict[str, list[Ids]]
) -> Agreement:
    """Compares every answer with NumPy's on the ids that the file was given, padding included
    unless the file knows it."""
    exact = child.contender.padding_id is not None
    expected: list[FloatArray] = []
    logits: list[list[float]] = []
    for workload in child.contender.workloads:
        reply = child.request(measured.CheckAnswers(workload), measured.LogitsReply)
        logits += reply.logits
        length, _ = child.contender.file_for(workload)
        for ids in texts[workload]:
            fed = ids if exact or not length else fit(ids, length)
            expected.append(reference.logits(fed))
    return compare(np.array(expected), np.array(logits))


def compare(expected: FloatArray, actual: FloatArray) -> Agreement:
    """Both are logits [texts, classes]."""
    error = float(np.abs(actual - expected).max())
    equal = float((actual.argmax(axis=1) == expected.argmax(axis=1)).mean())
    if not np.isfinite(actual).all():
        error, equal = float("inf"), 0.0
    return Agreement(error, error / float(np.abs(expected).max()), equal, len(expected))


def time_rounds(
    children: Sequence[PeerProcess],
    texts: dict[str, list[Ids]],
    *,
    rounds: int,
    seed: int = 0,
    wall: bool = False,
    log: Callable[[str], None],
) -> dict[str, dict[str, RoundTiming]]:
    """Timings by contender's name and workload; each pair has one slice a round.

    `wall`: `rounds_ns` is the time that passed, for processes of several threads, whose
    processor times add up.
    """
    pairs = [(child, workload) for child in children for workload in child.contender.workloads]
    queries = {pair: _queries(*pair, texts) for pair in pairs}
    values: dict[tuple[PeerProcess, str], list[tuple[float, float]]] = {pair: [] for pair in pairs}
    firsts: dict[tuple[PeerProcess, str], list[int]] = {pair: [] for pair in pairs}
    order = random.Random(seed)  # noqa: S311 - an order, not a secret
    for number in range(rounds):
        log(f"round {number + 1} of {rounds}")
        order.shuffle(pairs)
        for pair in pairs:
            child, workload = pair
            command = measured.TimeRounds(workload, WARMUP_QUERIES, queries[pair])
            times = child.request(command, measured.TimesReply)
            firsts[pair] += times.warmup_ns
            number_of_texts = len(texts[workload])
            slices = (times.cpu_ns, times.wall_ns)
            cpu_ns, wall_ns = (slice_value(samples, number_of_texts) for samples in slices)
            if wall:
                cpu_ns = wall_ns
            values[pair].append((cpu_ns, wall_ns))
    timings: dict[str, dict[str, RoundTiming]] = {}
    for pair, slices_ns in values.items():
        child, workload = pair
        timing = RoundTiming(
            rounds_ns=tuple(cpu_ns for cpu_ns, _ in slices_ns),
            wall_ns=float(np.median([wall_ns for _, wall_ns in slices_ns])),
            first_ns=float(np.median(firsts[pair])),
            queries=rounds * queries[pair],
        )
        timings.setdefault(child.contender.name, {})[workload] = timing
    return timings


def slice_value(times_ns: Sequence[int], texts: int) -> float:
    """ns a query: the median of each text's queries, averaged over the texts."""
    by_text = [float(np.median(times_ns[number::texts])) for number in range(texts)]
    return float(np.mean(by_text))


def _queries(child: PeerProcess, workload: str, texts: dict[str, list[Ids]]) -> int:
    """As many as whole passes over the texts, 1 to 25, that fill about `SLICE_NS`."""
    one_pass = len(texts[workload])
    times = child.request(measured.TimeRounds(workload, one_pass, one_pass), measured.TimesReply)
    passes = SLICE_NS // max(sum(times.cpu_ns), 1)
    return one_pass * min(max(passes, 1), 25)
