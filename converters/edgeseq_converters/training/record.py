"""What is written down about every training, the same for both families."""

from __future__ import annotations

from importlib.metadata import version
from typing import Literal

import msgspec

from edgeseq.formats.trained_model import Training, TransferRecord
from edgeseq.tasks.examples import AnyDataset
from edgeseq_converters.training.loop import Outcome
from edgeseq_converters.training.settings import BertSettings, LstmSettings

_TOOLS = ("tensorflow", "keras", "numpy", "tokenizers")


def training_record(
    data: AnyDataset,
    settings: BertSettings | LstmSettings,
    outcome: Outcome,
    *,
    seconds: float,
    teacher: str | None = None,
    teacher_labels: Literal["kept", "computed"] | None = None,
    initial_weights: str | None = None,
    transfer: TransferRecord | None = None,
) -> Training:
    """The `training` part of `model.json`; `seconds` is wall-clock time of this run, to which that
    of an earlier one is added that was gone on with."""
    return Training(
        data_name=data.name,
        data_sha256=data.sha256,
        n_train=len(data.train),
        seed=settings.seed,
        epochs=outcome.epochs,
        settings={**msgspec.to_builtins(settings), "best_epoch": outcome.best_epoch},
        seconds=round(seconds + outcome.earlier_seconds, 1),
        dev_score=outcome.dev_score,
        teacher=teacher,
        teacher_labels=teacher_labels,
        initial_weights=initial_weights,
        dev_scores=outcome.dev_scores,
        transfer=transfer,
        tool_versions={name: version(name) for name in _TOOLS},
    )
