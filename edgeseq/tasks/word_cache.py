"""What a language model adds for words that it has read a moment ago."""

from __future__ import annotations

from typing import Annotated

import msgspec


class WordCache(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A continuous cache (Grave et al. 2017, "Improving Neural Language Models with a Continuous
    Cache", equations 3 and 4): words that followed states like the present one become likelier.

        p(w) = (1 − share) · p_model(w) + share · Σ_i [w_{i+1} = w] · a_i
        a = softmax over the pairs (s_i, w_{i+1}) of sharpness · s_t · s_i

    s_t is what the model's last layer multiplies with its words; the pairs are the last `size` ones
    of the text before. Before the first pair p is p_model.
    """

    size: Annotated[int, msgspec.Meta(ge=1, le=65_536)]
    sharpness: Annotated[float, msgspec.Meta(ge=0, le=1e6)]
    share: Annotated[float, msgspec.Meta(ge=0, lt=1)]
