"""Windows along a sequence, of a convolution or a pooling, and how many rows they give of how
many."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from edgeseq.errors import CheckpointError
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.zip_archive import LIMIT_BYTES

Border = Literal["valid", "same", "causal"]
"""What a window that reaches beyond the ends of a text sees there, in Keras' words: `valid` has no
such window, `same` has as many zeros on both sides as give a row for each `stride` tokens, with
the odd one behind, `causal` has them all before the text."""
Rows = tuple[tuple[int, int], ...]
"""How the rows of a sequence follow from the tokens of a text: (span, stride) of the windows that
were laid over it in their order; () is a row a token. A stride of 0 stands for `span` rows of any
text. Equal rows are equal tuples."""


@dataclass(frozen=True)
class RowWindow:
    """`size` rows that lie `dilation` apart, a window each `stride` rows."""

    size: int
    stride: int = 1
    dilation: int = 1
    border: Border = "valid"

    @property
    def span(self) -> int:
        """Rows from the first to the last of a window."""
        return (self.size - 1) * self.dilation + 1

    @property
    def required(self) -> int:
        """Rows that there must be for one window."""
        return self.span if self.border == "valid" else 1

    @property
    def keeps_rows(self) -> bool:
        """Whether it gives a row for each row."""
        return self.required == self.stride == 1

    def before(self, rows: int) -> int:
        """Zeros in front of a sequence of `rows`."""
        if self.border == "valid":
            return 0
        if self.border == "causal":
            return self.span - 1
        windows = count_rows(((1, self.stride),), rows)
        return max((windows - 1) * self.stride + self.span - rows, 0) // 2

    def after(self, rows: Rows) -> Rows:
        """The rows behind windows over `rows`."""
        if self.keeps_rows:
            return rows
        if rows and rows[-1][1] == 1:
            return (*rows[:-1], (rows[-1][0] + self.required - 1, self.stride))
        return (*rows, (self.required, self.stride))


def count_rows(rows: Rows, tokens: int) -> int:
    """Rows of a text of `tokens`; 0 or less where it is too short."""
    for span, stride in rows:
        tokens = span if stride == 0 else (tokens - span) // stride + 1
    return tokens


def fixed_rows(rows: Rows) -> int | None:
    """Rows that are as many for every text; None: they follow from its tokens."""
    return count_rows(rows, 1) if any(stride == 0 for _, stride in rows) else None


def required_tokens(rows: Rows) -> int:
    """Tokens of the shortest text that has a row."""
    tokens = 1
    for span, stride in reversed(rows):
        tokens = 1 if stride == 0 else (tokens - 1) * stride + span
    return tokens


def spread_groups(kernel: FloatArray, groups: int, where: str | Path) -> FloatArray:
    """A kernel of groups [size, in / groups, out] → [size, in, out], zeros between the groups.

    Raises `CheckpointError` about `where` for a result beyond `LIMIT_BYTES`.
    """
    if groups == 1:
        return kernel
    size, inputs, outputs = kernel.shape
    size_bytes = 4 * size * groups * inputs * outputs
    if size_bytes > LIMIT_BYTES:
        raise CheckpointError(
            f"has a convolution whose {groups} groups are too large as one kernel",
            where=where,
            found=f"{size_bytes} bytes",
            expected=f"<= {LIMIT_BYTES}",
        )
    whole = np.zeros((size, groups, inputs, groups, outputs // groups), np.float32)
    for group, part in enumerate(np.split(kernel, groups, axis=2)):
        whole[:, group, :, group] = part
    return whole.reshape(size, groups * inputs, outputs)
