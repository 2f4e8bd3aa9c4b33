"""Loads a file in the older runtime that it was made for, where that can be installed.

The runtime lives in an environment of its own in the user's cache folder (it needs an older
NumPy than TensorFlow), made by venv and pip on first use, so the user's configuration holds.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import platformdirs

import edgeseq
from edgeseq.errors import ConversionError
from edgeseq.formats.codec import decode_json
from edgeseq.progress import ProgressCallback, ProgressUpdate, no_progress
from edgeseq_converters.models.arrays import FloatArray

_REQUIREMENTS = {"tflite-runtime 2.14.0": ("tflite-runtime==2.14.0", "numpy<2")}
_NEWEST_PYTHON = {"tflite-runtime 2.14.0": (3, 11)}
_INSTALL_TIMEOUT_S = 600
_ANSWER_TIMEOUT_S = 300
_CHILD = Path(__file__).with_name("older_runtime_child.py")
_PACKAGES = Path(edgeseq.__file__).parent.parent
_READY = "ready"


class Tried(msgspec.Struct, frozen=True):
    """The answers [texts][labels] of the older runtime, or why it was not tried."""

    answers: tuple[tuple[float, ...], ...] | None
    why_not: str | None = None


def try_runtime(
    runtime: str,
    model: Path,
    texts: Sequence[Sequence[int]],
    *,
    output: str = "logits",
    progress: ProgressCallback = no_progress,
) -> Tried:
    """Runs `model` in `runtime` (a name of `edgeseq.formats.tflite_runtimes`), installed if need
    be; `output` is the name of its output.

    Raises `ConversionError` when the runtime refuses the model or dies on it.
    """
    python, why_not = _environment(runtime, progress)
    if python is None:
        return Tried(None, why_not)
    job = msgspec.json.encode(
        {"packages": str(_PACKAGES), "model": str(model), "output": output, "texts": texts}
    )
    try:
        done = subprocess.run(
            [str(python), "-I", str(_CHILD)],
            input=job,
            capture_output=True,
            timeout=_ANSWER_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as failure:
        raise ConversionError(
            f"gives no answer in {runtime} within {_ANSWER_TIMEOUT_S} s", where=model
        ) from failure
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise ConversionError(
            f"{runtime} does not run the model",
            where=model,
            found=lines[-1][:300] if lines else f"exit code {done.returncode}",
            fix="choose another --recipe or --lowering",
        )
    return Tried(decode_json(done.stdout, tuple[tuple[float, ...], ...]))


def check_answers(tried: FloatArray, current: FloatArray, allowed: float, *, where: Path) -> None:
    """Raises `ConversionError` when two runtimes' answers [texts, labels] are further apart than
    `allowed`, as a fraction of the largest |answer|."""
    apart = float(np.abs(tried - current).max()) / max(float(np.abs(current).max()), 1e-6)
    if not apart <= allowed:
        raise ConversionError(
            f"answers in the older runtime differ by {apart:.2g} of the largest logit",
            where=where,
            expected=f"<= {allowed:g}",
            fix="choose another --recipe or --lowering",
        )


def _environment(runtime: str, progress: ProgressCallback) -> tuple[Path | None, str | None]:
    """The Python of an environment with `runtime`, or None and why there is none."""
    if runtime not in _REQUIREMENTS:
        return None, "it is not known how to install it"
    newest = _NEWEST_PYTHON[runtime]
    if sys.version_info[:2] > newest:
        return None, f"it needs Python {newest[0]}.{newest[1]} or older, this is {_version()}"
    tag = f"{runtime.replace(' ', '-')}-python{_version()}"
    folder = platformdirs.user_cache_path("edgeseq") / "runtimes" / tag
    python = folder / "bin" / "python"
    if (folder / _READY).is_file() and python.exists():
        return python, None
    progress(ProgressUpdate(f"install {runtime}", 0, 1))
    shutil.rmtree(folder, ignore_errors=True)
    steps = (
        [sys.executable, "-m", "venv", str(folder)],
        [str(python), "-m", "pip", "install", "--quiet", "--only-binary=:all:"],
    )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        for step, more in zip(steps, ((), _REQUIREMENTS[runtime]), strict=True):
            subprocess.run(
                [*step, *more], check=True, capture_output=True, timeout=_INSTALL_TIMEOUT_S
            )
        (folder / _READY).touch()
    except (subprocess.SubprocessError, OSError) as failure:
        shutil.rmtree(folder, ignore_errors=True)
        return None, f"it could not be installed ({type(failure).__name__})"
    progress(ProgressUpdate(f"install {runtime}", 1, 1))
    return python, None


def _version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"
