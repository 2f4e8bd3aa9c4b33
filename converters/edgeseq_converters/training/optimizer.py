"""AdamW (Loshchilov & Hutter 2019) with TensorFlow's fused kernel, and its learning rate.

Keras' own optimizer makes a dozen passes over the memory of each variable; on a CPU with ten
million parameters that is a tenth of the training. The fused kernel makes one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

_BETA_1 = 0.9
_BETA_2 = 0.98
"""Shorter than the usual 0.999: an epoch has a few hundred steps."""
_EPSILON = 1e-8


class AdamW:
    """Updates Keras variables.

    `factors` multiply the learning rate of each variable. Weight decay acts on matrices alone,
    not on biases and layer norms. Gradients are scaled to a global norm of `clip_norm` at most
    (Pascanu et al. 2013).
    """

    def __init__(
        self,
        variables: Sequence[Any],
        *,
        factors: Sequence[float],
        weight_decay: float,
        clip_norm: float,
    ) -> None:
        self._variables = [variable.value for variable in variables]
        self._moments = [
            (tf.Variable(tf.zeros(v.shape)), tf.Variable(tf.zeros(v.shape)))
            for v in self._variables
        ]
        self._factors = list(factors)
        self._weight_decay = weight_decay
        self._clip_norm = clip_norm

    @classmethod
    def of(
        cls, settings: Any, variables: Sequence[Any], factors: Sequence[float] | None = None
    ) -> AdamW:
        """With the weight decay and the norm of `settings`; without `factors` all rates are one."""
        return cls(
            variables,
            factors=[1.0] * len(variables) if factors is None else factors,
            weight_decay=settings.weight_decay,
            clip_norm=settings.clip_norm,
        )

    @property
    def state(self) -> list[Any]:
        """The moments of every variable, which the next update builds on."""
        return [moment for pair in self._moments for moment in pair]

    def apply(self, gradients: Sequence[Any], rate: Any, step: Any) -> None:
        """One update; `rate` and `step` (1 for the first) are float32 scalars."""
        dense = [tf.convert_to_tensor(gradient) for gradient in gradients]
        norm = tf.linalg.global_norm(dense)
        scale = tf.minimum(1.0, self._clip_norm / (norm + 1e-6))
        power_1, power_2 = tf.pow(_BETA_1, step), tf.pow(_BETA_2, step)
        for variable, (mean, square), factor, gradient in zip(
            self._variables, self._moments, self._factors, dense, strict=True
        ):
            if self._weight_decay and len(variable.shape) > 1:
                variable.assign(variable * (1 - rate * self._weight_decay))
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=mean.handle,
                v=square.handle,
                beta1_power=power_1,
                beta2_power=power_2,
                lr=rate * factor,
                beta1=_BETA_1,
                beta2=_BETA_2,
                epsilon=_EPSILON,
                grad=gradient * scale,
            )


def learning_rate(step: int, total: int, *, peak: float, warmup: float) -> float:
    """The rate of step `step` (1 … `total`): linearly up over the part `warmup`, then down to 0."""
    rising = max(1.0, warmup * total)
    if step <= rising:
        return peak * step / rising
    return peak * max(0.0, (total - step) / max(1.0, total - rising))
