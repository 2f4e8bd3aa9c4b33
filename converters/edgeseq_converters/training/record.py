"""A prepared training, and what is written at its end: the trained model with its record."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

import msgspec

from edgeseq.formats.trained_model import (
    Arch,
    BagConfig,
    BertConfig,
    LstmConfig,
    ModelManifest,
    NetworkConfig,
    TrainedModel,
    Training,
    TransferRecord,
)
from edgeseq.progress import ProgressCallback
from edgeseq.tasks.examples import AnyDataset
from edgeseq.tasks.tag_transitions import TagTransitions
from edgeseq.tasks.word_cache import WordCache
from edgeseq.tasks.word_features import WordFeatures
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.training.loop import Objective, TrainingState
from edgeseq_converters.training.settings import AnySettings

ModelConfig = BertConfig | LstmConfig | BagConfig | NetworkConfig
_TOOLS = ("tensorflow", "keras", "numpy", "tokenizers")


class TrainingSources(msgspec.Struct, frozen=True):
    """What a model learns from besides the data (`Training` describes the fields)."""

    initial_weights: str | None = None
    teacher: str | None = None
    teacher_logits: Literal["stored", "computed"] | None = None
    transfer: TransferRecord | None = None


class FinalScore(msgspec.Struct, frozen=True):
    """The development score of a trained language model, with its word cache if it has one."""

    value: float
    word_cache: WordCache | None = None


@dataclass(frozen=True)
class PreparedTraining:
    """An objective, and what the trained model consists of.

    `export()` gives the dimensions and the arrays by name after training; `settings` have nothing
    left open. `transitions()` are those between tags, where they were trained.
    `final_score(progress)` gives the development score where epochs have none, and what is fitted
    to that split.
    `keeps_logits`: the logits of the train split are written for students.
    """

    objective: Objective
    settings: AnySettings
    tokenizer_json: str
    max_tokens: int
    export: Callable[[], tuple[ModelConfig, dict[str, FloatArray]]]
    sources: TrainingSources
    transitions: Callable[[], TagTransitions | None] = lambda: None
    final_score: Callable[[ProgressCallback], FinalScore] | None = None
    keeps_logits: bool = False
    word_features: WordFeatures | None = None


def trained_model(
    prepared: PreparedTraining,
    data: AnyDataset,
    state: TrainingState,
    name: str,
    progress: ProgressCallback,
) -> TrainedModel:
    """The model called `name` after the training has ended in `state`."""
    settings, final_score = prepared.settings, prepared.final_score
    score = FinalScore(state.best_score) if final_score is None else final_score(progress)
    values: dict[str, Any] = msgspec.to_builtins(settings)
    if state.best_epoch:
        values["best_epoch"] = state.best_epoch
    config, weights = prepared.export()
    manifest = ModelManifest(
        name=name,
        task=data.task,
        arch=arch_of(config),
        labels=data.labels,
        max_tokens=prepared.max_tokens,
        training=Training(
            data_name=data.name,
            data_sha256=data.sha256,
            n_train=len(data.train),
            seed=settings.seed,
            epochs=state.epoch if final_score is None else math.ceil(settings.epochs),
            settings=values,
            seconds=round(state.seconds, 1),
            dev_score=score.value,
            dev_scores=tuple(state.dev_scores),
            tool_versions={tool: version(tool) for tool in _TOOLS},
            **{name: getattr(prepared.sources, name) for name in TrainingSources.__struct_fields__},
        ),
        bert=config if isinstance(config, BertConfig) else None,
        lstm=config if isinstance(config, LstmConfig) else None,
        bag=config if isinstance(config, BagConfig) else None,
        network=config if isinstance(config, NetworkConfig) else None,
        transitions=prepared.transitions(),
        word_features=prepared.word_features,
        word_cache=score.word_cache,
    )
    return TrainedModel(manifest, weights, prepared.tokenizer_json)


def arch_of(config: ModelConfig) -> Arch:
    """The architecture of a network with these dimensions."""
    if isinstance(config, BertConfig):
        return "bert"
    return "bag" if isinstance(config, BagConfig) else "lstm"
