"""Sweeps of a suite file: `[grid]`, `[model.grid]` and `seeds` become one model per combination.

A model of a sweep is called NAME-SETTING-VALUE-…, `bilstm-hidden_size-64-seed-1`. A model with a
teacher of a sweep is trained once with each of those teachers; what both vary (`[grid]` and
`seeds`, which hold for all models) they vary together. A setting in both grids has the values of
the model's.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from edgeseq.errors import InputError

MODELS_LIMIT = 1000
"""Each is trained; more is a mistake in a list."""
_MODEL_KEYS = ("arch", "checkpoint", "teacher")


class _Axis(NamedTuple):
    """What varies: a setting of one model, or (`model` is None) of all."""

    model: str | None
    setting: str


_Point = dict[_Axis, Any]
_SEEDS = _Axis(None, "seeds")
"""Its values are counted from the seed of each model."""


def expand_sweeps(suite: Mapping[str, Any]) -> dict[str, Any]:
    """The suite file's content with a model per combination, without the sweeps.

    Args:
        suite: The content of a valid suite file (`edgeseq.suite.schema.Suite`).

    Raises:
        InputError: A sweep has no values or a value twice, varies what is a list already, or
            gives more than `MODELS_LIMIT` models.
    """
    common = _axes(None, suite["grid"])
    if suite["seeds"] > 1:
        if any("seed" in grid for grid in (suite["grid"], *(m["grid"] for m in suite["model"]))):
            raise InputError("seed varies twice", where="grid", fix="remove it, or seeds")
        common[_SEEDS] = range(suite["seeds"])
    variants: dict[str, dict[str, _Point]] = {}
    models: list[dict[str, Any]] = []
    for model in suite["model"]:
        of_model: dict[str, _Point] = {}
        axes = {axis: common[axis] for axis in common if axis.setting not in model["grid"]}
        for point in _points({**axes, **_axes(model["name"], model["grid"])}):
            for swept, full_point in _with_teachers(_at(model, point), point, variants):
                swept["name"] = _variant_name(model["name"], swept, full_point)
                of_model[swept["name"]] = full_point
                models.append(swept)
                if len(models) > MODELS_LIMIT:
                    raise InputError(
                        "the sweeps give too many models",
                        where=f"model {model['name']!r}",
                        expected=f"at most {MODELS_LIMIT:,}",
                        fix="shorten the lists",
                    )
        variants[model["name"]] = of_model
    return {**suite, "model": models, "grid": {}, "seeds": 1}


def _axes(model: str | None, grid: Mapping[str, Sequence[Any]]) -> dict[_Axis, Sequence[Any]]:
    where = "[grid]" if model is None else f"model {model!r}: grid"
    for setting, values in grid.items():
        if setting in ("name", "recipes", "lowerings", "seeds", "train", "grid"):
            raise InputError(
                "does not go into a grid",
                where=where,
                found=repr(setting),
                expected=f"a setting of the training, or {', '.join(_MODEL_KEYS)}",
            )
        if not values or any(values.count(value) > 1 for value in values):
            raise InputError(
                "needs values, each once", where=f"{where}: {setting}", found=list(values)
            )
    return {_Axis(model, setting): values for setting, values in grid.items()}


def _points(axes: Mapping[_Axis, Sequence[Any]]) -> Iterator[_Point]:
    for values in itertools.product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def _at(model: Mapping[str, Any], point: _Point) -> dict[str, Any]:
    """The model with the settings of a combination."""
    swept: dict[str, Any] = {**model, "train": dict(model["train"]), "grid": {}}
    for axis, value in point.items():
        if axis == _SEEDS:  # models that choose the best of several seeds share none
            swept["train"]["seed"] = _first_seed(model) + value * model["seeds"]
        elif axis.setting in _MODEL_KEYS:
            swept[axis.setting] = value
        else:
            swept["train"][axis.setting] = value
    return swept


def _first_seed(model: Mapping[str, Any]) -> int:
    seed = model["train"].get("seed", 0)
    if not isinstance(seed, int):
        raise InputError(
            "is not a seed", where=f"model {model['name']!r}", found=repr(seed), fix="give a number"
        )
    return seed


def _with_teachers(
    swept: dict[str, Any], point: _Point, variants: Mapping[str, Mapping[str, _Point]]
) -> Iterator[tuple[dict[str, Any], _Point]]:
    """The model with each variant of its teacher that has the same values of what both vary."""
    teachers = variants.get(swept["teacher"])
    if not teachers:  # none, or one that the check of the suite file refuses
        yield swept, point
        return
    for name, of_teacher in teachers.items():
        if all(point.get(axis, value) == value for axis, value in of_teacher.items()):
            yield {**swept, "teacher": name}, {**point, **of_teacher}


def _variant_name(model: str, swept: Mapping[str, Any], point: _Point) -> str:
    parts = [model]
    for axis, value in point.items():
        owner = "" if axis.model in (None, model) else f"{axis.model}."
        setting, shown = (
            ("seed", swept["train"]["seed"]) if axis == _SEEDS else (axis.setting, value)
        )
        parts.append(f"{owner}{setting}-{_value_name(shown)}")
    return "-".join(parts)


def _value_name(value: Any) -> str:
    """A value as a part of a file name."""
    text = f"{value:g}" if isinstance(value, float) else str(value).lower()
    return re.sub(r"[^A-Za-z0-9._-]", "", text.replace("/", "_"))
