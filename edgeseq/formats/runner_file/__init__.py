"""`runner.bin`: a bundle's settings and tokenizer for the native runner, which maps the file.

Nothing is parsed when the runner starts: it reads tables in place, and only the pages that a text
touches are loaded. `layout` describes the frame, `runner_settings` and `tokenizer_sections` the
content. The same bundle gives the same bytes with the same release of the `tokenizers` library:
its Unicode tables are part of the file.

Version history of the format: 1.
"""

from __future__ import annotations

from pathlib import Path

from edgeseq.formats.bundle import RUNNER_FILE
from edgeseq.formats.runner_file.layout import write_sections
from edgeseq.formats.runner_file.runner_settings import RunnerSettings, settings_sections
from edgeseq.formats.runner_file.tokenizer_sections import compile_tokenizer
from edgeseq.formats.runner_file.unsupported import UnsupportedTokenizerError
from edgeseq.formats.storage import write_bytes

__all__ = [
    "RunnerSettings",
    "UnsupportedTokenizerError",
    "compile_runner_file",
    "write_runner_file",
]


def compile_runner_file(tokenizer_json: str, settings: RunnerSettings) -> bytes:
    """The content of `runner.bin`.

    Raises `UnsupportedTokenizerError` for a tokenizer that the native runner cannot do exactly as
    the `tokenizers` library does.
    """
    tokenizer = compile_tokenizer(tokenizer_json)
    return write_sections({**settings_sections(settings, tokenizer.facts), **tokenizer.sections})


def write_runner_file(folder: Path, tokenizer_json: str, settings: RunnerSettings) -> str | None:
    """Writes `runner.bin` into a bundle's folder; returns None, or why there is none.

    Raises `OutputError` when the folder cannot be written to.
    """
    try:
        content = compile_runner_file(tokenizer_json, settings)
    except UnsupportedTokenizerError as unsupported:
        return str(unsupported)
    write_bytes(folder / RUNNER_FILE, content)
    return None
