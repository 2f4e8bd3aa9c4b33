"""Asks a converted model in the real runtime, one text at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeseq.errors import ConversionError

FloatArray = npt.NDArray[np.float32]

PADDING_ID = -1


class Answering:
    """A .tflite file in an interpreter, one thread, bound by the names of its signature."""

    def __init__(self, path: Path, *, output: str = "logits") -> None:
        """Raises `ConversionError` when the runtime refuses the file."""
        from ai_edge_litert.interpreter import Interpreter

        self._where = path
        try:
            self._interpreter: Any = Interpreter(model_path=str(path), num_threads=1)
            # The runner is dropped at once: while one lives, the interpreter refuses to resize.
            runner = self._interpreter.get_signature_runner("serving_default")
            entry = runner.get_input_details()["input_ids"]
            self._output = runner.get_output_details()[output]["index"]
        except (ValueError, RuntimeError, KeyError) as failure:
            raise self._refused(failure) from failure
        del runner
        self._input = entry["index"]
        fixed = int(entry["shape_signature"][1])
        self.fixed_length = None if fixed < 0 else fixed
        self._tokens = 0

    def answer(self, token_ids: Sequence[int]) -> FloatArray:
        """The output for one text, without its batch axis; a text longer than a fixed length is
        cut there. Raises `ConversionError` when the runtime fails."""
        given = np.asarray([token_ids], np.int32)
        if self.fixed_length is not None:
            given = given[:, : self.fixed_length]
            fill = ((0, 0), (0, self.fixed_length - given.shape[1]))
            given = np.pad(given, fill, constant_values=PADDING_ID)
        interpreter = self._interpreter
        try:
            if given.shape[1] != self._tokens:
                interpreter.resize_tensor_input(self._input, given.shape, strict=True)
                interpreter.allocate_tensors()
                self._tokens = given.shape[1]
            # A fused LSTM keeps its state in variables.
            interpreter.reset_all_variables()
            interpreter.set_tensor(self._input, given)
            interpreter.invoke()
            answer: FloatArray = np.array(interpreter.get_tensor(self._output)[0], np.float32)
        except (ValueError, RuntimeError) as failure:
            raise self._refused(failure) from failure
        return answer

    def _refused(self, failure: Exception) -> ConversionError:
        return ConversionError(
            "the runtime does not run the model", where=self._where, found=failure
        )
