"""The measured process: holds the files of one contender, answers and times on request.

`python -m studies.peers.measured`, one JSON message a line on stdin and stdout. It loads nothing
but
NumPy and its runtime. A query is what an application does: give the ids, run, read the logits;
resizing belongs to it for files that take any length, padding for those that don't.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np

from edgeseq.formats.codec import json_decoder

Answer = Callable[[Sequence[int]], Any]


class LoadFiles(msgspec.Struct, frozen=True, tag="load"):
    """Load files by workload, (length, path) each, with 0 for any length; answered by `Done`."""

    runtime: str
    files: dict[str, tuple[int, str]]
    padding_id: int
    texts: dict[str, list[list[int]]]
    threads: int = 1


class CheckAnswers(msgspec.Struct, frozen=True, tag="check"):
    """Answer every text of a workload; answered by `Logits`."""

    workload: str


class TimeRounds(msgspec.Struct, frozen=True, tag="time"):
    """Answer the texts of a workload in turn, `warmup` and then `queries` of them."""

    workload: str
    warmup: int
    queries: int


class Acknowledged(msgspec.Struct, frozen=True, tag="done"):
    """Loaded."""


class LogitsReply(msgspec.Struct, frozen=True, tag="logits"):
    """Logits by text."""

    logits: list[list[float]]


class TimesReply(msgspec.Struct, frozen=True, tag="times"):
    """ns by query, in order; query q answered text q modulo their number.

    `cpu_ns` is what this process computed, `wall_ns` what passed: on a machine with nothing else
    to do they are the same. `warmup_ns` is what passed in the warm-up queries.
    """

    warmup_ns: list[int]
    cpu_ns: list[int]
    wall_ns: list[int]


class FailureReply(msgspec.Struct, frozen=True, tag="failed"):
    """The runtime refused."""

    cause: str


Command = LoadFiles | CheckAnswers | TimeRounds
Reply = Acknowledged | LogitsReply | TimesReply | FailureReply


class PeerTfliteModel:
    """A .tflite file of `length` tokens, filled up with `padding_id`; or of any length (0).

    A second input, by the order of the names, is the mask: 1 for a token, 0 for what fills up.
    """

    def __init__(self, path: str, length: int, padding_id: int, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415 - only the contender that needs it loads it

        self._interpreter = Interpreter(model_path=path, num_threads=threads)
        inputs = sorted(
            self._interpreter.get_input_details(), key=lambda detail: str(detail["name"])
        )
        self._ids = inputs[0]["index"]
        self._mask = inputs[1]["index"] if len(inputs) > 1 else None
        self._dtype = inputs[0]["dtype"]
        self._output = self._interpreter.get_output_details()[0]["index"]
        self._length = length
        self._padding_id = padding_id
        self._allocated = 0

    def answer(self, ids: Sequence[int]) -> Any:
        """Logits [1, 3]. A fused LSTM's state is reset; that costs 0.3 µs where there is none."""
        interpreter = self._interpreter
        tokens = len(ids)
        if self._length:
            ids = [*ids, *[self._padding_id] * (self._length - len(ids))]
        if len(ids) != self._allocated:
            interpreter.resize_tensor_input(self._ids, [1, len(ids)])
            interpreter.allocate_tensors()
            self._allocated = len(ids)
        interpreter.reset_all_variables()
        interpreter.set_tensor(self._ids, np.array([ids], self._dtype))
        if self._mask is not None:
            mask = np.zeros((1, len(ids)), self._dtype)
            mask[0, :tokens] = 1
            interpreter.set_tensor(self._mask, mask)
        interpreter.invoke()
        return interpreter.get_tensor(self._output)


class OnnxModel:
    """An .onnx file with an open sequence axis."""

    def __init__(self, path: str, _length: int, _padding_id: int, threads: int) -> None:
        import onnxruntime  # noqa: PLC0415 - only the contender that needs it loads it

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        self._session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )

    def answer(self, ids: Sequence[int]) -> Any:
        """Logits [1, 3]."""
        return self._session.run(None, {"ids": np.array([ids], np.int64)})[0]


class _Process:
    def __init__(self) -> None:
        self._models: dict[str, PeerTfliteModel | OnnxModel] = {}
        self._texts: dict[str, list[list[int]]] = {}

    def do(self, command: Command) -> Reply:
        if isinstance(command, LoadFiles):
            kind = OnnxModel if command.runtime == "onnx" else PeerTfliteModel
            # Two workloads of one open file share it, as two texts of an application would.
            files = set(command.files.values())
            by_file = {
                file_and_padding: kind(
                    file_and_padding[1], file_and_padding[0], command.padding_id, command.threads
                )
                for file_and_padding in files
            }
            self._models = {
                name: by_file[file_and_padding] for name, file_and_padding in command.files.items()
            }
            self._texts = command.texts
            return Acknowledged()
        model, texts = self._models[command.workload], self._texts[command.workload]
        if isinstance(command, CheckAnswers):
            logits = [np.ravel(model.answer(ids)).tolist() for ids in texts]
            return LogitsReply(logits)
        _, warmup_ns = time_answers(model.answer, texts, command.warmup)
        return TimesReply(warmup_ns, *time_answers(model.answer, texts, command.queries))


def time_answers(
    answer: Answer, texts: list[list[int]], queries: int
) -> tuple[list[int], list[int]]:
    """Processor time and passed time of each query in ns, without the garbage collector.

    The processor's clock is read inside the other two readings, so the first is below the second.
    """
    cpu_clock, wall_clock = time.process_time_ns, time.perf_counter_ns
    cpu_ns, wall_ns = [], []
    gc.disable()
    for number in range(queries):
        ids = texts[number % len(texts)]
        wall_begun_ns = wall_clock()
        cpu_begun_ns = cpu_clock()
        answer(ids)
        cpu_ended_ns = cpu_clock()
        wall_ns.append(wall_clock() - wall_begun_ns)
        cpu_ns.append(cpu_ended_ns - cpu_begun_ns)
    gc.enable()
    return cpu_ns, wall_ns


def main() -> None:
    """Serves commands until stdin ends."""
    # Whatever native code prints to stdout goes to stderr; only replies go where it went.
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    process, decoder = _Process(), json_decoder(Command)
    for line in sys.stdin.buffer:
        try:
            reply = process.do(decoder.decode(line))
        except (ValueError, RuntimeError) as failure:
            reply = FailureReply(str(failure).splitlines()[0][:160])
        replies.write(msgspec.json.encode(reply) + b"\n")
        replies.flush()


if __name__ == "__main__":
    main()
