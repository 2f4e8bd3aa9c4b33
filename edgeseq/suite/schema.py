"""The suite file: TOML, read strictly. `edgeseq/suites/demo.toml` is the commented example."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from edgeseq.errors import InputError
from edgeseq.formats.bundle_manifest import Lowering, RecipeName
from edgeseq.formats.codec import from_builtins
from edgeseq.formats.storage import read_bytes
from edgeseq.formats.toml_codec import decode_toml
from edgeseq.formats.trained_model import Arch
from edgeseq.reporting.budgets import parse_budget
from edgeseq.suite.sweeps import expand_sweeps
from edgeseq.tasks.registry import get_task
from edgeseq.units import THREADS_LIMIT, parse_bytes

SCHEMA_VERSION = 1
SUITE_LIMIT_BYTES = 1 << 20
Grid = dict[str, tuple[bool | int | float | str, ...]]
"""Values by setting."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class DataSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[data]`: a registered name, or the user's own files (paths relative to the suite file).

    With files, `name` is their name in results (default: the train file's name).

    Columns are names, or numbers from 1; they apply to files and `hf:` data sets. `max_train`,
    `max_dev` and `max_test` limit the examples of a split, evenly spread over it. With `window`
    and `target`, tables have a row per time step (`edgeseq.datasets.sequence_data.Windows`).
    """

    name: str | None = None
    train: str | None = None
    dev: str | None = None
    test: str | None = None
    text_column: str | int = "text"
    label_column: str | int = "label"
    window: Annotated[int, msgspec.Meta(ge=1)] | None = None
    target: str | None = None
    max_train: Annotated[int, msgspec.Meta(ge=1)] | None = None
    max_dev: Annotated[int, msgspec.Meta(ge=1)] | None = None
    max_test: Annotated[int, msgspec.Meta(ge=1)] | None = None


class ModelSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[[model]]`: one model to train, and the recipes and lowerings that it is converted with.

    `checkpoint` (bert) is `all-MiniLM-L6-v2`, a folder or a hub id. `teacher` names an earlier
    BERT of the suite to distil an LSTM or a smaller BERT from. `train` has settings of the
    training, by their names in `edgeseq train`. Of `seeds` trainings with consecutive seeds the
    best on the dev split is used. `lowerings` are those of `edgeseq convert`; `auto` is the
    architecture's first. `[model.grid]` makes a model of each combination of its values
    (`edgeseq.suite.sweeps`).
    """

    name: str
    arch: Arch
    recipes: tuple[RecipeName, ...] = ("float32", "dynamic_wi8_afp32")
    lowerings: tuple[Lowering | Literal["auto"], ...] = ("auto",)
    checkpoint: str | None = None
    teacher: str | None = None
    train: dict[str, Any] = {}
    seeds: Annotated[int, msgspec.Meta(ge=1, le=100)] = 1
    grid: Grid = {}


class BenchSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[bench]`: how the bundles are measured.

    `memory_limits` are limits on the whole process that every bundle is run under; `memory_curve`
    names the bundles (MODEL-RECIPE) whose latency is measured under shrinking limits. With
    `working_memory` the smallest limit that keeps the speed is searched for, for every bundle. Each
    bundle is measured in each of `runners` that can run it.
    """

    quick: bool = False
    threads: Annotated[int, msgspec.Meta(ge=1, le=THREADS_LIMIT)] = 1
    memory_limits: tuple[str, ...] = ()
    memory_curve: tuple[str, ...] = ()
    runners: tuple[Literal["native", "python"], ...] = ("native", "python")
    working_memory: bool = True


class ReportSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[report]`: the budget of the verdict."""

    budget: str = ""


class Suite(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"models": "model"}):
    """A suite file's content.

    `boards` are the devices to measure on, as for `--on`. `[grid]` has values by setting, such as
    `epochs = [2, 4]`, and `seeds` how many seeds: each model is made with each combination
    (`edgeseq.suite.sweeps`). Settings are those of `train`, `arch`, `checkpoint` and `teacher`.
    """

    name: str
    task: str
    models: tuple[ModelSection, ...]
    data: DataSection
    bench: BenchSection = BenchSection()
    report: ReportSettings = ReportSettings()
    boards: tuple[str, ...] = ()
    grid: Grid = {}
    seeds: Annotated[int, msgspec.Meta(ge=1, le=100)] = 1
    schema_version: Literal[1] = 1

    def bundle_names(self) -> tuple[str, ...]:
        """MODEL-RECIPE, with -LOWERING but for `auto`, for every bundle of the suite, in order."""
        return tuple(
            bundle_name(model.name, recipe, lowering)
            for model in self.models
            for recipe in model.recipes
            for lowering in model.lowerings
        )


def bundle_name(model: str, recipe: str, lowering: str) -> str:
    """What the bundle of a model is called in a run's folder."""
    return f"{model}-{recipe}" if lowering == "auto" else f"{model}-{recipe}-{lowering}"


def read_suite(path: Path) -> Suite:
    """Reads and checks a suite file; its sweeps become models.

    Raises `InputError` naming the file and the key when it is missing, not TOML, has an unknown
    key or value, names a model twice, or refers to something that it does not hold.
    """
    content = read_bytes(path, limit_bytes=SUITE_LIMIT_BYTES)
    try:
        table = decode_toml(content)
    except msgspec.DecodeError as failure:
        raise InputError(
            "is not valid TOML", where=path, found=str(failure), fix="correct this line"
        ) from failure
    if _holds_null(table):
        raise InputError("holds a null character", where=path, found=r"\u0000", fix="remove it")
    version = table.get("schema_version")
    if version != SCHEMA_VERSION:
        raise InputError(
            "unknown schema version",
            where=path,
            found="none" if version is None else version,
            expected=f"schema_version = {SCHEMA_VERSION}",
            fix="compare with the demo's suite",
        )
    try:
        suite = from_builtins(table, Suite)
        swept = suite.grid or suite.seeds > 1 or any(model.grid for model in suite.models)
        if swept:
            suite = from_builtins(expand_sweeps(msgspec.to_builtins(suite)), Suite)
    except msgspec.ValidationError as failure:
        raise InputError(
            "is not a suite", where=path, found=str(failure), fix="compare with the demo's suite"
        ) from failure
    _check(path, suite)
    return suite


def _holds_null(value: Any) -> bool:
    """Whether a string in a TOML value holds what no path may hold."""
    if isinstance(value, dict):
        return any(_holds_null(part) for part in (*value, *value.values()))
    if isinstance(value, list):
        return any(map(_holds_null, value))
    return isinstance(value, str) and "\0" in value


def _check(path: Path, suite: Suite) -> None:
    get_task(suite.task)
    if not suite.models:
        raise InputError("has no [[model]]", where=path, expected="at least 1")
    for name in (suite.name, *(model.name for model in suite.models)):
        if not _NAME.fullmatch(name):
            raise InputError(
                "is not a name",
                where=path,
                found=repr(name),
                expected="letters, digits, '.', '_' and '-', at most 64",
            )
    if suite.data.name is None and suite.data.train is None:
        raise InputError("[data] needs either a name or a train file", where=path)
    earlier: dict[str, ModelSection] = {}
    for model in suite.models:
        _check_model(path, model, earlier)
        earlier[model.name] = model
    parse_budget(suite.report.budget)
    for limit in suite.bench.memory_limits:
        parse_bytes(limit, where=f"{path}: memory_limits")
    for name in suite.bench.memory_curve:
        if name not in suite.bundle_names():
            raise InputError(
                "memory_curve names no bundle of this suite",
                where=path,
                found=repr(name),
                expected=" or ".join(suite.bundle_names()),
            )


def _check_model(path: Path, model: ModelSection, earlier: dict[str, ModelSection]) -> None:
    where = f"{path}: model {model.name!r}"
    if model.name in earlier:
        raise InputError("two models of one name", where=where, fix="rename one")
    if not model.recipes or len(set(model.recipes)) != len(model.recipes):
        raise InputError("needs recipes, each once", where=where, found=list(model.recipes))
    if not model.lowerings or len(set(model.lowerings)) != len(model.lowerings):
        raise InputError("needs lowerings, each once", where=where, found=list(model.lowerings))
    if model.checkpoint is not None and model.arch != "bert":
        raise InputError("a checkpoint goes with arch = 'bert' only", where=where)
    if model.teacher is not None and (
        model.teacher not in earlier or earlier[model.teacher].arch != "bert"
    ):
        raise InputError(
            "the teacher must be an earlier BERT model",
            where=where,
            found=repr(model.teacher),
            expected=" or ".join(n for n, m in earlier.items() if m.arch == "bert") or "none yet",
        )
