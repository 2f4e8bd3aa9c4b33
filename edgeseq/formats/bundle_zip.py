"""A bundle as one `.zip`: packed, and unpacked so that a hostile one can do no harm.

The archive holds the bundle's files, at its top or in one folder. Only those are read, whatever
else it lists; what lists a way out of the folder, a link or a file twice is refused as a whole,
because its author meant harm or another program. Sizes are bounded while unpacking by what
`bundle.json` says, so a false claim in the archive's own headers gains nothing.
"""

from __future__ import annotations

import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from edgeseq.errors import BundleError, FetchError
from edgeseq.formats.archives import extract_members
from edgeseq.formats.bundle import BundleFiles, read_bundle, read_manifest
from edgeseq.formats.bundle_manifest import MANIFEST_LIMIT_BYTES
from edgeseq.formats.drafts import temporary_folder
from edgeseq.formats.storage import check_path, os_errors_as_output_errors, write_bytes
from edgeseq.units import format_bytes

MANIFEST = "bundle.json"
ENTRIES_LIMIT = 1_000
# Trained weights hardly compress and JSON by 10 to 20 times; deflate's utmost is about 1,030.
RATIO_LIMIT = 200
_RATIO_FROM_BYTES = 1 << 20
_DAMAGED = (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError)
# Of a fixed date, so that the same bundle gives the same archive.
_DATE = (1980, 1, 1, 0, 0, 0)


@contextmanager
def open_bundle(
    path: Path, *, verify_hashes: bool = True, scratch: Path | None = None
) -> Iterator[BundleFiles]:
    """The bundle at `path`, a folder or a `.zip`, for as long as the block lasts.

    A `.zip` is unpacked below `scratch` (without it: the system's temporary folder) and removed
    at the end. Raises `BundleError` as `read_bundle` does, and for an archive that is damaged,
    unsafe, or larger than it may be.
    """
    check_path(path, error=BundleError)
    if not path.is_file():
        yield read_bundle(path, verify_hashes=verify_hashes)
        return
    base = _check_entries(path)
    with temporary_folder(scratch) as folder, _named_after(path, folder):
        _extract(path, base, (MANIFEST,), folder, MANIFEST_LIMIT_BYTES)
        manifest = read_manifest(folder / MANIFEST)
        size_bytes = sum(max(0, entry.size_bytes) for entry in manifest.files.values())
        _check_room(path, size_bytes, folder)
        _extract(path, base, manifest.file_names, folder, size_bytes)
        yield read_bundle(folder, verify_hashes=verify_hashes)


def pack_bundle(path: Path, archive: Path) -> None:
    """Writes the bundle folder at `path` as one `.zip`; the same bundle gives the same bytes.

    Raises `BundleError` for an invalid bundle and `OutputError` when `archive` cannot be
    written.
    """
    manifest = read_bundle(path).manifest
    temporary = Path(tempfile.gettempdir())
    with os_errors_as_output_errors(temporary), tempfile.TemporaryFile(dir=temporary) as draft:
        with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as packed:
            for name in (MANIFEST, *manifest.file_names):
                info = zipfile.ZipInfo(name, _DATE)
                info.compress_type = zipfile.ZIP_DEFLATED
                info.external_attr = (stat.S_IFREG | 0o644) << 16
                with (
                    packed.open(info, "w", force_zip64=True) as member,
                    (path / name).open("rb") as source,
                ):
                    shutil.copyfileobj(source, member, 1 << 20)
        draft.seek(0)
        write_bytes(archive, draft.read())


def _check_entries(path: Path) -> str:
    """The prefix of the bundle's file names in the archive: "" or one folder with a slash."""
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except _DAMAGED as failure:
        raise BundleError(
            "is neither a bundle folder nor a .zip that can be read",
            where=path,
            found=str(failure) or type(failure).__name__,
            fix="name what `edgeseq convert` wrote, or copy it again",
        ) from failure
    if len(infos) > ENTRIES_LIMIT:
        raise _unsafe(path, f"{len(infos)} entries", f"at most {ENTRIES_LIMIT}")
    names: set[str] = set()
    bases = []
    for info in infos:
        name = info.filename
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts or set(name) & set("\\:\0"):
            raise _unsafe(path, repr(name[:200]), "paths within the bundle")
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _unsafe(path, f"{name[:200]!r}, a link or a device", "ordinary files")
        # Two entries of one name: who checks the first and reads the second is deceived.
        if name in names:
            raise _unsafe(path, f"{name[:200]!r} twice", "each file once")
        names.add(name)
        if parts[-1] == MANIFEST and len(parts) <= 2 and parts[0] != "__MACOSX":
            bases.append(name.removesuffix(MANIFEST))
    if len(bases) != 1:
        raise BundleError(
            "does not hold one bundle",
            where=path,
            found=f"{len(bases)} files named {MANIFEST}",
            expected=f"one {MANIFEST}, at the top or in one folder",
            fix="pack one bundle folder",
        )
    return bases[0]


def _unsafe(path: Path, found: str, expected: str) -> BundleError:
    return BundleError(
        "is unsafe to unpack",
        where=path,
        found=found,
        expected=expected,
        fix="get it from where you trust, or pack the bundle folder again",
    )


def _check_room(path: Path, size_bytes: int, folder: Path) -> None:
    if size_bytes > RATIO_LIMIT * max(path.stat().st_size, _RATIO_FROM_BYTES // RATIO_LIMIT):
        raise _unsafe(
            path,
            f"a bundle of {format_bytes(size_bytes)} in an archive of "
            f"{format_bytes(path.stat().st_size)}",
            f"at most {RATIO_LIMIT} times as much",
        )
    free_bytes = shutil.disk_usage(folder).free
    if size_bytes > free_bytes:
        raise BundleError(
            "is too large to be unpacked here",
            where=path,
            found=format_bytes(size_bytes),
            expected=f"at most {format_bytes(free_bytes)}, which are free in {folder.parent}",
            fix="set TMPDIR to a larger folder",
        )


def _extract(path: Path, base: str, names: tuple[str, ...], folder: Path, limit_bytes: int) -> None:
    try:
        extract_members(
            path, {base + name: name for name in names}, folder, limit_bytes=limit_bytes
        )
    except FetchError as failure:
        raise BundleError(
            failure.what,
            where=path,
            found=failure.found,
            expected=failure.expected,
            fix="copy or pack the bundle again",
        ) from failure


@contextmanager
def _named_after(path: Path, folder: Path) -> Iterator[None]:
    """Lets errors name the archive that the user gave, not the folder that it was unpacked to."""
    try:
        yield
    except BundleError as error:
        where = (error.where or "").replace(str(folder), str(path))
        raise BundleError(
            error.what, where=where, found=error.found, expected=error.expected, fix=error.fix
        ) from error
