"""A recurrent network as data: what every source is read into and every lowering starts from.

An embedding or an input of numbers, then layers in order. What flows between them is a sequence
[n, features] until a layer turns it into a vector [features]; n is the real length of the text.
Nothing of a framework is in it: arrays are float32, gates are in Keras' order (LSTM i, f, c, o; GRU
z, r, h; a simple RNN has one), linear weights are [in, out], and everything that acts only while
training (dropout, noise) is gone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from edgeseq.errors import CheckpointError
from edgeseq.formats.padding import Padding
from edgeseq_converters.models.arrays import FloatArray

Kind = Literal["lstm", "gru", "rnn"]
Merge = Literal["concat", "sum", "mul", "ave"]
ElementFunction = Literal[
    "linear", "relu", "tanh", "sigmoid", "hard_sigmoid_fifth", "hard_sigmoid_sixth", "softsign"
]
"""Of one element x. The hard sigmoids are straight lines cut off at 0 and 1: x/5 + 1/2 (Keras
before 3), x/6 + 1/2 (Keras 3, PyTorch). Softsign is x / (1 + |x|)."""
Function = Literal[ElementFunction, "softmax"]
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
class Pool:
    """A sequence to a vector: the largest or mean value of each feature, or the last token's."""

    name: str
    how: Literal["max", "mean", "last"]


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


Layer = Recurrent | Dense | Scale | Pool | AttentionPool | MarkedPool | Activation


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

    Raises `CheckpointError` naming the layer whose arrays do not fit or hold NaN or infinity, a
    layer that needs a sequence and gets a vector, and a network without a recurrent layer.
    """

    name: str
    input: Embedding | FloatInput
    layers: tuple[Layer, ...]
    text_input: TextInput = TextInput()

    def __post_init__(self) -> None:
        self.shapes()
        if not any(isinstance(layer, Recurrent) for layer in self.layers):
            raise CheckpointError("has no recurrent layer", where=self.name)

    def shapes(self) -> tuple[tuple[int, bool], ...]:
        """(features, is a sequence) after the input and after each layer."""
        if isinstance(self.input, Embedding):
            _finite(self, self.input.name, self.input.table)
        flow = [(self.input.size, True)]
        for layer in self.layers:
            flow.append(_after(self, layer, *flow[-1]))
        return tuple(flow)

    @property
    def embedding(self) -> Embedding:
        """The input of a network that takes token ids; raises `CheckpointError` for another."""
        if isinstance(self.input, Embedding):
            return self.input
        raise CheckpointError("takes numbers, not token ids", where=self.name)

    @property
    def outputs(self) -> int:
        """Features of the last layer: classes, or tags, or words."""
        return self.shapes()[-1][0]

    @property
    def per_token(self) -> bool:
        """Whether the network answers for each token."""
        return self.shapes()[-1][1]

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


def _after(network: Network, layer: Layer, features: int, sequence: bool) -> tuple[int, bool]:
    def fits(array: FloatArray, *shape: int) -> None:
        if array.shape != shape:
            raise CheckpointError(
                f"layer {layer.name} has an array whose shape does not fit its inputs",
                where=network.name,
                found=list(array.shape),
                expected=list(shape),
            )
        _finite(network, layer.name, array)

    if isinstance(layer, Recurrent | Pool | AttentionPool | MarkedPool) and not sequence:
        raise CheckpointError(
            f"layer {layer.name} needs a sequence and gets one vector a text", where=network.name
        )
    _known(network, layer)
    if isinstance(layer, Recurrent):
        for cell in layer.cells:
            hidden, gates = layer.forward.hidden_size, GATES[cell.kind] * cell.hidden_size
            fits(cell.kernel, features, gates)
            fits(cell.recurrent_kernel, hidden, gates)
            fits(cell.bias, gates)
            if cell.recurrent_bias is not None:
                fits(cell.recurrent_bias, gates)
        if len({cell.form for cell in layer.cells}) > 1:
            raise CheckpointError(
                f"layer {layer.name} has two directions that differ in more than their weights",
                where=network.name,
                found=" and ".join(str(cell.form) for cell in layer.cells),
                expected="cells of one kind, with the same functions",
            )
        return layer.features, layer.sequences
    if isinstance(layer, Dense):
        fits(layer.kernel, features, layer.bias.size)
        fits(layer.bias, layer.kernel.shape[1])
        return layer.bias.size, sequence
    if isinstance(layer, Scale):
        fits(layer.factor, features)
        fits(layer.offset, features)
        return features, sequence
    if isinstance(layer, AttentionPool):
        fits(layer.kernel, features, layer.query.size)
        fits(layer.bias, layer.query.size)
        fits(layer.query, layer.kernel.shape[1])
    if isinstance(layer, MarkedPool):
        features = marked_features(features, len(layer.marks))
    return features, sequence and isinstance(layer, Activation)


def _known(network: Network, layer: Layer) -> None:
    """Refuses a kind of cell or a function that there is none of."""
    elements = get_args(ElementFunction)
    choices: list[tuple[str, tuple[str, ...]]] = []
    if isinstance(layer, Recurrent):
        for cell in layer.cells:
            choices.append((cell.kind, tuple(GATES)))
            choices += [(cell.gate_function, elements), (cell.function, elements)]
    elif isinstance(layer, Dense | Activation):
        choices.append((layer.function, (*elements, "softmax")))
    for found, known in choices:
        if found not in known:
            raise CheckpointError(
                f"layer {layer.name} has an unknown function or kind of cell",
                where=network.name,
                found=found,
                expected=", ".join(known),
            )


def marked_features(features: int, marks: int) -> int:
    """Numbers that a `MarkedPool` of `marks` makes of rows of `features`."""
    return features * (2 * marks - 1)


def _finite(network: Network, layer: str, array: FloatArray) -> None:
    if not np.isfinite(array).all():
        raise CheckpointError(
            f"layer {layer} holds a value that is not a number", where=network.name
        )
