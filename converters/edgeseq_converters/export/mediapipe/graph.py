"""A text model's graph as MediaPipe Tasks gives it texts and reads its answer.

BERT's preprocessing gives three inputs int32 [1, n]: `ids` ([CLS] the pieces [SEP]), `mask` (1 for
those, 0 for padding behind them) and `segment_ids` (0). MediaPipe resizes tensor number i for input
number i, so they must be the tensors 0, 1 and 2, and a runtime resizes an input only if an operator
reads it. A model of an open length gets a text at its real length, never truncated; one of a fixed
length gets it truncated and padded.
"""

from __future__ import annotations

from edgeseq_converters.convert.tflite import operators as op
from edgeseq_converters.convert.tflite.model import Graph, GraphTensor, Writer
from edgeseq_converters.export.mediapipe.tokenizers import SpecialTokens

INPUTS = ("ids", "mask", "segment_ids")
OUTPUT, EMBEDDING = "probability", "embedding"
SIGNATURE = "serving_default"


def adapt_to_bert(
    content: bytes, special: SpecialTokens, *, max_tokens: int, output: str = OUTPUT
) -> Writer:
    """The model of a file with the three inputs of BERT's preprocessing.

    A classifier's `OUTPUT` are probabilities; an `EMBEDDING` is given as it is.

    `special` says which of [CLS] and [SEP] the model knows; the others are cut off. A text that is
    longer than `max_tokens` keeps its first tokens and its last, as the bundle's tokenizer
    truncates it.
    """
    writer = Writer.of_content(content)
    graph = writer.main_graph()
    former = graph.inputs.pop()
    fixed_length = former.shape[1] if former.shape[1] > 0 else None
    length = -1 if fixed_length is None else fixed_length + special.num_dropped
    ids = graph.input(INPUTS[0], "int32", (1, length))
    mask = graph.input(INPUTS[1], "int32", (1, length))
    segments = graph.input(INPUTS[2], "int32", (1, length))

    def tokens() -> GraphTensor:
        if fixed_length is None:
            return _open_tokens(ids, mask, segments, special, max_tokens)
        return _padded_tokens(ids, mask, segments, special, fixed_length)

    graph.insert_first(former, tokens)
    if output == OUTPUT:
        graph.outputs = [op.softmax(graph.outputs[0])]
    _name_ends(writer, graph, output)
    return writer


def adapt_to_regex(content: bytes) -> Writer:
    """The classifier of a bundle of a fixed length, with probabilities as its output."""
    writer = Writer.of_content(content)
    graph = writer.main_graph()
    graph.outputs = [op.softmax(graph.outputs[0])]
    _name_ends(writer, graph, OUTPUT)
    return writer


def _open_tokens(
    ids: GraphTensor,
    mask: GraphTensor,
    segments: GraphTensor,
    special: SpecialTokens,
    max_tokens: int,
) -> GraphTensor:
    """Tokens [1, n] of a text that is not padded; mask and segments are read and do not count."""
    for unused in (mask, segments):
        ids = op.add(ids, op.elementwise("SUB", unused, unused))
    end = None if special.knows_end else -1
    if special.num_dropped:
        ids = op.token_range(ids, 0 if special.knows_start else 1, end)
    if not special.knows_end:
        return op.token_range(ids, 0, max_tokens)
    first = op.token_range(op.token_range(ids, 0, -1), 0, max_tokens - 1)
    return op.concatenate([first, op.token_range(ids, -1, length=1)], 1)


def _padded_tokens(
    ids: GraphTensor,
    mask: GraphTensor,
    segments: GraphTensor,
    special: SpecialTokens,
    length: int,
) -> GraphTensor:
    """Tokens [1, length], with −1 where the text has ended: ids · mask + (mask − 1)."""
    mask = op.add(mask, op.elementwise("SUB", segments, segments))
    if special.num_dropped:
        start = 0 if special.knows_start else 1
        ids = op.token_range(ids, start, start + length, length=length)
        # A position is the text's when so many more follow it in the longer one.
        mask = op.token_range(mask, special.num_dropped, length=length)
    return op.add(op.multiply(ids, mask), op.elementwise("SUB", mask, mask.graph.ints(1)))


def _name_ends(writer: Writer, graph: Graph, output: str) -> None:
    graph.number_inputs_first()
    inputs = dict(zip(INPUTS, graph.inputs, strict=False))
    writer.add_signature(SIGNATURE, inputs, {output: graph.outputs[0]})
