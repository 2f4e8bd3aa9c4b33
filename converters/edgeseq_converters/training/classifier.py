"""The training of a classifier: one compiled update, batches, scores, logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import tensorflow as tf

from edgeseq.progress import ProgressCallback
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.training.bag_model import BagClassifier
from edgeseq_converters.training.batching import (
    Batch,
    StateTexts,
    TextCollection,
    TokenTexts,
    in_order,
    shuffled_batches,
)
from edgeseq_converters.training.bert_model import BertClassifier
from edgeseq_converters.training.initial_weights import InitialWeights
from edgeseq_converters.training.loop import Objective
from edgeseq_converters.training.lstm_model import LstmClassifier
from edgeseq_converters.training.optimizer import AdamW, linear_decay
from edgeseq_converters.training.predictor import MASK, TOKEN_IDS, Predictor, token_specification
from edgeseq_converters.training.settings import AnyClassifierSettings, BagSettings, BertSettings

STATES_LIMIT_BYTES = 1 << 30
"""The most memory for the frozen layers' states: 1 GiB is 1.4 million tokens of MiniLM."""


class TrainStep:
    """One compiled update of the optimizer's variables for batches of any size and length.

    `loss(inputs, mask, targets)` gives a scalar tensor and the logits [batch, labels] or None;
    `inputs` and `targets` are the specifications of the batches' inputs and targets.
    """

    def __init__(
        self, optimizer: AdamW, loss: Callable[..., Any], *, inputs: Any, targets: Any
    ) -> None:
        self.optimizer = optimizer

        def update(values: Any, mask: Any, rows: Any, rate: Any, step: Any) -> Any:
            with tf.GradientTape() as tape:
                value, logits = loss(values, mask, rows)
            gradients = tape.gradient(value, optimizer.variables)
            optimizer.apply([tf.convert_to_tensor(g) for g in gradients], rate, step)
            return value, logits

        scalar = tf.TensorSpec([], tf.float32)
        self._compiled = tf.function(
            update, autograph=False, input_signature=[inputs, MASK, targets, scalar, scalar]
        )

    def __call__(
        self, batch: Batch, targets: FloatArray, learning_rate: float, step: int
    ) -> tuple[float, FloatArray | None]:
        """Loss and logits before the update; `step` counts from 1."""
        value, logits = self._compiled(
            batch.inputs, batch.mask, targets, np.float32(learning_rate), np.float32(step)
        )
        return float(value), None if logits is None else logits.numpy()


@dataclass(frozen=True)
class TrainingGraph:
    """The model in the form that is trained, and the texts that it takes.

    `pooled(inputs, mask, training)` gives what the head reads; `inputs` is the specification of the
    batches' inputs. `starts_from_states`: the inputs are the frozen layers' states, not token ids.
    """

    model: Any
    pooled: Callable[..., Any]
    train: TextCollection
    dev: TextCollection
    inputs: Any = TOKEN_IDS
    starts_from_states: bool = False

    def predictor(self) -> Predictor:
        """The model's logits."""
        return Predictor(lambda x, mask: self.model.head(self.pooled(x, mask)), inputs=self.inputs)


def training_graph(
    initial: InitialWeights,
    num_labels: int,
    train_ids: Sequence[Any],
    dev_ids: Sequence[Any],
    progress: ProgressCallback,
) -> TrainingGraph:
    """The model with its initial weights; the frozen layers of a BERT are run once for all epochs
    where that saves time."""
    settings = initial.settings
    train, dev = TokenTexts(train_ids), TokenTexts(dev_ids)
    inputs = token_specification(initial.word_features)
    if not isinstance(settings, BertSettings):
        student_type = BagClassifier if isinstance(settings, BagSettings) else LstmClassifier
        student = student_type(
            initial.config,
            num_labels,
            dropout=settings.dropout,
            token_dropout=settings.token_dropout,
            seed=settings.seed,
            **({} if initial.word_features is None else {"word_features": initial.word_features}),
        )
        if initial.weights:
            student.table.assign(initial.weights["embedding.weight"])
        return TrainingGraph(student, student.pooled, train, dev, inputs=inputs)
    bert = BertClassifier(
        initial.config,
        num_labels,
        initial.weights,
        frozen_layers=settings.frozen_layers or 0,
        dropout=settings.dropout,
        seed=settings.seed,
        word_features=initial.word_features,
    )
    states = lower_states(bert, [train, dev], epochs=settings.epochs, progress=progress)
    if states is None:
        return TrainingGraph(bert, bert.pooled, train, dev, inputs=inputs)
    inputs = tf.TensorSpec([None, None, bert.config.hidden_size], tf.float32)
    return TrainingGraph(
        bert, bert.upper, states[0], states[1], inputs=inputs, starts_from_states=True
    )


def lower_states(
    model: BertClassifier, splits: Sequence[TokenTexts], *, epochs: int, progress: ProgressCallback
) -> list[StateTexts] | None:
    """The states of each split's texts after the frozen layers.

    None where that saves nothing (one epoch, no frozen layer), needs more memory than
    `STATES_LIMIT_BYTES`, or where the pooling looks at the tokens.
    """
    hidden = model.config.hidden_size
    size_bytes = sum(StateTexts.size_bytes(texts.lengths, hidden) for texts in splits)
    saves_time = epochs > 1 and model.frozen_layers and model.config.pooling != "markers"
    if not saves_time or size_bytes > STATES_LIMIT_BYTES:
        return None
    predictor = Predictor(model.lower)
    cached = []
    for texts in splits:
        states = StateTexts(texts.lengths, hidden)
        for batch, values in predictor.batches(
            texts, stage="run the frozen layers", progress=progress
        ):
            states.put(batch, values)
        cached.append(states)
    return cached


def make_optimizer(
    graph: TrainingGraph, settings: AnyClassifierSettings, more_heads: Sequence[Any] = ()
) -> AdamW:
    """AdamW for the trained variables and for those of `more_heads`; in a BERT heads and
    the tables of word features learn faster, and each layer slower than the one above it."""
    model = graph.model
    variables = [*model.trainable_variables, *more_heads]
    multipliers = None
    if isinstance(settings, BertSettings):
        depths = {
            id(variable): model.config.layers - 1 - number
            for number, layer in model.layers_by_source.items()
            for variable in layer.trainable_variables
        }
        words = [] if model.word_table is None else model.word_table.trainable_variables
        new = (model.head_kernel, model.head_bias, *more_heads, *words)
        head_ids = {id(variable) for variable in new}
        multipliers = [
            settings.head_lr_multiplier
            if id(variable) in head_ids
            else settings.layer_decay ** depths.get(id(variable), model.config.layers)
            for variable in variables
        ]
    return AdamW(
        [variable.value for variable in variables],
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        lr_multipliers=multipliers,
    )


class ClassifierObjective(Objective):
    """An objective over texts in shuffled batches.

    `targets` are all targets; `batch_targets(batch)` picks those of a batch; `evaluate()` gives the
    development score in 0..1.
    """

    def __init__(
        self,
        graph: TrainingGraph,
        settings: AnyClassifierSettings,
        step: TrainStep,
        targets: FloatArray,
        *,
        batch_targets: Callable[[Batch], FloatArray],
        evaluate: Callable[[], float],
    ) -> None:
        self._settings, self._texts, self._step = settings, graph.train, step
        self._targets, self._batch_targets = targets, batch_targets
        self._evaluate = evaluate
        generator = np.random.default_rng(settings.seed)
        self._batches = [
            shuffled_batches(self._texts.lengths, settings.batch_size, generator)
            for _ in range(settings.epochs)
        ]
        self.epochs, self.patience = settings.epochs, settings.patience
        self.steps_per_epoch = len(self._batches[0])
        self.weights = step.optimizer.variables
        self.variables = [*step.optimizer.state, *_random_generators(graph.model)]

    def identity(self) -> tuple[dict[str, Any], list[Any]]:
        """Settings; the lengths of the texts and the targets."""
        facts = {"settings": msgspec.to_builtins(self._settings)}
        return facts, [self._texts.lengths, self._targets]

    def learning_rate(self, step: int, total: int) -> float:
        """Linear warm-up and decay."""
        settings = self._settings
        return linear_decay(
            step, total, peak=settings.learning_rate, warmup_ratio=settings.warmup_ratio
        )

    def score_epoch(self) -> float:
        """The task's metric on the development split."""
        return self._evaluate()

    def run_step(
        self, position: tuple[int, int], learning_rate: float, step: int
    ) -> tuple[float, FloatArray | None]:
        """See `Objective`."""
        batch = self._texts.batch(self._batches[position[0]][position[1]])
        return self._step(batch, self._batch_targets(batch), learning_rate, step)

    def train_logits(self, epoch: int, logits: Sequence[FloatArray]) -> FloatArray:
        """Logits of an epoch's batches → [texts, labels]."""
        return in_order(self._batches[epoch], logits)


def _random_generators(model: Any) -> list[Any]:
    """The states of the random generators in `model`, as TensorFlow variables."""
    return [
        variable.value
        for variable in model.variables
        if not np.issubdtype(np.dtype(variable.dtype), np.floating)
    ]
