"""Makes the files of other tools, each in a process of its own.

TensorFlow's converter leaks memory and can end its process with a signal, so one process writes
the files of one tool in one precision: `python -m studies.peers.makers ORDER.json`. What a tool
does by
default is left as it is.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edgeseq.formats.codec import decode_json
from edgeseq.formats.storage import write_bytes
from studies.peers.contenders import OPEN, BuildJob
from studies.peers.inputs import CLASSES, VOCABULARY, FloatArray, Ids, fit

TIMEOUT_S = 300


class BuildOrder(msgspec.Struct, frozen=True):
    """Jobs of one tool with what they need; files go to `folder` under the jobs' names.

    `weights_path` is an .npz of `inputs.make_weights`.
    """

    jobs: tuple[BuildJob, ...]
    weights_path: str
    folder: str
    calibration: list[Ids]


def make_files(
    jobs: Iterable[BuildJob],
    weights_path: Path,
    folder: Path,
    calibration: list[Ids],
    *,
    log: Callable[[str], None],
) -> tuple[dict[BuildJob, Path], dict[BuildJob, str]]:
    """The files that could be made, and for the others the cause. What is there stays."""
    groups: dict[tuple[str, str], list[BuildJob]] = {}
    for job in jobs:
        groups.setdefault((job.peer, job.precision), []).append(job)
    files: dict[BuildJob, Path] = {}
    causes: dict[BuildJob, str] = {}
    for group in groups.values():
        # Files are written in order, so the first that is missing is the one that failed.
        while missing := tuple(
            job for job in group if job not in causes and not (folder / job.filename).is_file()
        ):
            log(f"{missing[0].peer} {missing[0].precision}: {len(missing)} files")
            cause = _run(BuildOrder(missing, str(weights_path), str(folder), calibration))
            unfinished = [job for job in missing if not (folder / job.filename).is_file()]
            if unfinished:
                causes[unfinished[0]] = cause or "wrote nothing"
        files |= {job: folder / job.filename for job in group if job not in causes}
    return files, causes


def _run(order: BuildOrder) -> str | None:
    """Runs an order in a child; None when all is there, else the cause in one line."""
    first = order.jobs[0]
    order_path = Path(order.folder) / f"{first.filename}.json"
    order_path.write_bytes(msgspec.json.encode(order))
    log_path = order_path.with_suffix(".log")
    # Threads of NumPy's BLAS spin while they wait, and nothing here needs them.
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "-1"}
    # A converter that dies leaves its temporary files behind.
    environment |= {"TF_CPP_MIN_LOG_LEVEL": "2", "TMPDIR": order.folder}
    with log_path.open("wb") as log:
        try:
            done = subprocess.run(
                [sys.executable, "-m", "studies.peers.makers", str(order_path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=TIMEOUT_S,
                env=environment,
                cwd=Path(__file__).parents[2],
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"not done after {TIMEOUT_S} s"
    if done.returncode == 0:
        return None
    return describe_end(done.returncode, log_path.read_text(errors="replace"))


def describe_end(returncode: int, log: str) -> str:
    """Why a child ended without its file, in one line of at most 160 characters."""
    if returncode < 0:
        return f"its process ended with {signal.Signals(-returncode).name}"
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if "Error" in line.split(":")[0]]
    return (errors or lines or [f"its process ended with exit code {returncode}"])[-1][:160]


def _tf_keras(job: BuildJob, order: BuildOrder, weights: dict[str, FloatArray]) -> bytes:
    import tf_keras

    ids = tf_keras.Input((job.length,), batch_size=1, dtype="int32")
    return _converted(_keras_model(tf_keras, ids, weights), job, order)


def _keras3(job: BuildJob, order: BuildOrder, weights: dict[str, FloatArray]) -> bytes:
    import keras

    length = None if job.length == OPEN else job.length
    ids = keras.Input(batch_shape=(1, length), dtype="int32")
    return _converted(_keras_model(keras, ids, weights), job, order)


def _keras_model(keras: Any, ids: Any, weights: dict[str, FloatArray]) -> Any:
    """`Embedding → LSTM → Dense` of either Keras, filled with the weights."""
    embedding = keras.layers.Embedding(VOCABULARY, weights["table"].shape[1])
    lstm = keras.layers.LSTM(weights["recurrent"].shape[0])
    head = keras.layers.Dense(CLASSES)
    model = keras.Model(ids, head(lstm(embedding(ids))))
    embedding.set_weights([weights["table"]])
    lstm.set_weights([weights["kernel"], weights["recurrent"], weights["bias"]])
    head.set_weights([weights["head"], weights["head_bias"]])
    return model


def _converted(model: Any, job: BuildJob, order: BuildOrder) -> bytes:
    import tensorflow as tf

    def calibration() -> Iterator[list[Any]]:
        for ids in order.calibration:
            yield [np.array([fit(ids, job.length)], np.int32)]

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if job.precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if job.precision == "integer":
        converter.representative_dataset = calibration
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    return bytes(converter.convert())


def _onnxruntime(job: BuildJob, order: BuildOrder, weights: dict[str, FloatArray]) -> bytes:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    plain = Path(order.folder) / f"plain-{job.filename}"
    onnx.save(_onnx_model(weights), plain)
    if job.precision == "float32":
        return plain.read_bytes()
    quantized = plain.with_suffix(".int8.onnx")
    quantize_dynamic(plain, quantized, weight_type=QuantType.QInt8)
    return quantized.read_bytes()


def _onnx_model(weights: dict[str, FloatArray]) -> Any:
    """`ids` int64 [1, n] → `logits` [1, 3] by ONNX's LSTM, whose gates stand as i, o, f, c."""
    from onnx import TensorProto, helper, numpy_helper

    def gates_first(array: FloatArray) -> FloatArray:
        i, f, c, o = np.split(array, 4, axis=-1)
        rows: FloatArray = np.concatenate([i, o, f, c], axis=-1).T
        return np.ascontiguousarray(rows[None])

    hidden = weights["recurrent"].shape[0]
    bias = gates_first(weights["bias"])
    constants = {
        "table": weights["table"],
        "W": gates_first(weights["kernel"]),
        "R": gates_first(weights["recurrent"]),
        "B": np.concatenate([bias, np.zeros_like(bias)], axis=1),
        "head": weights["head"],
        "head_bias": weights["head_bias"],
        "directions": np.array([0], np.int64),
    }
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("Transpose", ["rows"], ["steps"], perm=[1, 0, 2]),
        helper.make_node("LSTM", ["steps", "W", "R", "B"], ["", "states"], hidden_size=hidden),
        helper.make_node("Squeeze", ["states", "directions"], ["state"]),
        helper.make_node("MatMul", ["state", "head"], ["product"]),
        helper.make_node("Add", ["product", "head_bias"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "lstm",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, [1, "n"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, CLASSES])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


_MAKERS = {"tf_keras": _tf_keras, "keras3": _keras3, "onnxruntime": _onnxruntime}


def main(order_path: Path) -> None:
    """The child: writes the files that the order names, one after the other."""
    order = decode_json(order_path.read_bytes(), BuildOrder)
    with np.load(order.weights_path) as stored:
        weights = {name: stored[name] for name in stored.files}
    for job in order.jobs:
        write_bytes(Path(order.folder) / job.filename, _MAKERS[job.peer](job, order, weights))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
