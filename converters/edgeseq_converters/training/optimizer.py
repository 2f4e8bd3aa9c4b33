"""AdamW (Loshchilov & Hutter 2019) with TensorFlow's fused kernel, and the learning rates.

Keras' own optimizer makes a dozen passes over the memory of each variable, the fused kernel one
(docs/decisions/0088-own-adamw.md). Of an embedding table whose gradient comes as rows only these
are updated, the "lazy" form, so a step's cost does not grow with the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

_BETA_1, _EPSILON = 0.9, 1e-8


class AdamW:
    """Updates TensorFlow variables.

    `lr_multipliers` multiply the learning rate of each variable. Weight decay acts on matrices with
    dense gradients, not on biases, norms and rows of tables. Gradients are scaled to a global norm
    of `max_grad_norm` at most (Pascanu et al. 2013). `beta_2` is shorter than the usual 0.999
    because an epoch has a few hundred steps.
    """

    def __init__(
        self,
        variables: Sequence[Any],
        *,
        weight_decay: float,
        max_grad_norm: float,
        beta_2: float = 0.98,
        lr_multipliers: Sequence[float] | None = None,
    ) -> None:
        self.variables = list(variables)
        self._moments = [
            (tf.Variable(tf.zeros(v.shape)), tf.Variable(tf.zeros(v.shape))) for v in variables
        ]
        self._lr_multipliers = list(lr_multipliers or [1.0] * len(self.variables))
        self._weight_decay, self._max_grad_norm = weight_decay, max_grad_norm
        self._beta_2 = beta_2

    @property
    def state(self) -> list[Any]:
        """The variables and their moments: what the next update depends on."""
        return [*self.variables, *(moment for pair in self._moments for moment in pair)]

    def apply(self, gradients: Sequence[Any], learning_rate: Any, step: Any) -> None:
        """One update; `learning_rate` and `step` (1 for the first) are float32 scalars.

        A gradient is a tensor, or `tf.IndexedSlices` with distinct indices.
        """
        norm = tf.linalg.global_norm(gradients)
        scale = tf.minimum(1.0, self._max_grad_norm / (norm + 1e-6))
        powers = tf.pow(_BETA_1, step), tf.pow(self._beta_2, step)
        for variable, moments, multiplier, gradient in zip(
            self.variables, self._moments, self._lr_multipliers, gradients, strict=True
        ):
            rate = multiplier * learning_rate
            if isinstance(gradient, tf.IndexedSlices):
                rows = tf.IndexedSlices(gradient.values * scale, gradient.indices)
                self._update_rows(variable, moments, rows, rate, powers)
                continue
            if self._weight_decay and len(variable.shape) > 1:
                variable.assign(variable * (1 - learning_rate * self._weight_decay))
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=moments[0].handle,
                v=moments[1].handle,
                beta1_power=powers[0],
                beta2_power=powers[1],
                lr=rate,
                beta1=_BETA_1,
                beta2=self._beta_2,
                epsilon=_EPSILON,
                grad=gradient * scale,
            )

    def _update_rows(
        self, variable: Any, moments: tuple[Any, Any], rows: Any, rate: Any, powers: tuple[Any, Any]
    ) -> None:
        ids, gradient = rows.indices, rows.values
        corrected = rate * tf.sqrt(1 - powers[1]) / (1 - powers[0])
        mean = _BETA_1 * tf.gather(moments[0], ids) + (1 - _BETA_1) * gradient
        square = self._beta_2 * tf.gather(moments[1], ids)
        square += (1 - self._beta_2) * gradient * gradient
        value = tf.gather(variable, ids) - corrected * mean / (tf.sqrt(square) + _EPSILON)
        for target, update in ((variable, value), (moments[0], mean), (moments[1], square)):
            target.scatter_update(tf.IndexedSlices(update, ids))


def linear_decay(step: int, total: int, *, peak: float, warmup_ratio: float) -> float:
    """The rate of step `step` (1 … `total`): linearly up over `warmup_ratio`, then down to 0."""
    rising = max(1.0, warmup_ratio * total)
    if step <= rising:
        return peak * step / rising
    return peak * max(0.0, (total - step) / max(1.0, total - rising))


def constant_then_decay(
    step: int, total: int, *, peak: float, warmup_steps: int, constant_ratio: float
) -> float:
    """The rate of step `step` (1 … `total`): up over `warmup_steps`, constant, then down to 0."""
    rising = min(1.0, step / warmup_steps)
    falling = (total - step + 1) / max(1.0, (1 - constant_ratio) * total)
    return peak * min(rising, 1.0, falling)
