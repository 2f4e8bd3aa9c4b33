"""`runner.bin`: a bundle's settings and tokenizer for the native runner, which maps the file.

Nothing is parsed when the runner starts: it reads tables in place, and only the pages that a text
touches are loaded. `layout` describes the frame, `runner_settings` and `tokenizer_sections` the
content. The same bundle gives the same bytes with the same release of the `tokenizers` library:
its Unicode tables are part of the file.

All numbers are little-endian. The header has 8 bytes `edgeseqR`, the format's version and the
number of sections (uint32), the size of the file (uint64) and 0 (uint64); then follow offset and
size (uint64) of each section, then the sections at multiples of 8 bytes. Structures are those of
`benchmarks/edgeseq_benchmarks/native/src/layout.h`:

| section | content |
|---|---|
| 0 settings, 1 strings, 2 tensors, 3 labels | head, limits, signature; strings end with a NUL |
| 3 labels | also their thresholds as logits (float32), where a text has any number of labels |
| 4 special ids | the tokens before each text, then those behind it |
| 5 tokenizer | model, flags, sizes |
| 6 normalizer, 7 pre-tokenizer | steps in their order |
| 8 tables, 9 texts | tables over code points (`code_point_tables`); texts of other sections |
| 10, 11, 12 tokens | where each token starts, all tokens, their hash table (`hash_tables`) |
| 13, 14 merges | ids of two tokens and of the one that they become, their hash table |
| 15 bytes | of byte-level BPE: the id and the character of each byte |
| 16 added tokens | text, id, flags: those of the raw text, then those of the normalized one |
| 17 ASCII | what each ASCII character becomes |
| 18 transitions | of the labels of words (float32): start, pairs by rows, end; may be empty |

Version history of the format: 1; 2, padding; 3, transitions and word features.
"""

from __future__ import annotations

from pathlib import Path

from edgeseq.formats.bundle_manifest import RUNNER_FILE
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
