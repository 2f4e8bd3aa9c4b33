"""Which bundle was measured, as a result records it."""

from __future__ import annotations

from edgeseq.formats.bundle import BundleFiles
from edgeseq.formats.bundle_manifest import MODEL_FILE
from edgeseq.formats.result import BundleIdentity


def bundle_identity(bundle: BundleFiles) -> BundleIdentity:
    """The bundle's identity, from its manifest."""
    manifest = bundle.manifest
    provenance = {
        "created_utc": manifest.provenance.created_utc,
        "source": manifest.provenance.source,
        "source_sha256": manifest.provenance.source_sha256,
        "teacher": manifest.provenance.teacher,
        "seed": manifest.provenance.training.get("seed"),
        "float_label_agreement": manifest.fidelity.label_agreement,
        "float_max_abs_error": manifest.fidelity.max_abs_error,
        "float_score": manifest.fidelity.float_score,
    }
    return BundleIdentity(
        name=manifest.name,
        task=manifest.task,
        arch=manifest.arch,
        recipe=manifest.recipe,
        lowering=manifest.lowering,
        parameters=manifest.parameters,
        labels=bundle.labels,
        size_bytes=bundle.size_bytes,
        model_size_bytes=manifest.files[MODEL_FILE].size_bytes,
        model_sha256=bundle.model_sha256,
        data_name=manifest.provenance.data_name,
        data_sha256=manifest.provenance.data_sha256,
        max_tokens=manifest.max_tokens,
        provenance={name: str(value) for name, value in provenance.items() if value is not None},
    )
