"""What a bundle takes of a microcontroller: a result's footprint."""

from __future__ import annotations

from edgeseq.errors import RefusedError
from edgeseq.formats.bundle import BundleFiles
from edgeseq.formats.bundle_identity import bundle_identity
from edgeseq.formats.drafts import temporary_folder
from edgeseq.formats.export_folder import MODEL
from edgeseq.formats.result import MicroFootprint
from edgeseq.formats.storage import read_bytes, write_bytes
from edgeseq_converters.export.micro.micro_runtime import run_micro, runtime_name
from edgeseq_converters.export.micro.one_token_graph import one_token_model
from edgeseq_converters.export.micro.target import check_bundle, find_vocabulary

__all__ = ["measure_footprint", "runtime_name"]


def measure_footprint(bundle: BundleFiles) -> MicroFootprint:
    """The memory and flash of the bundle in TensorFlow Lite Micro, on its golden texts, or the
    reason why it cannot run there.

    Raises `DeviceError` when the interpreter is not installed, and `ConversionError` when it
    refuses the file.
    """
    identity = bundle_identity(bundle)
    try:
        check_bundle(bundle)
        content = read_bytes(bundle.model_path, error=RefusedError)
        model = one_token_model(content, where=bundle.model_path)
    except RefusedError as refusal:
        return MicroFootprint(identity, refused=str(refusal.found))
    with temporary_folder() as folder:
        path = folder / MODEL
        write_bytes(path, model.content)
        run = run_micro(path, [example.token_ids for example in bundle.golden.examples])
    vocabulary, _ = find_vocabulary(bundle)
    flash_bytes = model.size_bytes + (0 if vocabulary is None else vocabulary.size_bytes)
    return MicroFootprint(identity, arena_bytes=run.arena_bytes, flash_bytes=flash_bytes)
