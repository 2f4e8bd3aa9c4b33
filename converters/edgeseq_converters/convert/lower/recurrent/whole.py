"""A whole network in one of the lowerings, with its signatures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from edgeseq.errors import ConversionError
from edgeseq.tasks.word_cache import WordCache
from edgeseq.tasks.word_features import FEATURES, WORD_FEATURES
from edgeseq_converters.convert.lower.recurrent import (
    fused,
    integer_whole,
    layers,
    loop,
    projected,
    unrolled,
    window_layers,
    word_cache,
)
from edgeseq_converters.convert.lower.recurrent.integer import Integers
from edgeseq_converters.convert.lower.recurrent.layers import Flow
from edgeseq_converters.convert.quantize.weights import WeightFormat
from edgeseq_converters.convert.recipes import MIN_QUANTIZED_ELEMENTS
from edgeseq_converters.convert.tflite import operators as op
from edgeseq_converters.convert.tflite.model import Graph, GraphTensor, Writer
from edgeseq_converters.models.network import Network, tied_decoder
from edgeseq_converters.models.network_layers import (
    NAMES,
    Attention,
    AttentionPool,
    Convolution,
    Dense,
    Embedding,
    FeatureSlice,
    Flatten,
    FloatInput,
    Join,
    Layer,
    MarkedPool,
    Pool,
    Recurrent,
    WindowPool,
)

SIGNATURE = "serving_default"
STREAM = "stream"
INPUT = "input_ids"
FLOAT_INPUT = "input_features"
Recurrence = Literal["loop", "projected", "unrolled", "fused"]
States = tuple[loop.State, loop.State]


@dataclass(frozen=True)
class RecurrentStage:
    """Recurrent layers that run in one loop, and what it gives of the topmost one; `name` is that
    of the last layer in it."""

    layers: tuple[Recurrent, ...]
    collect: loop.Collect
    name: str
    marks: tuple[int, ...] = ()


@dataclass(frozen=True)
class LayerStage:
    """A layer that is not recurrent."""

    layer: Layer

    @property
    def name(self) -> str:
        return self.layer.name


def stages(network: Network) -> Iterator[RecurrentStage | LayerStage]:
    """The network's layers, recurrent ones in the largest groups that run in one loop, with the
    pooling behind them taken into it. What feeds several layers ends its group."""
    rest = list(network.layers)
    consumers = Counter(name for layer in rest for name in network.sources(layer))

    def following(layer: Layer) -> Layer | None:
        alone = bool(rest) and network.sources(rest[0]) == (layer.name,)
        return rest[0] if alone and consumers[layer.name] == 1 else None

    while rest:
        first = rest.pop(0)
        if not isinstance(first, Recurrent):
            yield LayerStage(first)
            continue
        group = [first]
        while isinstance(upper := following(group[-1]), Recurrent) and _stack(group[-1], upper):
            group.append(upper)
            rest.pop(0)
        collect = _collect(group[-1], following(group[-1]))
        marks: tuple[int, ...] = ()
        name = group[-1].name
        if group[-1].sequences and collect != "sequence":
            pooling = rest.pop(0)
            name = pooling.name
            marks = pooling.marks if isinstance(pooling, MarkedPool) else ()
        yield RecurrentStage(tuple(group), collect, name, marks)


def _stack(below: Recurrent, upper: Recurrent) -> bool:
    """Whether both run in one loop: forward only, of one kind."""
    forward_only = below.backward is None and upper.backward is None
    return below.sequences and forward_only and below.forward.kind == upper.forward.kind


def _collect(top: Recurrent, following: Layer | None) -> loop.Collect:
    """What the loop must give, looking at the only layer behind it."""
    if not top.sequences:
        return "final"
    one_direction = top.backward is None
    if isinstance(following, MarkedPool):
        return "marks" if one_direction or top.merge == "concat" else "sequence"
    if not isinstance(following, Pool) or following.how == "sum":
        return "sequence"
    if following.how == "last":
        # The last row of a backward direction is its first state, not its final one.
        return "final" if one_direction else "sequence"
    return following.how if one_direction or top.merge == "concat" else "sequence"


def lower(
    network: Network,
    lowering: Recurrence,
    numbers: WeightFormat | Integers,
    *,
    output: str,
    steps: int | None = None,
    streaming: bool = False,
) -> bytes:
    """The .tflite content of `network`, stored and computed as `numbers` says.

    Its signature leads from `input_ids` int32 [1, −1] to `output`, float32 [1, outputs], or
    [1, n, outputs] for a network that answers for each token. With word features a second input
    `word_features` int32 [1, −1, 3] has the rows of each token's word.

    An input of numbers is `input_features` float32 [1, −1, features] instead; with `steps`
    [1, steps, features], which every lowering can have, and takes exactly so many.

    `projected` is `loop` with a table of what the bottom layer adds up from each token.
    `unrolled` has a fixed number of `steps`: `input_ids` int32 [1, steps], filled up with −1 to
    the right of a shorter text. With `streaming` a second signature `stream` takes and gives the
    states of the recurrent layers (`h0`, `c0`, … by layer, float32 [1, H]) and the rows that causal
    convolutions look back at (`x0`, … float32 [span − 1, features]), so that a text can be
    fed token by token or in pieces. Raises `ConversionError` for what the lowering cannot do:
    `check`.
    """
    check(network, lowering, steps=steps, streaming=streaming)
    if isinstance(numbers, Integers):
        integer_whole.check(network, lowering)
    writer = Writer(f"{network.name}: {lowering} lowering")
    builder = _GraphBuilder(network, lowering, numbers, output, steps)
    builder.signature(writer, SIGNATURE)
    if streaming:
        builder.signature(writer, STREAM)
    return writer.pack()


def lower_stream(
    network: Network,
    numbers: WeightFormat | Integers,
    *,
    output: str,
    cache: WordCache | None = None,
) -> bytes:
    """The .tflite content of a network whose only signature is `stream` (see `lower`). With a
    `cache` its words are two more states (`word_cache.apply`).

    Raises `ConversionError` as `check` does.
    """
    check(network, "loop", steps=None, streaming=True)
    writer = Writer(f"{network.name}: a stream")
    _GraphBuilder(network, "loop", numbers, output, None, cache).signature(writer, STREAM)
    return writer.pack()


@dataclass(frozen=True)
class _GraphBuilder:
    """What the signatures of one file have in common."""

    network: Network
    lowering: Recurrence
    numbers: WeightFormat | Integers
    output: str
    steps: int | None
    cache: WordCache | None = None

    def signature(self, writer: Writer, key: str) -> None:
        """Adds a graph and names its inputs and outputs."""
        graph = writer.graph(key)
        steps = -1 if self.steps is None else self.steps
        if isinstance(self.network.input, FloatInput):
            entry = graph.input(FLOAT_INPUT, "float32", (1, steps, self.network.input.features))
            inputs: dict[str, GraphTensor] = {FLOAT_INPUT: entry}
            flow = self._entered(op.reshape(entry, entry.shape[1:]))
        else:
            entry = graph.input(INPUT, "int32", (1, steps))
            inputs = {INPUT: entry}
            flow = self._embedded(layers.flat_ids(entry), key)
            if self.network.embedding.word_features is not None:
                words = graph.input(WORD_FEATURES, "int32", (1, steps, len(FEATURES)))
                inputs[WORD_FEATURES] = words
                flow = replace(flow, values=self._with_words(flow.values, words))
        outputs: dict[str, GraphTensor] = {}
        flows = {self.network.input.name: flow}
        number = convolutions = 0  # of the layer, which names its states
        for stage in stages(self.network):
            first = stage.layer if isinstance(stage, LayerStage) else stage.layers[0]
            fed = [flows[name] for name in self.network.sources(first)]
            if isinstance(stage, LayerStage):
                states: States = ({}, {})
                if key == STREAM:
                    states = (_rows_before(graph, stage.layer, fed[0], convolutions), {})
                    convolutions += len(states[0])
                flow = self._apply_layer(stage.layer, fed, states)
                named = {name: name for name in states[0]}
            else:
                states = (_state_inputs(graph, stage, number) if key == STREAM else {}, {})
                flow = replace(fed[0], values=self._recurrent(stage, fed[0], states))
                named = {name: _renumbered(name, number) for name in states[0]}
                number += len(stage.layers)
            for name, numbered in named.items():
                inputs[numbered] = states[0][name]
                outputs[f"{numbered}_next"] = states[1][name]
            flows[stage.name] = flow
        answer = flow.values
        if isinstance(self.numbers, Integers):
            answer = integer_whole.end(self.network, answer)
        if self.cache is not None:
            answer, after = self._with_cache(self.cache, inputs, flows, answer)
            outputs |= {f"{name}_next": state for name, state in after.items()}
        if self.network.per_token:
            answer = op.reshape(answer, (1, flow.values.shape[0], self.network.outputs))
        outputs = {self.output: answer} | outputs
        graph.inputs = list(inputs.values())
        graph.outputs = list(outputs.values())
        writer.add_signature(key, inputs, outputs)

    def _with_cache(
        self,
        cache: WordCache,
        inputs: dict[str, GraphTensor],
        flows: dict[str, Flow],
        logits: GraphTensor,
    ) -> tuple[GraphTensor, dict[str, GraphTensor]]:
        """The logits with the words of a cache, whose states are added to the `inputs`; and these
        states after the new words."""
        (source,) = self.network.sources(self.network.layers[-1])
        states = flows[source].values
        if states.dtype != "float32":
            states = op.dequantize(states)
        before = word_cache.state_inputs(logits.graph, cache, states.shape[1])
        new = word_cache.NewWords(inputs[INPUT], states, logits)
        inputs |= before
        return word_cache.apply(cache, new, before)

    def _entered(self, numbers: GraphTensor) -> Flow:
        """The flow of an input [n, features], all of whose rows are real."""
        graph = numbers.graph
        if self.steps is None:
            length = op.gather(op.shape_of(numbers), graph.ints(0))
        else:
            length = graph.ints(self.steps)
        if isinstance(self.numbers, Integers):
            numbers = self.numbers.enter(numbers, stretched=self.lowering != "fused")
        return Flow(numbers, length, None)

    def _embedded(self, ids: GraphTensor, key: str) -> Flow:
        """The flow of the embedded tokens `ids` [n], and which of them are real."""
        padded = self.steps is not None
        lowest = -1  # the highest id that is not a token
        if self.network.embedding.mask_zero and key != STREAM:
            padded, lowest = True, 0
        length = layers.real_length(ids, above=lowest if padded else None)
        if self.steps is not None:
            ids = op.elementwise("MAXIMUM", ids, ids.graph.ints(0))
        if isinstance(self.numbers, Integers):
            values = self.numbers.lookup(ids, stretched=self.lowering != "fused")
        else:
            embedding = self._table()
            decoder = tied_decoder(self.network) if embedding is self.network.embedding else None
            values = self.numbers.lookup_words(ids, embedding.name, embedding.table, decoder)
        return layers.padded_flow(values, length, ids) if padded else Flow(values, length, ids)

    def _with_words(self, tokens: GraphTensor, words: GraphTensor) -> GraphTensor:
        """Embedded tokens [n, size] with the rows of their words' features [1, n, 3] behind them,
        or for `projected` with what the bottom layer's kernel makes of these added."""
        count, table = tokens.shape[0], self.network.embedding.word_features
        if table is None:
            raise ValueError("a network without word features has no rows of words")
        rows = op.reshape(words, (-1 if count == -1 else count * len(FEATURES),))
        if isinstance(self.numbers, Integers):
            looked_up = self.numbers.lookup_features(rows, stretched=self.lowering != "fused")
        else:
            looked_up = self.numbers.lookup(rows, WORD_FEATURES, table)
        values = op.reshape(looked_up, (count, self.network.embedding.word_width))
        if self.lowering != "projected" or isinstance(self.numbers, Integers):
            return op.concatenate([tokens, values], 1)
        kernel = projected.word_kernel(self.network)
        return op.add(tokens, self.numbers.product(values, f"{WORD_FEATURES}/kernel", kernel))

    def _table(self) -> Embedding:
        if self.lowering == "projected":
            return projected.projected_table(self.network)
        return self.network.embedding

    def _apply_layer(self, layer: Layer, fed: Sequence[Flow], states: States) -> Flow:
        """A layer that is not recurrent; a convolution of a stream has the rows before it in
        `states`."""
        if not isinstance(self.numbers, Integers):
            return self._apply_in_float(self._weights_of(self.numbers, layer), layer, fed, states)
        if integer_whole.has_form(self.network, layer):
            return integer_whole.apply(self.numbers, layer, fed[0])
        if isinstance(layer, FeatureSlice | Flatten):  # they compute nothing
            return self._apply_in_float(WeightFormat("float32"), layer, fed, states)
        exact = [replace(flow, values=op.dequantize(flow.values)) for flow in fed]
        weights = integer_whole.weights_of(layer)
        flow = self._apply_in_float(weights, layer, exact, states)
        if layer is self.network.layers[-1]:
            return flow
        return replace(flow, values=self.numbers.again(layer, flow.values, fed[0].values))

    def _weights_of(self, numbers: WeightFormat, layer: Layer) -> WeightFormat:
        """How a layer stores its weights: the few of a last layer that predicts from numbers stay
        float32, because each rounding of them is one of the answer."""
        is_end = layer is self.network.layers[-1] and isinstance(self.network.input, FloatInput)
        is_small = isinstance(layer, Dense) and layer.kernel.size < MIN_QUANTIZED_ELEMENTS
        is_rounded = numbers.storage in ("int8", "int4")
        return WeightFormat("float32") if is_end and is_small and is_rounded else numbers

    def _apply_in_float(
        self, weights: WeightFormat, layer: Layer, fed: Sequence[Flow], states: States
    ) -> Flow:
        flow = fed[0]
        if isinstance(layer, Convolution | WindowPool):
            return self._apply_windows(weights, layer, flow, states)
        if isinstance(layer, Join | Attention):
            return layers.merge(layer, fed)
        if isinstance(layer, Flatten):
            features = self.network.shape_of(layer).features
            return replace(flow, values=op.reshape(flow.values, (1, features)))
        return layers.apply(layer, flow, weights)

    @staticmethod
    def _apply_windows(
        weights: WeightFormat, layer: Convolution | WindowPool, flow: Flow, states: States
    ) -> Flow:
        if isinstance(layer, WindowPool):
            return window_layers.pool_windows(layer, flow)
        for name, before in states[0].items():
            flow, states[1][name] = window_layers.convolve_stream(layer, flow, weights, before)
            return flow
        return window_layers.convolve(layer, flow, weights)

    def _recurrent(self, stage: RecurrentStage, flow: Flow, states: States) -> GraphTensor:
        """What the stage collects; `states` are those to start from and, filled, the final ones."""
        if isinstance(self.numbers, Integers):
            group = loop.LoopGroup(
                stage.layers,
                stage.collect,
                start=states[0],
                marks=stage.marks,
                pooling=stage.name,
            )
            values, final = integer_whole.run(self.numbers, group, flow, self.lowering)
            states[1].update(final)
            return values
        group = loop.LoopGroup(
            stage.layers,
            stage.collect,
            self.numbers,
            states[0],
            marks=stage.marks,
            pooling=stage.name,
            projected=self.lowering == "projected" and stage.layers[0] is self.network.layers[0],
            reads_numbers=isinstance(self.network.input, FloatInput)
            and self.network.sources(stage.layers[0])[0] == self.network.input.name,
        )
        if self.lowering == "fused":
            return fused.run(group, flow)
        if self.lowering == "unrolled":
            return unrolled.run(group, flow)
        values, final = loop.run(group, flow)
        states[1].update(final)
        return values


def check(network: Network, lowering: Recurrence, *, steps: int | None, streaming: bool) -> None:
    """Raises `ConversionError` naming what the lowering cannot do, and the layer that needs it."""

    def refuse(what: str, actual: str, fix: str) -> None:
        raise ConversionError(what, where=network.name, found=actual, fix=fix)

    if lowering == "projected":
        projected.bottom_of(network)
    for layer in network.layers if lowering == "fused" else ():
        if isinstance(layer, Recurrent):
            cell = layer.forward
            if cell.kind != "lstm":
                what = "the lowering fused has LSTM layers only"
                refuse(
                    what, f"layer {layer.name} is a {NAMES[cell.kind]}", "choose --lowering loop"
                )
            if not cell.is_published:
                what = "the lowering fused has LSTM layers with sigmoid and tanh only"
                functions = f"{cell.gate_function} and {cell.function}"
                refuse(what, f"layer {layer.name} has {functions}", "choose --lowering loop")
    if (lowering == "unrolled") != (steps is not None) and not (
        isinstance(network.input, FloatInput) and steps is not None
    ):
        refuse(
            "only the lowering unrolled has steps, and it needs their number",
            f"{lowering} with {steps} steps",
            "give --length with --lowering unrolled",
        )
    if streaming and lowering not in ("loop", "projected"):
        refuse("only a lowering that is a loop streams", lowering, "choose --lowering loop")
    if steps is not None and network.only_tokens not in (None, steps):
        refuse(
            "it takes texts of one length alone, which layer Flatten ties it to",
            f"{steps} tokens",
            f"choose the length {network.only_tokens}",
        )
    if steps is not None and steps < network.required_tokens:
        refuse(
            "its windows do not fit into a text of this length",
            f"{steps} tokens",
            f"choose a length of at least {network.required_tokens}",
        )
    for layer in network.layers if streaming else ():
        if _needs_following(layer):
            cause = f"layer {layer.name}, which needs the whole text"
            refuse("cannot stream", cause, "leave out --streaming")


def _needs_following(layer: Layer) -> bool:
    """Whether a layer looks at more than the tokens up to its own."""
    if isinstance(layer, Convolution):
        return not (layer.stride == 1 and (layer.border == "causal" or layer.window.span == 1))
    return (
        isinstance(layer, AttentionPool | MarkedPool | Attention | WindowPool | Flatten)
        or (isinstance(layer, Recurrent) and layer.backward is not None)
        or (isinstance(layer, Pool) and layer.how != "last")
    )


def _rows_before(graph: Graph, layer: Layer, fed: Flow, number: int) -> loop.State:
    """The rows before those of a stream that the convolution `number` looks at, as an input of
    the graph."""
    if not isinstance(layer, Convolution) or layer.window.span == 1:
        return {}
    shape = (layer.window.span - 1, fed.values.shape[1])
    return {f"x{number}": graph.input(f"x{number}", "float32", shape)}


def _state_inputs(graph: Graph, stage: RecurrentStage, number: int) -> loop.State:
    """The states that a stream starts from, as inputs of the graph."""
    states = {}
    for index, layer in enumerate(stage.layers):
        for name in loop.state_names(layer, index):
            shape = (1, layer.forward.hidden_size)
            states[name] = graph.input(_renumbered(name, number), "float32", shape)
    return states


def _renumbered(name: str, number: int) -> str:
    """`h0` of a group whose first layer is the network's recurrent layer `number`."""
    return f"{name[0]}{int(name[1:]) + number}"
