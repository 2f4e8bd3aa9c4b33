"""A child process of `micro_runtime`: a graph of one token in LiteRT, as an app has it."""

from __future__ import annotations

import sys

from ai_edge_litert.interpreter import Interpreter

from edgeseq_converters.export.micro.step_runs import Arrays, answer


class LiteRtInterpreter:
    """See `step_runs.Interpreter`."""

    def __init__(self, content: bytes) -> None:
        self._interpreter = Interpreter(model_content=content, num_threads=1)
        self._interpreter.allocate_tensors()
        self._inputs = [entry["index"] for entry in self._interpreter.get_input_details()]
        self._outputs = [entry["index"] for entry in self._interpreter.get_output_details()]

    def step(self, inputs: Arrays) -> Arrays:
        for index, values in zip(self._inputs, inputs, strict=True):
            self._interpreter.set_tensor(index, values)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]

    def finish(self) -> None:
        """It says nothing at the end."""


if __name__ == "__main__":
    sys.exit(answer(LiteRtInterpreter))
