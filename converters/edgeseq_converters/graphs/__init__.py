"""Graphs for TFLite, written in TensorFlow and filled from a trained model's arrays.

A lowering is one module with one function `build(model, recipe)`. It gives a `tf.Module` whose
attribute `signature` is a `tf.function` from `input_ids` int32 [1, −1] to {"logits": float32
[1, labels]}. The sequence axis is open and there is no mask: a text is given at its real length.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeseq.bundle import Lowering
from edgeseq.errors import InputError
from edgeseq.model_folder import Arch, TrainedModel

if TYPE_CHECKING:
    from edgeseq_converters.recipes import Recipe

LOWERINGS: dict[Arch, tuple[Lowering, ...]] = {"lstm": ("loop",), "bert": ("encoder",)}
"""The lowerings of each architecture; the first is what `auto` takes."""


def choose_lowering(arch: Arch, name: str) -> Lowering:
    """The lowering called `name`, or the default one for `auto`.

    Raises `InputError` listing what this architecture has.
    """
    if name == "auto":
        return LOWERINGS[arch][0]
    for lowering in LOWERINGS[arch]:
        if lowering == name:
            return lowering
    raise InputError(
        f"unknown lowering of a {arch} model",
        found=repr(name),
        expected=" or ".join(("auto", *LOWERINGS[arch])),
        fix="choose one of these",
    )


def build(model: TrainedModel, recipe: Recipe, lowering: Lowering) -> Any:
    """The `tf.Module` of `model` in `lowering` (loads TensorFlow)."""
    if lowering == "loop":
        from edgeseq_converters.graphs import lstm

        return lstm.build(model, recipe)
    from edgeseq_converters.graphs import bert

    return bert.build(model, recipe)
