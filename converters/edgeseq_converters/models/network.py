"""A recurrent network as data: what every source is read into and every lowering starts from.

An embedding or an input of numbers, then layers in order, each fed by the one before it or by those
that the network names. What flows between them is a sequence [n, features] until a layer turns it
into a vector [features]; n is the real length of the text, or what windows make of it. Nothing of
a framework is in it: arrays are float32, gates are in Keras' order (LSTM i, f, c, o; GRU z, r, h; a
simple RNN has one), linear weights are [in, out], and everything that acts only while training
(dropout, noise) is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from edgeseq.errors import CheckpointError
from edgeseq.formats.padding import Padding
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.windows import Border, Rows, RowWindow, count_rows, required_tokens

Kind = Literal["lstm", "gru", "rnn"]
Merge = Literal["concat", "sum", "mul", "ave"]
ElementFunction = Literal[
    "linear", "relu", "tanh", "sigmoid", "hard_sigmoid_fifth", "hard_sigmoid_sixth", "softsign"
]
"""Of one element x. The hard sigmoids are straight lines cut off at 0 and 1: x/5 + 1/2 (Keras
before 3), x/6 + 1/2 (Keras 3, PyTorch). Softsign is x / (1 + |x|)."""
Function = Literal[ElementFunction, "softmax"]
Pooling = Literal["max", "mean", "sum", "last"]
WindowPooling = Literal["max", "mean"]
Joining = Literal["concat", "add", "subtract", "multiply", "average", "maximum", "minimum"]
Scoring = Literal["dot", "additive"]
GATES: dict[Kind, int] = {"lstm": 4, "gru": 3, "rnn": 1}
NAMES: dict[Kind, str] = {"lstm": "LSTM", "gru": "GRU", "rnn": "simple RNN"}
HARD_SIGMOID_SLOPES: dict[ElementFunction, float] = {
    "hard_sigmoid_fifth": 1 / 5,
    "hard_sigmoid_sixth": 1 / 6,
}
_OPENING = ("sigmoid", *HARD_SIGMOID_SLOPES)
"""The functions whose values lie in 0..1."""
_BOUNDED = ("tanh", "softsign", *_OPENING)
"""Those whose values lie in −1..1."""


@dataclass(frozen=True)
class Embedding:
    """`table` [vocabulary, size]. With `mask_zero` an id of 0 is padding, to the right of a text.

    The first token counts as real even when it is 0: a text has at least one.
    """

    name: str
    table: FloatArray
    mask_zero: bool = False

    @property
    def vocabulary_size(self) -> int:
        return int(self.table.shape[0])

    @property
    def size(self) -> int:
        return int(self.table.shape[1])


@dataclass(frozen=True)
class FloatInput:
    """An input of numbers [n, features], such as the readings of sensors, scaled as in training."""

    name: str
    features: int

    @property
    def size(self) -> int:
        return self.features


@dataclass(frozen=True)
class Cell:
    """One direction of a recurrent layer; g = 4 gates (LSTM), 3 (GRU) or 1 (simple RNN).

    `kernel` [in, g·H], `recurrent_kernel` [H, g·H], `bias` [g·H]. A GRU with `recurrent_bias`
    [3·H] applies the reset gate after the recurrent product (Keras' `reset_after=True` and
    PyTorch); with None before it (Cho et al. 2014). An LSTM has none: its two biases are one sum.
    A simple RNN, h = f(x·W + h·U + b) (Elman 1990), has none either.

    `gate_function` is the function of the gates that let through (LSTM i, f, o; GRU z, r; Keras'
    `recurrent_activation`), `function` that of the candidate and of an LSTM's output (Keras'
    `activation`).
    """

    kind: Kind
    kernel: FloatArray
    recurrent_kernel: FloatArray
    bias: FloatArray
    recurrent_bias: FloatArray | None = None
    gate_function: ElementFunction = "sigmoid"
    function: ElementFunction = "tanh"

    @property
    def is_published(self) -> bool:
        """Whether the functions are those of the papers: a sigmoid and a tanh."""
        return (self.gate_function, self.function) == ("sigmoid", "tanh")

    @property
    def is_bounded(self) -> bool:
        """Whether its hidden states lie in −1..1, whatever it reads."""
        # A GRU's state is a mean of candidates only under weights of 0..1.
        gates = _OPENING if self.kind == "gru" else _BOUNDED
        has_gates = self.kind != "rnn"
        return self.function in _BOUNDED and (not has_gates or self.gate_function in gates)

    @property
    def form(self) -> tuple[object, ...]:
        """What two directions that run side by side must have in common."""
        has_recurrent_bias = self.recurrent_bias is not None
        functions = (self.gate_function, self.function)
        return (self.kind, self.hidden_size, has_recurrent_bias, *functions)

    @property
    def inputs(self) -> int:
        return int(self.kernel.shape[0])

    @property
    def hidden_size(self) -> int:
        return int(self.recurrent_kernel.shape[0])


@dataclass(frozen=True)
class Recurrent:
    """A (bi)directional LSTM, GRU or simple RNN layer over a sequence, from a zero state.

    With `sequences` it gives [n, features], the backward direction's states put back in the
    text's order; without, the vector of the forward state after the last token and the backward
    state after the first. `merge` says how two directions become one.
    """

    name: str
    forward: Cell
    backward: Cell | None = None
    merge: Merge = "concat"
    sequences: bool = False

    @property
    def cells(self) -> tuple[Cell, ...]:
        return (self.forward,) if self.backward is None else (self.forward, self.backward)

    @property
    def features(self) -> int:
        doubled = self.backward is not None and self.merge == "concat"
        return self.forward.hidden_size * (2 if doubled else 1)


@dataclass(frozen=True)
class Dense:
    """kernel [in, out], bias [out]; on a sequence it acts on each token (TimeDistributed)."""

    name: str
    kernel: FloatArray
    bias: FloatArray
    function: Function = "linear"


@dataclass(frozen=True)
class Scale:
    """x · factor + offset by feature, both [features]: a batch normalization when not training."""

    name: str
    factor: FloatArray
    offset: FloatArray


@dataclass(frozen=True)
class LayerNorm:
    """(x − mean)/√(variance + epsilon) · scale + offset over the features of each row (Ba et al.
    2016); scale and offset [features]."""

    name: str
    scale: FloatArray
    offset: FloatArray
    epsilon: float


@dataclass(frozen=True)
class Pool:
    """A sequence to a vector: the largest value of each feature, their mean or sum, or the last
    token's."""

    name: str
    how: Pooling


@dataclass(frozen=True)
class AttentionPool:
    """Σ a_t·x_t with a = softmax over the tokens of f(x_t·kernel + bias)·query.

    kernel [in, units], bias [units], query [units]; f is `function` (Bahdanau et al. 2015's tanh,
    or linear).
    """

    name: str
    kernel: FloatArray
    bias: FloatArray
    query: FloatArray
    function: Literal["tanh", "linear"] = "tanh"


@dataclass(frozen=True)
class MarkedPool:
    """A sequence to a vector: the rows of the tokens `marks` side by side, and behind them the
    products by element of the first mark's row with each of the others.

    A mark that a text lacks gives zeros; rows of one that occurs several times are added up. The
    products say in which features two mentions agree (Lee et al. 2017, "End-to-end Neural
    Coreference Resolution", section 4).
    """

    name: str
    marks: tuple[int, ...]


@dataclass(frozen=True)
class Activation:
    """A function by element; `softmax` runs over the features."""

    name: str
    function: Function


@dataclass(frozen=True)
class Convolution:
    """y_t = f(Σ_i x_{t·stride + i·dilation − before}·kernel_i + bias), by window.

    kernel [size, in, out], bias [out]; f is `function`.
    """

    name: str
    kernel: FloatArray
    bias: FloatArray
    stride: int = 1
    dilation: int = 1
    border: Border = "valid"
    function: Function = "linear"

    @property
    def window(self) -> RowWindow:
        return RowWindow(int(self.kernel.shape[0]), self.stride, self.dilation, self.border)


@dataclass(frozen=True)
class WindowPool:
    """The largest or the mean value of each feature by window; what lies beyond the ends of the
    text is left out."""

    name: str
    how: WindowPooling
    size: int
    stride: int
    border: Border = "valid"

    @property
    def window(self) -> RowWindow:
        return RowWindow(self.size, self.stride, 1, self.border)


@dataclass(frozen=True)
class Join:
    """Several inputs as one: their features side by side, or their values by element, where one of
    a single feature goes with all features of the others. All are sequences of the same rows, or
    all are vectors."""

    name: str
    how: Joining


@dataclass(frozen=True)
class Attention:
    """Inputs query q, value v and, if there is a third, key k (else v), sequences: row i is
    Σ_j a_ij·v_j with a_i = softmax over j of the scores.

    `dot`: scale·Σ_f q_if·k_jf (Luong et al. 2015); `additive`: Σ_f weights_f·tanh(scale·(q_if +
    k_jf)) (Bahdanau et al. 2015 as Keras has it), with weights [features].
    """

    name: str
    how: Scoring
    weights: FloatArray | None = None
    scale: float = 1.0


@dataclass(frozen=True)
class Flatten:
    """The rows of a sequence one behind the other, as one vector: it ties the network to texts of
    `tokens` tokens."""

    name: str
    tokens: int


@dataclass(frozen=True)
class Repeat:
    """A vector to a sequence of `rows` rows that are all equal to it, as the decoder of an
    autoencoder gets it."""

    name: str
    rows: int


@dataclass(frozen=True)
class FeatureSlice:
    """Some of the features: those from `begin` up to `end`."""

    name: str
    begin: int
    end: int


Layer = (
    Recurrent
    | Dense
    | Scale
    | LayerNorm
    | Pool
    | AttentionPool
    | MarkedPool
    | Activation
    | Convolution
    | WindowPool
    | Join
    | Attention
    | FeatureSlice
    | Flatten
    | Repeat
)


@dataclass(frozen=True)
class LayerShape:
    """What a layer gives: `rows` of a sequence as `windows.Rows`, None of a vector."""

    features: int
    rows: Rows | None = ()


@dataclass(frozen=True)
class TextInput:
    """What a source says of its texts besides its layers.

    `length` is the one number of tokens that it takes, None: any. `tokenizer_json` and `padding`
    are set where it holds its own vocabulary (Keras' TextVectorization).
    """

    length: int | None = None
    tokenizer_json: str | None = None
    padding: Padding | None = None


@dataclass(frozen=True)
class Network:
    """An input and layers, checked to fit each other when made.

    A layer is fed by the one before it (the first by the embedding), or by those whose names
    `inputs` gives for its own, which come before it; the last layer's output is the network's.

    Raises `CheckpointError` naming the layer whose arrays do not fit or hold NaN or infinity, a
    layer that needs a sequence and gets a vector, and a network without layers.
    """

    name: str
    input: Embedding | FloatInput
    layers: tuple[Layer, ...]
    text_input: TextInput = TextInput()
    fed_by: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.layers:
            raise CheckpointError("has no layers behind its embedding", where=self.name)
        self.shapes()
        lengths = {layer.tokens for layer in self.layers if isinstance(layer, Flatten)}
        if len(lengths) > 1 or min(lengths, default=1) < 1:
            raise CheckpointError("is tied to two lengths, or to none", where=self.name)

    def sources(self, layer: Layer) -> tuple[str, ...]:
        """The names of the layers, or of the input, that feed a layer."""
        names = self.fed_by.get(layer.name)
        if names is not None:
            return names
        position = next(i for i, other in enumerate(self.layers) if other is layer)
        return (self.layers[position - 1].name if position else self.input.name,)

    def shapes(self) -> tuple[LayerShape, ...]:
        """What the input and each layer give."""
        if isinstance(self.input, Embedding):
            _finite(self.name, self.input.name, self.input.table)
        flows = [LayerShape(self.input.size)]
        named = {self.input.name: flows[0]}
        for layer in self.layers:
            fed = self.fed_by.get(layer.name)
            missing = [name for name in fed or () if name not in named]
            if missing:
                raise CheckpointError(
                    f"layer {layer.name} is fed by a layer that does not come before it",
                    where=self.name,
                    found=missing[0],
                )
            inputs = [flows[-1]] if fed is None else [named[name] for name in fed]
            flows.append(shape_after(self.name, layer, inputs))
            if self.fed_by and layer.name in named:
                raise CheckpointError(f"has two layers called {layer.name}", where=self.name)
            named[layer.name] = flows[-1]
        return tuple(flows)

    @property
    def embedding(self) -> Embedding:
        """The input of a network that takes token ids; raises `CheckpointError` for another."""
        if isinstance(self.input, Embedding):
            return self.input
        raise CheckpointError("takes numbers, not token ids", where=self.name)

    def shape_of(self, layer: Layer) -> LayerShape:
        """What one of the network's layers gives."""
        pairs = zip(self.layers, self.shapes()[1:], strict=True)
        return next(shape for other, shape in pairs if other is layer)

    @property
    def outputs(self) -> int:
        """Features of the last layer: classes, or tags, or words."""
        return self.shapes()[-1].features

    @property
    def arch(self) -> Literal["bag", "lstm"]:
        """`bag` where the order of the tokens is nothing to any layer, `lstm` for all others."""
        without_order = (Dense, Scale, Activation, AttentionPool)
        if isinstance(self.input, Embedding) and all(
            isinstance(layer, without_order) or (isinstance(layer, Pool) and layer.how != "last")
            for layer in self.layers
        ):
            return "bag"
        return "lstm"

    @property
    def per_token(self) -> bool:
        """Whether the network answers for each token, or for each window of tokens."""
        return self.shapes()[-1].rows is not None

    def output_rows(self, tokens: int) -> int:
        """Rows of the answer to a text of `tokens`; for `per_token` alone."""
        return count_rows(self.shapes()[-1].rows or (), tokens)

    @property
    def required_tokens(self) -> int:
        """Tokens of the shortest text that has a row at each layer."""
        shortest = max(required_tokens(shape.rows or ()) for shape in self.shapes())
        return max(shortest, self.only_tokens or 1)

    @property
    def only_tokens(self) -> int | None:
        """The one number of tokens that the network takes, None where it takes any.

        An answer that is repeated has so many rows, one for each token.
        """
        tied = (layer.tokens for layer in self.layers if isinstance(layer, Flatten))
        return next(tied, self.repeated_rows)

    @property
    def repeated_rows(self) -> int | None:
        """Rows of an answer that has as many for every text; None: rows follow the text's."""
        rows = self.shapes()[-1].rows or ()
        return count_rows(rows, 1) if any(stride == 0 for _, stride in rows) else None

    @property
    def bidirectional(self) -> bool:
        return any(
            isinstance(layer, Recurrent) and layer.backward is not None for layer in self.layers
        )

    @property
    def parameters(self) -> int:
        """Number of weights in all arrays."""
        total = self.input.table.size if isinstance(self.input, Embedding) else 0
        for layer in self.layers:
            parts = layer.cells if isinstance(layer, Recurrent) else (layer,)
            for part in parts:
                total += sum(a.size for a in vars(part).values() if isinstance(a, np.ndarray))
        return int(total)


def tied_decoder(network: Network) -> str | None:
    """The name of the dense layer that multiplies by the table of words, None if there is none."""
    if isinstance(network.input, FloatInput):
        return None
    table = network.input.table
    for layer in network.layers:
        if isinstance(layer, Dense) and np.array_equal(layer.kernel.T, table):
            return layer.name
    return None


def shape_after(where: str, layer: Layer, inputs: Sequence[LayerShape]) -> LayerShape:
    """What `layer` makes of its inputs.

    Raises `CheckpointError` about `where` naming the layer when it does not fit them.
    """
    _check_choices(where, layer)
    joins = isinstance(layer, Join | Attention)
    if joins != (len(inputs) > 1):
        raise CheckpointError(f"layer {layer.name} does not take {len(inputs)} inputs", where=where)
    if joins:
        return _joined(where, layer, inputs)
    first = inputs[0]
    if first.rows is None and isinstance(layer, _OF_SEQUENCES):
        raise CheckpointError(
            f"layer {layer.name} needs a sequence and gets one vector a text", where=where
        )
    if isinstance(layer, Flatten | Repeat):
        return _reshaped(where, layer, first)
    _check_arrays(where, layer, first.features)
    features, rows = first.features, first.rows
    if isinstance(layer, Recurrent):
        if len({cell.form for cell in layer.cells}) > 1:
            raise CheckpointError(
                f"layer {layer.name} has two directions that differ in more than their weights",
                where=where,
                found=" and ".join(str(cell.form) for cell in layer.cells),
                expected="cells of one kind, with the same functions",
            )
        return LayerShape(layer.features, rows if layer.sequences else None)
    if isinstance(layer, Convolution | WindowPool):
        rows = layer.window.after(rows or ())
    if isinstance(layer, Dense | Convolution):
        features = int(layer.bias.size)
    if isinstance(layer, Pool | AttentionPool | MarkedPool):
        rows = None
    if isinstance(layer, MarkedPool):
        features = marked_features(features, len(layer.marks))
    if isinstance(layer, FeatureSlice):
        features = layer.end - layer.begin
    return LayerShape(features, rows)


def _reshaped(where: str, layer: Flatten | Repeat, before: LayerShape) -> LayerShape:
    """A sequence as one vector, or a vector as a sequence of equal rows."""
    if isinstance(layer, Flatten):
        rows = count_rows(before.rows or (), layer.tokens)
        return LayerShape(before.features * max(rows, 0), None)
    if before.rows is not None:
        raise CheckpointError(
            f"layer {layer.name} repeats a vector and gets a sequence", where=where
        )
    return LayerShape(before.features, ((layer.rows, 0),))


_OF_SEQUENCES = (Recurrent, Pool, AttentionPool, MarkedPool, Convolution, WindowPool, Flatten)


_HOWS: dict[type[Any], tuple[str, ...]] = {
    Pool: get_args(Pooling),
    WindowPool: get_args(WindowPooling),
    Join: get_args(Joining),
    Attention: get_args(Scoring),
}


def _joined(where: str, layer: Layer, inputs: Sequence[LayerShape]) -> LayerShape:
    """The shape of several inputs as one."""
    first = inputs[0]

    def refuse(what: str) -> CheckpointError:
        return CheckpointError(f"layer {layer.name} {what}", where=where)

    if isinstance(layer, Attention):
        if len(inputs) > 3 or any(shape.rows is None for shape in inputs):
            raise refuse("needs two or three sequences: query, value and key")
        key = inputs[-1]
        if key.features != first.features or key.rows != inputs[1].rows:
            raise refuse("has a query, a value and a key that do not fit each other")
        _check_arrays(where, layer, first.features)
        return LayerShape(inputs[1].features, first.rows)
    if any(shape.rows != first.rows for shape in inputs):
        raise refuse("joins sequences of different lengths, or a sequence with a vector")
    if isinstance(layer, Join) and layer.how == "concat":
        return LayerShape(sum(shape.features for shape in inputs), first.rows)
    features = max(shape.features for shape in inputs)
    if any(shape.features not in (1, features) for shape in inputs):
        raise refuse("joins layers of different numbers of features")
    return LayerShape(features, first.rows)


def _check_arrays(where: str, layer: Layer, features: int) -> None:
    """Raises `CheckpointError` for arrays that do not fit inputs of `features`."""
    for array, *shape in _EXPECTED_SHAPES[type(layer)](layer, features):
        if array.shape != tuple(shape):
            raise CheckpointError(
                f"layer {layer.name} has an array whose shape does not fit its inputs",
                where=where,
                found=list(array.shape),
                expected=shape,
            )
        _finite(where, layer.name, array)
    if isinstance(layer, FeatureSlice) and not 0 <= layer.begin < layer.end <= features:
        raise CheckpointError(
            f"layer {layer.name} takes features that its inputs do not have",
            where=where,
            found=f"{layer.begin} to {layer.end}",
            expected=f"within 0 to {features}",
        )


def _recurrent_shapes(layer: Recurrent, features: int) -> list[tuple[Any, ...]]:
    shapes: list[tuple[Any, ...]] = []
    for cell in layer.cells:
        hidden, gates = layer.forward.hidden_size, GATES[cell.kind] * cell.hidden_size
        shapes += [
            (cell.kernel, features, gates),
            (cell.recurrent_kernel, hidden, gates),
            (cell.bias, gates),
        ]
        if cell.recurrent_bias is not None:
            shapes.append((cell.recurrent_bias, gates))
    return shapes


def _no_arrays(_layer: Layer, _features: int) -> list[tuple[Any, ...]]:
    return []


_EXPECTED_SHAPES: dict[type[Any], Callable[[Any, int], list[tuple[Any, ...]]]] = {
    Recurrent: _recurrent_shapes,
    Dense: lambda layer, features: [
        (layer.kernel, features, layer.bias.size),
        (layer.bias, layer.kernel.shape[1]),
    ],
    Scale: lambda layer, features: [(layer.factor, features), (layer.offset, features)],
    LayerNorm: lambda layer, features: [(layer.scale, features), (layer.offset, features)],
    Attention: lambda layer, features: [] if layer.weights is None else [(layer.weights, features)],
    AttentionPool: lambda layer, features: [
        (layer.kernel, features, layer.query.size),
        (layer.bias, layer.query.size),
        (layer.query, layer.kernel.shape[1]),
    ],
    Convolution: lambda layer, features: [
        (layer.kernel, layer.window.size, features, layer.bias.size),
        (layer.bias, layer.kernel.shape[2]),
    ],
    **dict.fromkeys((Pool, MarkedPool, Activation, WindowPool, Join, FeatureSlice), _no_arrays),
}
"""The arrays of a layer, each followed by the shape that it must have for inputs of so many
features."""


def _check_choices(where: str, layer: Layer) -> None:
    """Refuses a kind of cell, a function or another setting that there is none of."""
    elements = get_args(ElementFunction)
    choices: list[tuple[str, tuple[str, ...]]] = []
    if isinstance(layer, Recurrent):
        for cell in layer.cells:
            choices.append((cell.kind, tuple(GATES)))
            choices += [(cell.gate_function, elements), (cell.function, elements)]
    if isinstance(layer, Dense | Activation | Convolution):
        choices.append((layer.function, (*elements, "softmax")))
    if isinstance(layer, Convolution | WindowPool):
        choices.append((layer.border, get_args(Border)))
    if isinstance(layer, Pool | WindowPool | Join | Attention):
        choices.append((layer.how, _HOWS[type(layer)]))
    for found, known in choices:
        if found not in known:
            raise CheckpointError(
                f"layer {layer.name} has an unknown function, kind of cell or other setting",
                where=where,
                found=found,
                expected=", ".join(known),
            )
    if isinstance(layer, Convolution | WindowPool):
        window = layer.window
        if min(window.size, window.stride, window.dilation) < 1:
            raise CheckpointError(
                f"layer {layer.name} has windows of no size, stride or dilation", where=where
            )


def marked_features(features: int, marks: int) -> int:
    """Numbers that a `MarkedPool` of `marks` makes of rows of `features`."""
    return features * (2 * marks - 1)


def _finite(where: str, layer: str, array: FloatArray) -> None:
    if not np.isfinite(array).all():
        raise CheckpointError(f"layer {layer} holds a value that is not a number", where=where)
