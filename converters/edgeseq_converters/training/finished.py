"""What every training ends with: a trained model with its record, written to its folder."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Literal

from edgeseq.formats.trained_model import (
    BertConfig,
    LstmConfig,
    ModelManifest,
    TrainedModel,
    TransferRecord,
    write_model_folder,
)
from edgeseq.tasks.examples import AnyDataset
from edgeseq_converters.training.batching import FloatArray
from edgeseq_converters.training.checkpoints import TrainingFile
from edgeseq_converters.training.loop import Outcome
from edgeseq_converters.training.record import training_record
from edgeseq_converters.training.settings import BertSettings, LstmSettings


def write_trained(
    out: Path,
    data: AnyDataset,
    settings: BertSettings | LstmSettings,
    outcome: Outcome,
    config: BertConfig | LstmConfig,
    *,
    name: str,
    weights: dict[str, Any],
    tokenizer_json: str,
    began: float,
    overwrite: bool,
    teacher: str | None = None,
    teacher_labels: Literal["kept", "computed"] | None = None,
    initial_weights: str | None = None,
    transfer: TransferRecord | None = None,
    train_logits: FloatArray | None = None,
    resume: TrainingFile | None = None,
) -> TrainedModel:
    """Writes the trained-model folder `out` and takes the training's state at `resume` away.

    `settings` are those that were used (what was left open filled in), `config` the model's,
    `weights` its arrays by name; `began` is `time.monotonic()` when the training began, in
    seconds. `train_logits` [texts, labels] are kept for students. The rest is as in
    `edgeseq_converters.training.record.training_record`. Raises `OutputError` when `out` is in the
    way (without `overwrite`) or cannot be written.
    """
    from edgeseq.formats.train_logits import of_data

    trained = TrainedModel(
        manifest=ModelManifest(
            name=name,
            task=data.task,
            arch="bert" if isinstance(config, BertConfig) else "lstm",
            labels=data.labels,
            max_tokens=settings.max_tokens,
            training=training_record(
                data,
                settings,
                outcome,
                seconds=time.monotonic() - began,
                teacher=teacher,
                teacher_labels=teacher_labels,
                initial_weights=initial_weights,
                transfer=transfer,
            ),
            bert=config if isinstance(config, BertConfig) else None,
            lstm=config if isinstance(config, LstmConfig) else None,
        ),
        weights=weights,
        tokenizer_json=tokenizer_json,
    )
    kept = None if train_logits is None else of_data(data, train_logits)
    write_model_folder(out, trained, overwrite=overwrite, train_logits=kept)
    if resume is not None:
        resume.remove()
    return trained
