"""The collections of unlabelled texts that a suite's models name in `[model.train]`."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edgeseq.suite.schema import ModelSection, Suite

SETTING = "unlabelled"


def unlabelled_of(suite: Suite) -> tuple[str, ...]:
    """The names of all of them, each once."""
    names = (name for model in suite.models for name in model.train.get(SETTING, ()))
    return tuple(dict.fromkeys(names))


def resolve_unlabelled(suite: Suite, folder: Path) -> Suite:
    """The suite with the paths of `.txt` files, which are relative to `folder`, made absolute.

    Its settings must have been checked (`edgeseq.suite.checks`).
    """

    def resolved(name: str) -> str:
        return str((folder / name).resolve()) if Path(name).suffix.lower() == ".txt" else name

    def with_paths(model: ModelSection) -> ModelSection:
        if SETTING not in model.train:
            return model
        names = [resolved(name) for name in model.train[SETTING]]
        return msgspec.structs.replace(model, train={**model.train, SETTING: names})

    return msgspec.structs.replace(suite, models=tuple(map(with_paths, suite.models)))
