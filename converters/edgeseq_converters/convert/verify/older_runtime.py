"""Runs a file in the older runtime that it was made for, where that can be installed.

The runtime has a separate environment in the user's cache folder (it needs an older
NumPy than TensorFlow), made by venv and pip on first use, so the user's configuration holds.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import platformdirs

from edgeseq.errors import ConversionError
from edgeseq.progress import ProgressCallback, ProgressUpdate
from edgeseq.subprocesses.child_process import format_exit, last_line
from edgeseq.subprocesses.command_runs import CommandTimeoutError, run_command
from edgeseq_converters.convert.recipes import Recipe
from edgeseq_converters.convert.verify.interpreter_process import ModelFile, run_model
from edgeseq_converters.models.arrays import FloatArray, ModelInput

_REQUIREMENTS = {"tflite-runtime 2.14.0": ("tflite-runtime==2.14.0", "numpy<2", "msgspec")}
_NEWEST_PYTHON = {"tflite-runtime 2.14.0": (3, 11)}
_INSTALL_TIMEOUT_S = 600
_READY = "ready"
N_TEXTS = 16
"""Texts that an older runtime is given."""


def check_older_runtime(
    runtime: str | None,
    file: ModelFile,
    inputs: Sequence[ModelInput],
    outputs: Sequence[FloatArray],
    recipe: Recipe,
    *,
    progress: ProgressCallback,
) -> str | None:
    """Runs `N_TEXTS` texts in `runtime` (a name of `edgeseq.formats.tflite_runtimes`, installed if
    need be) and compares with the current runtime's `outputs`; tells what was done, or None.

    Raises `ConversionError` when the runtime refuses the model, dies on it, or differs too much.
    """
    if runtime is None:
        return None
    python, obstacle = _environment(runtime, progress)
    if python is None:
        return f"{runtime}: not tried, {obstacle}"
    texts = inputs[:N_TEXTS]
    older = run_model(
        file,
        texts,
        stage=f"compare with {runtime}",
        python=str(python),
        progress=progress,
    )
    # Other kernels: another order of sums, and activations that round to the other side.
    allowed = 2 * recipe.bound.slack if recipe.activations == "float32" else 0.1
    pairs = list(zip(older, outputs[:N_TEXTS], strict=True))
    error = max(float(np.abs(first - second).max()) for first, second in pairs)
    largest = max(float(np.abs(second).max()) for _, second in pairs)
    relative = error / max(largest, 1e-6)
    if not relative <= allowed:
        raise ConversionError(
            f"outputs in {runtime} differ by {relative:.2g} of the largest logit",
            where=file.where,
            expected=f"<= {allowed:g}",
            fix="choose another --recipe or --lowering",
        )
    return f"{runtime}: answered {len(texts)} texts"


def _environment(runtime: str, progress: ProgressCallback) -> tuple[Path | None, str | None]:
    """The Python of an environment with `runtime`, or None and why there is none."""
    if runtime not in _REQUIREMENTS:
        return None, "it is not known how to install it"
    newest = _NEWEST_PYTHON[runtime]
    if sys.version_info[:2] > newest:
        return None, f"it needs Python {newest[0]}.{newest[1]} or older, this is {_version()}"
    requirements = _REQUIREMENTS[runtime]
    tag = f"{runtime.replace(' ', '-')}-python{_version()}"
    folder = platformdirs.user_cache_path("edgeseq") / "runtimes" / tag
    python, ready = folder / "bin" / "python", folder / _READY
    if python.exists() and ready.is_file() and ready.read_text().split() == [*requirements]:
        return python, None
    progress(ProgressUpdate(f"install {runtime}", 0, 1))
    shutil.rmtree(folder, ignore_errors=True)
    commands = (
        [sys.executable, "-m", "venv", str(folder)],
        [str(python), "-m", "pip", "install", "-q", "--only-binary=:all:", *requirements],
    )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        for command in commands:
            output = run_command(command, timeout_s=_INSTALL_TIMEOUT_S)
            if output.returncode:
                raise OSError(last_line(output.stderr) or format_exit(output.returncode))
        ready.write_text("\n".join(requirements))
    except (CommandTimeoutError, OSError) as failure:
        shutil.rmtree(folder, ignore_errors=True)
        return None, f"it could not be installed ({failure})"
    progress(ProgressUpdate(f"install {runtime}", 1, 1))
    return python, None


def _version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"
