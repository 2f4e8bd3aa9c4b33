"""What the native runner cannot do."""

from __future__ import annotations

from edgeseq.errors import CheckpointError


class UnsupportedTokenizerError(CheckpointError):
    """A tokenizer that the native runner cannot express; Python runs it."""

    def __init__(self, what: str, *, found: object = None, expected: object = None) -> None:
        super().__init__(what, found=found, expected=expected)
