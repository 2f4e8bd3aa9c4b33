"""Runs in the older runtime's own environment: only NumPy and tflite_runtime are there.

Reads {"model": path, "texts": [[ids], …]} from stdin and writes the logits as JSON to stdout.
"""

from __future__ import annotations

import json
import sys

PADDING_ID = -1


def main() -> int:
    """Asks the model for each text, its state reset before."""
    import numpy as np
    from tflite_runtime.interpreter import Interpreter

    job = json.load(sys.stdin)
    interpreter = Interpreter(model_path=job["model"], num_threads=1)
    [entry] = interpreter.get_input_details()
    [output] = interpreter.get_output_details()
    fixed = int(entry["shape_signature"][1])
    answers = []
    for text in job["texts"]:
        ids = text if fixed < 0 else (text + [PADDING_ID] * fixed)[:fixed]
        interpreter.resize_tensor_input(entry["index"], [1, len(ids)])
        interpreter.allocate_tensors()
        interpreter.reset_all_variables()
        interpreter.set_tensor(entry["index"], np.array([ids], np.int32))
        interpreter.invoke()
        answer = interpreter.get_tensor(output["index"])[0]
        # One answer a token: those of the padding are nobody's.
        answers.append((answer[: len(text)] if answer.ndim > 1 else answer).ravel().tolist())
    json.dump(answers, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
