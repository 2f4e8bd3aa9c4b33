"""Puts found modules into the one order in which their shapes fit, as a description.

Frameworks save modules in the order in which they were made, mostly that of use: of the orders
that fit, the one nearest to it is taken. What weights do not tell is left as "?".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgeseq.errors import CheckpointError
from edgeseq_converters.models.describe.modules import FoundModule, FoundWeights
from edgeseq_converters.models.description import (
    UNKNOWN,
    ActivationPart,
    AttentionPart,
    BatchNormPart,
    Description,
    EmbeddingPart,
    GruPart,
    InputPart,
    LayerNormPart,
    LinearPart,
    LstmPart,
    Part,
    PoolPart,
    RnnPart,
)

RECURRENT = ("lstm", "gru", "rnn")
_NORMS: dict[str, type[BatchNormPart] | type[LayerNormPart]] = {
    "batch_norm": BatchNormPart,
    "layer_norm": LayerNormPart,
}
_FUNCTIONS = ("relu", "tanh", "linear", "sigmoid")
_MOST_MODULES = 24
_MOST_STEPS = 20_000


@dataclass(frozen=True)
class Draft:
    """A description in which "?" marks what weights do not tell.

    `choices` has the possible values by (layer, field); `notes` a remark for each layer, −1 for
    the embedding.
    """

    description: Description
    choices: dict[tuple[int, str], tuple[str, ...]]
    notes: dict[int, str] = field(default_factory=dict)


def draft_of(weights: FoundWeights, name: str, where: Path) -> Draft:
    """The description of the modules.

    Raises `CheckpointError` naming a module that no layer is known for, or whose shapes do not
    fit any order.
    """
    for module in weights.modules:
        if module.kind == "other":
            raise CheckpointError(
                f"{module.prefix or 'the module itself'} {module.note}: no layer is known for it",
                where=where,
                fix="describe the layers in a network.toml (docs/guides/sources.md); arrays of a "
                "loss or an optimizer are listed under ignore",
            )
    if len(weights.modules) > _MOST_MODULES:
        raise CheckpointError(
            "has too many modules for one text network", where=where, found=len(weights.modules)
        )
    steps = iter(range(_MOST_STEPS))
    for table in _inputs(weights.modules):
        rest = [module for module in weights.modules if module is not table]
        for order in _orders(rest, table.outputs, weights, steps):
            return _Writer(weights, table).draft(order, name)
    raise CheckpointError(
        "has no order of its modules in which their shapes fit",
        where=where,
        found="; ".join(_shape(module) for module in weights.modules)[:400],
        expected="an embedding, LSTM, GRU or RNN layers, linear layers",
        fix="describe the layers in a network.toml (docs/guides/sources.md); a linear layer over "
        "all tokens of a text (flatten) ties the model to one length and cannot be converted",
    )


def _inputs(modules: Sequence[FoundModule]) -> list[FoundModule]:
    """Modules that may be the embedding, best guess first: by name, then with the most rows.

    At last an input of numbers, as wide as what the first recurrent layer takes.
    """
    tables = [module for module in modules if module.kind == "table"]

    def rank(module: FoundModule) -> tuple[bool, int]:
        lowered = module.prefix.lower()
        named = any(word in lowered for word in ("emb", "word", "encoder", "lookup"))
        return not named, -module.inputs

    widths = [module.inputs for module in modules if module.kind in RECURRENT]
    numbers = FoundModule("table", "", 0, widths[0] if widths else 0)
    return [*sorted(tables, key=rank), numbers]


@dataclass(frozen=True)
class _Flow:
    """What the layers so far give: features, those of one direction and of the last recurrent
    layer's states, and whether they may still be pooled."""

    width: int
    half: int = 0
    states: int = 0
    is_sequence: bool = True
    read: bool = False


def _orders(
    modules: list[FoundModule], width: int, weights: FoundWeights, steps: Iterator[int]
) -> Iterator[tuple[FoundModule, ...]]:
    """Orders of all modules in which each takes what the one before gives."""

    def extend(
        rest: list[FoundModule], order: tuple[FoundModule, ...], flow: _Flow
    ) -> Iterator[tuple[FoundModule, ...]]:
        if next(steps, None) is None:
            return
        if not rest:
            if flow.read:
                yield order
            return
        choices = rest[:1] if weights.is_ordered else rest
        for module in choices:
            after = _after(module, flow, last=len(rest) == 1)
            if after is not None:
                others = [other for other in rest if other is not module]
                yield from extend(others, (*order, module), after)

    yield from extend(modules, (), _Flow(width))


def _after(module: FoundModule, flow: _Flow, *, last: bool) -> _Flow | None:
    """The flow after the module, None where it does not fit."""
    pooled = replace(flow, is_sequence=False) if flow.is_sequence and flow.read else None
    # Two or three pooled vectors side by side, right after the recurrent layers.
    is_states = flow.is_sequence and flow.width == flow.states
    several = (2 * flow.states, 3 * flow.states) if is_states else ()
    inputs, outputs = module.inputs, module.outputs
    if module.kind == "table":  # a linear layer without a bias
        inputs, outputs = outputs, inputs
    if module.kind in RECURRENT:
        half = outputs // 2 if module.directions == 2 else 0
        fits = flow.is_sequence and inputs == flow.width
        after: _Flow | None = _Flow(outputs, half, outputs, read=True) if fits else None
    elif module.kind == "pool":
        after = pooled
    elif module.kind == "activation":
        after = flow
    elif module.kind in _NORMS:
        after = replace(flow, width=inputs) if inputs in (flow.width, *several) else None
    elif inputs not in (flow.width, flow.half, *several):
        after = None
    elif module.kind == "vector" or (outputs == 1 and not last):
        # Attention's scores: what follows takes the weighted states.
        after = pooled and replace(pooled, width=flow.states)
    else:
        after = replace(flow, width=outputs, half=0)
    return after


def _shape(module: FoundModule) -> str:
    return f"{module.prefix} ({module.kind}) {module.inputs} to {module.outputs}"


class _Writer:
    """Writes an order of modules as a description."""

    def __init__(self, weights: FoundWeights, table: FoundModule) -> None:
        self._found, self._table = weights, table
        self._is_torch = weights.framework == "torch"
        self._parts: list[Part] = []
        self._choices: dict[tuple[int, str], tuple[str, ...]] = {}
        self._notes: dict[int, str] = {}

    def draft(self, order: Sequence[FoundModule], name: str) -> Draft:
        self._notes[-1] = f"{self._table.inputs} ids, {self._table.outputs} features"
        if self._table.zero_row:
            self._notes[-1] += "; row 0 is all zeros: padding_idx = 0 where texts are packed"
        last_read = max(n for n, module in enumerate(order) if module.kind in RECURRENT)
        head = [module for module in order if module.kind in ("linear", "table")]
        per_token = bool(head) and self._gives(head[-1]) == self._table.inputs
        number = 0
        while number < len(order):
            module = order[number]
            after = order[number + 1] if number + 1 < len(order) else None
            if module.kind in RECURRENT:
                self._recurrent(module)
                if number == last_read and not per_token:
                    number += self._pool(order, number)
            elif module.kind in ("linear", "table"):
                self._linear(module, after, is_last=module is head[-1])
            elif module.kind in _NORMS:
                self._add(_NORMS[module.kind](module.prefix), f"{module.inputs} features")
                before = order[number - 1] if number else None
                if before is not None and before.kind in ("linear", "table") and self._is_torch:
                    note = "after the normalization"
                    self._add(ActivationPart(UNKNOWN), note, activation=_FUNCTIONS)
            elif module.kind == "activation":
                self._activation(module)
            number += 1
        if per_token:
            self._notes[len(self._parts) - 1] += (
                "; as many as ids: an answer for each token, without a pool layer"
            )
        table = self._table
        weight = f"{table.prefix}.weight" if self._is_torch else table.prefix
        description = Description(
            tuple(self._parts),
            EmbeddingPart(weight) if table.inputs else None,
            input=None if table.inputs else InputPart(table.outputs),
            name=name,
            state_dict=self._found.state_dict,
        )
        if not table.inputs:
            self._notes[-1] = "no table: numbers at each step"
        return Draft(description, self._choices, self._notes)

    def _gives(self, module: FoundModule) -> int:
        return module.inputs if module.kind == "table" else module.outputs

    def _takes(self, module: FoundModule) -> int:
        return module.outputs if module.kind == "table" else module.inputs

    def _add(self, part: Part, note: str = "", **choices: tuple[str, ...]) -> None:
        number = len(self._parts)
        self._parts.append(part)
        self._notes[number] = note
        self._choices |= {(number, name): values for name, values in choices.items()}

    def _recurrent(self, module: FoundModule) -> None:
        directions = "both directions" if module.directions == 2 else "one direction"
        layers = "1 layer" if module.layers == 1 else f"{module.layers} layers"
        note = f"{layers}, {directions}, {module.outputs} features"
        options = {"layers": module.layers, "bidirectional": module.directions == 2}
        if module.kind == "rnn":
            part: Part = RnnPart(module.prefix, UNKNOWN, **options)  # type: ignore[arg-type]
            self._add(part, note, nonlinearity=("tanh", "relu"))
        else:
            kind = LstmPart if module.kind == "lstm" else GruPart
            self._add(kind(module.prefix, **options), note)  # type: ignore[arg-type]

    def _pool(self, order: Sequence[FoundModule], number: int) -> int:
        """What follows the last recurrent layer; gives how many modules it took."""
        module, rest = order[number], order[number + 1 :]
        pools = [m for m in order if m.kind == "pool"]
        if len(pools) == 1:
            self._add(PoolPart(pools[0].how), f"the layer {pools[0].prefix}")  # type: ignore[arg-type]
            return 0
        if self._found.is_complete and not pools:
            self._add(PoolPart("last"), "the file lists no pooling layer")
            return 0
        scorers = self._scorers(rest)
        if scorers:
            prefixes = [scorer.prefix for scorer in scorers]
            hidden = prefixes[0] if len(prefixes) == 2 else None
            part = AttentionPart(prefixes[-1], hidden, UNKNOWN)
            note = "one score for each token: taken for attention"
            self._add(part, note, activation=("tanh", "linear"))
            return len(scorers)
        takes = [self._takes(m) for m in rest if m.kind in ("linear", "table", *_NORMS)]
        choices: tuple[str, ...] = ("last", "max", "mean")
        if module.directions == 2:
            choices = ("last", "last-token", "max", "mean")
            if takes and takes[0] == module.outputs // 2:
                choices = ("last-backward", "sum-last", "sum-max", "sum-mean")
        if takes and takes[0] == 2 * module.outputs:
            choices = ("max+mean", "mean+max")
        if takes and takes[0] == 3 * module.outputs:
            choices = ("last-token+max+mean",)
        self._add(PoolPart(UNKNOWN), "how the states become one vector", how=choices)
        return 0

    def _scorers(self, rest: Sequence[FoundModule]) -> Sequence[FoundModule]:
        """One or two linear layers right here that give one score for each token."""
        if rest and rest[0].kind == "vector":
            return rest[:1]
        dense = [module.kind in ("linear", "table") for module in rest]
        for count in (1, 2):
            scored = all(dense[: count + 1]) and len(rest) > count
            if scored and self._gives(rest[count - 1]) == 1:
                return rest[:count]
        return ()

    def _linear(self, module: FoundModule, after: FoundModule | None, *, is_last: bool) -> None:
        gives = self._gives(module)
        note = f"{self._takes(module)} features to {gives}"
        if after is not None and after.kind == "activation":
            self._add(LinearPart(module.prefix), note)
        elif is_last and gives == 1:
            self._add(LinearPart(module.prefix, UNKNOWN), note, activation=("sigmoid", "linear"))
        elif is_last:
            self._add(LinearPart(module.prefix), f'{note}; "softmax" where the model ends in one')
        elif after is not None and after.kind in _NORMS and self._is_torch:
            self._add(LinearPart(module.prefix), note)  # its function comes after it
        else:
            self._add(LinearPart(module.prefix, UNKNOWN), note, activation=_FUNCTIONS)

    def _activation(self, module: FoundModule) -> None:
        if module.how:
            self._add(ActivationPart(module.how), f"the layer {module.prefix}")  # type: ignore[arg-type]
        else:
            choices = (*_FUNCTIONS, "softmax")
            self._add(ActivationPart(UNKNOWN), f"the layer {module.prefix}", activation=choices)
