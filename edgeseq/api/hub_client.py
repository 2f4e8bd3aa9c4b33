"""What is asked of the Hugging Face hub, through its own client `huggingface_hub`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import huggingface_hub
import msgspec
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, errors
from huggingface_hub.utils.tqdm import disable_progress_bars

from edgeseq.errors import FetchError, InputError
from edgeseq.formats.bundle_manifest import bundle_file_names
from edgeseq.formats.bundle_zip import MANIFEST
from edgeseq.reporting.model_card import CARD, EXPORTS_FOLDER
from edgeseq.units import format_bytes

_ALWAYS_THERE = frozenset({".gitattributes", CARD})
# The error of its HTTP library, which is httpx or httpx2, depending on the release.
_NETWORK_ERROR: type[Exception] = errors.HfHubHTTPError.__bases__[0]
_HUB_ERRORS = (_NETWORK_ERROR, errors.HFValidationError, OSError, ValueError)


class HubCommit(msgspec.Struct, frozen=True):
    """A commit that was made, and the files of an earlier push that it removed."""

    commit: str
    url: str
    removed: tuple[str, ...]


def upload(
    repository: str, paths: Mapping[str, Path], card: str, *, title: str, private: bool
) -> HubCommit:
    """Makes one commit of files by their paths in the repository, and the card.

    Raises `FetchError` when the hub cannot be reached or refuses, and `InputError` for a repository
    with another model, and for a public one where `private` is wanted.
    """
    if not sys.stderr.isatty():
        disable_progress_bars()
    api = HfApi(library_name="edgeseq")
    with _hub_errors(repository, "check the name, and log in with `hf auth login` or HF_TOKEN"):
        api.create_repo(repository, private=private, exist_ok=True)
        info = api.model_info(repository)
        present = {file.rfilename for file in info.siblings or ()}
        _check_repository(repository, present, is_public=not info.private, private=private)
        removed = tuple(sorted(_replaced(present) - set(paths)))
        commit = api.create_commit(
            repository,
            [
                *(CommitOperationAdd(name, str(path)) for name, path in paths.items()),
                CommitOperationAdd(CARD, card.encode()),
                *(CommitOperationDelete(name) for name in removed),
            ],
            commit_message=f"Upload {title} with edgeseq",
        )
    return HubCommit(commit.oid, commit.commit_url, removed)


def _check_repository(
    repository: str, present: set[str], *, is_public: bool, private: bool
) -> None:
    if present - _ALWAYS_THERE and MANIFEST not in present:
        raise InputError(
            "holds something else than a bundle of edgeseq",
            where=repository,
            found=", ".join(sorted(present - _ALWAYS_THERE))[:200],
            fix="choose another name",
        )
    if is_public and private:
        raise InputError(
            "is public, and a bundle holds test texts of its data",
            where=repository,
            fix="add --public, or make the repository private",
        )


def _replaced(present: Iterable[str]) -> set[str]:
    """Files that pushes write, and that the next one replaces or removes."""
    names = {MANIFEST, *bundle_file_names(None), *bundle_file_names(None, "sequence-regression")}
    return {name for name in present if name in names or name.startswith(f"{EXPORTS_FOLDER}/")}


def resolve(repository: str, revision: str | None) -> str:
    """The commit that a branch, tag or commit (None: the main branch) of a repository is now.

    Raises `FetchError`.
    """
    with _hub_errors(repository, "check the name, the revision and the network"):
        commit = HfApi(library_name="edgeseq").model_info(repository, revision=revision).sha
    if commit is None:
        raise FetchError("the hub did not name a commit", where=repository)
    return commit


def download(repository: str, commit: str, limits_bytes: Mapping[str, int], folder: Path) -> None:
    """Downloads files of a commit by name, each of at most so many bytes, into `folder`.

    Raises `FetchError`, before a file is downloaded that is larger.
    """
    if not sys.stderr.isatty():
        disable_progress_bars()
    for name, limit_bytes in limits_bytes.items():
        where = f"{repository}@{commit[:7]}/{name}"
        with _hub_errors(where, "check the name and the network"):
            url = huggingface_hub.hf_hub_url(repository, name, revision=commit)
            size_bytes = huggingface_hub.get_hf_file_metadata(url).size
            if size_bytes is None or size_bytes > limit_bytes:
                raise FetchError(
                    "is larger than it may be",
                    where=where,
                    found="unknown" if size_bytes is None else format_bytes(size_bytes),
                    expected=f"at most {format_bytes(limit_bytes)}",
                )
            huggingface_hub.hf_hub_download(
                repository, name, revision=commit, local_dir=folder, library_name="edgeseq"
            )


@contextmanager
def _hub_errors(where: str, fix: str) -> Iterator[None]:
    """Turns what the client raises into `FetchError`, with the token's place in it empty."""
    try:
        yield
    except _HUB_ERRORS as failure:
        text = str(failure)
        if token := huggingface_hub.get_token():
            text = text.replace(token, "…")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        raise FetchError(
            "the Hugging Face hub refused, or was not reached",
            where=where,
            found=" ".join(lines[:2]) or type(failure).__name__,
            fix=fix,
        ) from None
