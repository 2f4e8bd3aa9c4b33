"""What the steps of a suite wrote, by size and hash, so that nothing else is kept or replaced.

A step's record lists the files of its output. While a step runs, its process notes each file in
`steps/NAME.journal` before it is put in its place: after a kill between the output and the record,
the next run still knows what is a step's and what is the user's.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from edgeseq.errors import OutputError
from edgeseq.formats.codec import decode_json
from edgeseq.formats.drafts import is_draft
from edgeseq.formats.replacement import observe_placements
from edgeseq.formats.storage import sha256_file


class OutputFile(msgspec.Struct, frozen=True):
    """A file that a step wrote; `path` is relative to the suite's output folder."""

    path: str
    size_bytes: int
    mtime_ns: int
    sha256: str

    def matches(self, file: Path) -> bool:
        """Whether `file` is this file; it is read only if its size fits and its time does not."""
        status = file.lstat()
        if file.is_symlink() or status.st_size != self.size_bytes:
            return False
        return status.st_mtime_ns == self.mtime_ns or sha256_file(file) == self.sha256


Known = Mapping[str, Sequence[OutputFile]]
"""What a path may hold, by path: a step that was run twice wrote a file twice."""


def group_by_path(files: Iterable[OutputFile]) -> dict[str, list[OutputFile]]:
    """The files by their path."""
    known: dict[str, list[OutputFile]] = {}
    for file in files:
        known.setdefault(file.path, []).append(file)
    return known


def list_output(output: Path, root: Path, known: Known) -> tuple[OutputFile, ...]:
    """The files at or below `output`; what is in `known` is not read again."""
    return tuple(_describe(file, root, known) for file in _files(output))


def content_sha256(files: Sequence[OutputFile]) -> str:
    """SHA-256 over the paths and hashes of files: equal for copies, whenever they were written."""
    content = msgspec.json.encode([(file.path, file.sha256) for file in files])
    return hashlib.sha256(content).hexdigest()


def is_unchanged(files: Sequence[OutputFile], root: Path) -> bool:
    """Whether each of these files is there as it was written."""
    try:
        return all(file.matches(root / file.path) for file in files)
    except OSError:
        return False


def check_replaceable(output: Path, root: Path, known: Known) -> None:
    """Raises `OutputError` when `output` holds a file that no step wrote, or that was changed."""
    for file in _files(output):
        path = file.relative_to(root).as_posix()
        if not any(candidate.matches(file) for candidate in known.get(path, ())):
            raise OutputError(
                "was changed after a step wrote it"
                if path in known
                else "is in the way, and no step wrote it",
                where=file,
                fix=f"move or remove {output}, and it is made again",
            )


def read_journal(path: Path) -> list[OutputFile]:
    """The files in a journal; a line that a kill cut off is left out."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return []
    files = []
    for line in lines:
        try:
            files.append(decode_json(line, OutputFile))
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
    return files


def write_journal(journal: Path, output: Path) -> None:
    """Notes each file that this process puts at or below `output`, before it does so.

    Paths are relative to the working folder, which is the suite's output folder.
    """
    root, output = Path.cwd(), Path(os.path.abspath(output))  # noqa: PTH100 - links stay as named

    def note(draft: Path, path: Path) -> None:
        target = Path(os.path.abspath(path))  # noqa: PTH100 - links stay as named
        if not target.is_relative_to(output):
            return
        named = []
        for source in _files(draft):
            described = _describe(source, source, {})
            place = (target / source.relative_to(draft)).relative_to(root).as_posix()
            named.append(msgspec.structs.replace(described, path=place))
        add_to_journal(journal, named)

    observe_placements(note)


def add_to_journal(journal: Path, files: Iterable[OutputFile]) -> None:
    """Notes files that are about to be put in their places; raises `OSError`."""
    journal.parent.mkdir(parents=True, exist_ok=True)
    with journal.open("ab") as file:
        file.writelines(msgspec.json.encode(described) + b"\n" for described in files)
        file.flush()
        os.fsync(file.fileno())


def _describe(file: Path, root: Path, known: Known) -> OutputFile:
    path, status = file.relative_to(root).as_posix(), file.stat()
    for candidate in known.get(path, ()):
        if (candidate.size_bytes, candidate.mtime_ns) == (status.st_size, status.st_mtime_ns):
            return candidate
    return OutputFile(path, status.st_size, status.st_mtime_ns, sha256_file(file))


def _files(path: Path) -> Iterator[Path]:
    """The files at or below `path`, links among them, without what is being written."""
    if path.is_symlink() or not path.is_dir():
        if os.path.lexists(path):
            yield path
        return
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if not is_draft(name))
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        for name in sorted([*names, *links]):
            yield Path(folder) / name
