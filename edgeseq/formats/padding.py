"""Padding: how the tokens of a text become the number of ids that a model was trained on.

A network without a mask reads padding as it reads words: its answer to a text depends on where the
padding is and on which end of a long text was cut, as Keras' `pad_sequences` names them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from edgeseq.units import format_share

PaddingSide = Literal["none", "pre", "post"]
TruncationSide = Literal["pre", "post"]


class Padding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What happens to the token ids of a text, special tokens included, before the model gets them.

    - `side`: `none`, the text alone; `pre` or `post`, filled up with `pad_id` in front of it or
      behind it to the model's `max_tokens` ids, all of which the model reads.
    - `truncation`: which end of a longer text is cut, its beginning (`pre`) or its end (`post`).
    """

    side: PaddingSide = "none"
    pad_id: int = 0
    truncation: TruncationSide = "post"

    @property
    def is_padded(self) -> bool:
        """Whether every input has the model's longest length."""
        return self.side != "none"

    def describe(self, max_tokens: int) -> str:
        """One line for people: what a text of `max_tokens` or other lengths becomes."""
        end = {"pre": "its beginning", "post": "its end"}[self.truncation]
        cut = f"a longer text is cut at {end}"
        if not self.is_padded:
            return f"none; {cut}"
        place = {"pre": "in front", "post": "behind"}[self.side]
        return f"{place} with id {self.pad_id} to {max_tokens} tokens; {cut}"


def describe_scores(scores: Mapping[str, float]) -> str:
    """The scores 0..1 of several paddings in a line."""
    return "; ".join(f"{name} {format_share(score)}" for name, score in scores.items())


TEXT_ALONE = Padding()
"""A text at its real length, truncated at its end."""
