"""MediaPipe's own TextClassifier and TextEmbedder in Python, as a child process."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from edgeseq.errors import DeviceError, RefusedError
from edgeseq.formats.codec import decode_json
from edgeseq.subprocesses.child_process import format_exit, last_line
from edgeseq.subprocesses.command_runs import CommandTimeoutError, run_command

CHILD = Path(__file__).with_name("child.py")
_TIMEOUT_S = 600.0


class Repetition(msgspec.Struct, frozen=True):
    """How often texts are classified: `order` has their numbers (default: as they come); see
    `child.py`."""

    order: tuple[int, ...] | None = None
    min_queries: int = 0
    min_duration_s: float = 0.0
    max_queries: int = 0


class MediaPipeAnswer(msgspec.Struct, frozen=True):
    """MediaPipe's version, the labels that it shows, per text the score of each label, and per call
    the number of its text and its time; `varying` calls gave a text other scores than before."""

    version: str
    names: tuple[str, ...]
    scores: tuple[tuple[float, ...], ...]
    varying: int
    example: tuple[int, ...]
    latency_ns: tuple[int, ...]


def classify_texts(
    model_path: Path,
    texts: Sequence[str],
    repetition: Repetition = Repetition(),  # noqa: B008 - frozen
) -> MediaPipeAnswer:
    """Classifies texts with a model that has TFLite Metadata.

    Raises `DeviceError` where MediaPipe is not installed, cannot be loaded or crashes, and
    `RefusedError` where it refuses the model.
    """
    order = range(len(texts)) if repetition.order is None else repetition.order
    job = msgspec.to_builtins(repetition) | {"texts": list(texts), "order": list(order)}
    return _run(model_path, job, _TIMEOUT_S + repetition.min_duration_s)


def embed_texts(model_path: Path, texts: Sequence[str]) -> MediaPipeAnswer:
    """The embeddings of texts, as `scores`, by a model that has TFLite Metadata.

    Raises as `classify_texts` does.
    """
    return _run(model_path, {"embeds": True, "texts": list(texts)}, _TIMEOUT_S)


def _run(model_path: Path, job: dict[str, Any], timeout_s: float) -> MediaPipeAnswer:
    if importlib.util.find_spec("mediapipe") is None:
        raise DeviceError(
            "MediaPipe is not installed",
            where="this Python",
            fix="pip install 'edgeseq[mediapipe]'",
        )
    command = (sys.executable, "-I", str(CHILD), str(model_path.absolute()))
    try:
        done = run_command(command, timeout_s=timeout_s, stdin=msgspec.json.encode(job))
    except CommandTimeoutError as failure:
        raise DeviceError("MediaPipe did not answer", found=f"{timeout_s:.0f} s") from failure
    if done.returncode == 0:
        return decode_json(done.stdout, MediaPipeAnswer)
    log = done.stderr.decode("utf-8", errors="replace")
    if missing := re.search(r"(lib\w+\.so[.\d]*): cannot open shared object file", log):
        raise DeviceError(
            "MediaPipe cannot be loaded",
            where="this Python",
            found=f"no {missing[1]}",
            fix="on Debian: apt install libegl1 libgles2",
        )
    if done.returncode < 0:
        raise DeviceError("MediaPipe crashed", where=model_path, found=format_exit(done.returncode))
    found = last_line(done.stderr) or format_exit(done.returncode)
    raise RefusedError("MediaPipe refuses the model", where=model_path, found=found)
