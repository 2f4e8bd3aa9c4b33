"""The table of tasks."""

from __future__ import annotations

import msgspec

from edgeseq.errors import InputError
from edgeseq.tasks.coreference import COREF
from edgeseq.tasks.language_modeling import LM
from edgeseq.tasks.multilabel_classification import MULTILABEL_CLASSIFICATION
from edgeseq.tasks.numeric_sequences import SEQUENCE, SEQUENCE_CLASSIFICATION
from edgeseq.tasks.task import Task
from edgeseq.tasks.text_classification import SENTIMENT, TEXT_CLASSIFICATION
from edgeseq.tasks.token_classification import NER, POS, TOKEN_CLASSIFICATION

TASKS: dict[str, Task] = {
    "sentiment": SENTIMENT,
    "pos": POS,
    "ner": NER,
    "coref": COREF,
    "lm": LM,
    "text-classification": TEXT_CLASSIFICATION,
    "multilabel-classification": MULTILABEL_CLASSIFICATION,
    "token-classification": TOKEN_CLASSIFICATION,
    "sequence": SEQUENCE,
    "sequence-classification": SEQUENCE_CLASSIFICATION,
}


def get_task(name: str) -> Task:
    """The task called `name`; raises `InputError` listing the known ones."""
    if name not in TASKS:
        raise InputError(
            "unknown task", found=repr(name), expected=" or ".join(TASKS), fix="name one of these"
        )
    return TASKS[name]


def task_of(name: str) -> Task:
    """The task called `name` in a file; one of a newer version counts as text classification."""
    return TASKS.get(name) or msgspec.structs.replace(TEXT_CLASSIFICATION, name=name, title=name)
