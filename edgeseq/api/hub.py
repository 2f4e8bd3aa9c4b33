"""Bundles on the Hugging Face hub: a repository with a model card, and back."""

from __future__ import annotations

import importlib
import re
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import msgspec

from edgeseq.api.bundle import Bundle, bundle_path, converted_bundle
from edgeseq.api.options import check_options
from edgeseq.api.result import Result
from edgeseq.datasets.registry import entries
from edgeseq.errors import InputError
from edgeseq.formats.bundle import read_bundle, read_manifest
from edgeseq.formats.bundle_manifest import MANIFEST_LIMIT_BYTES
from edgeseq.formats.bundle_zip import MANIFEST, open_bundle
from edgeseq.formats.drafts import temporary_folder
from edgeseq.formats.export_folder import MANIFEST as EXPORT_MANIFEST
from edgeseq.formats.export_folder import read_export
from edgeseq.formats.listed_files import FileEntry
from edgeseq.formats.result import read_result
from edgeseq.formats.storage import new_folder, sha256_file
from edgeseq.installation import missing_extra
from edgeseq.reporting.model_card import (
    EXPORTS_FOLDER,
    UNKNOWN_LICENCE,
    CardSource,
    render_card,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?"
_REPOSITORY = re.compile(rf"{_PART}/{_PART}")
_LICENCE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}")


class PushOptions(TypedDict, total=False):
    """Options of `push`."""

    results: Sequence[Result | str | Path]
    exports: Sequence[str | Path]
    licence: str
    public: bool
    dry_run: bool


class Upload(msgspec.Struct, frozen=True):
    """What `push` uploaded, or would have.

    Attributes:
        repository: The repository, `owner/name`.
        files: The files by their path in the repository, without the card.
        card: The model card.
        removed: Files of an earlier push that were removed.
        commit: The commit; None after a dry run.
        url: The commit's address; None after a dry run.
    """

    repository: str
    files: tuple[str, ...]
    card: str
    removed: tuple[str, ...] = ()
    commit: str | None = None
    url: str | None = None


def push(bundle: Bundle | str | Path, repository: str, **options: Unpack[PushOptions]) -> Upload:
    """Upload a bundle to the Hugging Face hub, with a model card written from it.

    The token is the one of `hf auth login` or HF_TOKEN; edgeseq neither shows nor stores it. All
    files go into one commit.

    Args:
        bundle: A bundle, or its folder or .zip.
        repository: `owner/name`; it is created, private unless `public`, if it does not exist.
        results: Results of this bundle, whose scores, memory and latency the card shows.
        exports: Export folders of this bundle, uploaded below `exports/`.
        licence: The model's licence, as an identifier of the hub such as `apache-2.0`.
        public: Create the repository for everyone to see: with it the data's test texts, which
            the bundle holds.
        dry_run: Write the card and upload nothing.

    Raises:
        InputError: A result or export is of another bundle, or a name is not one of the hub.
        BundleError: The bundle is damaged.
        FetchError: The hub cannot be reached, or refuses.

    Examples:
        >>> es.push("bundles/lstm", "me/reviews", results=["lstm.json"], dry_run=True).files[0]
        'bundle.json'
    """
    check_options(options, PushOptions)
    _check_name(repository)
    licence = options.get("licence", UNKNOWN_LICENCE)
    if not _LICENCE.fullmatch(licence):
        raise InputError(
            "is not a licence identifier of the hub",
            where=licence,
            expected="one such as apache-2.0, cc-by-sa-4.0 or other",
        )
    with ExitStack() as stack:
        opened = stack.enter_context(open_bundle(bundle_path(bundle)))
        paths = {name: opened.path / name for name in (MANIFEST, *opened.manifest.file_names)}
        for folder in options.get("exports", ()):
            paths |= _export_paths(Path(folder), paths[MANIFEST])
        source = CardSource(
            repository=repository,
            bundle=opened,
            files={name: FileEntry.of(path) for name, path in paths.items()},
            results=tuple(map(_record, options.get("results", ()))),
            dataset=_dataset(opened.manifest.provenance.data_name),
            licence=licence,
        )
        card = render_card(source)
        upload = Upload(repository, tuple(paths), card)
        if options.get("dry_run", False):
            return upload
        commit = _client().upload(
            repository, paths, card, title=opened.manifest.name, private=not options.get("public")
        )
        return msgspec.structs.replace(
            upload, removed=commit.removed, commit=commit.commit, url=commit.url
        )


def pull(source: str, *, out: str | Path, overwrite: bool = False) -> Bundle:
    """Download a bundle from the Hugging Face hub, and check it like any other.

    Args:
        source: `owner/name`, or `owner/name@revision` with a branch, tag or commit.
        out: The folder to write.
        overwrite: Replace the bundle at `out`.

    Returns:
        The bundle.

    Raises:
        InputError: `source` is not the name of a repository.
        FetchError: The hub cannot be reached, or the repository or a file is missing.
        BundleError: What the repository holds is not a bundle, damaged or unsafe.
        OutputError: `out` exists (without `overwrite`) or cannot be written.

    Examples:
        >>> bundle = es.pull("me/reviews@main", out="bundles/reviews")
    """
    repository, _, revision = source.partition("@")
    _check_name(repository)
    client = _client()
    commit = client.resolve(repository, revision or None)
    with (
        new_folder(Path(out), overwrite=overwrite, marker=MANIFEST) as draft,
        temporary_folder(draft.parent) as scratch,
    ):
        client.download(repository, commit, {MANIFEST: MANIFEST_LIMIT_BYTES}, scratch)
        manifest = read_manifest(scratch / MANIFEST)
        sizes = {name: manifest.files[name].size_bytes for name in manifest.file_names}
        client.download(repository, commit, sizes, scratch)
        for name in (MANIFEST, *manifest.file_names):
            shutil.move(scratch / name, draft / name)
        read_bundle(draft)
    return converted_bundle(Path(out))


def _client() -> Any:
    """The module that talks to the hub, imported when it is needed: it loads an HTTP client."""
    try:
        return importlib.import_module("edgeseq.api.hub_client")
    except ModuleNotFoundError as failure:
        raise missing_extra(failure) or failure from failure


def _check_name(repository: str) -> None:
    if not _REPOSITORY.fullmatch(repository) or ".." in repository or "--" in repository:
        raise InputError("is not the name of a repository", where=repository, expected="owner/name")


def _record(result: Result | str | Path) -> Any:
    return result.record if isinstance(result, Result) else read_result(Path(result))


def _dataset(name: str) -> Any:
    return next((entry for entry in entries() if entry.name == name and entry.sizes), None)


def _export_paths(folder: Path, bundle_manifest: Path) -> dict[str, Path]:
    """The files of an export by their paths in the repository."""
    export = read_export(folder)
    if export.manifest.bundle_sha256 != sha256_file(bundle_manifest):
        raise InputError(
            "is an export of another bundle",
            where=folder,
            found=export.manifest.bundle,
            fix="export the bundle that you push",
        )
    base = f"{EXPORTS_FOLDER}/{export.manifest.target}"
    return {f"{base}/{name}": folder / name for name in (EXPORT_MANIFEST, *export.manifest.files)}
