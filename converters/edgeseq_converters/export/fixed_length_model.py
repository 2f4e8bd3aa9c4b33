"""A file with a signature per length, run here as an app runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeseq.runtime import PADDING_ID
from edgeseq.runtime.interpreter import find_runtime, load_interpreter


class FixedLengthModel:
    """`input_ids` int32 [1, length] → `logits` of the shortest signature that the tokens fit into.

    `signatures` has the name of the signature of each length in tokens.
    """

    def __init__(self, path: Path, signatures: Mapping[str, str]) -> None:
        """Maps the file; raises `BundleError` when the runtime cannot load it."""
        self._interpreter = load_interpreter(find_runtime(), str(path), 1)
        self._signatures = {int(length): key for length, key in signatures.items()}
        self._runners: dict[int, Any] = {}

    def infer(self, token_ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """The logits [labels] of at most as many tokens as the longest length."""
        length = min(n for n in self._signatures if n >= len(token_ids))
        if length not in self._runners:
            key = self._signatures[length]
            self._runners[length] = self._interpreter.get_signature_runner(key)
        row = np.full((1, length), PADDING_ID, np.int32)
        row[0, : len(token_ids)] = token_ids
        logits: npt.NDArray[np.float32] = self._runners[length](input_ids=row)["logits"][0]
        return logits
