"""Adam with decoupled weight decay (Loshchilov & Hutter 2019) for models with large tables.

For a table it is the "lazy" form: only the rows that a step has read are updated, and the moments
of the others stay as they are, so a step's cost does not grow with the vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

TABLES = ("table", "word_bias")
_BETA_1, _BETA_2, _EPSILON = 0.9, 0.99, 1e-8


class LazyAdam:
    """The moments of `weights`, of which those named in `TABLES` are tables of words.

    Weight decay acts on matrices that are no tables. Gradients are scaled to a global norm of
    `clip_norm` at most. The rate of tables is `table_rate` times that of the rest.
    """

    def __init__(
        self,
        weights: Mapping[str, Any],
        *,
        weight_decay: float,
        clip_norm: float,
        table_rate: float = 1.0,
    ) -> None:
        self._weights = dict(weights)
        self._means = {name: tf.Variable(tf.zeros_like(v)) for name, v in weights.items()}
        self._squares = {name: tf.Variable(tf.zeros_like(v)) for name, v in weights.items()}
        self._weight_decay, self._clip_norm = weight_decay, clip_norm
        self._table_rate = table_rate

    def _groups(self) -> dict[str, dict[str, Any]]:
        return {"weights": self._weights, "means": self._means, "squares": self._squares}

    def kept(self) -> dict[str, Any]:
        """The weights and their moments, by name."""
        groups = self._groups()
        return {f"{group}.{n}": v.numpy() for group, vs in groups.items() for n, v in vs.items()}

    def restore(self, kept: Mapping[str, Any]) -> None:
        """Takes over what `kept` gave."""
        for group, variables in self._groups().items():
            for name, variable in variables.items():
                variable.assign(kept[f"{group}.{name}"])

    def apply(
        self,
        gradients: Mapping[str, Any],
        rows: Mapping[str, Any],
        asked: Any,
        rate: Any,
        step: Any,
    ) -> None:
        """One update. `rows` are those of the tables at the words `asked` [k], each word once, and
        their gradients are dense over these; `rate` and `step` (from 1) are float32 scalars."""
        dense = {name: tf.convert_to_tensor(one) for name, one in gradients.items()}
        norm = tf.linalg.global_norm(list(dense.values()))
        scale = tf.minimum(1.0, self._clip_norm / (norm + 1e-6))
        powers = tf.pow(_BETA_1, step), tf.pow(_BETA_2, step)
        for name, gradient in dense.items():
            if name in TABLES:
                self._table(name, gradient * scale, (rows[name], asked), rate, powers)
            else:
                self._matrix(name, gradient * scale, rate, powers)

    def _matrix(self, name: str, gradient: Any, rate: Any, powers: tuple[Any, Any]) -> None:
        variable = self._weights[name]
        if self._weight_decay and len(variable.shape) > 1:
            variable.assign(variable * (1 - rate * self._weight_decay))
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._means[name].handle,
            v=self._squares[name].handle,
            beta1_power=powers[0],
            beta2_power=powers[1],
            lr=rate,
            beta1=_BETA_1,
            beta2=_BETA_2,
            epsilon=_EPSILON,
            grad=gradient,
        )

    def _table(
        self, name: str, gradient: Any, read: tuple[Any, Any], rate: Any, powers: tuple[Any, Any]
    ) -> None:
        rows, asked = read
        corrected = self._table_rate * rate * tf.sqrt(1 - powers[1]) / (1 - powers[0])
        old = tf.gather(self._means[name], asked), tf.gather(self._squares[name], asked)
        mean = _BETA_1 * old[0] + (1 - _BETA_1) * gradient
        square = _BETA_2 * old[1] + (1 - _BETA_2) * gradient * gradient
        value = rows - corrected * mean / (tf.sqrt(square) + _EPSILON)
        for variable, new in (
            (self._weights[name], value),
            (self._means[name], mean),
            (self._squares[name], square),
        ):
            variable.scatter_update(tf.IndexedSlices(new, asked))
