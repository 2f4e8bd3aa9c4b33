"""The outcome of the study as a result file and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from studies.public_models.compare import FileDifference, ModelOutcome
from studies.public_models.frameworks import OPEN_LENGTHS, PER_LENGTH, ROWS, STEPS

EXACT = 1e-5
"""A float32 file is exact when no output differs by more, over the largest |output| or 1."""


class StudyResult(msgspec.Struct, frozen=True):
    """All outcomes, with the day and the version that they are from."""

    created_utc: str
    edgeseq_version: str
    models: tuple[ModelOutcome, ...]


INTRODUCTION = """\
# Other people's models

    cd benchmarks && ../.venv/bin/python -m studies.public_models FOLDER --fetch --write

Recurrent models from public repositories and packages, as
[the list](studies/public_models/sources.toml) has them. Each is read as `edgeseq convert` reads it,
converted in every lowering that it has, and the files' outputs are compared with those of the
framework that wrote it. Inputs are random: {rows} of the length that a model takes (fewer if it
has more than {long} steps), or {per_length} each of {lengths} tokens for a model of any
length. Token ids of a fixed length are padded with 0 in front, behind, or not at all; never in
front where the model masks padding. A difference is the largest over all outputs and lowerings,
relative to the largest output where that is more than 1. No model is kept in this repository.
"""


def page_text(result: StudyResult) -> str:
    """The page of the result."""
    introduction = INTRODUCTION.format(
        rows=ROWS,
        long=STEPS // ROWS,
        per_length=PER_LENGTH,
        lengths=", ".join(map(str, OPEN_LENGTHS)),
    )
    return introduction + "\n" + "\n".join(lines(result)) + "\n"


def lines(result: StudyResult) -> Iterator[str]:
    """The tables: what converts with its differences, and what is refused with the causes."""
    found = [model for model in result.models if model.found]
    converted = [model for model in found if not model.refused]
    refused = [model for model in found if model.refused]
    exact = [model for model in converted if is_exact(model)]
    yield (
        f"Of {len(found)} public models {len(converted)} convert; {len(exact)} of them give the "
        f"framework's own float32 outputs within {EXACT:.0e} in every lowering that they have. "
        f"edgeseq {result.edgeseq_version}, {result.created_utc[:10]}."
    )
    yield ""
    yield "| model | source | written by | input | layers | float32 | int8 weights | lowerings |"
    yield "|---|---|---|---|---|---|---|---|"
    for model in converted:
        yield _converted_row(model)
    yield ""
    yield "| model | source | written by | why it is refused |"
    yield "|---|---|---|---|"
    for model in refused:
        yield (
            f"| {model.name} | {model.origin} | {model.written_by} | {_escaped(model.refused)} |"
        )
    missing = [model.name for model in result.models if not model.found]
    if missing:
        yield ""
        yield f"Not at hand when this was written: {', '.join(missing)}."


def is_exact(model: ModelOutcome) -> bool:
    """Whether every float32 file gives the framework's outputs."""
    floats = [file for file in model.files if file.recipe == "float32" and not file.refused]
    return bool(floats) and all(_scaled(file) <= EXACT for file in floats)


def _scaled(file: FileDifference) -> float:
    return min(file.max_abs_error, file.relative_error)


def _converted_row(model: ModelOutcome) -> str:
    lowerings = dict.fromkeys(file.lowering for file in model.files if not file.refused)
    cells = (
        model.name,
        model.origin,
        model.written_by or f"(not compared: {model.unchecked})",
        model.input,
        model.layers,
        _worst(model.files, "float32"),
        _worst(model.files, "dynamic_wi8_afp32"),
        ", ".join(lowerings),
    )
    return f"| {' | '.join(cells)} |"


def _worst(files: Sequence[FileDifference], recipe: str) -> str:
    """The largest difference of a recipe's files, relative to the largest output."""
    errors = [_scaled(file) for file in files if file.recipe == recipe and not file.refused]
    return f"{max(errors):.1e}" if errors else "–"


def _escaped(line: str) -> str:
    return line.replace("|", "\\|")
