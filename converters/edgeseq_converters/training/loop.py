"""The training loop that both families share: epochs, development score, early stopping."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import msgspec
import numpy as np
import tensorflow as tf

from edgeseq.errors import InputError
from edgeseq.progress import ProgressCallback, ProgressUpdate, no_progress
from edgeseq_converters.training.batching import (
    Batch,
    FloatArray,
    IndexArray,
    Texts,
    shuffled_batches,
    sorted_batches,
)
from edgeseq_converters.training.checkpoints import TrainingFile
from edgeseq_converters.training.optimizer import AdamW, learning_rate
from edgeseq_converters.training.resuming import LoopState, TrainingKeeper

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
    epoch came to it: before that step's update, and with dropout. `dev_scores` has the score after
    each epoch; `earlier_seconds` is the time that went into a training that was gone on with.
    """

    epochs: int
    best_epoch: int
    dev_score: float
    train_logits: FloatArray
    dev_scores: tuple[float, ...] = ()
    earlier_seconds: float = 0.0


StepFunction = Callable[[Batch, float, int], tuple[float, FloatArray]]
"""Batch, rate and number of the step (from 1) → loss, and the logits [batch, labels] that it is
of; updates the model."""


@runtime_checkable
class Resumable(Protocol):
    """A step whose training can be gone on with: what it learns from, and what it changes (see
    `Step`)."""

    targets: FloatArray
    state: list[Any]

    def __call__(self, batch: Batch, rate: float, step: int) -> tuple[float, FloatArray]:
        """See `StepFunction`."""
        ...


class Step:
    """One compiled update of `variables` (Keras') for batches of any size and length.

    `loss(inputs, mask, rows)` gives a scalar tensor and the logits [batch, labels]; its rows are
    those of `targets` [texts, n] at the batch's places. `inputs` is the specification of the
    batches' inputs. `state` are the TensorFlow variables that a step changes, but for random
    generators: the model's and the optimizer's.
    """

    def __init__(
        self,
        variables: Sequence[Any],
        optimizer: AdamW,
        loss: Callable[[Any, Any, Any], tuple[Any, Any]],
        targets: FloatArray,
        *,
        inputs: Any = TOKEN_IDS,
    ) -> None:
        raw = [variable.value for variable in variables]
        self.targets = targets
        self.state = [*raw, *optimizer.state]

        def update(values: Any, mask: Any, rows: Any, rate: Any, step: Any) -> Any:
            with tf.GradientTape() as tape:
                value, logits = loss(values, mask, rows)
            optimizer.apply(tape.gradient(value, raw), rate, step)
            return value, logits

        scalar = tf.TensorSpec([], tf.float32)
        rows = tf.TensorSpec([None, targets.shape[1]], tf.float32)
        self._compiled = tf.function(
            update, autograph=False, input_signature=[inputs, _MASK, rows, scalar, scalar]
        )

    def __call__(self, batch: Batch, rate: float, step: int) -> tuple[float, FloatArray]:
        """See `StepFunction`."""
        value, logits = self._compiled(
            batch.inputs,
            batch.mask,
            self.targets[batch.index],
            np.float32(rate),
            np.float32(step),
        )
        return float(value), logits.numpy()


make_step = Step
"""The name by which trainings ask for their step."""


def train_epochs(
    model: Any,
    step: StepFunction | Resumable,
    texts: Texts,
    evaluate: Callable[[], float],
    plan: Plan,
    *,
    seed: int,
    stage: str,
    progress: ProgressCallback,
    resume: TrainingFile | None = None,
) -> Outcome:
    """Runs the epochs, scores the development part after each, and leaves the best weights.

    `evaluate` gives the development score in 0..1. Training ends early after `plan.patience`
    epochs without a better one. With `resume` (and a `Resumable` step) the state is kept there now
    and then, and a training that was begun there is gone on with; the weights are the same either
    way.
    Raises `InputError` when the loss is no number any more.
    """
    began = time.monotonic()
    generator = np.random.default_rng(seed)
    epochs = [
        shuffled_batches(texts.lengths, plan.batch_size, generator) for _ in range(plan.epochs)
    ]
    keeper = None
    if resume is not None and isinstance(step, Resumable):
        keeper = TrainingKeeper(
            resume,
            model,
            state=step.state,
            plan=plan,
            lengths=texts.lengths,
            targets=step.targets,
        )
    state = (keeper.restore() if keeper else None) or LoopState()
    earlier = state.seconds
    total = sum(map(len, epochs))
    if state.done:
        progress(
            ProgressUpdate(stage, state.done, total, note=f"goes on at step {state.done + 1:,}")
        )
    while state.epoch < plan.epochs and not _is_over(state, plan):
        batches = epochs[state.epoch]
        losses: list[float] = []
        for index in batches[len(state.answers) :]:
            state.done += 1
            rate = learning_rate(state.done, total, peak=plan.learning_rate, warmup=plan.warmup)
            loss, logits = step(texts.batch(index), rate, state.done)
            losses.append(loss)
            state.answers.append(logits)
            if not np.isfinite(loss):
                if keeper:
                    keeper.remove()
                raise _diverged(plan, state.done, loss)
            if state.done < total:
                progress(ProgressUpdate(stage, state.done, total, note=_note(state, losses)))
            if keeper and keeper.due:
                keeper.keep(state, earlier + time.monotonic() - began)
        _end_epoch(state, model, evaluate(), batches)
    for variable, value in zip(model.trainable_variables, state.kept, strict=True):
        variable.assign(value)
    progress(ProgressUpdate(stage, total, total, note=f"dev {state.best:.1%}"))
    return Outcome(
        epochs=state.epoch,
        best_epoch=state.best_epoch,
        dev_score=state.best,
        train_logits=state.train_logits,
        dev_scores=tuple(state.dev_scores),
        earlier_seconds=earlier,
    )


def _end_epoch(state: LoopState, model: Any, score: float, batches: Sequence[IndexArray]) -> None:
    state.epoch += 1
    state.dev_scores.append(score)
    if score > state.best:
        state.best, state.best_epoch = score, state.epoch
        state.kept = [variable.numpy() for variable in model.trainable_variables]
        state.train_logits = in_order(batches, state.answers)
    state.answers = []


def _is_over(state: LoopState, plan: Plan) -> bool:
    return state.epoch - state.best_epoch >= plan.patience and state.best_epoch > 0


def _note(state: LoopState, losses: Sequence[float]) -> str:
    score = f"dev {state.dev_scores[-1]:.1%}" if state.dev_scores else ""
    return ", ".join(filter(None, [score, f"loss {np.mean(losses[-50:]):.3f}"]))


class Predictor:
    """A function of (inputs, mask) over many texts, compiled once.

    `function` is `model.call` for logits; `inputs` is the specification of the batches' inputs.
    """

    def __init__(self, function: Callable[..., Any], *, inputs: Any = TOKEN_IDS) -> None:
        self._function = tf.function(function, autograph=False, input_signature=[inputs, _MASK])

    def batches(
        self, texts: Texts, *, stage: str = "", progress: ProgressCallback = no_progress
    ) -> Iterator[tuple[Batch, FloatArray]]:
        """Each batch with its answers [batch, …]; reports only when there is a `stage`."""
        done = 0
        for index in sorted_batches(texts.lengths, PREDICT_TOKENS):
            batch = texts.batch(index)
            yield batch, self._function(batch.inputs, batch.mask).numpy()
            done += len(index)
            if stage:
                progress(ProgressUpdate(stage, done, len(texts.lengths)))

    def __call__(
        self, texts: Texts, *, stage: str = "", progress: ProgressCallback = no_progress
    ) -> FloatArray:
        """The answers [texts, n], in the order of the texts."""
        answers: list[FloatArray] = []
        order: list[IndexArray] = []
        for batch, rows in self.batches(texts, stage=stage, progress=progress):
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
