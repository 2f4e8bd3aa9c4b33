"""A fine-tuned BERT on disk as a teacher: whether it can teach a data set, and what a student
starts from; no framework takes part."""

from __future__ import annotations

from pathlib import Path

from edgeseq.errors import CheckpointError
from edgeseq.formats.trained_model import BertConfig, TrainedModel, read_model_folder
from edgeseq.tasks.examples import AnyDataset
from edgeseq.tasks.registry import task_of
from edgeseq_converters.models.huggingface.checkpoint import BertCheckpoint


def read_teacher(folder: Path, data: AnyDataset) -> TrainedModel:
    """The teacher in `folder`; raises `CheckpointError` when it cannot teach this data set."""
    teacher = read_model_folder(folder)
    if teacher.manifest.bert is None:
        raise CheckpointError(
            "cannot be a teacher", where=folder, found=teacher.manifest.arch, expected="bert"
        )
    if task_of(teacher.manifest.task).is_multilabel != task_of(data.task).is_multilabel:
        raise CheckpointError(
            "the teacher was trained for another task",
            where=folder,
            found=teacher.manifest.task,
            expected=data.task,
            fix="fine-tune it on this data set",
        )
    if teacher.manifest.labels != data.labels:
        raise CheckpointError(
            "the teacher was trained for other labels",
            where=folder,
            found=", ".join(teacher.manifest.labels),
            expected=", ".join(data.labels),
            fix="fine-tune it on this data set",
        )
    return teacher


def bert_of(teacher: TrainedModel) -> BertConfig:
    """The teacher's dimensions; raises `CheckpointError` for other architectures."""
    if teacher.manifest.bert is None:
        raise CheckpointError("cannot be a teacher", where=teacher.manifest.name, expected="bert")
    return teacher.manifest.bert


def teacher_checkpoint(teacher: TrainedModel, *, has_bert_student: bool) -> BertCheckpoint:
    """The teacher as the checkpoint that a student starts from.

    Raises `CheckpointError` when a BERT would start from it, and it has no plain classifier head.
    """
    config = bert_of(teacher)
    is_plain = config.head == "sequence_classification" and config.head_act is None
    if has_bert_student and not is_plain:
        raise CheckpointError(
            "cannot be a teacher of a BERT",
            where=teacher.manifest.name,
            found=config.head,
            expected="sequence_classification",
        )
    return BertCheckpoint(config, teacher.weights, teacher.tokenizer_json, teacher.manifest.name)
