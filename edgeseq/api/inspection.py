"""What is in a bundle or a .tflite file."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edgeseq.errors import InputError
from edgeseq.formats.bundle import BundleFiles, check_model
from edgeseq.formats.bundle_manifest import BundleManifest
from edgeseq.formats.bundle_zip import open_bundle
from edgeseq.formats.export_folder import MODEL, ExportManifest, is_export_folder, read_export
from edgeseq.formats.result import OperatorProfile
from edgeseq.formats.tflite_file import TfliteFile, read_tflite
from edgeseq.formats.tflite_runtimes import RuntimeSupport, runtime_support
from edgeseq_benchmarks.bench.probes.operator_profile import profile_bundle


class Inspection(msgspec.Struct, frozen=True):
    """A model file's content.

    Attributes:
        path: The bundle, export or .tflite file.
        model: Signatures, operators, tensors and sizes (bytes) of the file.
        runtimes: Which runtimes have all its operators.
        manifest: `bundle.json`; None for a bare file.
        labels: The classes; () for a bare file.
        size_bytes: What a device must store: a file, or of a bundle model, tokenizer and labels.
        native_size_bytes: What it must store for the native runner; None where that cannot run it.
        profile: The time per operator on this machine, if it was measured.
        export: `export.json`; None for what is no export.
    """

    path: Path
    model: TfliteFile
    runtimes: tuple[RuntimeSupport, ...]
    size_bytes: int
    native_size_bytes: int | None = None
    manifest: BundleManifest | None = None
    labels: tuple[str, ...] = ()
    profile: OperatorProfile | None = None
    export: ExportManifest | None = None


def inspect(path: str | Path, *, profile: bool = False) -> Inspection:
    """Read operators, signatures, sizes and runtime support of a bundle, export or .tflite file.

    Args:
        path: A bundle (folder or .zip), an export that has a model, or a .tflite file.
        profile: Also run a bundle's model, to measure the time per operator.

    Raises:
        BundleError: The file is damaged or not TFLite.
        InputError: `profile` of a bare file, which has no texts to run on; an export is damaged or
            contains no model.

    Examples:
        >>> [use.name for use in es.inspect("bundles/lstm").model.operator_uses()][:2]
    """
    path = Path(path)
    exported = read_export(path).manifest if is_export_folder(path) else None
    if exported is not None:
        if MODEL not in exported.files:
            raise InputError(
                f"an export for {exported.target} contains no {MODEL}",
                where=path,
                fix="inspect the bundle that was exported",
            )
        path = path / MODEL
    if not (path.is_dir() or path.suffix.lower() == ".zip"):
        if profile:
            raise InputError("only a bundle can be run", where=path, fix="name its bundle folder")
        model = read_tflite(path)
        support, size_bytes = runtime_support(model), path.stat().st_size
        return Inspection(path, model, support, size_bytes, export=exported)
    with open_bundle(path) as bundle:
        check_model(bundle)
        model = read_tflite(bundle.model_path)
        return Inspection(
            path=path,
            model=model,
            runtimes=runtime_support(model),
            size_bytes=bundle.size_bytes,
            native_size_bytes=bundle.native_size_bytes,
            manifest=bundle.manifest,
            labels=bundle.labels,
            profile=_profile(bundle) if profile else None,
        )


def _profile(bundle: BundleFiles) -> OperatorProfile:

    return profile_bundle(bundle, [example.text for example in bundle.golden.examples])
