"""Writes a bare .tflite file, after it has been compared with its float model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from edgeseq.errors import ConversionError, OutputError
from edgeseq.formats.storage import write_bytes
from edgeseq.formats.tflite_file import read_tflite
from edgeseq.progress import ProgressCallback, ProgressUpdate
from edgeseq.runtime.interpreter import SignatureNames, TfliteModel
from edgeseq_converters.convert.recipes import Recipe
from edgeseq_converters.convert.verify.fidelity import runtime_errors
from edgeseq_converters.convert.verify.older_runtime import check_answers, try_runtime
from edgeseq_converters.convert.verify.structure import check_runtime
from edgeseq_converters.models.arrays import FloatArray

N_TRIED = 16
"""Texts that an older runtime is asked."""


class BareModel(msgspec.Struct, frozen=True):
    """What was written, and how far it is from the float model on `n_examples` texts.

    `max_abs_error` is over the outputs, `relative_error` that over the largest |output|; `shape`
    is the output's, −1 an open axis of tokens; `tried_runtime` says how an older runtime that the
    file is for was tried.
    """

    path: str
    size_bytes: int
    output: str
    shape: tuple[int, ...]
    n_examples: int
    max_abs_error: float
    relative_error: float
    parameters: int
    streaming: bool = False
    tried_runtime: str | None = None


class Content(msgspec.Struct, frozen=True):
    """A file's content, the name of its output, what it was made of, and the older runtime that
    must load it (None: the current one)."""

    content: bytes
    output: str
    model: str
    parameters: int
    streaming: bool = False
    runtime: str | None = None


class Expected(msgspec.Struct, frozen=True):
    """Texts as token ids, and the float model's answers: [outputs], or [n, outputs]."""

    texts: Sequence[Sequence[int]]
    answers: Sequence[FloatArray]


def check_free(out: Path, *, overwrite: bool) -> None:
    """Raises `OutputError` when `out` is there already, without `overwrite`."""
    if out.exists() and not overwrite:
        raise OutputError("is there already", where=out, fix="choose another --out or --overwrite")


def write_bare(
    out: Path, made: Content, expected: Expected, recipe: Recipe, *, progress: ProgressCallback
) -> BareModel:
    """Writes `out` when its answers are within the recipe's bound of the float model's.

    Raises `ConversionError` when they are not or when the runtime refuses the file, and
    `OutputError` when it cannot be written; nothing is left behind then.
    """
    draft = out.with_name(f".{out.name}.draft")
    try:
        write_bytes(draft, made.content)
        if made.runtime is not None:
            check_runtime(read_tflite(draft), made.runtime, where=out)
        worst, shape = _compare(draft, made, expected, progress)
        largest = max(float(np.abs(wanted).max()) for wanted in expected.answers)
        relative = worst / max(largest, 1e-6)
        if not np.isfinite(relative) or relative > recipe.bound.relative_error:
            raise ConversionError(
                f"answers differ from the float model's by {relative:.2g} of the largest output",
                where=made.model,
                expected=f"<= {recipe.bound.relative_error:g} with {recipe.name}",
                fix="choose a finer recipe",
            )
        tried = _try_older(draft, made, expected, recipe, progress)
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)
    return BareModel(
        path=str(out),
        size_bytes=len(made.content),
        output=made.output,
        shape=shape,
        n_examples=len(expected.texts),
        max_abs_error=worst,
        relative_error=relative,
        parameters=made.parameters,
        streaming=made.streaming,
        tried_runtime=tried,
    )


def _try_older(
    path: Path, made: Content, expected: Expected, recipe: Recipe, progress: ProgressCallback
) -> str | None:
    """Asks the older runtime that the file is for, if it can be installed; says what was done."""
    if made.runtime is None:
        return None
    if expected.answers[0].ndim > 1:
        return f"{made.runtime}: operators checked, not asked (answers for each token)"
    texts = expected.texts[:N_TRIED]
    tried = try_runtime(made.runtime, path, texts, output=made.output, progress=progress)
    if tried.answers is None:
        return f"{made.runtime}: not tried, {tried.why_not}"
    wanted = np.stack(expected.answers[:N_TRIED])
    found = np.asarray(tried.answers, np.float32)
    check_answers(found, wanted, recipe.bound.relative_error, where=path)
    return f"{made.runtime}: answered {len(texts)} texts"


def _compare(
    path: Path, made: Content, expected: Expected, progress: ProgressCallback
) -> tuple[float, tuple[int, ...]]:
    """The largest |difference|, and the output's shape."""
    with runtime_errors(path):
        model = TfliteModel(path, signature=SignatureNames(output=made.output))
    worst = 0.0
    shape: tuple[int, ...] = ()
    pairs = zip(expected.texts, expected.answers, strict=True)
    for number, (text, wanted) in enumerate(pairs, start=1):
        with runtime_errors(path):
            found = model.infer(text)
        worst = max(worst, float(np.abs(found - wanted).max()))
        tokens = (model.fixed_length or -1,) if wanted.ndim == 2 else ()
        shape = (1, *tokens, wanted.shape[-1])
        progress(ProgressUpdate("compare with the float model", number, len(expected.texts)))
    return worst, shape
