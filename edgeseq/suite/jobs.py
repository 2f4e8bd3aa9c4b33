"""The work of each step, run in a process of its own (`edgeseq.subprocesses`).

`python -m edgeseq.suite.jobs` reads one job from stdin. A job is a function of `JOBS`; it is
called with the job's arguments and a progress callback, and gives a plain dictionary. A key
`note`, if
present, is what the terminal shows beside the finished step.
"""

from __future__ import annotations

import resource
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from edgeseq.errors import DataError, DeviceError, EdgeseqError, InputError, missing_extra
from edgeseq.formats.bundle import read_bundle
from edgeseq.formats.codec import from_builtins
from edgeseq.formats.result import Finding
from edgeseq.formats.storage import sha256_file, write_json
from edgeseq.formats.trained_model import TrainedModel
from edgeseq.progress import ProgressCallback
from edgeseq.subprocesses import ChildSide, Failure, Message
from edgeseq.suite.devices import bench_on
from edgeseq.suite.schema import DataSection
from edgeseq.tasks.examples import AnyDataset
from edgeseq.tasks.registry import head_of
from edgeseq.units import format_bytes, format_share, parse_bytes

Answer = dict[str, Any]


def _load(data: dict[str, Any], progress: ProgressCallback) -> AnyDataset:
    """The data set that a data step's arguments describe."""
    from edgeseq.suite.quick import take_subset

    section = from_builtins(data["data"], DataSection)
    return take_subset(
        _whole(data, section, progress),
        max_train=section.max_train,
        max_dev=section.max_dev,
        max_test=section.max_test,
    )


def _whole(data: dict[str, Any], section: DataSection, progress: ProgressCallback) -> AnyDataset:
    from edgeseq.datasets.own_files import load_files
    from edgeseq.datasets.own_tagged import load_tagged_files
    from edgeseq.datasets.readers import Columns
    from edgeseq.datasets.registry import load_dataset

    columns = Columns(text=section.text_column, label=section.label_column)
    if section.train is not None and head_of(data["task"]) == "token-classification":
        return load_tagged_files(
            data["task"],
            train=Path(section.train),
            dev=None if section.dev is None else Path(section.dev),
            test=None if section.test is None else Path(section.test),
            name=section.name,
        )
    if section.train is not None:
        return load_files(
            data["task"],
            train=Path(section.train),
            dev=None if section.dev is None else Path(section.dev),
            test=None if section.test is None else Path(section.test),
            columns=columns,
            name=section.name,
        )
    if section.name is None:  # the suite's schema excludes this
        raise InputError("[data] needs either a name or a train file")
    return load_dataset(
        section.name,
        task=data["task"],
        data_dir=_data_dir(data),
        columns=columns,
        progress=progress,
    )


def _load_same(data: dict[str, Any], sha256: str, progress: ProgressCallback) -> AnyDataset:
    """The data set again, refused when it changed since the data step read it."""
    dataset = _load(data, progress)
    if dataset.sha256 != sha256:
        raise DataError("the data set changed while the suite ran", fix="run the suite again")
    return dataset


def read_data(*, progress: ProgressCallback, **data: Any) -> Answer:
    """Reads the data set; writes what it holds, not its text, to `out`."""
    dataset = _load(data, progress)
    answer: Answer = {
        "name": dataset.name,
        "sha256": dataset.sha256,
        "labels": list(dataset.labels),
        "sizes": {part: len(getattr(dataset, part)) for part in ("train", "dev", "test")},
        "licence": dataset.licence,
        "origin": dataset.origin,
    }
    write_json(Path(data["out"]), answer)
    sizes = " / ".join(f"{size:,}" for size in answer["sizes"].values())
    return {**answer, "note": f"{dataset.name}: {sizes} texts"}


def train_bert(
    *, settings: dict[str, Any], checkpoint: str | None, checkpoint_sha256: str | None, **job: Any
) -> Answer:
    """Fine-tunes a BERT and writes the trained-model folder `out` (`_train` has the rest)."""
    from edgeseq_converters.training.finetune import train_bert as train
    from edgeseq_converters.training.settings import BertSettings, read_settings

    facts = {"checkpoint": [checkpoint, checkpoint_sha256]}
    if head_of(job["task"]) == "language-modeling":
        from edgeseq_converters.training.language_model.settings import LmBertSettings
        from edgeseq_converters.training.language_model.train_transformer import train_lm_bert
        from edgeseq_converters.training.language_model.training import to_the_end

        next_word = partial(to_the_end, train_lm_bert, checkpoint=checkpoint)
        return _train(next_word, read_settings(settings, LmBertSettings), facts=facts, **job)
    return _train(
        partial(train, checkpoint=checkpoint),
        read_settings(settings, BertSettings, job["task"]),
        facts=facts,
        **job,
    )


def train_lstm(*, settings: dict[str, Any], **job: Any) -> Answer:
    """Trains an LSTM and writes the trained-model folder `out` (`_train` has the rest)."""
    from edgeseq_converters.training.distil import train_lstm as train
    from edgeseq_converters.training.settings import LstmSettings, read_settings

    if head_of(job["task"]) == "language-modeling":
        from edgeseq_converters.training.language_model.settings import LmSettings
        from edgeseq_converters.training.language_model.training import to_the_end, train_lm

        next_word = partial(to_the_end, train_lm)
        return _train(next_word, read_settings(settings, LmSettings), facts={}, **job)
    return _train(train, read_settings(settings, LstmSettings, job["task"]), facts={}, **job)


def _train(
    train: Callable[..., TrainedModel],
    settings: Any,
    *,
    name: str,
    task: str,  # noqa: ARG001 - part of the step's fingerprint; the data set carries it
    out: str,
    data: dict[str, Any],
    data_sha256: str,
    facts: dict[str, Any],
    progress: ProgressCallback,
    teacher: str | None = None,
    seeds: int = 1,
) -> Answer:
    """Trains, from `teacher` if there is one, with one seed or the best of several.

    The state is kept beside `out`, so that a run that was ended goes on with it.
    """
    from edgeseq_converters.training.checkpoints import EVERY_S
    from edgeseq_converters.training.seeds import train_seeds

    dataset = _load_same(data, data_sha256, progress)

    def one(seed: int, folder: Path) -> TrainedModel:
        return train(
            dataset,
            folder,
            teacher=None if teacher is None else Path(teacher),
            settings=msgspec.structs.replace(settings, seed=seed),
            name=name,
            data_dir=_data_dir(data),
            overwrite=True,
            keep_every_s=EVERY_S,
            progress=progress,
        )

    if seeds == 1:
        return _trained(one(settings.seed, Path(out)))
    weights = None if teacher is None else sha256_file(Path(teacher) / "weights.safetensors")
    facts = {
        **facts,
        "data": data_sha256,
        "settings": msgspec.to_builtins(settings),
        "teacher": weights,
    }
    model = train_seeds(
        one, Path(out), first=settings.seed, count=seeds, facts=facts, overwrite=True
    )
    return _trained(model)


def _data_dir(data: dict[str, Any]) -> Path | None:
    return None if data["data_dir"] is None else Path(data["data_dir"])


def _trained(model: TrainedModel) -> Answer:
    from edgeseq.tasks.scoring import metric_of

    score = model.manifest.training.dev_score
    return {
        "parameters": model.parameters,
        "dev_score": score,
        "note": f"{model.parameters / 1e6:.1f} M parameters, "
        f"{metric_of(model.manifest.task).show(score)} on dev",
    }


def convert(
    *,
    source: str,
    recipe: str,
    out: str,
    data: dict[str, Any],
    data_sha256: str,
    progress: ProgressCallback,
    lowering: str = "auto",
) -> Answer:
    """Converts a trained model by one recipe and writes its bundle to `out`."""
    from edgeseq_converters.convert.pipeline import convert as convert_model

    dataset = _load_same(data, data_sha256, progress)
    manifest = convert_model(
        Path(source),
        Path(out),
        recipe=recipe,
        lowering=lowering,
        dataset=dataset,
        progress=progress,
        overwrite=True,
    )
    fidelity = manifest.fidelity
    size = format_bytes(manifest.files["model.tflite"].size_bytes)
    return {
        "size_bytes": manifest.files["model.tflite"].size_bytes,
        "label_agreement": fidelity.label_agreement,
        "max_abs_error": fidelity.max_abs_error,
        "note": f"{size}, {format_share(fidelity.label_agreement)} of the float model's labels",
    }


def bench(
    *,
    bundles: list[str],
    quick: bool,
    threads: int,
    memory_limits: list[str],
    memory_curve: list[str],
    out: str,
    identity: dict[str, str],  # noqa: ARG001 - part of the step's fingerprint, not of the work
    progress: ProgressCallback,
) -> Answer:
    """Measures the bundles and writes the result record to `out`.

    On a machine that cannot limit memory the limited runs are left out and the result says so.
    """
    from edgeseq_benchmarks.bench.limits.cgroup import find_hierarchy
    from edgeseq_benchmarks.bench.runner import bench as measure
    from edgeseq_benchmarks.bench.runner import default_settings

    missing: tuple[Finding, ...] = ()
    if memory_limits or memory_curve:
        try:
            find_hierarchy()
        except DeviceError as error:
            missing = (Finding(code="no-memory-limits", severity="warning", message=str(error)),)
    settings = default_settings(
        quick=quick,
        threads=threads,
        memory_limits_bytes=[] if missing else [parse_bytes(limit) for limit in memory_limits],
        memory_curve_bundles=[] if missing else memory_curve,
    )
    command = ["edgeseq", "bench", *bundles, "--threads", str(threads), "--out", out]
    command += ["--quick"] if quick else []
    for limit in memory_limits:
        command += ["--memory", limit]
    result = measure(
        [Path(path) for path in bundles], settings=settings, progress=progress, command=command
    )
    result = msgspec.structs.replace(result, findings=(*result.findings, *missing))
    write_json(Path(out), result)
    invalid = sum(
        any(finding.severity == "invalid" for finding in run.findings) for run in result.runs
    )
    n_queries = sum(len(run.queries.total_ns) for run in result.runs)
    note = f"{n_queries:,} answers of {len(result.runs)} models"
    return {"note": f"{note}, {invalid} of them invalid" if invalid else note}


def write_report(
    *, results: list[str], bundles: list[str], budget: str, out: str, progress: ProgressCallback
) -> Answer:
    """Writes the report of the results to the folder `out`.

    The result of a device that was lost is not there; at least one is.
    """
    from edgeseq.report.budgets import parse_budget
    from edgeseq.report.write import write_report as write

    summary = write(
        [Path(path) for path in results if len(results) == 1 or Path(path).exists()],
        Path(out),
        budget=parse_budget(budget),
        examples=read_bundle(Path(bundles[0]), verify_hashes=False).read_examples(),
        progress=progress,
    )
    return {
        "verdict": msgspec.to_builtins(summary.verdict),
        "boundaries": [group.boundary for group in summary.groups],
        "note": out,
    }


JOBS: dict[str, Callable[..., Answer]] = {
    "read_data": read_data,
    "train_bert": train_bert,
    "train_lstm": train_lstm,
    "convert": convert,
    "bench": bench,
    "bench_on": bench_on,
    "report": write_report,
}


def main() -> int:
    """The child's whole life: one job, its answer or its error, and its peak memory."""
    side = ChildSide()
    try:
        answer = JOBS[side.job.name](progress=side.report, **side.job.arguments)
    except EdgeseqError as error:
        side.send(Message(failure=Failure(type(error).__name__, str(error))))
        return error.exit_code
    except ModuleNotFoundError as error:
        missing = missing_extra(error)
        if missing is None:
            raise
        side.send(Message(failure=Failure(type(missing).__name__, str(missing))))
        return missing.exit_code
    except KeyboardInterrupt:
        return 130
    except Exception:  # noqa: BLE001 - the last stop of a process: the traceback goes to the log
        traceback.print_exc()
        return 1
    side.send(Message(answer=answer, peak_memory_bytes=_peak_memory_bytes()))
    return 0


def _peak_memory_bytes() -> int:
    """The highest resident set of this process or of one of its children, in bytes (Linux: KiB)."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(one).ru_maxrss for one in who) * 1024


if __name__ == "__main__":
    sys.exit(main())
