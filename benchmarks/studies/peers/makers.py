"""Makes the files of other tools, each in a process of its own.

TensorFlow's converter leaks memory and can end its process with a signal, so one process writes
the files of one tool in one precision: `python -m studies.peers.makers ORDER.json`. What a tool
does by default is left as it is.
"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
import numpy as np

from edgeseq.formats.codec import decode_json
from edgeseq.formats.storage import write_bytes
from studies.peers.contenders import BuildJob
from studies.peers.inputs import FloatArray, Ids

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


# A module per tool: its child process loads that tool alone.
_TOOL_MODULES = {
    "tf_keras": "studies.peers.makers_tensorflow",
    "keras3": "studies.peers.makers_tensorflow",
    "onnxruntime": "studies.peers.makers_onnx",
}


def _file_content(job: BuildJob, order: BuildOrder, weights: dict[str, FloatArray]) -> bytes:
    tool = importlib.import_module(_TOOL_MODULES[job.peer])
    return bytes(tool.build(job, order, weights))


def main(order_path: Path) -> None:
    """The child: writes the files that the order names, one after the other."""
    order = decode_json(order_path.read_bytes(), BuildOrder)
    with np.load(order.weights_path) as stored:
        weights = {name: stored[name] for name in stored.files}
    for job in order.jobs:
        write_bytes(Path(order.folder) / job.filename, _file_content(job, order, weights))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
