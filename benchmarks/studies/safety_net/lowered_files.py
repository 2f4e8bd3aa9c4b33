"""Hashes of lowered files: architecture × directions × head × lowering × recipe."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from edgeseq.formats.trained_model import TrainedModel
from edgeseq_converters.convert.lower.dispatch import (
    Target,
    choose_runtime,
    lower,
    network_to_tflite,
)
from edgeseq_converters.convert.recipes import get_recipe
from edgeseq_converters.models.network import Network
from edgeseq_converters.models.stored_network import network_to_folder

from . import seeded
from .entries import Entries, file_hash

RECIPES = (
    "float32",
    "float16",
    "dynamic_wi8_afp32",
    "dynamic_wi4_afp32",
    "dynamic_wi4_ei4_afp32",
    "weight_only_wi8_afp32",
    "static_wi8_ai8",
)
FEW_RECIPES = ("float32", "dynamic_wi8_afp32", "dynamic_wi4_ei4_afp32", "static_wi8_ai8")
RECURRENT_LOWERINGS = ("loop", "projected", "unrolled", "fused")
OLDER_RUNTIME = "tflite-runtime==2.14"
UNROLLED_STEPS = 4


def lower_network(
    network: Network, lowering: Any, recipe: str, *, streaming: bool = False, older: bool = False
) -> bytes:
    """The file of a recurrent network; `older`: for a runtime without per-channel scales."""
    return network_to_tflite(
        network,
        get_recipe(recipe),
        _target(lowering, older=older),
        seeded.token_ids(),
        output="logits",
        streaming=streaming,
    )


def lower_model(
    model: TrainedModel,
    lowering: Any,
    recipe: str,
    *,
    older: bool = False,
    calibrated: bool = True,
) -> bytes:
    """The file of a trained model; `calibrated`: with token ids for ranges and int4 weights."""
    texts = seeded.token_ids() if calibrated else []
    return lower(model, get_recipe(recipe), _target(lowering, older=older), texts)


def _target(lowering: Any, *, older: bool) -> Target:
    steps = UNROLLED_STEPS if lowering == "unrolled" else None
    return Target(lowering, steps, choose_runtime(OLDER_RUNTIME) if older else None)


def lowered_files() -> Entries:
    """Every file of the matrix; a lowering that refuses every recipe has one entry."""
    by_lowering: dict[str, Entries] = {}
    for part in (_networks(), _lstm_models(), _encoders(), _language_models()):
        for name, produce in part:
            lowering = f"tflite/{name}".rpartition("/")[0]
            by_lowering.setdefault(lowering, {})[f"tflite/{name}"] = file_hash(produce)
    entries: Entries = {}
    for lowering, files in by_lowering.items():
        first, *different = set(files.values())
        is_refused = not different and str(first).startswith("refused")
        entries |= {f"{lowering}/every recipe": first} if is_refused else files
    return entries


def _networks() -> Iterator[tuple[str, Any]]:
    """Networks as a Keras or PyTorch file holds them."""
    for kind in ("lstm", "gru"):
        for directions in ("forward", "bidirectional"):
            for head in ("final", "max", "mean", "last", "attention", "marks", "tokens"):
                network = seeded.network(
                    kind=kind, bidirectional=directions == "bidirectional", head=head
                )
                recipes = RECIPES if head in ("final", "max") else FEW_RECIPES
                yield from _matrix(f"{kind}/{directions}/{head}", network, recipes)
    for name, options in _variants().items():
        yield from _matrix(name, seeded.network(**options), FEW_RECIPES)
    network = seeded.network(kind="lstm", bidirectional=True, head="max")
    for lowering in RECURRENT_LOWERINGS:
        for recipe in RECIPES:
            name = f"lstm/bidirectional/max/older-runtime/{lowering}/{recipe}"
            yield name, partial(lower_network, network, lowering, recipe, older=True)
    for kind in ("lstm", "gru"):
        for layers in (1, 2):
            network = seeded.network(kind=kind, layers=layers)
            for recipe in RECIPES:
                name = f"{kind}/forward/{layers}-layers/with-stream/loop/{recipe}"
                yield name, partial(lower_network, network, "loop", recipe, streaming=True)


def _matrix(name: str, network: Network, recipes: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for lowering in RECURRENT_LOWERINGS:
        for recipe in recipes:
            yield f"{name}/{lowering}/{recipe}", partial(lower_network, network, lowering, recipe)


def _variants() -> dict[str, dict[str, Any]]:
    """Networks that differ from the plain ones in one respect."""
    variants: dict[str, dict[str, Any]] = {}
    for kind in ("lstm", "gru"):
        for directions in ("forward", "bidirectional"):
            for head in ("max", "tokens"):
                variants[f"{kind}/{directions}/2-layers/{head}"] = {
                    "kind": kind,
                    "layers": 2,
                    "bidirectional": directions == "bidirectional",
                    "head": head,
                }
    for merge in ("sum", "mul", "ave"):
        variants[f"lstm/bidirectional/merge-{merge}/max"] = {
            "bidirectional": True, "merge": merge, "head": "max",
        }  # fmt: skip
    return variants | {
        "lstm/forward/mask-zero/final": {"mask_zero": True},
        "lstm/bidirectional/mask-zero/mean": {
            "mask_zero": True, "bidirectional": True, "head": "mean",
        },
        "gru/forward/reset-before/final": {"kind": "gru", "reset_after": False},
        "lstm/forward/more-layers/max": {"head": "max", "more_layers": True},
        "lstm/forward/softmax/final": {"function": "softmax"},
        "gru/forward/sigmoid/final": {"kind": "gru", "function": "sigmoid"},
        "lstm/forward/wide/final": {"hidden": 40},
    }  # fmt: skip


def _lstm_models() -> Iterator[tuple[str, Any]]:
    """LSTMs as edgeseq trains them."""
    heads = (
        ("sentiment", "max"),
        ("sentiment", "mean"),
        ("sentiment", "last"),
        ("coref", "markers"),
        ("pos", "none"),
    )
    for task, pooling in heads:
        for layers in (1, 2):
            model = seeded.lstm_model(
                task, layers=layers, bidirectional=True, pooling=pooling, hidden=32
            )
            recipes = RECIPES if layers == 1 else FEW_RECIPES
            for lowering in RECURRENT_LOWERINGS:
                for recipe in recipes:
                    name = f"trained-lstm/{layers}-layers/{task}-{pooling}/{lowering}/{recipe}"
                    yield name, partial(lower_model, model, lowering, recipe)


ENCODERS: dict[str, dict[str, Any]] = {
    "bert": {},
    "distilbert": {"family": "distilbert", "type_vocabulary_size": 0},
    "electra": {"family": "electra", "embedding_size": 20},
    "roberta": {"family": "roberta", "type_vocabulary_size": 1, "layer_norm_eps": 1e-5},
    "albert": {
        "family": "albert",
        "embedding_size": 20,
        "layers": 3,
        "layer_sources": (0, 0, 1),
        "hidden_act": "gelu_new",
    },
    "mobilebert": {
        "family": "mobilebert",
        "embedding_size": 16,
        "trigram": True,
        "norm": "scale",
        "bottleneck_size": 16,
        "feed_forwards": 2,
        "hidden_act": "relu",
        "tied_decoder": False,
    },
}
ENCODER_HEADS: dict[str, tuple[str, dict[str, Any]]] = {
    "sequence-classification-mean": ("sentiment", {}),
    "sequence-classification-first": ("sentiment", {"pooling": "cls", "head_act": "tanh"}),
    "sequence-classification-marks": (
        "coref",
        {"pooling": "markers", "marker_ids": seeded.MARKERS},
    ),
    "token-classification": ("pos", {"head": "token_classification"}),
    "masked-lm": ("sentiment", {"head": "masked_lm", "head_act": "gelu"}),
    "feature-extraction": ("sentiment", {"head": "feature_extraction"}),
    "feature-extraction-normalized": (
        "sentiment",
        {"head": "feature_extraction", "normalized": True, "pooling": "cls"},
    ),
}


def _encoders() -> Iterator[tuple[str, Any]]:
    for family, dimensions in ENCODERS.items():
        for head, (task, options) in ENCODER_HEADS.items():
            model = seeded.encoder_model(task, **dimensions, **options)
            recipes = RECIPES if family == "bert" else FEW_RECIPES
            for recipe in recipes:
                yield (
                    f"{family}/{head}/encoder/{recipe}",
                    partial(lower_model, model, "encoder", recipe),
                )
    model = seeded.encoder_model()
    for recipe in RECIPES:
        for name, options in (
            ("older-runtime/encoder", {"older": True}),
            ("not-calibrated/encoder", {"calibrated": False}),
        ):
            yield (
                f"bert/sequence-classification-mean/{name}/{recipe}",
                partial(lower_model, model, "encoder", recipe, **options),
            )
        yield (
            f"bert/sequence-classification-mean/cached/{recipe}",
            partial(lower_model, model, "cached", recipe),
        )
    wide = seeded.encoder_model("sentiment", vocabulary_size=400, max_position_embeddings=64)
    for recipe in RECIPES:
        yield f"bert/large-table/encoder/{recipe}", partial(lower_model, wide, "encoder", recipe)


def _language_models() -> Iterator[tuple[str, Any]]:
    """Models of the next word: recurrent streams and causal transformers."""
    models: dict[str, TrainedModel] = {}
    for kind in ("lstm", "gru"):
        for layers in (1, 2):
            config, weights = network_to_folder(seeded.next_word_network(kind, layers=layers))
            models[f"{kind}/{layers}-layers"] = seeded.trained_model(
                "lm", "lstm", dict(weights), labels=(), network=config
            )
    models["transformer"] = seeded.encoder_model("lm", head="causal_lm", embedding_size=16)
    for name, model in models.items():
        lowerings = ("encoder", "cached") if name == "transformer" else RECURRENT_LOWERINGS
        for lowering in lowerings:
            for recipe in RECIPES:
                for older in (False, True):
                    head = "language-modeling" + "/older-runtime" * older
                    yield (
                        f"{name}/{head}/{lowering}/{recipe}",
                        partial(lower_model, model, lowering, recipe, older=older),
                    )
