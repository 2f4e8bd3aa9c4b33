"""What an export target is: the interface between `edgeseq.api.export` and the targets."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import msgspec

from edgeseq.formats.bundle import BundleFiles
from edgeseq.formats.export_folder import ExportFolder, ExportGolden


class ExportOptions(msgspec.Struct, frozen=True):
    """What a user may choose.

    `texts` are read by the target's tokenizer as well as by the bundle's, besides the bundle's own
    test texts, to count those that differ; `lengths` are the lengths in tokens to fix, for a target
    that has fixed ones (default: the target's choice); `system` is the name of the system that a C
    library is for, None for this machine's.
    """

    texts: tuple[str, ...] = ()
    lengths: tuple[int, ...] = ()
    system: str | None = None


class ExportContents(msgspec.Struct, frozen=True):
    """What a target says of the files that it wrote (see `ExportManifest`, `ExportGolden`);
    `readme` is the folder's README.md."""

    golden: ExportGolden
    readme: str
    notes: tuple[str, ...] = ()
    settings: dict[str, Any] = {}


class RuntimeOutputs(msgspec.Struct, frozen=True):
    """The outputs of the golden texts in the target's own runtime, in the order of the texts.

    `runtime` is its name and version. `findings` are faults other than of outputs, each a line.
    """

    runtime: str
    outputs: tuple[tuple[float, ...], ...]
    findings: tuple[str, ...] = ()


class ExportTarget(Protocol):
    """A place where users run models. Its module has a `TARGET`, and a line in
    `edgeseq.api.export.TARGETS`."""

    def export(self, bundle: BundleFiles, folder: Path, options: ExportOptions) -> ExportContents:
        """Writes the target's files to `folder`, an empty draft; golden.json, README.md and
        export.json are not its business.

        Raises `RefusedError` for a bundle that the target cannot run or would run differently,
        saying why and what to convert instead.
        """

    def run_golden(self, export: ExportFolder) -> RuntimeOutputs:
        """Runs the golden texts in the target's own runtime.

        Raises `DeviceError` when that is not installed, saying what to install.
        """
