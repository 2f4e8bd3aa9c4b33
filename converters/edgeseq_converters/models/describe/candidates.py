"""The descriptions that a draft may stand for."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec

from edgeseq.errors import CheckpointError
from edgeseq_converters.models.describe.chain import Draft
from edgeseq_converters.models.description import Description

MOST_CANDIDATES = 64
Values = Mapping[str, str]
"""The chosen value by what it is of, such as `how of layer 2`."""


def labels(draft: Draft) -> dict[str, list[tuple[int, str]]]:
    """What is unknown by its label, with the (layer, field) that it is of: hidden layers have one
    activation together."""
    groups: dict[str, list[tuple[int, str]]] = {}
    for number, name in draft.choices:
        choices = draft.choices[number, name]
        is_hidden = name == "activation" and "relu" in choices and "softmax" not in choices
        label = "activation of hidden layers" if is_hidden else f"{name} of layer {number + 1}"
        groups.setdefault(label, []).append((number, name))
    return groups


def candidates(draft: Draft) -> list[tuple[Values, Description]]:
    """Every combination of the possible values.

    Raises `CheckpointError` for more than `MOST_CANDIDATES`.
    """
    groups = labels(draft)
    lists = [draft.choices[positions[0]] for positions in groups.values()]
    count = math.prod(len(values) for values in lists)
    if count > MOST_CANDIDATES:
        raise CheckpointError(
            "has too many possible descriptions to compare",
            where=draft.description.name,
            found=count,
            expected=f"<= {MOST_CANDIDATES}",
            fix="complete the description by the model's code",
        )
    combined = [dict(zip(groups, values, strict=True)) for values in itertools.product(*lists)]
    return [(values, with_values(draft, values).description) for values in combined]


def agreed(best: Sequence[Values]) -> dict[str, str]:
    """The values that all of these have."""
    first, *others = best
    return {
        label: value
        for label, value in first.items()
        if all(values[label] == value for values in others)
    }


def with_values(draft: Draft, values: Values) -> Draft:
    """The draft with some of its unknown values chosen."""
    layers = list(draft.description.layer)
    for label, positions in labels(draft).items():
        for number, name in positions if label in values else ():
            layers[number] = msgspec.structs.replace(layers[number], **{name: values[label]})
    description = msgspec.structs.replace(draft.description, layer=tuple(layers))
    return replace(draft, description=description)
