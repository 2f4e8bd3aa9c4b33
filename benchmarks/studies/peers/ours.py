"""Files of our own converter: the one place that knows its interface."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edgeseq.errors import ConversionError
from edgeseq.formats.storage import write_bytes
from edgeseq_converters.convert.lower.dispatch import (
    LOWERINGS,
    Target,
    network_to_tflite,
    recipes_of,
)
from edgeseq_converters.convert.recipes import get_recipe
from edgeseq_converters.models.network import Network
from edgeseq_converters.models.network_layers import Cell, Dense, Embedding, Recurrent
from studies.peers.contenders import OPEN, BuildFailure, Contender, Precision
from studies.peers.inputs import LENGTHS, REAL, FloatArray, Ids

if TYPE_CHECKING:
    from edgeseq_converters.convert.recipes import Recipe


_PADDING_ID = -1
"""What fills a text up to the length of an unrolled file (`lowerings.whole.lower`)."""


class OwnFiles(msgspec.Struct, frozen=True):
    """Rows for the table, and what the converter refused."""

    contenders: tuple[Contender, ...]
    failures: tuple[BuildFailure, ...]


def our_models(weights: dict[str, FloatArray], folder: Path, texts: Sequence[Ids]) -> OwnFiles:
    """Every lowering in every recipe that the converter has, as files in `folder`.

    `unrolled` has a file a length, of which the longest answers the real lengths; the others take
    any length. Static recipes take their ranges from `texts`.
    """
    cell = Cell("lstm", weights["kernel"], weights["recurrent"], weights["bias"])
    head = Dense("dense", weights["head"], weights["head_bias"])
    embedding = Embedding("embedding", weights["table"])
    network = Network("peer", embedding, (Recurrent("lstm", cell), head))
    contenders: list[Contender] = []
    failures: list[BuildFailure] = []
    for lowering in LOWERINGS["lstm"]:
        for recipe in map(get_recipe, recipes_of("lstm", lowering)):
            name = f"edgeseq {lowering} {recipe.name}"
            files: dict[int, str] = {}
            try:
                for length in LENGTHS if lowering == "unrolled" else (OPEN,):
                    target = Target(lowering, steps=length or None)
                    content = network_to_tflite(network, recipe, target, texts, output="logits")
                    path = folder / f"{name.replace(' ', '-')}-{length or 'open'}.tflite"
                    write_bytes(path, content)
                    files[length] = str(path)
            except ConversionError as error:
                failures.append(BuildFailure(name, str(error)))
                continue
            contenders.append(
                Contender(
                    name=name,
                    peer="edgeseq",
                    precision=_precision(recipe),
                    feeding="open" if OPEN in files else "fixed",
                    files=files,
                    workloads=(*map(str, LENGTHS), REAL),
                    recipe=recipe.name,
                    lowering=lowering,
                    padding_id=None if OPEN in files else _PADDING_ID,
                )
            )
    return OwnFiles(tuple(contenders), tuple(failures))


def _precision(recipe: Recipe) -> Precision:
    if recipe.activations == "int8":
        return "integer"
    if recipe.activations == "int16":
        return "integer16"
    if recipe.weights == "int4":
        return "int4"
    if recipe.dynamic:
        return "dynamic"
    return "float32" if recipe.weights == "float32" else "weights"
