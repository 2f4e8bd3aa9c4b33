"""Exports: folders that an app takes as they are, checked in the runtime that it runs them in."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from pathlib import Path

import msgspec

import edgeseq
from edgeseq.api.bundle import Bundle, bundle_path
from edgeseq.api.data import DatasetSource, resolve_dataset
from edgeseq.errors import InputError
from edgeseq.formats.bundle import BundleFiles, check_model
from edgeseq.formats.bundle_zip import open_bundle
from edgeseq.formats.export_folder import (
    MANIFEST,
    ExportFolder,
    ExportGolden,
    ExportManifest,
    read_export,
    write_export_files,
)
from edgeseq.formats.export_target import ExportOptions, ExportTarget, RuntimeOutputs
from edgeseq.formats.storage import new_folder, sha256_file

TARGETS: dict[str, str] = {
    "mediapipe": "edgeseq_converters.export.mediapipe.target",
    "micro": "edgeseq_converters.export.micro.target",
    "web": "edgeseq_converters.export.web.target",
    "native": "edgeseq_benchmarks.devices.native.library_export",
}
"""The module of each target, imported when it is used: one half may be missing on a machine."""
_TARGETS_OF_OPTIONS = {
    "--data": ("mediapipe", "micro"),
    "--length": ("web",),
    "--target": ("native",),
    "--recipe": ("mediapipe",),
}
_EMBEDDER = "edgeseq_converters.export.mediapipe.embedder"


class ExportCheck(msgspec.Struct, frozen=True):
    """What `check_export` found.

    Attributes:
        target: The target, such as `mediapipe`.
        runtime: The runtime that ran the golden texts, with its version.
        n_examples: Number of golden texts.
        max_abs_difference: Largest |difference| of an output from golden.json; infinite where an
            output is missing or no finite number.
        tolerance: What golden.json allows.
        findings: What is wrong, each a line; () for an export that does as it should.
    """

    target: str
    runtime: str
    n_examples: int
    max_abs_difference: float
    tolerance: float
    findings: tuple[str, ...]


def export(
    bundle: Bundle | str | Path,
    target: str,
    *,
    out: str | Path,
    data: DatasetSource | None = None,
    data_dir: str | Path | None = None,
    lengths: Sequence[int] = (),
    system: str | None = None,
    recipe: str | None = None,
    overwrite: bool = False,
) -> ExportFolder:
    """Export a bundle to a folder of files that an app runs as they are.

    Args:
        bundle: A bundle, or the path of one; with `recipe` a checkpoint that embeds sentences, as
            `load_model` takes it.
        target: Where the app runs: `mediapipe` (MediaPipe Tasks: Android, iOS, web, Python),
            `web` (a page, in LiteRT.js), `micro` (TensorFlow Lite Micro) or `native`
            (a C library for Linux).
        out: The folder to write.
        data: For `mediapipe` and `micro`: a data set (or what `load_dataset` takes) whose
            validation texts are tokenized by the target as well, besides the bundle's test texts,
            to count those that differ.
        data_dir: Folder of local copies of data.
        lengths: For `web`: lengths in tokens to fix, each a signature over shared weights; by
            default doubled from 16 to the bundle's longest input.
        system: For `native`: `linux-x86_64` or `linux-aarch64`; default: this machine's.
        recipe: For `mediapipe`: the recipe that a checkpoint is converted with, for TextEmbedder.
        overwrite: Overwrite `out` if it is an export.

    Returns:
        The folder: `path`, `manifest` (with `notes` on what differs in the target) and `golden`.

    Raises:
        InputError: The target is unknown, or does not have an option.
        BundleError: The bundle is damaged.
        RefusedError: The target cannot run this bundle, or would answer differently.
        OutputError: `out` exists or cannot be written.

    Examples:
        >>> es.export(bundle, "native", out="export").manifest.target
        'native'
    """
    exporter, out = _target(target), Path(out)
    is_given = {
        "--data": data is not None,
        "--length": bool(lengths),
        "--target": bool(system),
        "--recipe": recipe is not None,
    }
    _check_options(target, [option for option in is_given if is_given[option]])
    texts: tuple[str, ...] = ()
    if data is not None:
        texts = tuple(example.text for example in resolve_dataset(data, data_dir=data_dir).dev)
    if recipe is not None:
        return _export_checkpoint(Path(bundle_path(bundle)), recipe, texts, out, overwrite)
    with (
        open_bundle(bundle_path(bundle)) as opened,
        new_folder(out, overwrite=overwrite, marker=MANIFEST) as draft,
    ):
        check_model(opened)
        choices = ExportOptions(texts, tuple(lengths), system)
        contents = exporter.export(opened, draft, choices)
        manifest = msgspec.structs.replace(
            _manifest(opened, target), notes=contents.notes, settings=contents.settings
        )
        manifest = write_export_files(draft, manifest, contents.golden, contents.readme)
    return ExportFolder(out, manifest, contents.golden)


def _export_checkpoint(
    source: Path, recipe: str, texts: tuple[str, ...], out: Path, overwrite: bool
) -> ExportFolder:
    embedder = importlib.import_module(_EMBEDDER)
    with new_folder(out, overwrite=overwrite, marker=MANIFEST) as draft:
        manifest, contents = embedder.export_embedder(source, recipe, draft, texts)
        manifest = msgspec.structs.replace(
            manifest, notes=contents.notes, settings=contents.settings
        )
        manifest = write_export_files(draft, manifest, contents.golden, contents.readme)
    return ExportFolder(out, manifest, contents.golden)


def check_export(folder: str | Path) -> ExportCheck:
    """Run an export's golden texts in the target's own runtime and compare the outputs.

    Args:
        folder: What `export` wrote.

    Returns:
        The largest difference and what is wrong; `findings` is empty where nothing is.

    Raises:
        InputError: The folder is damaged, or no export.
        DeviceError: The target's runtime is not installed.

    Examples:
        >>> es.check_export("export").findings
        ()
    """
    opened = read_export(Path(folder))
    outputs = _target(opened.manifest.target).run_golden(opened)
    golden = opened.golden
    differences = [_difference(golden, outputs, number) for number in range(len(golden.examples))]
    findings = [
        f"text {number}: an output differs by {difference:.2g}, allowed are {golden.tolerance:.2g}"
        for number, difference in enumerate(differences, start=1)
        if not difference <= golden.tolerance
    ]
    return ExportCheck(
        target=opened.manifest.target,
        runtime=outputs.runtime,
        n_examples=len(differences),
        max_abs_difference=max(differences),
        tolerance=golden.tolerance,
        findings=(*outputs.findings, *findings),
    )


def _difference(golden: ExportGolden, outputs: RuntimeOutputs, number: int) -> float:
    """The largest |difference| of an output of one text; infinite where outputs are missing or no
    finite numbers."""
    expected = golden.examples[number].output
    answered = outputs.outputs[number] if number < len(outputs.outputs) else ()
    if len(expected) != len(answered) or not all(map(math.isfinite, answered)):
        return math.inf
    return max(abs(a - b) for a, b in zip(expected, answered, strict=True))


def check_export_target(name: str) -> None:
    """Raises `InputError` for a target that there is not."""
    if name not in TARGETS:
        raise InputError(
            "unknown export target",
            found=repr(name),
            expected=" or ".join(TARGETS),
            fix="name one of these",
        )


def _target(name: str) -> ExportTarget:
    check_export_target(name)
    target: ExportTarget = importlib.import_module(TARGETS[name]).TARGET
    return target


def _check_options(target: str, options: Sequence[str]) -> None:
    """Refuses what the target would ignore."""
    for option in options:
        if target not in _TARGETS_OF_OPTIONS[option]:
            raise InputError(
                f"is not an option of the target {target}",
                where=option,
                expected=f"the target {' or '.join(_TARGETS_OF_OPTIONS[option])}",
                fix="leave it out",
            )


def _manifest(bundle: BundleFiles, target: str) -> ExportManifest:
    return ExportManifest(
        target=target,
        bundle=bundle.manifest.name,
        bundle_sha256=sha256_file(bundle.path / "bundle.json"),
        task=bundle.manifest.task,
        recipe=bundle.manifest.recipe,
        lowering=bundle.manifest.lowering,
        labels=bundle.labels,
        files={},
        edgeseq_version=edgeseq.__version__,
    )
