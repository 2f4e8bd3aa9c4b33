"""The options of a conversion, and one plan per output."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec

from edgeseq.errors import InputError
from edgeseq.formats.bundle_manifest import MODEL_FILE, Lowering
from edgeseq.formats.trained_model import Arch, ModelManifest
from edgeseq.tasks.label_thresholds import ThresholdChoice
from edgeseq.tasks.registry import task_of
from edgeseq_converters.convert.choose_padding import PaddingOptions
from edgeseq_converters.convert.lower.dispatch import (
    LOWERINGS,
    Target,
    choose_lowering,
    choose_runtime,
    lowerings_of,
    recipes_of,
)
from edgeseq_converters.convert.recipes import BY_SIZE, DEFAULT, Recipe, get_recipe

AUTO = "auto"


LENGTH_LIMIT = 4096
"""The longest fixed length in tokens: an unrolled network has its operators once for each."""
FIXED_LENGTH_LOWERINGS: tuple[Lowering, ...] = (
    "loop",
    "projected",
    "unrolled",
    "pooled",
    "encoder",
)
"""The lowerings of which a model of a fixed length can be made."""


class ConversionOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How models are converted.

    - `recipes`: names, default `DEFAULT`; `auto`, by itself: the smallest that loses at most
      `max_drop` points of the metric (default: a percent of the float model's score).
    - `lowerings`: names, default the architecture's first; `auto`: all that the model has.
    - `length`: tokens of a model of a fixed length; default: open, and for the lowering `unrolled`
      the longest that the model takes.
    - `runtime`: an older runtime that must load the file, as in `tflite-runtime==2.14`.
    - `max_drop`: refuse a file that loses more points on all development texts.
    - `trim_vocabulary`: drop the tokens that the training texts use fewer than `min_piece_count`
      times.
    - for bare files `token_ids`, a file with a JSON list of token ids per line to compare and
      calibrate on, and `streaming`: add a signature with states in and out.
    - `padding`: of a recurrent network from elsewhere, how it was trained to pad and cut texts.
    - `thresholds`: of a classifier with any number of labels per text: `per-label` (default) or
      `shared`, chosen on the development texts, or one probability for all labels.
    - `is_untrained`: the weights are random, so logits are near ties and may differ by any share.
    - `overwrite`: overwrite the output if it exists.
    """

    recipes: tuple[str, ...] = ()
    lowerings: tuple[str, ...] = ()
    length: int | None = None
    runtime: str | None = None
    max_drop: float | None = None
    trim_vocabulary: bool = False
    min_piece_count: int = 1
    token_ids: Path | None = None
    streaming: bool = False
    padding: PaddingOptions = PaddingOptions()
    thresholds: ThresholdChoice | float | None = None
    is_untrained: bool = False
    overwrite: bool = False

    @property
    def is_gated(self) -> bool:
        """Whether the score on all development texts decides."""
        return self.max_drop is not None or AUTO in self.recipes


class ConversionPlan(msgspec.Struct, frozen=True):
    """One output: its recipe, lowering, older runtime, path, and the file that errors name."""

    recipe: Recipe
    target: Target
    out: Path
    file: Path


def plan_bundles(
    manifest: ModelManifest,
    out: Path,
    options: ConversionOptions,
    unsupported: Mapping[str, str] = MappingProxyType({}),
) -> tuple[list[tuple[ConversionPlan, ...]], dict[str, str]]:
    """For each recipe and lowering the plan of a bundle, in a search (`auto`) those to try in turn;
    and why combinations are skipped. The bundle is `out`, or one of several NAME-RECIPE[-LOWERING]
    in the folder `out`. `unsupported` has the lowerings that `auto` leaves out, with the reason.

    Raises `InputError` for unknown names and for options that do not go together.
    """
    arch = manifest.arch
    recipes = _recipe_names(options)
    lowerings: tuple[str, ...] = tuple(dict.fromkeys(options.lowerings)) or LOWERINGS[arch][:1]
    is_search = AUTO in lowerings
    if is_search:
        lowerings = lowerings_of(arch, manifest.task)
    _check_length(options, lowerings, manifest.task, is_search=is_search)
    plans: list[tuple[ConversionPlan, ...]] = []
    skipped: dict[str, str] = {}
    for lowering in lowerings:
        if options.length is not None and lowering not in FIXED_LENGTH_LOWERINGS:
            skipped |= {
                f"{name} {lowering}": "the lowering has no fixed length" for name in recipes
            }
            continue
        if AUTO in options.lowerings and lowering in unsupported:
            skipped |= {f"{name} {lowering}": unsupported[lowering] for name in recipes}
            continue
        target = plan_target(arch, lowering, options, manifest.max_tokens)
        _check_padded_length(manifest, target)
        _check_word_features(manifest, target)
        available = recipes_of(arch, target.lowering)
        for name in recipes:
            path = out
            if len(recipes) * len(lowerings) > 1:
                suffix = f"-{lowering}" if len(lowerings) > 1 else ""
                path = out / f"{manifest.name}-{name}{suffix}"
            candidates: tuple[str, ...] = (name,)
            if name == AUTO:
                candidates = tuple(known for known in BY_SIZE if known in available)
            elif name not in available and len(lowerings) > 1:
                skipped[f"{name} {lowering}"] = "the lowering has no such recipe"
                continue
            file = path / MODEL_FILE
            plans.append(
                tuple(ConversionPlan(get_recipe(n), target, path, file) for n in candidates)
            )
    return plans, skipped


def plan_file(arch: Arch, out: Path, options: ConversionOptions) -> ConversionPlan:
    """The plan of a bare file, which has one recipe and one lowering.

    Raises `InputError` for several of them and as `plan_bundles` does.
    """
    if max(len(options.recipes), len(options.lowerings)) > 1 or AUTO in options.recipes:
        raise InputError(
            "a bare file has one recipe and one lowering",
            found=", ".join((*options.recipes, *options.lowerings)),
            fix="name one of each, or convert to bundles",
        )
    [recipe] = _recipe_names(options)
    [lowering] = options.lowerings or (AUTO,)
    target = plan_target(arch, lowering, options, None)
    _check_length(options, (target.lowering,))
    if options.length is not None and options.streaming:
        raise InputError(
            "a stream has no fixed length", found="--length, --streaming", fix="remove one of them"
        )
    return ConversionPlan(get_recipe(recipe), target, out, out)


def plan_target(
    arch: Arch, lowering: str, options: ConversionOptions, max_tokens: int | None
) -> Target:
    """The lowering called `lowering` with its length and runtime; raises `InputError`."""
    known = choose_lowering(arch, lowering)
    length = options.length if known in FIXED_LENGTH_LOWERINGS else None
    if known == "unrolled":
        length = options.length or max_tokens
    if known in FIXED_LENGTH_LOWERINGS:
        limit = min(max_tokens or LENGTH_LIMIT, LENGTH_LIMIT)
        if length is not None and not 1 <= length <= limit:
            raise InputError(
                "the model cannot have this fixed length",
                found=f"--length {length}",
                expected=f"1 to {limit}",
            )
    return Target(known, length, choose_runtime(options.runtime))


def _check_padded_length(manifest: ModelManifest, target: Target) -> None:
    if manifest.padding.is_padded and target.steps not in (None, manifest.max_tokens):
        raise InputError(
            "texts are padded to another length",
            found=f"--length {target.steps}",
            expected=manifest.max_tokens,
            fix="remove it",
        )


def _check_word_features(manifest: ModelManifest, target: Target) -> None:
    if manifest.word_features is not None and target.steps and target.lowering != "unrolled":
        fix = "remove it, or choose --lowering unrolled" if manifest.arch == "lstm" else "remove it"
        raise InputError(
            f"a tagger with word features has no fixed length with the lowering {target.lowering}",
            found=f"--length {target.steps}",
            fix=fix,
        )


def _recipe_names(options: ConversionOptions) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(options.recipes)) or (DEFAULT,)
    if AUTO in names and len(names) > 1:
        raise InputError(
            "--recipe auto cannot be combined with other recipes",
            found=", ".join(names),
            fix="remove the other recipes",
        )
    for name in names:
        if name != AUTO:
            get_recipe(name)
    return names


def _check_length(
    options: ConversionOptions,
    lowerings: tuple[str, ...],
    task: str | None = None,
    *,
    is_search: bool = False,
) -> None:
    """Raises `InputError` where a lowering that was asked for has no fixed length; a search tries
    the others."""
    if options.length is None:
        return
    if task is not None and task_of(task).is_streaming:
        raise InputError(
            "a language model has no fixed length", found=f"--length {options.length}",
            fix="remove it",
        )  # fmt: skip
    without = [lowering for lowering in lowerings if lowering not in FIXED_LENGTH_LOWERINGS]
    if len(without) == len(lowerings) or (without and not is_search):
        raise InputError(
            "the lowering has no fixed length",
            found=f"--length {options.length} with {', '.join(without)}",
            expected=" or ".join(FIXED_LENGTH_LOWERINGS),
            fix="remove it, or choose another --lowering",
        )
