"""The training loop that both families share: epochs, development score, early stopping."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from edgeseq.errors import InputError
from edgeseq.progress import Progress, Report, silent
from edgeseq_converters.train.batching import (
    Batch,
    FloatArray,
    pad,
    shuffled_batches,
    sorted_batches,
)
from edgeseq_converters.train.optimizer import AdamW, learning_rate

PREDICT_TOKENS = 2048
"""Tokens a batch of prediction: enough for full speed, and the activations stay in the cache."""


class Plan(Protocol):
    """What the loop needs of the settings."""

    @property
    def epochs(self) -> int: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def warmup(self) -> float: ...
    @property
    def patience(self) -> int: ...


class Outcome(msgspec.Struct, frozen=True):
    """How a training went: epochs begun, the best one (1-based), its development score."""

    epochs: int
    best_epoch: int
    dev_score: float


StepFunction = Callable[[Batch, float, int], float]
"""Batch, rate and number of the step (from 1) → loss; updates the model."""


def make_step(
    variables: Sequence[Any],
    optimizer: AdamW,
    loss: Callable[[Any, Any, Any], Any],
    targets: FloatArray,
) -> StepFunction:
    """One compiled update of `variables` (Keras') for batches of any size and length.

    `loss(ids, mask, rows)` gives a scalar tensor; its rows are those of `targets` [texts, n] at
    the batch's places.
    """
    raw = [variable.value for variable in variables]

    def update(ids: Any, mask: Any, rows: Any, rate: Any, step: Any) -> Any:
        with tf.GradientTape() as tape:
            value = loss(ids, mask, rows)
        optimizer.apply(tape.gradient(value, raw), rate, step)
        return value

    scalar = tf.TensorSpec([], tf.float32)
    pair = [tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None, None], tf.float32)]
    rows = tf.TensorSpec([None, targets.shape[1]], tf.float32)
    compiled = tf.function(update, autograph=False, input_signature=[*pair, rows, scalar, scalar])

    def run(batch: Batch, rate: float, step: int) -> float:
        rows = targets[batch.index]
        return float(compiled(batch.ids, batch.mask, rows, np.float32(rate), np.float32(step)))

    return run


def train_epochs(
    model: Any,
    step: StepFunction,
    texts: Sequence[Sequence[int]],
    evaluate: Callable[[], float],
    plan: Plan,
    *,
    seed: int,
    stage: str,
    report: Report,
) -> Outcome:
    """Runs the epochs, scores the development part after each, and leaves the best weights.

    `evaluate` gives the development score in 0..1. Training ends early after `plan.patience`
    epochs without a better one. Raises `InputError` when the loss is no number any more.
    """
    generator = np.random.default_rng(seed)
    lengths = [len(text) for text in texts]
    epochs = [shuffled_batches(lengths, plan.batch_size, generator) for _ in range(plan.epochs)]
    total = sum(map(len, epochs))
    done, best, best_epoch = 0, -1.0, 0
    kept: list[FloatArray] = []
    note = ""
    for epoch, batches in enumerate(epochs, start=1):
        losses = []
        for index in batches:
            done += 1
            rate = learning_rate(done, total, peak=plan.learning_rate, warmup=plan.warmup)
            losses.append(step(pad(texts, index), rate, done))
            if not np.isfinite(losses[-1]):
                raise _diverged(plan, done, losses[-1])
            if done < total:
                loss = f"loss {np.mean(losses[-50:]):.3f}"
                report(Progress(stage, done, total, note=", ".join(filter(None, [note, loss]))))
        score = evaluate()
        note = f"dev {score:.1%}"
        if score > best:
            best, best_epoch = score, epoch
            kept = [variable.numpy() for variable in model.trainable_variables]
        elif epoch - best_epoch >= plan.patience:
            break
    for variable, value in zip(model.trainable_variables, kept, strict=True):
        variable.assign(value)
    report(Progress(stage, total, total, note=f"dev {best:.1%}"))
    return Outcome(epochs=epoch, best_epoch=best_epoch, dev_score=best)


class Predictor:
    """A model's answers, compiled once; without dropout, whatever the order of lengths."""

    def __init__(self, model: Any) -> None:
        pair = [tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None, None], tf.float32)]
        self._answer = tf.function(model.call, autograph=False, input_signature=pair)

    def __call__(
        self, texts: Sequence[Sequence[int]], *, stage: str = "", report: Report = silent
    ) -> FloatArray:
        """Token ids of texts → logits [texts, labels]; reports only when there is a `stage`."""
        logits: list[FloatArray] = []
        order: list[npt.NDArray[np.int64]] = []
        done = 0
        for index in sorted_batches([len(text) for text in texts], PREDICT_TOKENS):
            batch = pad(texts, index)
            logits.append(self._answer(batch.ids, batch.mask).numpy())
            order.append(index)
            done += len(index)
            if stage:
                report(Progress(stage, done, len(texts)))
        result = np.empty((len(texts), logits[0].shape[1]), dtype=np.float32)
        result[np.concatenate(order)] = np.concatenate(logits)
        return result


def _diverged(plan: Plan, step: int, loss: float) -> InputError:
    return InputError(
        "training diverged",
        where=f"step {step}",
        found=f"a loss of {loss}",
        expected="a number",
        fix=f"lower learning_rate (now {plan.learning_rate:g})",
    )
