"""The training loop that both families share: epochs, development score, early stopping."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import msgspec
import numpy as np
import tensorflow as tf

from edgeseq.errors import InputError
from edgeseq.progress import Progress, Report, silent
from edgeseq_converters.train.batching import (
    Batch,
    FloatArray,
    IndexArray,
    Texts,
    shuffled_batches,
    sorted_batches,
)
from edgeseq_converters.train.optimizer import AdamW, learning_rate

TOKEN_IDS = tf.TensorSpec([None, None], tf.int32)
"""Specification of ids [batch, length]."""

_MASK = tf.TensorSpec([None, None], tf.float32)

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
    """How a training went: epochs begun, the best one (1-based), its development score.

    `train_logits` [texts, labels] are what the model said to each training text when the best
    epoch came to it: before that step's update, and with dropout.
    """

    epochs: int
    best_epoch: int
    dev_score: float
    train_logits: FloatArray


StepFunction = Callable[[Batch, float, int], tuple[float, FloatArray]]
"""Batch, rate and number of the step (from 1) → loss, and the logits [batch, labels] that it is
of; updates the model."""


def make_step(
    variables: Sequence[Any],
    optimizer: AdamW,
    loss: Callable[[Any, Any, Any], tuple[Any, Any]],
    targets: FloatArray,
    *,
    inputs: Any = TOKEN_IDS,
) -> StepFunction:
    """One compiled update of `variables` (Keras') for batches of any size and length.

    `loss(inputs, mask, rows)` gives a scalar tensor and the logits [batch, labels]; its rows are
    those of `targets` [texts, n] at the batch's places. `inputs` is the specification of the
    batches' inputs.
    """
    raw = [variable.value for variable in variables]

    def update(values: Any, mask: Any, rows: Any, rate: Any, step: Any) -> Any:
        with tf.GradientTape() as tape:
            value, logits = loss(values, mask, rows)
        optimizer.apply(tape.gradient(value, raw), rate, step)
        return value, logits

    scalar = tf.TensorSpec([], tf.float32)
    rows = tf.TensorSpec([None, targets.shape[1]], tf.float32)
    compiled = tf.function(
        update, autograph=False, input_signature=[inputs, _MASK, rows, scalar, scalar]
    )

    def run(batch: Batch, rate: float, step: int) -> tuple[float, FloatArray]:
        rows = targets[batch.index]
        value, logits = compiled(batch.inputs, batch.mask, rows, np.float32(rate), np.float32(step))
        return float(value), logits.numpy()

    return run


def train_epochs(
    model: Any,
    step: StepFunction,
    texts: Texts,
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
    epochs = [
        shuffled_batches(texts.lengths, plan.batch_size, generator) for _ in range(plan.epochs)
    ]
    total = sum(map(len, epochs))
    done, best, best_epoch = 0, -1.0, 0
    kept: list[FloatArray] = []
    train_logits: FloatArray = np.empty((0, 0), dtype=np.float32)
    note = ""
    for epoch, batches in enumerate(epochs, start=1):
        losses = []
        answers: list[FloatArray] = []
        for index in batches:
            done += 1
            rate = learning_rate(done, total, peak=plan.learning_rate, warmup=plan.warmup)
            loss, logits = step(texts.batch(index), rate, done)
            losses.append(loss)
            answers.append(logits)
            if not np.isfinite(loss):
                raise _diverged(plan, done, loss)
            if done < total:
                mean = f"loss {np.mean(losses[-50:]):.3f}"
                report(Progress(stage, done, total, note=", ".join(filter(None, [note, mean]))))
        score = evaluate()
        note = f"dev {score:.1%}"
        if score > best:
            best, best_epoch = score, epoch
            kept = [variable.numpy() for variable in model.trainable_variables]
            train_logits = in_order(batches, answers)
        elif epoch - best_epoch >= plan.patience:
            break
    for variable, value in zip(model.trainable_variables, kept, strict=True):
        variable.assign(value)
    report(Progress(stage, total, total, note=f"dev {best:.1%}"))
    return Outcome(epochs=epoch, best_epoch=best_epoch, dev_score=best, train_logits=train_logits)


class Predictor:
    """A function of (inputs, mask) over many texts, compiled once.

    `function` is `model.call` for logits; `inputs` is the specification of the batches' inputs.
    """

    def __init__(self, function: Callable[..., Any], *, inputs: Any = TOKEN_IDS) -> None:
        self._function = tf.function(function, autograph=False, input_signature=[inputs, _MASK])

    def batches(
        self, texts: Texts, *, stage: str = "", report: Report = silent
    ) -> Iterator[tuple[Batch, FloatArray]]:
        """Each batch with its answers [batch, …]; reports only when there is a `stage`."""
        done = 0
        for index in sorted_batches(texts.lengths, PREDICT_TOKENS):
            batch = texts.batch(index)
            yield batch, self._function(batch.inputs, batch.mask).numpy()
            done += len(index)
            if stage:
                report(Progress(stage, done, len(texts.lengths)))

    def __call__(self, texts: Texts, *, stage: str = "", report: Report = silent) -> FloatArray:
        """The answers [texts, n], in the order of the texts."""
        answers: list[FloatArray] = []
        order: list[IndexArray] = []
        for batch, rows in self.batches(texts, stage=stage, report=report):
            answers.append(rows)
            order.append(batch.index)
        return in_order(order, answers)


def in_order(batches: Sequence[IndexArray], answers: Sequence[FloatArray]) -> FloatArray:
    """Answers [batch, n] of batches that hold every text once → [texts, n] by the texts' places."""
    places = np.concatenate(batches)
    result = np.empty((len(places), answers[0].shape[1]), dtype=np.float32)
    result[places] = np.concatenate(answers)
    return result


def _diverged(plan: Plan, step: int, loss: float) -> InputError:
    return InputError(
        "training diverged",
        where=f"step {step}",
        found=f"a loss of {loss}",
        expected="a number",
        fix=f"lower learning_rate (now {plan.learning_rate:g})",
    )
