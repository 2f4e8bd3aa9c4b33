"""What a linear-chain conditional random field (CRF) adds to the logits of words."""

from __future__ import annotations

from typing import Annotated

import msgspec

Score = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]


class TagTransitions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Scores that are added to those of a sentence's tags (Lafferty et al. 2001).

    `start` [labels] is for the first tag, `pairs` [labels before, labels] for each tag behind
    another one, `end` [labels] for the last tag; float32 is enough for each.
    """

    start: tuple[Score, ...]
    pairs: tuple[tuple[Score, ...], ...]
    end: tuple[Score, ...]

    def is_for(self, num_labels: int) -> bool:
        """Whether there is a score for each of the labels and each pair of them."""
        rows = (self.start, self.end, *self.pairs)
        return len(self.pairs) == num_labels and all(len(row) == num_labels for row in rows)
