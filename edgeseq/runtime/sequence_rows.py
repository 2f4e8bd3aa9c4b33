"""The numeric sequences of a bundle, read from its file while a model runs.

A sequence is named by its place in the rows of the file (`edgeseq.tasks.sequence_places`). So what
travels to a measured process is short, and its numbers come from a mapped file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeseq.errors import BundleError
from edgeseq.tasks.sequence_places import parse_place, sequence_place

if TYPE_CHECKING:
    import numpy.typing as npt


class SequenceRows:
    """The rows float32 [all steps, features] of a `.npy` file, which stays mapped."""

    def __init__(self, path: str) -> None:
        """Raises `BundleError` when the file holds no such rows."""
        try:
            rows = np.lib.format.open_memmap(path, mode="r")
        except (OSError, ValueError) as failure:
            raise BundleError(
                "is not an array of numbers", where=path, found=str(failure), fix="convert again"
            ) from failure
        if rows.ndim != 2 or rows.dtype != np.float32:
            raise BundleError(
                "does not hold rows of numbers",
                where=path,
                found=f"{rows.dtype} {list(rows.shape)}",
                expected="float32 [steps, features]",
                fix="convert again",
            )
        self.rows: npt.NDArray[np.float32] = rows
        self._path = path

    def numbers(self, row_range: str) -> npt.NDArray[np.float32]:
        """The numbers [steps, features] of a sequence: what is timed as reading it."""
        start, steps = self._read_place(row_range)
        if start < 0 or steps < 1 or start + steps > len(self.rows):
            raise BundleError(
                "has no such rows",
                where=self._path,
                found=row_range,
                expected=f"within {len(self.rows)} rows",
            )
        return np.array(self.rows[start : start + steps])

    def token_ids(self, text: str) -> npt.NDArray[np.float32]:
        """`numbers`, in the place of token ids."""
        return self.numbers(text)

    def encode_exact(self, text: str, tokens: int) -> npt.NDArray[np.float32] | None:
        """The first `tokens` rows of a place; None when the file has fewer."""
        start, length = self._read_place(text)
        within = length >= tokens and start + tokens <= len(self.rows)
        return self.numbers(sequence_place(start, tokens)) if within else None

    def _read_place(self, place: str) -> tuple[int, int]:
        try:
            return parse_place(place)
        except ValueError as failure:
            raise BundleError(
                "has an example that names no rows",
                where=self._path,
                found=repr(place),
                expected="START:STEPS",
                fix="convert the bundle again",
            ) from failure

    def is_finite(self) -> bool:
        """Whether no number is NaN or infinite."""
        return bool(np.isfinite(self.rows).all())
