"""From a trained-model folder to a checked bundle."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

import edgeseq
from edgeseq.errors import ConversionError, DataError, InputError, StepError
from edgeseq.formats.bundle import (
    FILES,
    BundleManifest,
    FileEntry,
    Golden,
    GoldenExample,
    Provenance,
    Signature,
    answer_shape,
    check_model,
    read_bundle,
)
from edgeseq.formats.codec import from_builtins
from edgeseq.formats.storage import new_folder, sha256_file, write_bytes, write_json
from edgeseq.formats.tflite_file import TfliteFile, read_tflite
from edgeseq.formats.trained_model import TrainedModel
from edgeseq.progress import ProgressCallback, ProgressUpdate, no_progress
from edgeseq.subprocesses import JobRequest, run_job
from edgeseq.tasks.examples import AnyDataset, AnyExample
from edgeseq.tasks.registry import task_of
from edgeseq_converters.convert.lower.dispatch import (
    LOWERINGS,
    Target,
    choose_lowering,
    choose_runtime,
)
from edgeseq_converters.convert.recipes import Recipe, get_recipe
from edgeseq_converters.convert.search import check_drop, check_perplexity
from edgeseq_converters.convert.sources import read_source
from edgeseq_converters.convert.verify import fidelity
from edgeseq_converters.convert.verify.older_runtime import check_answers, try_runtime
from edgeseq_converters.convert.verify.samples import (
    Compared,
    Texts,
    choose_calibrated,
    choose_compared,
)
from edgeseq_converters.convert.verify.structure import check_converted, check_runtime
from edgeseq_converters.models.arrays import FloatArray, vocabulary_size
from edgeseq_converters.models.encoder import WORD_TABLE
from edgeseq_converters.models.from_trained import network_of
from edgeseq_converters.models.reference import reference_answers

WORKER = (sys.executable, "-m", "edgeseq_converters.convert.worker")
_TOOLS = ("ai-edge-litert", "numpy", "tokenizers", "safetensors")


class Converted(msgspec.Struct, frozen=True):
    """What the converter's process made, and what it took."""

    model: TfliteFile
    signature: Signature
    seconds: float
    peak_memory_bytes: int | None


class _Place(msgspec.Struct, frozen=True):
    """Where a conversion reads and writes; `out` is what its errors name."""

    model_dir: Path
    draft: Path
    out: Path


def convert(
    model_dir: Path,
    out: Path,
    *,
    recipe: str,
    dataset: AnyDataset,
    lowering: str = "auto",
    length: int | None = None,
    runtime: str | None = None,
    max_drop: float | None = None,
    gate: bool = False,
    progress: ProgressCallback = no_progress,
    overwrite: bool = False,
) -> BundleManifest:
    """Converts the trained model in `model_dir` and writes the bundle `out`, whole or not at all.

    The file is checked to be what the recipe says and compared with the float model on
    development examples of `dataset`, whose test examples go into the bundle. Several calls may
    run at the same time; each converts in a process of its own. `length` is the number of tokens
    of the lowering `unrolled` (default: the longest that the model takes); `runtime` names an
    older runtime that must load the file. With `gate`, or a `max_drop` in points, the score on all
    development texts must be close enough to the float model's (`search.check_drop`).

    Raises `InputError` for an unknown recipe, lowering or runtime, `CheckpointError` for a
    damaged model, `DataError` when the data set's labels are not the model's, `ConversionError`
    when the converter crashed, changed nothing, or made a model beyond the recipe's bound or for
    which the runtime has no operators, `RefusedError` when it loses too much, and `OutputError`
    when `out` exists (without `overwrite`) or cannot be written.
    """
    chosen = get_recipe(recipe)
    model = read_source(model_dir)
    target = _target(model, lowering, length, runtime)
    gated = gate or max_drop is not None
    if task_of(model.manifest.task).is_streaming:
        from edgeseq_converters.convert.stream_bundle import convert_stream

        return convert_stream(
            model_dir,
            out,
            model,
            dataset,
            recipe=chosen,
            target=target,
            check=partial(check_perplexity, max_drop=max_drop) if gated else None,
            progress=progress,
            overwrite=overwrite,
        )
    max_tokens = target.steps or model.manifest.max_tokens
    _check_dataset(dataset, model)
    reference_answers(model, [[0]])  # every array is there and sound: known in a moment
    texts = Texts(model, vocabulary_size(model), max_tokens)
    compared = choose_compared(dataset, texts, everything=gated)
    with new_folder(out, overwrite=overwrite) as draft:
        place = _Place(model_dir=model_dir.absolute(), draft=draft.absolute(), out=out)
        converted = _run_converter(
            place, model, chosen, target, choose_calibrated(dataset, texts), progress=progress
        )
        comparison = _compare(place, compared, chosen, progress=progress)
        measured = fidelity.measure(
            comparison, compared, chosen, task=model.manifest.task, labels=dataset.labels
        )
        fidelity.check(measured, comparison, chosen, where=out / "model.tflite")
        tried = _try_older(place, compared, comparison, chosen, target, progress=progress)
        if gated:
            check_drop(measured, max_drop, where=chosen.name)
        tolerance = fidelity.golden_tolerance(comparison, compared.n_golden, chosen)
        write_texts(draft, model, dataset)
        write_json(draft / "golden.json", _golden(compared, comparison, tolerance))
        manifest = BundleManifest(
            name=bundle_name(model, chosen, target),
            task=model.manifest.task,
            arch=model.manifest.arch,
            recipe=chosen.name,
            lowering=target.lowering,
            parameters=model.parameters,
            vocabulary_size=vocabulary_size(model),
            max_tokens=max_tokens,
            signature=converted.signature,
            fidelity=measured,
            provenance=msgspec.structs.replace(
                provenance(model_dir, model, dataset, converted), tried_runtime=tried
            ),
            files={name: _entry(draft / name) for name in FILES},
            min_runtime_version=converted.model.min_runtime_version,
        )
        write_json(draft / "bundle.json", manifest)
        check_model(read_bundle(draft, verify_hashes=False))
    return manifest


def bundle_name(model: TrainedModel, recipe: Recipe, target: Target) -> str:
    """NAME-RECIPE, and -LOWERING where it is not the architecture's first."""
    name = f"{model.manifest.name}-{recipe.name}"
    usual = LOWERINGS[model.manifest.arch][0]
    return name if target.lowering == usual else f"{name}-{target.lowering}"


def _target(model: TrainedModel, lowering: str, length: int | None, runtime: str | None) -> Target:
    how = choose_lowering(model.manifest.arch, lowering)
    longest = model.manifest.max_tokens
    if length is not None and (how != "unrolled" or not 1 <= length <= longest):
        raise InputError(
            "--length is the number of tokens of the lowering unrolled",
            found=f"{length} with {how}",
            expected=f"1 to {longest} with --lowering unrolled",
            fix="leave it out, or change it",
        )
    steps = (length or longest) if how == "unrolled" else None
    return Target(how, steps, choose_runtime(runtime))


def _check_dataset(dataset: AnyDataset, model: TrainedModel) -> None:
    if dataset.labels != model.manifest.labels:
        raise DataError(
            f"has other labels than the model {model.manifest.name}",
            where=dataset.name,
            found=", ".join(dataset.labels),
            expected=", ".join(model.manifest.labels),
            fix="name the data that the model was trained on",
        )
    if not dataset.test:
        raise DataError("has no test examples to score on a device", where=dataset.name)


def _run_converter(
    place: _Place,
    model: TrainedModel,
    recipe: Recipe,
    target: Target,
    calibrated: tuple[tuple[int, ...], ...],
    *,
    progress: ProgressCallback,
) -> Converted:
    stage = f"convert {model.manifest.name} to {recipe.name}"
    progress(ProgressUpdate(stage, 0, 1))
    begin = time.monotonic()
    path, where = place.draft / "model.tflite", place.out / "model.tflite"
    with tempfile.TemporaryDirectory(prefix="edgeseq-convert-") as folder:
        sample = Path(folder) / "sample.json"
        write_json(sample, fidelity.Sample(calibrated))
        arguments = {"model_dir": str(place.model_dir), "out": str(path), "recipe": recipe.name}
        arguments |= {"target": msgspec.to_builtins(target), "sample": str(sample)}
        _, peak = in_worker(JobRequest("convert", arguments), where=place.out, progress=no_progress)
    content = read_tflite(path)
    labels = len(model.manifest.labels)
    answer = answer_shape(task_of(model.manifest.task).head, labels, target.steps or -1)
    signature = check_converted(
        content, recipe, answer=answer, where=where, words=words_table(model), steps=target.steps
    )
    if target.runtime is not None:
        check_runtime(content, target.runtime, where=where)
    seconds = time.monotonic() - begin
    progress(ProgressUpdate(stage, 1, 1, f"{content.size_bytes / 1e6:.2f} MB in {seconds:.1f} s"))
    return Converted(content, signature, seconds, peak)


def words_table(model: TrainedModel) -> str:
    """The name of the table of words in the files that are made of a model."""
    return network_of(model).embedding.name if model.manifest.arch == "lstm" else WORD_TABLE


def _compare(
    place: _Place, compared: Compared, recipe: Recipe, *, progress: ProgressCallback
) -> fidelity.Comparison:
    with tempfile.TemporaryDirectory(prefix="edgeseq-compare-") as folder:
        sample = Path(folder) / "sample.json"
        write_json(sample, fidelity.Sample(compared.token_ids))
        arguments = {"model_dir": str(place.model_dir), "sample": str(sample)}
        arguments["stage"] = f"compare {recipe.name} with the float model"
        arguments["tflite"] = str(place.draft / "model.tflite")
        answer, _ = in_worker(JobRequest("compare", arguments), where=place.out, progress=progress)
    return from_builtins(answer, fidelity.Comparison)


def _try_older(
    place: _Place,
    compared: Compared,
    comparison: fidelity.Comparison,
    recipe: Recipe,
    target: Target,
    *,
    progress: ProgressCallback,
) -> str | None:
    """Loads the file in the older runtime that it is for, and compares the golden answers; says
    what was tried."""
    if target.runtime is None:
        return None
    texts = compared.token_ids[: compared.n_golden]
    tried = try_runtime(target.runtime, place.draft / "model.tflite", texts, progress=progress)
    if tried.answers is None:
        return f"{target.runtime}: not tried, {tried.why_not}"
    current = _row(comparison.converted[: compared.n_golden])
    # Other kernels: another order of sums, and activations that round to the other side.
    allowed = 2 * recipe.bound.slack if recipe.activations == "float32" else 0.1
    found = _row(tried.answers)
    check_answers(found, current, allowed, where=place.out / "model.tflite")
    return f"{target.runtime}: answered {len(texts)} texts"


def _row(answers: Sequence[Any]) -> FloatArray:
    """The numbers of all answers in one row: [1, all]."""
    parts = [np.asarray(one, np.float32).ravel() for one in answers]
    return np.concatenate(parts)[None]


def in_worker(
    job: JobRequest, *, where: Path, progress: ProgressCallback
) -> tuple[dict[str, Any], int | None]:
    """Runs one job in a process; its death becomes a `ConversionError` with the last words."""
    with tempfile.TemporaryDirectory(prefix="edgeseq-worker-") as folder:
        log = Path(folder) / "log"
        try:
            return run_job(job, log=log, cwd=Path(folder), progress=progress, command=WORKER)
        except StepError as failure:
            raise ConversionError(
                failure.what.replace("the step", "the process to"),
                where=where,
                found=_last_words(log),
                fix="choose another --recipe or --lowering",
            ) from failure


def _last_words(log: Path) -> str | None:
    """Why a process died, from what it wrote: the compiler's first error, else the last line."""
    if not log.is_file():
        return None
    text = log.read_text(encoding="utf-8", errors="replace")
    if said := re.search(r"^loc\(.*?\berror: (.+)$|^\w*(?:Error|Exception): (.+)$", text, re.M):
        return (said[1] or said[2])[:300]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else None


def write_texts(draft: Path, model: TrainedModel, dataset: AnyDataset) -> None:
    write_bytes(draft / "tokenizer.json", model.tokenizer_json.encode())
    write_json(draft / "labels.json", model.manifest.labels)
    lines = b"".join(msgspec.json.encode(example) + b"\n" for example in dataset.test)
    write_bytes(draft / "eval.jsonl", lines)


def _golden(compared: Compared, comparison: fidelity.Comparison, tolerance: float) -> Golden:
    return Golden(
        examples=tuple(
            GoldenExample(
                text=compared.examples[place].text,
                words=_words(compared.examples[place]),
                token_ids=compared.token_ids[place],
                logits=comparison.reference[place],
            )
            for place in range(compared.n_golden)
        ),
        tolerance=tolerance,
    )


def _words(example: AnyExample) -> tuple[str, ...]:
    """The words of an example that is asked about by word."""
    asked = example.asked
    return () if isinstance(asked, str) else asked


def _entry(path: Path) -> FileEntry:
    return FileEntry(size_bytes=path.stat().st_size, sha256=sha256_file(path))


def provenance(
    model_dir: Path, model: TrainedModel, dataset: AnyDataset, converted: Converted
) -> Provenance:
    versions = {"edgeseq": edgeseq.__version__, "python": platform.python_version()}
    for tool in _TOOLS:
        try:
            versions[tool] = importlib.metadata.version(tool)
        except importlib.metadata.PackageNotFoundError:
            continue  # TensorFlow comes under other names too (tensorflow-cpu)
    now = datetime.datetime.now(datetime.timezone.utc)
    return Provenance(
        created_utc=now.isoformat(timespec="seconds"),
        source=model_dir.name,
        source_sha256=sha256_file(model_dir / "weights.safetensors"),
        data_name=dataset.name,
        data_sha256=dataset.sha256,
        tool_versions=versions,
        training=msgspec.to_builtins(model.manifest.training),
        teacher=model.manifest.training.teacher,
        conversion_seconds=round(converted.seconds, 3),
        converter_peak_memory_bytes=converted.peak_memory_bytes,
    )
