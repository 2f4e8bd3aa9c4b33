"""What sets the families apart: their config.json, and what their checkpoints call each array.

A family's checkpoint differs from BERT's in names and in a few fields; both are tables here. The
computation itself is described by `BertConfig` alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from edgeseq.formats.trained_model import Family as FamilyName

Act = Literal["gelu", "gelu_new", "relu", "tanh"]
Renames = tuple[tuple[str, str], ...]


class Family(msgspec.Struct, frozen=True):
    """One family.

    `prefix` comes before the encoder's array names in a model with a head. `fields` gives the
    names of
    config.json's fields that differ from BERT's; None where the family has no such thing.
    `more(config)` gives the fields of `BertConfig` that BERT leaves at their defaults.
    `class_act(config)` is the activation of the dense layer before a classifier, `word_act` that
    of the vocabulary's transform (None: `hidden_act`). `must_be` are fields of config.json with
    the only value that the graphs honour. `names` turn BERT's names into the checkpoint's (regular
    expressions, all are applied in order), `class_names` those of a classifier; `layer_name` is
    where a layer's arrays stand. `first_position` is the first token's row in the position table.
    """

    name: FamilyName
    prefix: str
    class_act: Callable[[Any], Act | None]
    fields: Mapping[str, str | None] = {}
    extra_fields: Callable[[Any], dict[str, Any]] = lambda _config: {}
    word_act: Act | None = None
    must_be: Mapping[str, object] = {}
    layer_norm_eps: float | None = None
    names: Renames = ()
    class_names: Renames = ()
    layer_name: Callable[[Any, int], str] = lambda _config, number: f"encoder.layer.{number}."
    first_position: Callable[[Any], int] = lambda _config: 0

    def checkpoint_name(self, name: str, config: Any, *, head: str) -> str:
        """What a checkpoint with this configuration and head calls the array `name`, without the
        prefix."""
        for pattern, replacement in self.names + (
            self.class_names if head == "sequence_classification" else ()
        ):
            name = re.sub(pattern, replacement, name)
        if layer := re.match(r"encoder\.layer\.(\d+)\.", name):
            name = self.layer_name(config, int(layer[1])) + name[layer.end() :]
        return name


_BERT_WORDS: Renames = (
    (r"^transform\.", "cls.predictions.transform."),
    (r"^decoder\.bias$", "cls.predictions.bias"),
    (r"^decoder\.", "cls.predictions.decoder."),
)
_DENSE_CLASSIFIER: Renames = (
    (r"^classifier\.", "classifier.out_proj."),
    (r"^pooler\.dense\.", "classifier.dense."),
)


def _electra(config: Any) -> dict[str, Any]:
    # ElectraModel has a projection only where the sizes differ.
    projects_embeddings = config.embedding_size != config.hidden_size
    return {"embedding_size": config.embedding_size if projects_embeddings else None}


def _mobilebert(config: Any) -> dict[str, Any]:
    return {
        "embedding_size": config.embedding_size,
        "trigram": True,
        "norm": "scale",
        "bottleneck_size": config.intra_bottleneck_size,
        "feed_forwards": config.num_feedforward_networks,
        "tied_decoder": False,
    }


def _albert(config: Any) -> dict[str, Any]:
    """Layer i runs all layers of group ⌊i·groups/layers⌋ (Lan et al. 2020, section 3.1)."""
    layers, groups, inner = (
        config.num_hidden_layers,
        config.num_hidden_groups,
        config.inner_group_num,
    )
    sources = [
        # As transformers computes it, with its rounding.
        int(layer / (layers / groups)) * inner + inner_layer
        for layer in range(layers)
        for inner_layer in range(inner)
    ]
    return {
        "embedding_size": config.embedding_size,
        "layers": layers * inner,
        "layer_sources": tuple(sources),
    }


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            name="bert",
            prefix="bert.",
            class_act=lambda _config: "tanh",
            names=_BERT_WORDS,
        ),
        Family(
            name="distilbert",
            prefix="distilbert.",
            class_act=lambda _config: "relu",
            fields={
                "hidden_size": "dim",
                "intermediate_size": "hidden_dim",
                "layers": "n_layers",
                "attention_heads": "n_heads",
                "type_vocabulary_size": None,
                "hidden_act": "activation",
            },
            layer_norm_eps=1e-12,  # fixed in transformers' code
            layer_name=lambda _config, number: f"transformer.layer.{number}.",
            names=(
                (r"\.attention\.self\.query\.", ".attention.q_lin."),
                (r"\.attention\.self\.key\.", ".attention.k_lin."),
                (r"\.attention\.self\.value\.", ".attention.v_lin."),
                (r"\.attention\.output\.dense\.", ".attention.out_lin."),
                (r"\.attention\.output\.LayerNorm\.", ".sa_layer_norm."),
                (r"\.intermediate\.dense\.", ".ffn.lin1."),
                (r"\.output\.dense\.", ".ffn.lin2."),
                (r"\.output\.LayerNorm\.", ".output_layer_norm."),
                (r"^pooler\.dense\.", "pre_classifier."),
                (r"^transform\.dense\.", "vocab_transform."),
                (r"^transform\.LayerNorm\.", "vocab_layer_norm."),
                (r"^decoder\.", "vocab_projector."),
            ),
        ),
        Family(
            name="electra",
            prefix="electra.",
            class_act=lambda _config: "gelu",
            extra_fields=_electra,
            word_act="gelu",
            names=(
                (r"^embeddings\.project\.", "embeddings_project."),
                (r"^transform\.", "generator_predictions."),
                (r"^decoder\.", "generator_lm_head."),
            ),
            class_names=_DENSE_CLASSIFIER,
        ),
        Family(
            name="roberta",
            prefix="roberta.",
            class_act=lambda _config: "tanh",
            word_act="gelu",
            names=(
                (r"^transform\.dense\.", "lm_head.dense."),
                (r"^transform\.LayerNorm\.", "lm_head.layer_norm."),
                (r"^decoder\.bias$", "lm_head.bias"),
                (r"^decoder\.", "lm_head.decoder."),
            ),
            class_names=_DENSE_CLASSIFIER,
            # fairseq numbers real tokens from the padding's id + 1; the rows below are never used.
            first_position=lambda config: int(config.pad_token_id) + 1,
        ),
        Family(
            name="mobilebert",
            prefix="mobilebert.",
            class_act=lambda config: "tanh" if config.classifier_activation else None,
            extra_fields=_mobilebert,
            must_be={
                "trigram_input": True,
                "use_bottleneck": True,
                "use_bottleneck_attention": False,
                "key_query_shared_bottleneck": True,
                "normalization_type": "no_norm",
            },
            names=(
                (r"^embeddings\.project\.", "embeddings.embedding_transformation."),
                *_BERT_WORDS,
            ),
        ),
        Family(
            name="albert",
            prefix="albert.",
            class_act=lambda _config: "tanh",
            extra_fields=_albert,
            layer_name=lambda config, number: (
                f"encoder.albert_layer_groups.{number // config.inner_group_num}."
                f"albert_layers.{number % config.inner_group_num}."
            ),
            names=(
                (r"^embeddings\.project\.", "encoder.embedding_hidden_mapping_in."),
                (r"\.attention\.self\.", ".attention."),
                (r"\.attention\.output\.", ".attention."),
                (r"\.intermediate\.dense\.", ".ffn."),
                (r"\.output\.dense\.", ".ffn_output."),
                (r"\.output\.LayerNorm\.", ".full_layer_layer_norm."),
                (r"^pooler\.dense\.", "pooler."),
                (r"^transform\.", "predictions."),
                (r"^decoder\.bias$", "predictions.bias"),
                (r"^decoder\.", "predictions.decoder."),
            ),
        ),
    )
}
"""The families by the `model_type` of their config.json."""
