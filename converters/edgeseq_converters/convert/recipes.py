"""Recipes: how a model's numbers are stored and computed in the .tflite file.

Names follow ai-edge-quantizer's grammar: kind of quantization, weight type, activation type
(`dynamic_wi8_afp32`: int8 weights, float activations that are quantized while running). `ei4` says
that the token embeddings are int4 as well.
"""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

from edgeseq.errors import InputError
from edgeseq.formats.bundle_manifest import RecipeName

MIN_QUANTIZED_ELEMENTS = 1024
"""An array of fewer elements is too small for its type to matter when a file is checked, and stays
float32 in an encoder."""

DEFAULT: RecipeName = "dynamic_wi8_afp32"
"""The recipe of a conversion that names none."""
BY_SIZE: tuple[RecipeName, ...] = (
    "dynamic_wi4_ei4_afp32",
    "dynamic_wi4_afp32",
    "static_wi8_ai8",
    "dynamic_wi8_afp32",
    "weight_only_wi8_afp32",
    "float16",
    "float32",
)
"""From the smallest file to the largest; of equal sizes the faster one on most processors first."""

Storage = Literal["float32", "float16", "int8", "int4"]
Activations = Literal["float32", "int8"]


class Bound(msgspec.Struct, frozen=True):
    """How far a recipe may be from the float model, and why.

    `relative_error` is the largest allowed |difference of a logit| over the largest |logit| of
    the float model on the same examples; `label_agreement` the smallest allowed fraction of equal
    labels. `slack` is what another runtime or processor may add to the error, relative to the
    largest |logit|: kernels sum in another order, and a dynamically quantized activation that
    lands on the other side of a rounding step moves by 1/127 of its row's range.
    """

    relative_error: float
    label_agreement: float
    slack: float
    reason: str


class Recipe(msgspec.Struct, frozen=True):
    """How numbers are stored and computed.

    `weights` is the type of weight matrices, `embedding` that of the token embeddings (other tables
    are small: int8 beside int4); `activations` that of tensors between operators, integers with
    ranges that are calibrated on texts; `dynamic`: the runtime quantizes float activations before
    each product; `float_products`: it does not, for a model that predicts numbers too coarsely so.
    """

    name: RecipeName
    weights: Storage
    embedding: Storage
    activations: Activations
    dynamic: bool
    title: str
    bound: Bound
    float_products: bool = False

    def in_float(self) -> Recipe:
        """The recipe with the same stored weights, whose products are computed in float32."""
        return msgspec.structs.replace(self, dynamic=False, float_products=True)


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="float32",
            weights="float32",
            embedding="float32",
            activations="float32",
            dynamic=False,
            title="float32 weights and activations",
            bound=Bound(
                relative_error=1e-3,
                label_agreement=0.998,
                slack=1e-3,
                reason="only the order of sums differs: about 1e-7 per operation, 1e-5 per model",
            ),
        ),
        Recipe(
            name="float16",
            weights="float16",
            embedding="float16",
            activations="float32",
            dynamic=False,
            title="weights stored in 16 bits, computed in float32",
            bound=Bound(
                relative_error=2e-2,
                label_agreement=0.985,
                slack=2e-3,
                reason="a weight is rounded by at most 2^-11 = 0.05 %; layers add up",
            ),
        ),
        Recipe(
            name="dynamic_wi8_afp32",
            weights="int8",
            embedding="int8",
            activations="float32",
            dynamic=True,
            title="int8 weights, activations quantized while running",
            bound=Bound(
                relative_error=0.25,
                label_agreement=0.9,
                slack=2e-2,
                reason="weights and activations are rounded by up to 0.4 % of their row's range",
            ),
        ),
        Recipe(
            name="dynamic_wi4_afp32",
            weights="int4",
            embedding="int8",
            activations="float32",
            dynamic=True,
            title="int4 matrices and int8 tables, activations quantized while running",
            bound=Bound(
                relative_error=0.6,
                label_agreement=0.85,
                slack=2e-2,
                reason="weights are rounded to 15 steps of their row's range",
            ),
        ),
        Recipe(
            name="dynamic_wi4_ei4_afp32",
            weights="int4",
            embedding="int4",
            activations="float32",
            dynamic=True,
            title="int4 matrices and embeddings, activations quantized while running",
            bound=Bound(
                relative_error=0.6,
                label_agreement=0.85,
                slack=2e-2,
                reason="weights and embeddings are rounded to 15 steps of their row's range",
            ),
        ),
        Recipe(
            name="weight_only_wi8_afp32",
            weights="int8",
            embedding="int8",
            activations="float32",
            dynamic=False,
            title="int8 weights, computed in float32",
            bound=Bound(
                relative_error=0.15,
                label_agreement=0.95,
                slack=2e-3,
                reason="weights are rounded by up to 0.4 % of their row's range",
            ),
        ),
        Recipe(
            name="static_wi8_ai8",
            weights="int8",
            embedding="int8",
            activations="int8",
            dynamic=False,
            title="integers throughout: int8 weights and activations",
            bound=Bound(
                relative_error=0.6,
                label_agreement=0.9,
                slack=2e-2,
                reason="activations are rounded to 256 steps of their calibrated range, and "
                "clipped beyond it",
            ),
        ),
    )
}


def get_recipe(name: str) -> Recipe:
    """The recipe called `name`; raises `InputError` listing the known ones."""
    if name not in RECIPES:
        raise InputError(
            "unknown recipe",
            found=repr(name),
            expected=" or ".join(get_args(RecipeName)),
            fix="name one of these",
        )
    return RECIPES[name]
