"""Names and shapes of an encoder's arrays, and a checked configuration.

The names are those of `edgeseq.formats.trained_model.BertConfig`; linear weights are [out, in].
"""

from __future__ import annotations

from edgeseq.errors import CheckpointError
from edgeseq.formats.trained_model import BertConfig, TrainedModel
from edgeseq_converters.models.arrays import FloatArray, check_marks, take_array
from edgeseq_converters.models.network_layers import marked_features

Shapes = dict[str, tuple[int, ...]]
WORD_TABLE = "embeddings.word_embeddings.weight"
"""The table with a row for each piece."""
WORD_FEATURE_TABLE = "word_features.weight"
WORD_FEATURE_PROJECTION = "word_features.project"
"""The table of word features, and the product that makes embeddings of them."""


def bert_config(model: TrainedModel) -> BertConfig:
    """The encoder's dimensions.

    Raises `CheckpointError` for another architecture, for fields that contradict each other, and
    for `max_tokens` beyond the position table.
    """
    config = model.manifest.bert
    where = model.manifest.name
    if config is None:
        raise CheckpointError("is not a BERT", where=where)
    check_config(config, where=where)
    if model.manifest.max_tokens > config.max_position_embeddings:
        raise CheckpointError(
            "takes longer texts than it has positions for",
            where=where,
            found=f"max_tokens {model.manifest.max_tokens}",
            expected=f"<= {config.max_position_embeddings}",
        )
    return config


def check_config(config: BertConfig, *, where: str) -> None:
    """Raises `CheckpointError` when fields of a configuration contradict each other."""
    width = inner_size(config)
    if width % config.attention_heads:
        raise CheckpointError(
            "attention heads do not divide the hidden size",
            where=where,
            found=f"{config.attention_heads} heads of {width}",
        )
    sources = layer_sources(config)
    if len(sources) != config.layers or not all(0 <= source < config.layers for source in sources):
        raise CheckpointError(
            "layer_sources does not name one layer's arrays for each layer",
            where=where,
            found=list(sources),
            expected=f"{config.layers} numbers from 0 to {config.layers - 1}",
        )
    if config.head == "masked_lm" and config.head_act is None:
        raise CheckpointError(
            "a vocabulary head has no activation",
            where=where,
            found="head_act null",
            expected="gelu, gelu_new or relu",
        )
    if config.pooling == "markers":
        check_marks(config.marker_ids, config.vocabulary_size, where=where)
    if config.head == "causal_lm":
        _check_next(config, where=where)
    if config.trigram and (config.embedding_size is None or config.tied_decoder):
        raise CheckpointError(
            "joins neighbouring words without an embedding size",
            where=where,
            found=f"embedding_size {config.embedding_size}, tied_decoder {config.tied_decoder}",
            expected="an embedding_size, tied_decoder false",
        )


def _check_next(config: BertConfig, *, where: str) -> None:
    plain = config.norm == "layer" and config.bottleneck_size is None and not config.trigram
    if not plain or config.embedding_size is None or not config.tied_decoder:
        raise CheckpointError(
            "a language model has a narrow embedding table and none of BERT's options",
            where=where,
            found=f"embedding_size {config.embedding_size}, norm {config.norm}",
            expected="an embedding_size, layer norm, no bottleneck, no trigram, tied_decoder true",
        )


def bert_arrays(model: TrainedModel) -> dict[str, FloatArray]:
    """Every array of the encoder and its head as float32.

    Raises `CheckpointError` naming the one that is missing, has another shape or holds NaN.
    """
    shapes = encoder_shapes(bert_config(model)) | head_shapes(
        bert_config(model), len(model.manifest.labels)
    )
    words = model.manifest.word_features
    if words is not None:
        width = bert_config(model).embedding_size or bert_config(model).hidden_size
        shapes[WORD_FEATURE_TABLE] = (words.table_rows, words.size)
        shapes |= _linear(WORD_FEATURE_PROJECTION, width, words.width)
    return {name: take_array(model, name, *shape) for name, shape in shapes.items()}


def inner_size(config: BertConfig) -> int:
    """Width at which a layer works: the bottleneck's, else the hidden size."""
    return config.bottleneck_size or config.hidden_size


def layer_sources(config: BertConfig) -> tuple[int, ...]:
    """For each layer the number that its arrays carry."""
    return config.layer_sources or tuple(range(config.layers))


def encoder_shapes(config: BertConfig) -> Shapes:
    """Name and shape of every array of the encoder."""
    size = config.hidden_size
    words = config.embedding_size or size
    tables = size if config.trigram or config.head == "causal_lm" else words
    shapes: Shapes = {
        WORD_TABLE: (config.vocabulary_size, words),
        "embeddings.position_embeddings.weight": (config.max_position_embeddings, tables),
    }
    if config.type_vocabulary_size:
        shapes["embeddings.token_type_embeddings.weight"] = (config.type_vocabulary_size, tables)
    shapes |= _norm("embeddings.LayerNorm", tables)
    if config.trigram:
        shapes |= _linear("embeddings.project", size, 3 * words)
    elif config.embedding_size is not None:
        shapes |= _linear("embeddings.project", size, words)
    for number in sorted(set(layer_sources(config))):
        shapes |= _layer(config, f"encoder.layer.{number}.")
    return shapes


def head_shapes(config: BertConfig, labels: int) -> Shapes:
    """Name and shape of every array of the head; `labels` is the number of answers."""
    size = config.hidden_size
    if config.head == "feature_extraction":
        return {}
    if config.head == "causal_lm":
        shapes = _linear("transform.dense", transform_size(config), size)
        return shapes | {"decoder.bias": (config.vocabulary_size,)}
    if config.head == "masked_lm":
        width = transform_size(config)
        shapes = _linear("transform.dense", width, size) | _norm("transform.LayerNorm", width)
        shapes["decoder.bias"] = (config.vocabulary_size,)
        if not config.tied_decoder:
            shapes["decoder.weight"] = (config.vocabulary_size, width)
        return shapes
    pooled = pooled_size(config) if config.head == "sequence_classification" else size
    if config.head != "sequence_classification" or config.head_act is None:
        return _linear("classifier", labels, pooled)
    return _linear("pooler.dense", size, pooled) | _linear("classifier", labels, size)


def has_tied_decoder(config: BertConfig) -> bool:
    """Whether the last product's matrix is the table of words: a checkpoint says so of its
    pretraining even where the head has no such product."""
    return config.tied_decoder and config.head in ("masked_lm", "causal_lm")


def pooled_size(config: BertConfig) -> int:
    """Numbers that are pooled of a text's states."""
    if config.pooling == "markers":
        return marked_features(config.hidden_size, len(config.marker_ids))
    return config.hidden_size


def transform_size(config: BertConfig) -> int:
    """Width of the states that a vocabulary head multiplies with its decoder."""
    # MobileBERT's decoder is wider than its table of words, so it is never tied.
    return config.hidden_size if config.trigram else config.embedding_size or config.hidden_size


def _layer(config: BertConfig, prefix: str) -> Shapes:
    size, width, inner = config.hidden_size, inner_size(config), config.intermediate_size
    shapes: Shapes = {}
    if config.bottleneck_size is not None:
        for name in ("input", "attention"):
            shapes |= _linear(f"{prefix}bottleneck.{name}.dense", width, size)
            shapes |= _norm(f"{prefix}bottleneck.{name}.LayerNorm", width)
        shapes |= _linear(f"{prefix}output.bottleneck.dense", size, width)
        shapes |= _norm(f"{prefix}output.bottleneck.LayerNorm", size)
    shapes |= _linear(f"{prefix}attention.self.query", width, width)
    shapes |= _linear(f"{prefix}attention.self.key", width, width)
    shapes |= _linear(f"{prefix}attention.self.value", width, size)
    shapes |= _linear(f"{prefix}attention.output.dense", width, width)
    shapes |= _norm(f"{prefix}attention.output.LayerNorm", width)
    for part in feed_forward_prefixes(config):
        shapes |= _linear(f"{prefix}{part}intermediate.dense", inner, width)
        shapes |= _linear(f"{prefix}{part}output.dense", width, inner)
        shapes |= _norm(f"{prefix}{part}output.LayerNorm", width)
    return shapes


def feed_forward_prefixes(config: BertConfig) -> tuple[str, ...]:
    """Where a layer's feed-forward blocks by prefix, in the order of computation."""
    return (*(f"ffn.{number}." for number in range(config.feed_forwards - 1)), "")


def _linear(name: str, outputs: int, inputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name: str, size: int) -> Shapes:
    return {f"{name}.weight": (size,), f"{name}.bias": (size,)}
