"""What can be known of a suite before its first training, which may take hours."""

from __future__ import annotations

from pathlib import Path

from edgeseq.errors import InputError
from edgeseq.suite.schema import ModelSection, Suite
from edgeseq_benchmarks.bench.runner import default_settings
from edgeseq_converters.convert.lower.dispatch import lowerings_of, recipes_for_task
from edgeseq_converters.models.huggingface.files import is_hub_id
from edgeseq_converters.training.settings import check_teacher, read_settings


def check_suite(suite: Suite) -> None:
    """Checks training settings, checkpoints, lowerings, recipes and the settings of the benchmark.

    Raises `InputError` naming the model and what is wrong with it.
    """
    for model in suite.models:
        try:
            settings = read_settings(model.train, model.arch, suite.task)
            check_teacher(settings, has_teacher=model.teacher is not None)
            _check_checkpoint(model)
            _check_conversions(model, suite.task)
        except InputError as error:
            where = f"model {model.name!r}: {error.where}" if error.where else f"{model.name!r}"
            raise InputError(
                error.what, where=where, found=error.found, expected=error.expected, fix=error.fix
            ) from error
    default_settings(quick=suite.bench.quick, threads=suite.bench.threads)


def _check_checkpoint(model: ModelSection) -> None:
    name = model.checkpoint
    if name is not None and not Path(name).is_dir() and not is_hub_id(name):
        raise InputError(
            "no such folder, and no hub id",
            where="checkpoint",
            found=repr(name),
            fix="check the path",
        )


def _check_conversions(model: ModelSection, task: str) -> None:
    for lowering in model.lowerings:
        lowerings = lowerings_of(model.arch, task)
        if lowering not in ("auto", *lowerings):
            raise InputError(
                f"a {model.arch} model for {task} has no such lowering",
                where="lowerings",
                found=repr(lowering),
                expected=" or ".join(("auto", *lowerings)),
            )
        chosen = lowerings[0] if lowering == "auto" else lowering
        recipes = recipes_for_task(model.arch, chosen, task)
        for recipe in model.recipes:
            if recipe not in recipes:
                raise InputError(
                    f"the lowering {chosen} of a {model.arch} model for {task} has no such recipe",
                    where="recipes",
                    found=repr(recipe),
                    expected=" or ".join(recipes),
                )
