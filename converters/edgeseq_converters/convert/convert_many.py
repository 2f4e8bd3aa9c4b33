"""Several bundles of one model: recipes × lowerings, or the smallest recipe that passes."""

from __future__ import annotations

import functools
from pathlib import Path

import msgspec

from edgeseq.errors import InputError
from edgeseq.formats.bundle import BundleManifest
from edgeseq.formats.trained_model import read_model_folder
from edgeseq.progress import ProgressCallback, no_progress
from edgeseq.tasks.examples import AnyDataset
from edgeseq_converters.convert.lower.dispatch import (
    LOWERINGS,
    choose_lowering,
    lowerings_of,
    recipes_of,
)
from edgeseq_converters.convert.pipeline import convert
from edgeseq_converters.convert.prepare import Prepared
from edgeseq_converters.convert.recipes import DEFAULT, get_recipe
from edgeseq_converters.convert.search import search

AUTO = "auto"


class Choices(msgspec.Struct, frozen=True):
    """What is to be made. `auto` among the recipes stands alone: the smallest that loses no more
    than `max_drop` points; among the lowerings: all that the model and the recipe have."""

    recipes: tuple[str, ...] = ()
    lowerings: tuple[str, ...] = ()
    length: int | None = None
    runtime: str | None = None
    max_drop: float | None = None


class Made(msgspec.Struct, frozen=True):
    """The bundles with their folders, and why smaller recipes were refused (`auto`)."""

    bundles: tuple[tuple[Path, BundleManifest], ...]
    refused: dict[str, str] = {}


def convert_many(
    model: Prepared,
    out: Path,
    choices: Choices,
    *,
    dataset: AnyDataset,
    progress: ProgressCallback = no_progress,
    overwrite: bool = False,
) -> Made:
    """Converts the prepared model: to the bundle `out`, or with several recipes or lowerings to
    bundles NAME-RECIPE[-LOWERING] in the folder `out`.

    Raises `InputError` for choices that do not go together, and all that `convert` raises.
    """
    manifest = read_model_folder(model.path).manifest
    arch = manifest.arch
    recipes = tuple(dict.fromkeys(choices.recipes)) or (DEFAULT,)
    if AUTO in recipes and len(recipes) > 1:
        raise InputError(
            "--recipe auto stands alone", found=", ".join(recipes), fix="leave the others out"
        )
    for name in recipes:
        if name != AUTO:
            get_recipe(name)
    lowerings: tuple[str, ...] = tuple(dict.fromkeys(choices.lowerings)) or LOWERINGS[arch][:1]
    if AUTO in lowerings:
        lowerings = lowerings_of(arch, manifest.task)
    if choices.length is not None and "unrolled" not in lowerings:
        raise InputError(
            "--length is the number of tokens of the lowering unrolled",
            found=f"{choices.length} with {', '.join(lowerings)}",
            fix="leave it out, or add --lowering unrolled",
        )
    one = functools.partial(
        convert,
        model.path,
        dataset=dataset,
        runtime=choices.runtime,
        max_drop=choices.max_drop,
        progress=progress,
        overwrite=overwrite,
    )
    made = []
    refused: dict[str, str] = {}
    for lowering in (choose_lowering(arch, name) for name in lowerings):
        length = choices.length if lowering == "unrolled" else None
        available = recipes_of(arch, lowering)
        for name in recipes:
            place = out
            if len(recipes) * len(lowerings) > 1:
                ending = f"-{lowering}" if len(lowerings) > 1 else ""
                place = out / f"{model.name}-{name}{ending}"
            lower = functools.partial(one, place, lowering=lowering, length=length)
            if name == AUTO:
                found = search(
                    lambda recipe, lower=lower: lower(recipe=recipe, gate=True), available
                )
                made.append((place, found.manifest))
                refused |= found.refused
            elif name in available or len(lowerings) == 1:
                made.append((place, lower(recipe=name)))
            else:
                refused[f"{name} {lowering}"] = "the lowering has no such recipe"
    return Made(tuple(made), refused)
