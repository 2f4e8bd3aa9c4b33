"""An encoder of the BERT family as TFLite operators, for batch 1 and an open sequence axis.

Nothing is padded, so a mask is not needed; a text has one segment, whose embedding is added to the
positions beforehand. With pooling `first` the last layer computes its output for the first token
alone: exact, and 14 % less work in a six-layer model. A decoder that is tied to the table of words
is stored once, also as int8.

Layer norm is written with elementwise operators and MEAN, all of which run inside XNNPACK: at
MiniLM's size the five forms that were measured (also L2_NORMALIZATION, which leaves XNNPACK, and
none at all) differ by less than 2 %; the dense layers dominate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgeseq.formats.trained_model import BertConfig, BertHead, TrainedModel
from edgeseq.tasks.word_features import FEATURES, WORD_FEATURES
from edgeseq_converters.convert.lower.encoder.layers import ALL_TOKENS, FIRST_TOKEN, Encoder
from edgeseq_converters.convert.lower.encoder.static import linear_ranges
from edgeseq_converters.convert.lower.encoder.weights import Arrays
from edgeseq_converters.convert.lower.recurrent.layers import marked
from edgeseq_converters.convert.quantize.encoder_moments import input_moments
from edgeseq_converters.convert.quantize.weights import WeightFormat
from edgeseq_converters.convert.recipes import Recipe
from edgeseq_converters.convert.tflite import encoder_operators as more
from edgeseq_converters.convert.tflite import operators as op
from edgeseq_converters.convert.tflite.model import GraphTensor, Writer
from edgeseq_converters.models.arrays import ModelInput
from edgeseq_converters.models.encoder import bert_arrays, bert_config, layer_sources

SIGNATURE = "serving_default"
INPUT = "input_ids"


def output_name(head: BertHead) -> str:
    """The name of the signature's output: `embedding`, or `logits` for every other head."""
    return "embedding" if head == "feature_extraction" else "logits"


def lower(
    model: TrainedModel,
    recipe: Recipe,
    texts: Sequence[ModelInput] = (),
    *,
    row_scales: bool = True,
) -> bytes:
    """The .tflite content: `input_ids` int32 [1, −1] to `logits` float32 [1, labels] (`classes`),
    [1, n, labels] (`tokens`) or [1, n, vocabulary] (`vocabulary`), or to `embedding` float32
    [1, hidden]. With word features a second input `word_features` int32 [1, −1, 3] has the rows of
    each token's word.

    int4 weights are rounded for what flows through the model on `texts` (token ids), if there are
    any; a static recipe takes its ranges from them. Raises `CheckpointError` when an array is
    missing or has the wrong shape, and `ConversionError` for a static recipe without texts.
    Without `row_scales` the file has no operator that tflite-runtime 2.14 lacks, but for int4.
    """
    config = bert_config(model)
    moments = input_moments(model, texts) if recipe.weights == "int4" and texts else {}
    static = recipe.activations != "float32"
    ranges = linear_ranges(model, texts) if static else {}
    numbers = WeightFormat.of(recipe, row_scales=row_scales, moments=moments)
    if static:  # what has no range is multiplied dynamically
        numbers = replace(numbers, dynamic=True)
    arrays = Arrays(bert_arrays(model), numbers, ranges)
    encoder = Encoder(config, arrays, model.manifest.max_tokens)
    writer = Writer(f"{model.manifest.name}: encoder")
    graph = writer.graph(SIGNATURE)
    ids = graph.input(INPUT, "int32", (1, -1))
    inputs = {INPUT: ids}
    flat = op.reshape(ids, (-1,))
    if model.manifest.word_features is not None:
        inputs[WORD_FEATURES] = graph.input(WORD_FEATURES, "int32", (1, -1, len(FEATURES)))
    states = encoder.embeddings(flat, word_rows=inputs.get(WORD_FEATURES))
    *lower_layers, last = layer_sources(config)
    for number in lower_layers:
        states = encoder.layer(states, number)
    states = encoder.layer(states, last, FIRST_TOKEN if _pooled_first(config) else ALL_TOKENS)
    answer = _answer(encoder, states, flat)
    graph.outputs = [answer]
    writer.add_signature(SIGNATURE, inputs, {output_name(config.head): answer})
    return writer.pack()


def _pooled_first(config: BertConfig) -> bool:
    return (
        config.head in ("sequence_classification", "feature_extraction") and config.pooling == "cls"
    )


def _answer(encoder: Encoder, states: GraphTensor, ids: GraphTensor) -> GraphTensor:
    config, arrays = encoder.config, encoder.arrays
    if config.head == "token_classification":
        logits = arrays.linear(states, "classifier")
        return op.reshape(logits, (1, -1, logits.shape[1]))
    if config.head == "masked_lm":
        return _words(encoder, states)
    if config.pooling == "markers":
        pooled = marked(config.marker_ids, ids, states)
    else:
        pooled = states if config.pooling == "cls" else op.reduce("MEAN", states, 0)
    if config.head == "feature_extraction":
        return more.l2_normalize(pooled) if config.normalized else pooled
    if config.head_act is not None:
        pooled = encoder.activation(arrays.linear(pooled, "pooler.dense"), config.head_act)
    return arrays.linear(pooled, "classifier")


def _words(encoder: Encoder, states: GraphTensor) -> GraphTensor:
    config, arrays = encoder.config, encoder.arrays
    transformed = encoder.activation(arrays.linear(states, "transform.dense"), config.head_act)
    transformed = encoder.layer_norm(transformed, "transform.LayerNorm")
    decoder = "embeddings.word_embeddings" if config.tied_decoder else "decoder"
    rows, bias = arrays.arrays[f"{decoder}.weight"], arrays.arrays["decoder.bias"]
    logits = arrays.product(transformed, "decoder", rows, bias)
    return op.reshape(logits, (1, -1, config.vocabulary_size))
