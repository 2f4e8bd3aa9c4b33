"""Runs in the older runtime's environment: only NumPy and tflite_runtime are there.

Reads {"packages": folder, "model": path, "output": name, "texts": [[ids], …]} from stdin and writes
the outputs as JSON to stdout.
"""

from __future__ import annotations

import json
import sys


def main() -> int:
    """Runs the model on each text."""
    # Only this environment has it, and no other module of edgeseq may be loaded here.
    from tflite_runtime.interpreter import Interpreter

    job = json.load(sys.stdin)
    sys.path.append(job["packages"])  # last, so that NumPy is this environment's
    # Found only now.
    from edgeseq.runtime.interpreter import SignatureNames, TfliteModel, TfliteRuntime

    runtime = TfliteRuntime("tflite-runtime", Interpreter)
    signature = SignatureNames(output=job["output"])
    model = TfliteModel(job["model"], runtime=runtime, signature=signature)
    json.dump([model.infer(text).ravel().tolist() for text in job["texts"]], sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
