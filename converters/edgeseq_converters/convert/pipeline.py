"""From a loaded model to checked bundles: load → plan → lower → verify → write.

The walk of a Keras LSTM (`edgeseq convert feedback.keras --data … --out …`):

1. load: `import_model.load_model` reads the layers (`models.read`, `models.keras`) as a `Network`;
   `fit_model.fit_to_dataset` makes it a `TrainedModel` with the data's labels.
2. plan: `plan.plan_bundles` gives a recipe, a `Target` and a path per bundle.
3. lower: `lower.dispatch.lower` writes the operators; `verify.structure` reads the bytes.
4. verify: `verify.interpreter_process` runs the file in a child process, the only one;
   `verify.fidelity` (or `verify.stream_fidelity`) compares with the float reference;
   `verify.older_runtime` runs it in the older runtime that it is for.
5. write: here, the folder whole or not at all.

Bare files take the same steps (`convert.bare_file`).
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import hashlib
import importlib.metadata
import io
import platform
import resource
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

import edgeseq
from edgeseq.errors import ConversionError, InputError, RefusedError
from edgeseq.formats.arrays import array_bytes
from edgeseq.formats.bundle import check_model, is_bundle_name, read_bundle
from edgeseq.formats.bundle_manifest import (
    MODEL_FILE,
    ROWS_FILE,
    TOKENIZER_FILE,
    BundleManifest,
    Fidelity,
    Provenance,
    Signature,
    answer_shape,
    bundle_file_names,
)
from edgeseq.formats.listed_files import FileEntry
from edgeseq.formats.runner_file import RunnerSettings, write_runner_file
from edgeseq.formats.storage import new_folder, write_bytes, write_json
from edgeseq.formats.tflite_file import TfliteFile, parse_tflite
from edgeseq.formats.trained_model import TrainedModel
from edgeseq.progress import ProgressCallback, ProgressUpdate, no_progress
from edgeseq.tasks.examples import AnyDataset
from edgeseq.tasks.registry import task_of
from edgeseq.tasks.word_features import FEATURES
from edgeseq_converters.convert.fit_model import FittedModel, VocabularyTrim, fit_to_dataset
from edgeseq_converters.convert.fit_outputs import fit_outputs
from edgeseq_converters.convert.import_model import ImportedModel
from edgeseq_converters.convert.lower.dispatch import (
    LOWERINGS,
    Target,
    lower,
    network_to_tflite,
    unsupported_lowerings,
)
from edgeseq_converters.convert.plan import (
    AUTO,
    ConversionOptions,
    ConversionPlan,
    plan_bundles,
)
from edgeseq_converters.convert.recipes import Recipe
from edgeseq_converters.convert.verify.fidelity import (
    Measured,
    TextComparison,
    check_drop,
    check_rise,
)
from edgeseq_converters.convert.verify.interpreter_process import ModelFile, run_model
from edgeseq_converters.convert.verify.older_runtime import check_older_runtime
from edgeseq_converters.convert.verify.sequence_fidelity import (
    MAX_EXPECTED_RISE,
    SequenceComparison,
)
from edgeseq_converters.convert.verify.stream_fidelity import StreamComparison
from edgeseq_converters.convert.verify.structure import (
    check_converted,
    check_runtime,
    file_signature,
)
from edgeseq_converters.models.arrays import FloatArray, ModelInput, vocabulary_size
from edgeseq_converters.models.encoder import WORD_TABLE
from edgeseq_converters.models.from_trained import network_of
from edgeseq_converters.models.network import Network

_TOOLS = ("ai-edge-litert", "numpy", "tokenizers", "safetensors")


class ConvertedBundles(msgspec.Struct, frozen=True):
    """The bundles with their folders, why recipes were refused, and what trimming did."""

    bundles: tuple[tuple[Path, BundleManifest], ...]
    refused: dict[str, str]
    vocabulary: VocabularyTrim


class LoweredModel(msgspec.Struct, frozen=True):
    """A file's content, and what making it took."""

    content: bytes
    file: TfliteFile
    signature: Signature
    seconds: float
    peak_memory_bytes: int


def convert(
    imported: ImportedModel,
    dataset: AnyDataset,
    out: Path,
    options: ConversionOptions = ConversionOptions(),  # noqa: B008 - frozen
    *,
    progress: ProgressCallback = no_progress,
) -> ConvertedBundles:
    """Converts the model to the bundle `out`, or with several recipes or lowerings to bundles
    NAME-RECIPE[-LOWERING] in the folder `out`; each is written completely or not at all.

    A file is checked to be what the recipe says and compared with the float model on development
    examples of `dataset`, whose test examples go into the bundle.

    Raises `InputError` for unknown names and options that do not go together, `CheckpointError`
    for a damaged model or one that does not fit the data, `DataError` for data of other labels or
    without texts, `ConversionError` when the runtime does not run the file or it is further from
    the float model than the recipe allows, `RefusedError` when it loses too many points, and
    `OutputError` when the output exists (without `overwrite`) or cannot be written.
    """
    if options.thresholds is not None and not task_of(dataset.task).is_multilabel:
        raise InputError(
            "thresholds are for any number of labels per text",
            where="--thresholds",
            found=f"the task {dataset.task}",
            fix="remove it, or name the task multilabel-classification",
        )
    fitted = fit_to_dataset(imported, dataset, options)
    unsupported = unsupported_lowerings(fitted.model)
    plans, refused = plan_bundles(fitted.model.manifest, out, options, unsupported)
    converter = _BundleConverter(fitted, dataset, imported, options, progress)
    bundles = []
    for candidates in plans:
        plan, manifest = _first_accepted(converter, candidates, options, refused)
        bundles.append((plan.out, manifest))
    return ConvertedBundles(tuple(bundles), refused, fitted.vocabulary)


def _first_accepted(
    converter: _BundleConverter,
    candidates: Sequence[ConversionPlan],
    options: ConversionOptions,
    refused: dict[str, str],
) -> tuple[ConversionPlan, BundleManifest]:
    """The first plan that is good enough, with its bundle; a search adds to `refused` why smaller
    recipes are not."""
    for plan in candidates:
        try:
            return plan, converter.convert(plan)
        except (ConversionError, RefusedError) as reason:
            if AUTO not in options.recipes:
                raise
            refused[plan.recipe.name] = str(reason)
    raise RefusedError(
        "no recipe is good enough",
        found="; ".join(refused.values()),
        fix="allow more with --max-drop",
    )


class _ComparedFile(NamedTuple):
    """A lowered file, its outputs on the compared examples, and what they say."""

    lowered: LoweredModel
    model_file: ModelFile
    outputs: list[FloatArray]
    measured: Measured


class _BundleConverter:
    """One model and data set, converted in turn by several plans."""

    def __init__(
        self,
        fitted: FittedModel,
        dataset: AnyDataset,
        imported: ImportedModel,
        options: ConversionOptions,
        progress: ProgressCallback,
    ) -> None:
        model = fitted.model
        self._model, self._dataset, self._source = model, dataset, imported.source
        self._padding_scores = fitted.padding_scores
        self._is_renamed = imported.options.name is not None
        self._options, self._progress = options, progress
        self._is_gated = options.is_gated
        self._task = task_of(model.manifest.task)
        network = model.manifest.network
        self._features = None if network is None else network.features
        self._comparisons: dict[int | None, TextComparison | StreamComparison] = {}

    def convert(self, plan: ConversionPlan) -> BundleManifest:
        """Lowers, verifies and writes one bundle; raises as `convert` does."""
        comparison = self._comparison(plan)
        if isinstance(comparison, SequenceComparison) and plan.recipe.activations != "float32":
            comparison.check_ranges(where=plan.file)
        with new_folder(plan.out, overwrite=self._options.overwrite, marker="bundle.json") as draft:
            file = self._compared(plan, draft)
            if (
                plan.recipe.dynamic
                and self._predicts_numbers
                and isinstance(comparison, SequenceComparison)
                and comparison.expected_rise(file.outputs) > MAX_EXPECTED_RISE
            ):
                plan = msgspec.structs.replace(plan, recipe=plan.recipe.in_float())
                file = self._compared(plan, draft)
            tried_runtime = check_older_runtime(
                plan.target.runtime,
                file.model_file,
                comparison.token_ids,
                file.outputs,
                plan.recipe,
                progress=self._progress,
            )
            if self._is_gated:
                self._check_drop(file.measured.fidelity, plan.recipe.name)
            return self._write(draft, plan, file.lowered, file.measured, tried_runtime)

    def _compared(self, plan: ConversionPlan, draft: Path) -> _ComparedFile:
        """Lowers into the folder `draft`, and compares the file with the float model."""
        comparison, model = self._comparison(plan), self._model
        signature = self._signature(plan.target)
        is_rounded = plan.recipe.weights in ("int8", "int4")
        if self._predicts_numbers and is_rounded and signature is not None:
            file = self._model_file(draft / f"features-{MODEL_FILE}", plan, signature)
            model = fit_outputs(model, plan, file, comparison.calibration, progress=self._progress)
        lowered, file = self._lower(model, plan, draft)
        outputs = run_model(
            file,
            comparison.token_ids,
            stage=f"compare {plan.recipe.name} with the float model",
            progress=self._progress,
        )
        measured = comparison.measure(outputs, plan.recipe, where=plan.file)
        return _ComparedFile(lowered, file, outputs, measured)

    def _lower(
        self, model: TrainedModel, plan: ConversionPlan, draft: Path
    ) -> tuple[LoweredModel, ModelFile]:
        """Lowers `model` and writes the file into the folder `draft`."""
        calibration, signature = self._comparison(plan).calibration, self._signature(plan.target)
        lowered = lower_model(model, plan, calibration, signature, progress=self._progress)
        write_bytes(draft / MODEL_FILE, lowered.content)
        return lowered, self._model_file(draft / MODEL_FILE, plan, lowered.signature)

    @property
    def _predicts_numbers(self) -> bool:
        return self._task.head == "sequence-regression"

    def _check_drop(self, fidelity: Fidelity, recipe: str) -> None:
        metric, max_drop = self._task.load_metric(), self._options.max_drop
        if metric.higher_is_better:
            check_drop(fidelity, max_drop, where=recipe)
        else:
            check_rise(fidelity, max_drop, metric, where=recipe)

    def _comparison(self, plan: ConversionPlan) -> TextComparison | StreamComparison:
        """The comparison at the plan's longest text; its float reference is computed once."""
        steps = plan.target.steps
        max_tokens = steps or self._model.manifest.max_tokens
        # A fixed length takes shorter texts, but sequences of that length alone.
        key = max_tokens if self._features is None else steps
        if key not in self._comparisons:
            self._comparisons[key] = self._make_comparison(steps, max_tokens)
        return self._comparisons[key]

    def _make_comparison(
        self, steps: int | None, max_tokens: int
    ) -> TextComparison | StreamComparison:
        model, dataset = self._model, self._dataset
        if self._task.is_streaming:
            return StreamComparison(model, dataset)
        if self._features is not None:
            return SequenceComparison(
                model, dataset, self._features, steps, all_examples=self._is_gated
            )
        return TextComparison(
            model,
            dataset,
            max_tokens,
            all_examples=self._is_gated,
            thresholds=self._options.thresholds or "per-label",
            is_untrained=self._options.is_untrained,
        )

    def _signature(self, target: Target) -> Signature | None:
        """The signature that the file must have; None for a language model, whose states vary."""
        if self._task.is_streaming:
            return None
        shape = answer_shape(self._task.head, len(self._model.manifest.labels), target.steps or -1)
        return file_signature(
            "logits",
            shape,
            target.steps,
            self._features,
            has_word_features=self._model.manifest.word_features is not None,
        )

    def _model_file(self, path: Path, plan: ConversionPlan, signature: Signature) -> ModelFile:
        is_stream, manifest = self._task.is_streaming, self._model.manifest
        return ModelFile(
            path,
            plan.file,
            signature_key=signature.key,
            output="logits",
            width=vocabulary_size(self._model) if is_stream else len(manifest.labels),
            per_token=not self._task.is_per_text,
            window=manifest.max_tokens if is_stream else None,
            input=signature.inputs[0].name,
            features=self._features,
            word_features=None if manifest.word_features is None else len(FEATURES),
        )

    def _write(
        self,
        draft: Path,
        plan: ConversionPlan,
        lowered: LoweredModel,
        measured: Measured,
        tried_runtime: str | None,
    ) -> BundleManifest:
        model, recipe, target = self._model, plan.recipe, plan.target
        write_json(draft / "labels.json", model.manifest.labels)
        write_json(draft / "golden.json", measured.golden)
        settings = RunnerSettings(
            name=self._bundle_name(plan),
            task=model.manifest.task,
            max_tokens=target.steps or model.manifest.max_tokens,
            vocabulary_size=vocabulary_size(model),
            labels=model.manifest.labels,
            signature=lowered.signature,
            padding=model.manifest.padding,
            transitions=model.manifest.transitions,
            word_features=model.manifest.word_features,
            thresholds=measured.thresholds,
        )
        unsupported = self._write_inputs(draft, plan, settings)
        names = bundle_file_names(unsupported, self._task.head)
        manifest = BundleManifest(
            name=settings.name,
            task=model.manifest.task,
            arch=model.manifest.arch,
            recipe=recipe.name,
            lowering=target.lowering,
            parameters=model.parameters,
            vocabulary_size=settings.vocabulary_size,
            max_tokens=settings.max_tokens,
            signature=lowered.signature,
            fidelity=measured.fidelity,
            provenance=self._provenance(lowered, plan.recipe, tried_runtime),
            files={name: FileEntry.of(draft / name) for name in names},
            min_runtime_version=lowered.file.min_runtime_version,
            native_unsupported=unsupported,
            padding=settings.padding,
            thresholds=measured.thresholds,
            word_features=model.manifest.word_features,
            transitions=settings.transitions,
        )
        write_json(draft / "bundle.json", manifest)
        check_model(read_bundle(draft, verify_hashes=False))
        return manifest

    def _write_inputs(
        self, draft: Path, plan: ConversionPlan, settings: RunnerSettings
    ) -> str | None:
        """Writes the test examples and what inputs are read with; returns why the native runner
        cannot read them, or None."""
        comparison, test = self._comparison(plan), self._dataset.test
        unsupported: str | None = None
        if isinstance(comparison, SequenceComparison):
            test = comparison.bundle_rows.test
            content = io.BytesIO()
            np.save(content, comparison.bundle_rows.rows, allow_pickle=False)
            write_bytes(draft / ROWS_FILE, content.getvalue())
            if plan.target.lowering == "fused":
                unsupported = "LiteRT's C library does not load a file with variable tensors"
        else:
            write_bytes(draft / TOKENIZER_FILE, self._model.tokenizer_json.encode())
            unsupported = write_runner_file(draft, self._model.tokenizer_json, settings)
        lines = b"".join(msgspec.json.encode(example) + b"\n" for example in test)
        write_bytes(draft / "eval.jsonl", lines)
        return unsupported

    def _bundle_name(self, plan: ConversionPlan) -> str:
        """The folder's name; MODEL-RECIPE[-LOWERING] of a model that was renamed for this."""
        if not self._is_renamed and is_bundle_name(plan.out.name):
            return plan.out.name
        arch, lowering = self._model.manifest.arch, plan.target.lowering
        suffix = "" if lowering == LOWERINGS[arch][0] else f"-{lowering}"
        return f"{self._model.manifest.name}-{plan.recipe.name}{suffix}"

    def _provenance(
        self, lowered: LoweredModel, recipe: Recipe, tried_runtime: str | None
    ) -> Provenance:
        versions = {"edgeseq": edgeseq.__version__, "python": platform.python_version()}
        for tool in _TOOLS:
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                versions[tool] = importlib.metadata.version(tool)
        training, dataset = self._model.manifest.training, self._dataset
        now = datetime.datetime.now(datetime.timezone.utc)
        return Provenance(
            created_utc=now.isoformat(timespec="seconds"),
            source=self._source.name,
            source_sha256=self._weights_sha256,
            data_name=dataset.name,
            data_sha256=dataset.sha256,
            tool_versions=versions,
            training=msgspec.to_builtins(training),
            teacher=training.teacher,
            conversion_seconds=round(lowered.seconds, 3),
            converter_peak_memory_bytes=lowered.peak_memory_bytes,
            tried_runtime=tried_runtime,
            padding_scores=self._padding_scores,
            float_products=recipe.float_products,
        )

    @functools.cached_property
    def _weights_sha256(self) -> str:
        """The hash of the weights as `edgeseq train` writes them."""
        return hashlib.sha256(array_bytes(self._model.weights)).hexdigest()


def lower_model(
    model: TrainedModel | Network,
    plan: ConversionPlan,
    calibration: Sequence[ModelInput],
    signature: Signature | None,
    *,
    streaming: bool = False,
    progress: ProgressCallback = no_progress,
) -> LoweredModel:
    """The .tflite content of the model, checked to be what the plan says.

    `calibration` are inputs that static ranges and int4 rounding are chosen on; `signature` is
    what the file must have; `streaming` adds a network's stream. Raises `CheckpointError` for a
    damaged model and `ConversionError` for what lowering, recipe or older runtime cannot do.
    """
    stage = f"convert {_name(model)} to {plan.recipe.name}"
    progress(ProgressUpdate(stage, 0, 1))
    begin = time.monotonic()
    if isinstance(model, Network):
        table = model.input.name
        output = "logits" if signature is None else signature.outputs[0].name
        content = network_to_tflite(
            model, plan.recipe, plan.target, calibration, output=output, streaming=streaming
        )
    else:
        is_recurrent = model.manifest.arch != "bert"
        table = network_of(model).input.name if is_recurrent else WORD_TABLE
        content = lower(model, plan.recipe, plan.target, calibration)
    file = parse_tflite(content, where=plan.file)
    signature = check_converted(
        file, plan.recipe, where=plan.file, expected=signature, embedding_table=table
    )
    if plan.target.runtime is not None:
        check_runtime(file, plan.target.runtime, where=plan.file)
    seconds = time.monotonic() - begin
    progress(ProgressUpdate(stage, 1, 1, f"{len(content) / 1e6:.2f} MB in {seconds:.1f} s"))
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return LoweredModel(content, file, signature, seconds, peak_kib * 1024)


def _name(model: TrainedModel | Network) -> str:
    return model.name if isinstance(model, Network) else model.manifest.name
