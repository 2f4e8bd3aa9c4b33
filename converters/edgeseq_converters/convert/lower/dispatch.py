"""From a trained model to the content of a .tflite file: the one place where a recipe meets a
lowering and a runtime.

No framework takes part: a conversion takes a fraction of a second and the memory of the arrays.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from edgeseq.errors import ConversionError, InputError
from edgeseq.formats.bundle_manifest import Lowering
from edgeseq.formats.tflite_runtimes import operator_versions
from edgeseq.formats.trained_model import Arch, TrainedModel
from edgeseq.tasks.head import is_numeric
from edgeseq.tasks.registry import task_of
from edgeseq.tasks.word_cache import WordCache
from edgeseq_converters.convert.lower.encoder import encoder
from edgeseq_converters.convert.lower.encoder.causal import lower_next
from edgeseq_converters.convert.lower.fixed_lengths import fix_lengths
from edgeseq_converters.convert.lower.recurrent.integer import Integers
from edgeseq_converters.convert.lower.recurrent.whole import check, lower_stream
from edgeseq_converters.convert.lower.recurrent.whole import lower as lower_network
from edgeseq_converters.convert.quantize.recurrent_moments import input_moments
from edgeseq_converters.convert.quantize.recurrent_ranges import calibrate
from edgeseq_converters.convert.quantize.weights import WeightFormat
from edgeseq_converters.convert.recipes import RECIPES, Recipe
from edgeseq_converters.models.arrays import ModelInput
from edgeseq_converters.models.from_trained import network_of
from edgeseq_converters.models.network import Network
from edgeseq_converters.models.network_layers import FloatInput

OUTPUT = "logits"
LOWERINGS: dict[Arch, tuple[Lowering, ...]] = {
    "bag": ("pooled",),
    "lstm": ("loop", "projected", "unrolled", "fused"),
    "bert": ("encoder", "cached"),
}
"""The lowerings of each architecture; the first is what `auto` takes."""
_ENCODER_RECIPES = (
    "float32",
    "float16",
    "dynamic_wi8_afp32",
    "dynamic_wi4_afp32",
    "dynamic_wi4_ei4_afp32",
    "weight_only_wi8_afp32",
    "static_wi8_ai8",
)
_NEXT_RECIPES = (
    "float32",
    "float16",
    "dynamic_wi8_afp32",
    "dynamic_wi4_ei4_afp32",
    "weight_only_wi8_afp32",
)
"""Its words are also the matrix that it ends with: in 4 bits either both are, or none."""
_STATIC_RECIPES = tuple(
    recipe.name for recipe in RECIPES.values() if recipe.activations != "float32"
)
_ROW_SCALES_VERSION = 12
"""The FULLY_CONNECTED that multiplies by int8 weights with a scale a row and float inputs."""


class Target(msgspec.Struct, frozen=True):
    """How a model is to be lowered: `steps` is the length in tokens of a model of a fixed length,
    `runtime` the name of an older runtime that must load the file
    (`edgeseq.formats.tflite_runtimes`), or None for the current one."""

    lowering: Lowering
    steps: int | None = None
    runtime: str | None = None


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


def lowerings_of(arch: Arch, task: str) -> tuple[Lowering, ...]:
    """The lowerings that a model of this architecture has for a task."""
    if task_of(task).is_streaming:
        return ("encoder", "cached") if arch == "bert" else ("loop",)
    if is_numeric(task_of(task).head):  # they lack the table that it multiplies
        return tuple(lowering for lowering in LOWERINGS[arch] if lowering != "projected")
    return tuple(lowering for lowering in LOWERINGS[arch] if lowering != "cached")


def recipes_of(arch: Arch, lowering: Lowering) -> tuple[str, ...]:
    """The recipes that a lowering of this architecture has."""
    if arch == "bert":
        return _ENCODER_RECIPES
    unsupported: set[str] = set()
    if lowering == "projected":
        unsupported = set(_STATIC_RECIPES)
    if lowering == "fused":
        unsupported = {recipe.name for recipe in RECIPES.values() if recipe.weights == "int4"}
    return tuple(name for name in RECIPES if name not in unsupported)


def recipes_for_task(arch: Arch, lowering: Lowering, task: str) -> tuple[str, ...]:
    """The recipes that a lowering of this architecture has for a task."""
    recipes = recipes_of(arch, lowering)
    if not task_of(task).is_streaming:
        return recipes
    return tuple(name for name in recipes if name in _next_recipes(arch))


def _next_recipes(arch: Arch) -> tuple[str, ...]:
    """The recipes of a model of the next word; the ranges of a cache are not calibrated."""
    return _NEXT_RECIPES + (_STATIC_RECIPES if arch == "lstm" else ())


def unsupported_lowerings(model: TrainedModel) -> dict[str, str]:
    """The lowerings that the layers of a recurrent model do not have, and why not."""
    manifest = model.manifest
    unsupported: dict[str, str] = {}
    if manifest.arch != "lstm" or task_of(manifest.task).is_streaming:
        return {}
    network = network_of(model)
    for lowering in LOWERINGS["lstm"]:
        steps = 1 if lowering == "unrolled" else None
        try:
            check(network, lowering, steps=steps, streaming=False)  # type: ignore[arg-type]
        except ConversionError as reason:
            unsupported[lowering] = str(reason)
    return unsupported


def choose_runtime(name: str | None) -> str | None:
    """The known runtime that `name` (`tflite-runtime==2.14`) means.

    Raises `InputError` listing the known ones.
    """
    if name is None:
        return None
    name_and_version = name.replace("==", " ").split()
    for known in operator_versions():
        package, version = known.split()
        if name_and_version[0] == package and (
            len(name_and_version) == 1 or version.startswith(name_and_version[1])
        ):
            return known
    raise InputError(
        "unknown runtime",
        found=repr(name),
        expected=" or ".join(known.replace(" ", "==") for known in operator_versions()),
        fix="name one of these",
    )


def lower(
    model: TrainedModel, recipe: Recipe, target: Target, texts: Sequence[ModelInput] = ()
) -> bytes:
    """The .tflite content of a trained model: its input to `logits` float32 [1, labels].

    `texts` are what a static recipe takes its ranges from. Raises `CheckpointError`
    for a damaged model and `ConversionError` for what the lowering or the recipe cannot do.
    """
    if task_of(model.manifest.task).is_streaming:
        _check_next(model, recipe)
        if model.manifest.arch == "bert":
            cached = target.lowering == "cached"
            newest = has_row_scales(target.runtime)
            token_ids = [list(text) for text in texts]
            return lower_next(model, recipe, token_ids, cached=cached, row_scales=newest)
        network = network_of(model)
        numbers = _numbers(network, recipe, target, texts)
        return _stream(network, numbers, target, model.manifest.word_cache)
    if model.manifest.arch != "bert":
        return network_to_tflite(network_of(model), recipe, target, texts, output=OUTPUT)
    if recipe.name not in _ENCODER_RECIPES:
        raise ConversionError(
            f"no recipe {recipe.name} for an encoder",
            where=model.manifest.name,
            expected=" or ".join(_ENCODER_RECIPES),
            fix="choose one of these",
        )
    if target.lowering == "cached":
        raise ConversionError(
            "only a model of the next word has a cache of what it has seen",
            where=model.manifest.name,
            found=target.lowering,
            fix="choose --lowering encoder",
        )

    token_ids = [list(text) for text in texts]
    content = encoder.lower(model, recipe, token_ids, row_scales=has_row_scales(target.runtime))
    return _at_length(content, target, model.manifest.name)


def _at_length(content: bytes, target: Target, name: str) -> bytes:
    """The file at the target's fixed length, if it has one."""
    if target.steps is None:
        return content
    return fix_lengths(content, {encoder.SIGNATURE: target.steps}, where=name)


def _check_next(model: TrainedModel, recipe: Recipe) -> None:
    """Raises `ConversionError` for a recipe that a model of the next word does not have."""
    if recipe.name not in _next_recipes(model.manifest.arch):
        raise ConversionError(
            f"no recipe {recipe.name} for a model of the next word",
            where=model.manifest.name,
            expected=" or ".join(_next_recipes(model.manifest.arch)),
            fix="choose one of these",
        )


def _stream(
    network: Network,
    numbers: WeightFormat | Integers,
    target: Target,
    cache: WordCache | None,
) -> bytes:
    """A model of the next word: its state goes in and comes out."""
    if target.lowering != "loop":
        raise ConversionError(
            "only the lowering loop streams",
            where=network.name,
            found=target.lowering,
            fix="choose --lowering loop",
        )
    return lower_stream(network, numbers, output=OUTPUT, cache=cache)


def network_to_tflite(
    network: Network,
    recipe: Recipe,
    target: Target,
    texts: Sequence[ModelInput] = (),
    *,
    output: str,
    streaming: bool = False,
) -> bytes:
    """The .tflite content of a recurrent network
    (`edgeseq_converters.convert.lower.recurrent.whole.lower`).

    Raises `ConversionError` for what the lowering or the recipe cannot do.
    """
    if target.lowering == "fused" and recipe.weights == "int4":
        raise ConversionError(
            "the fused operator takes no int4 weights",
            where=network.name,
            found=recipe.name,
            expected=" or ".join(recipes_of("lstm", "fused")),
            fix="choose one of these, or --lowering loop",
        )
    is_fixed = target.lowering == "unrolled" or isinstance(network.input, FloatInput)
    content = lower_network(
        network,
        # Without a recurrent layer nothing is left to loop over.
        "loop" if target.lowering == "pooled" else target.lowering,  # type: ignore[arg-type]
        _numbers(network, recipe, target, texts),
        output=output,
        steps=target.steps if is_fixed else None,
        streaming=streaming,
    )
    return content if is_fixed else _at_length(content, target, network.name)


def _numbers(
    network: Network, recipe: Recipe, target: Target, texts: Sequence[ModelInput]
) -> WeightFormat | Integers:
    if recipe.activations != "float32":
        return Integers(network, calibrate(network, texts))
    # What a regression predicts shows roundings that the label of a text hides.
    has_moments = recipe.weights == "int4" or (
        recipe.weights == "int8" and isinstance(network.input, FloatInput)
    )
    moments = input_moments(network, texts) if has_moments else {}
    newest = has_row_scales(target.runtime)
    return WeightFormat.of(recipe, row_scales=newest, moments=moments)


def has_row_scales(runtime: str | None) -> bool:
    """Whether the runtime multiplies float inputs by int8 weights with a scale a row."""
    if runtime is None:
        return True
    _, highest = operator_versions()[runtime].get("FULLY_CONNECTED", (0, 0))
    return highest >= _ROW_SCALES_VERSION
