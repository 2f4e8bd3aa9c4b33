"""How fast this machine could answer at most: its cache and its int8 products, measured.

Run as `python -m studies.peers.limit WORK-FOLDER` in a separate process; one JSON object on
stdout.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
from numpy.lib.stride_tricks import as_strided

from edgeseq.errors import DeviceError
from edgeseq.formats.codec import decode_json
from studies.peers.inputs import SHAPES, Shape

_REPEATS = 30
_RATE_SIZES = ((32, 256, 512), (128, 256, 512), (128, 512, 512), (256, 512, 512))
"""(rows, in, out) of the products tried; the fastest counts. All weights fit a level-2 cache."""


class MachineLimits(msgspec.Struct, frozen=True):
    """One thread's best: bytes a second by size of what is read again and again, in bytes, and
    int8 multiply-adds a second of a large FULLY_CONNECTED through XNNPACK."""

    bytes_per_s: dict[int, float]
    products_per_s: float

    def bound_ns(self, shape: Shape, tokens: float) -> float:
        """A lower bound for one text: every step reads the recurrent weights and multiplies with
        them, the slower of the two counts; the input projection multiplies only.
        """
        projection, recurrent = shape.products_a_token
        read_s = recurrent / self.bytes_per_s[recurrent]
        step_s = max(read_s, recurrent / self.products_per_s)
        return tokens * (step_s + projection / self.products_per_s) * 1e9


def measure_machine(folder: Path) -> MachineLimits:
    """Measures in a child; raises `DeviceError` when that fails."""
    done = subprocess.run(
        [sys.executable, "-m", "studies.peers.limit", str(folder)],
        capture_output=True,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "2"},
        cwd=Path(__file__).parents[2],
        check=False,
    )
    if done.returncode != 0:
        log = done.stderr.decode(errors="replace").strip().splitlines()
        raise DeviceError("the machine's limit was not measured", found=(log or ["nothing"])[-1])
    return decode_json(done.stdout.splitlines()[-1], MachineLimits)


def read_rate(size_bytes: int) -> float:
    """Bytes a second that one thread reads from an array of this size, the best of many.

    NumPy's maximum over int8 is vector code that does nothing but read; rows of stride 0 make it
    read the same bytes 100 times in one call.
    """
    array = np.zeros(size_bytes, np.int8)
    again = as_strided(array, (100, size_bytes), (0, 1))
    best_s = min(_seconds(lambda: np.maximum.reduce(again, axis=1)) for _ in range(_REPEATS))
    return 100 * size_bytes / best_s


def product_rate(folder: Path) -> float:
    """Int8 multiply-adds a second: dynamically quantized FULLY_CONNECTED, the best of many."""
    from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415 - only the child that measures loads it

    best = 0.0
    for rows, inputs, outputs in _RATE_SIZES:
        path = folder / f"products-{rows}-{inputs}-{outputs}.tflite"
        if not path.exists():
            path.write_bytes(_product_file(rows, inputs, outputs))
        interpreter = Interpreter(model_path=str(path), num_threads=1)
        interpreter.allocate_tensors()
        slot = interpreter.get_input_details()[0]["index"]
        values = np.random.default_rng(0).normal(size=(rows, inputs)).astype(np.float32)
        interpreter.set_tensor(slot, values)
        best_s = min(_seconds(interpreter.invoke) for _ in range(5 * _REPEATS))
        best = max(best, rows * inputs * outputs / best_s)
    return best


def _product_file(rows: int, inputs: int, outputs: int) -> bytes:
    import tensorflow as tf  # noqa: PLC0415 - only the child that measures loads it

    kernel = np.random.default_rng(0).normal(size=(inputs, outputs)).astype(np.float32)
    module = tf.Module()
    module.kernel = tf.Variable(kernel)
    product = tf.function(
        lambda x: tf.matmul(x, module.kernel),
        input_signature=[tf.TensorSpec([rows, inputs], tf.float32)],
    )
    functions = [product.get_concrete_function()]
    converter = tf.lite.TFLiteConverter.from_concrete_functions(functions, module)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return bytes(converter.convert())


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def main(folder: Path) -> None:
    """The child."""
    sizes = {shape.products_a_token[1] for shape in SHAPES}
    machine = MachineLimits({size: read_rate(size) for size in sorted(sizes)}, product_rate(folder))
    sys.stdout.write(msgspec.json.encode(machine).decode() + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
