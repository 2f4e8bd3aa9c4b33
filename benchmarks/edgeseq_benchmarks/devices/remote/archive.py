"""The archive that is sent to a board: the code, what it needs, and the bundles.

The same code, bundles and settings give the same bytes, so that their hash names the run: who
asks for it again finds what is already there.
"""

from __future__ import annotations

import gzip
import importlib.util
import io
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from edgeseq.errors import DeviceError
from edgeseq.formats.bundle import BundleFiles
from edgeseq.formats.bundle_zip import MANIFEST
from edgeseq_benchmarks.devices.remote.messages import RunRequest

# Pure Python; what has native code (numpy, tokenizers, msgspec, a runtime) is installed there.
_PACKAGES = ("edgeseq", "edgeseq_benchmarks", "tflite", "flatbuffers")
# What only the workstation uses.
WORKSTATION_FOLDERS = {"edgeseq": ("api", "cli", "reporting", "suite", "suites")}
_SUFFIXES = (".py", ".json")
# Weights hardly compress; the code does at any level.
_LEVEL = 3


def write_archive(path: Path, bundles: Sequence[BundleFiles], request: RunRequest) -> int:
    """Writes the archive to `path`; gives the size of what is in it, in bytes.

    Raises `DeviceError` when a package that has to travel is not installed here.
    """
    size_bytes = 0
    with (
        path.open("wb") as file,
        gzip.GzipFile("", "wb", _LEVEL, file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name, source in _members(bundles):
            info = _info(name, source.stat().st_size)
            with source.open("rb") as content:
                tar.addfile(info, content)
            size_bytes += info.size
        request_json = msgspec.json.encode(request, order="deterministic")
        tar.addfile(_info("request.json", len(request_json)), io.BytesIO(request_json))
    return size_bytes + len(request_json)


def _members(bundles: Sequence[BundleFiles]) -> Iterator[tuple[str, Path]]:
    """Names in the archive and the files that they are made of, in a fixed order."""
    for package in _PACKAGES:
        folder = _package_folder(package)
        excluded = WORKSTATION_FOLDERS.get(package, ())
        for path in sorted(folder.rglob("*")):
            inside = path.relative_to(folder)
            if path.suffix in _SUFFIXES and inside.parts[0] not in excluded:
                yield f"{package}/{inside.as_posix()}", path
    for number, bundle in enumerate(bundles):
        for name in (MANIFEST, *bundle.manifest.file_names):
            yield f"bundles/{number}/{name}", bundle.path / name


def _package_folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise DeviceError(
            f"the package {package} is not installed on this machine",
            fix="install edgeseq again",
        )
    return Path(next(iter(spec.submodule_search_locations)))


def _info(name: str, size_bytes: int) -> tarfile.TarInfo:
    """The entry of an ordinary file without an owner, of a fixed date."""
    info = tarfile.TarInfo(name)
    info.size = size_bytes
    info.mode = 0o644
    return info
