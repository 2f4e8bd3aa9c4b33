"""From a suite to its steps: data → train → convert → bench → verdict → report."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from edgeseq.suite.devices import MEASURED_FOLDER, RESULTS_FOLDER, measured_path, result_path
from edgeseq.suite.schema import DataSection, ModelSection, Suite, bundle_name
from edgeseq.suite.steps import Step
from edgeseq.suite.unlabelled import SETTING
from edgeseq_benchmarks.devices.measure import DeviceTarget

DATA_FILE = Path("data.json")
RESULT_FILE = Path("result.json")
MEASURED_FILE = Path("measured.json")
TEACHER_OUTPUTS = "teachers"
"""The store of teachers' outputs, where a run shares none (`edgeseq.suite.store`)."""
VERDICT_FILE = Path("verdict.json")
BASELINE_FILE = Path("baseline.json")
REPORT_FOLDER = Path("report")
DATA_FILES = ("train", "dev", "test")
"""The keys of `[data]` that name the user's files."""


class SuiteData(msgspec.Struct, frozen=True):
    """The data step after it was run, the data set's hash, and the hash of the texts of each
    collection of unlabelled texts that is at hand."""

    step: Step
    sha256: str
    unlabelled_sha256: dict[str, str] = {}

    @property
    def arguments(self) -> dict[str, Any]:
        """What every step takes that reads the data set: no collection of unlabelled texts."""
        names = ("task", "data", "data_dir", "out")
        arguments = {name: self.step.arguments[name] for name in names}
        return {"data": arguments, "data_sha256": self.sha256}


def data_step(
    data: DataSection,
    *,
    task: str,
    suite_path: Path,
    data_dir: Path | None,
    unlabelled: Sequence[str] = (),
) -> Step:
    """The step that reads the data set and the collections `unlabelled`, and writes what they hold
    to `data.json`.

    It is repeated on every run (a second), so that a changed file of the user's is noticed: its
    hash is part of every later step's fingerprint.
    """
    arguments: dict[str, Any] = {
        "task": task,
        "data": data_arguments(data, suite_path),
        "data_dir": None if data_dir is None else str(data_dir.resolve()),
        "unlabelled": list(unlabelled),
        "out": str(DATA_FILE),
    }
    return Step(name="data", title="data", job="data", arguments=arguments, output=DATA_FILE)


def data_arguments(data: DataSection, suite_path: Path) -> dict[str, Any]:
    """`[data]` with its paths made absolute (they are relative to the suite file)."""
    section = {name: getattr(data, name) for name in data.__struct_fields__}
    for name in DATA_FILES:
        if section[name] is not None:
            section[name] = str((suite_path.parent / section[name]).resolve())
    return section


def _names_of(section: dict[str, Any]) -> dict[str, Any]:
    """`[data]` with the names of its files alone: the hash of the data set says what they hold."""
    files = {name: section[name] for name in DATA_FILES if section[name] is not None}
    return {**section, **{name: Path(path).name for name, path in files.items()}}


def plan(
    suite: Suite,
    *,
    data: SuiteData,
    root: Path,
    runtime_identity: dict[str, str],
    targets: Sequence[DeviceTarget] = (),
    python: str | None = None,
) -> list[Step]:
    """All steps after `data`, each after the steps that make its inputs.

    Students are trained without the collections of unlabelled texts that are not at hand.
    `targets` are the devices to measure on instead of this machine, `python` the interpreter there.

    Paths in arguments are relative to `root`, where the steps are run, so that a folder of
    results can be moved and still be resumed; `Step.output` is absolute.
    """
    steps: list[Step] = []
    trained: dict[str, Step] = {}
    common = data.arguments
    identity = {"data": _names_of(common["data"]["data"])}
    for model in suite.models:
        step = _train_step(model, suite.task, data, trained, root)
        step = msgspec.structs.replace(step, identity={**identity, **step.identity})
        trained[model.name] = step
        steps.append(step)
    baseline = Step(
        name="linear-baseline",
        title="linear baseline",
        job="linear_baseline",
        arguments={**common, "out": str(BASELINE_FILE)},
        output=root / BASELINE_FILE,
        identity=identity,
    )
    converted: list[Step] = []
    for model in suite.models:
        for recipe in model.recipes:
            for lowering in model.lowerings:
                of = (model.name, recipe, lowering)
                step = _convert_step(of, common, trained[model.name], root)
                converted.append(msgspec.structs.replace(step, identity=identity))
    steps.extend(converted)
    bundles = [step.arguments["out"] for step in converted]
    bench = _bench_step(
        suite, bundles, root, identity=runtime_identity, targets=targets, python=python
    )
    bench = msgspec.structs.replace(bench, after=tuple(converted))
    verdict, verdict_run = _verdict_steps(
        suite, bench, root, labels=[target.label for target in targets]
    )
    verdict_run = msgspec.structs.replace(verdict_run, after=(verdict, bench, *converted))
    report = Step(
        name="report",
        title="report",
        job="report",
        arguments={
            "results": verdict_run.arguments["outs"],
            "bundles": bundles,
            "budget": suite.report.budget,
            "out": str(REPORT_FOLDER),
            "baseline": str(BASELINE_FILE),
        },
        output=root / REPORT_FOLDER,
        after=(verdict_run, baseline, *converted),
    )
    return [*steps, baseline, bench, verdict, verdict_run, report]


def _bench_step(
    suite: Suite,
    bundles: list[str],
    root: Path,
    *,
    identity: dict[str, str],
    targets: Sequence[DeviceTarget],
    python: str | None,
) -> Step:
    """Measures on this machine, or on the devices that were named."""
    arguments: dict[str, Any] = {
        "bundles": bundles,
        "quick": suite.bench.quick,
        "threads": suite.bench.threads,
        "memory_limits": list(suite.bench.memory_limits),
        "memory_curve": list(suite.bench.memory_curve),
        "runners": list(suite.bench.runners),
        "working_memory": suite.bench.working_memory,
    }
    if targets:
        # A name may come to stand for another board.
        identity = {target.name: target.address.text for target in targets}
        arguments |= {"on": list(identity), "python": python, "identity": identity}
        output = MEASURED_FOLDER
    else:
        # Measurements of one machine or runtime do not stand for another.
        arguments |= {"out": str(MEASURED_FILE), "identity": identity}
        output = MEASURED_FILE
    return Step(
        name="bench",
        title="bench",
        job="bench",
        arguments=arguments,
        output=root / output,
        kind="measure",
    )


def _verdict_steps(
    suite: Suite, bench: Step, root: Path, *, labels: Sequence[str]
) -> tuple[Step, Step]:
    """Decides what ships, and runs it once more under the budget's limits."""
    measured = [str(measured_path(label)) for label in labels] or [str(MEASURED_FILE)]
    results = [str(result_path(label)) for label in labels] or [str(RESULT_FILE)]
    verdict = Step(
        name="verdict",
        title="verdict",
        job="verdict",
        arguments={
            "results": measured,
            "budget": suite.report.budget,
            "out": str(VERDICT_FILE),
        },
        output=root / VERDICT_FILE,
        after=(bench,),
    )
    where: dict[str, Any] = {
        name: bench.arguments[name] for name in ("on", "python") if name in bench.arguments
    }
    verdict_run = Step(
        name="verdict-run",
        title="verdict run",
        job="verdict_run",
        arguments={
            "verdict": str(VERDICT_FILE),
            "results": measured,
            "outs": results,
            "bundles": bench.arguments["bundles"],
            "quick": suite.bench.quick,
            "threads": suite.bench.threads,
            **where,
        },
        output=root / (RESULTS_FOLDER if labels else RESULT_FILE),
        after=(verdict,),
        kind="measure",
    )
    return verdict, verdict_run


def _train_step(
    model: ModelSection,
    task: str,
    data: SuiteData,
    trained: dict[str, Step],
    root: Path,
) -> Step:
    out = f"models/{model.name}"
    after: tuple[Step, ...] = ()
    arguments: dict[str, Any] = {
        **data.arguments,
        "name": model.name,
        "arch": model.arch,
        "task": task,
        "settings": model.train,
        "out": out,
    }
    if SETTING in model.train:
        at_hand = [name for name in model.train[SETTING] if name in data.unlabelled_sha256]
        arguments["settings"] = {**model.train, SETTING: at_hand}
        arguments["unlabelled_sha256"] = {name: data.unlabelled_sha256[name] for name in at_hand}
    identity: dict[str, Any] = {}
    if model.arch == "bert":
        arguments["checkpoint"] = model.checkpoint
        arguments["checkpoint_sha256"] = _folder_sha256(model.checkpoint)
        if model.checkpoint is not None:
            identity["checkpoint"] = Path(model.checkpoint).name
    if model.seeds > 1:
        arguments["seeds"] = model.seeds
    if model.teacher is not None:
        arguments["teacher"] = f"models/{model.teacher}"
        arguments["teacher_outputs"] = TEACHER_OUTPUTS
        after = (trained[model.teacher],)
    return Step(
        name=f"train-{model.name}",
        title=f"train {model.name}",
        job="train",
        arguments=arguments,
        output=root / out,
        after=after,
        kind="train",
        identity=identity,
    )


def _folder_sha256(checkpoint: str | None) -> str | None:
    """Identity of a local checkpoint: sizes and times of its files (its gigabytes are not read)."""
    if checkpoint is None or not Path(checkpoint).is_dir():
        return None
    digest = hashlib.sha256()
    for path in sorted(Path(checkpoint).rglob("*")):
        status = path.stat()
        digest.update(f"{path.name}:{status.st_size}:{status.st_mtime_ns};".encode())
    return digest.hexdigest()


def _convert_step(
    of: tuple[str, str, str], common: dict[str, Any], train: Step, root: Path
) -> Step:
    """`of` are model, recipe and lowering."""
    _, recipe, lowering = of
    name = bundle_name(*of)
    out = f"bundles/{name}"
    arguments = {**common, "source": train.arguments["out"], "recipe": recipe, "out": out}
    if lowering != "auto":
        arguments["lowering"] = lowering
    return Step(
        name=f"convert-{name}",
        title=f"convert {name}",
        job="convert",
        arguments=arguments,
        output=root / out,
        after=(train,),
    )
