"""A child process of `micro_runtime`: a graph of one token in TensorFlow Lite Micro."""

from __future__ import annotations

import sys

from tflite_micro.python.tflite_micro import runtime

from edgeseq_converters.export.micro.step_runs import Arrays, answer

ARENA_LIMIT_BYTES = 16 << 20
"""More than any microcontroller has."""


class MicroInterpreter:
    """See `step_runs.Interpreter`; what it allocated goes to the log."""

    def __init__(self, content: bytes) -> None:
        self._interpreter = runtime.Interpreter.from_bytes(content, arena_size=ARENA_LIMIT_BYTES)

    def step(self, inputs: Arrays) -> Arrays:
        for number, values in enumerate(inputs):
            self._interpreter.set_input(values, number)
        self._interpreter.invoke()
        # As many outputs as inputs: the logits come for the token id.
        return [self._interpreter.get_output(number).copy() for number in range(len(inputs))]

    def finish(self) -> None:
        self._interpreter.print_allocations()


if __name__ == "__main__":
    sys.exit(answer(MicroInterpreter))
