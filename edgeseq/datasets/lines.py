"""Lines of a text file that the user gave, checked on the way: the ground of all readers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgeseq.errors import DataError
from edgeseq.formats.storage import check_plain_file

LINE_LIMIT_BYTES = 1 << 20
"""1 MiB: a longer line is taken for a file that holds something else."""

_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yields the number (from 1) and text of each line, without its end (`\\n` or `\\r\\n`).

    The file is UTF-8, with or without a byte-order mark, and is read line by line.

    Raises `DataError` naming `file:line` when the file is missing, a folder, unreadable or empty,
    or a line is over-long, is not UTF-8 (with the byte's offset in the file) or holds a NUL byte.
    """
    offset = 0
    number = 0
    try:
        check_is_file(path)
        with path.open("rb") as file:
            while line := file.readline(LINE_LIMIT_BYTES + 1):
                number += 1
                start = offset
                offset += len(line)
                if number == 1 and line.startswith(_BOM):
                    line = line[len(_BOM) :]
                    start += len(_BOM)
                yield number, _decode(line, path, number, start)
    except OSError as error:
        raise DataError(
            "cannot be read", where=path, found=error.strerror or str(error), fix="check it"
        ) from error
    if number == 0:
        raise DataError("is empty", where=path, expected="one example a line")


def check_is_file(path: Path) -> None:
    """Raises `DataError` when `path` does not exist, or is a folder, a pipe or a device."""
    check_plain_file(path, error=DataError)


def _decode(line: bytes, path: Path, number: int, start: int) -> str:
    location = f"{path}:{number}"
    if len(line) > LINE_LIMIT_BYTES:
        raise DataError(
            "the line is too long",
            where=location,
            found=f"more than {LINE_LIMIT_BYTES} bytes",
            fix="put each example on its own line",
        )
    line = line.removesuffix(b"\n").removesuffix(b"\r")
    if number == 1 and line.startswith(_UTF16):
        raise _not_utf8(location, "a UTF-16 byte-order mark at byte 0", "UTF-16")
    if (nul := line.find(b"\0")) >= 0:
        raise DataError(
            "holds a NUL byte",
            where=location,
            found=f"byte 0x00 at byte {start + nul} of the file",
            expected="text",
            fix="check that this is a text file",
        )
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = f"byte 0x{line[error.start]:02x} at byte {start + error.start} of the file"
        raise _not_utf8(location, byte, "WINDOWS-1252") from error


def _not_utf8(location: str, found: str, likely: str) -> DataError:
    return DataError(
        "is not UTF-8",
        where=location,
        found=found,
        expected="UTF-8",
        fix=f"convert it, for instance with `iconv -f {likely} -t UTF-8`",
    )


def read_lines(path: Path) -> tuple[str, ...]:
    """The lines of a plain text file that are not blank, without white space at their ends.

    Raises `DataError` as `numbered_lines` does, and when every line is blank.
    """
    lines = tuple(text for _, line in numbered_lines(path) if (text := line.strip()))
    if not lines:
        raise DataError("holds only blank lines", where=path, expected="one text a line")
    return lines
