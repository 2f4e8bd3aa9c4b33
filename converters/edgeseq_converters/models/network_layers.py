"""The layers of a recurrent network, and its inputs, as data.

What flows between them is a sequence [n, features] until a layer turns it into a vector
[features]; n is the real length of the text, or what windows make of it. Nothing of a framework is
in it: arrays are float32, gates are in Keras' order (LSTM i, f, c, o; GRU z, r, h; a simple RNN has
one), linear weights are [in, out], and everything that acts only while training (dropout, noise) is
gone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgeseq.tasks.word_features import FEATURES
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.windows import Border, RowWindow

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

    The first token counts as real even when it is 0: a text has at least one. With `word_features`
    [rows, columns] a token also has a row of that table for each of its word's features
    (`edgeseq.tasks.word_features`), which lie behind its own one, side by side.
    """

    name: str
    table: FloatArray
    mask_zero: bool = False
    word_features: FloatArray | None = None

    @property
    def vocabulary_size(self) -> int:
        return int(self.table.shape[0])

    @property
    def word_width(self) -> int:
        """Numbers of a token that come from its word's features."""
        return 0 if self.word_features is None else len(FEATURES) * self.word_features.shape[1]

    @property
    def size(self) -> int:
        return int(self.table.shape[1]) + self.word_width


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


def marked_features(features: int, marks: int) -> int:
    """Numbers that a `MarkedPool` of `marks` makes of rows of `features`."""
    return features * (2 * marks - 1)
