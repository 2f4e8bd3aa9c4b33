"""What `edgeseq train` runs: the training of a family, once or with several seeds."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeseq.formats.trained_model import TrainedModel
    from edgeseq.tasks.examples import AnyDataset


def training_of(arch: str) -> Callable[..., TrainedModel]:
    """The function that trains the family `arch` (`bert`, else an LSTM)."""
    if arch == "bert":
        from edgeseq_converters.training.finetune import train_bert

        return train_bert
    from edgeseq_converters.training.distil import train_lstm

    return train_lstm


def train_several(
    arch: str,
    dataset: AnyDataset,
    settings: Any,
    out_dir: Path,
    *,
    count: int,
    overwrite: bool,
    options: Mapping[str, Any],
) -> TrainedModel:
    """The best of `count` seeds; those that an interrupted run of the same had done are kept.

    `options` are the arguments of the family's training beside data, settings and place.
    """
    import msgspec

    from edgeseq_converters.training.seeds import teacher_sha256, train_seeds

    train = training_of(arch)

    def one(seed: int, folder: Path) -> TrainedModel:
        own = msgspec.structs.replace(settings, seed=seed)
        return train(dataset, folder, settings=own, name=out_dir.name, overwrite=True, **options)

    facts = {
        "arch": arch,
        "data": dataset.sha256,
        "settings": msgspec.to_builtins(settings),
        "checkpoint": str(options.get("checkpoint")),
        "teacher": teacher_sha256(options.get("teacher")),
    }
    return train_seeds(
        one, out_dir, first=settings.seed, count=count, facts=facts, overwrite=overwrite
    )


def spread_of_seeds(scores: Mapping[str, float]) -> str:
    """Mean and standard deviation (n - 1) of two seeds or more, in percent, as a line."""
    values = [100 * score for score in scores.values()]
    each = ", ".join(f"{seed}: {score:.1%}" for seed, score in scores.items())
    return (
        f"{len(values)} seeds, mean {statistics.fmean(values):.1f} % ± "
        f"{statistics.stdev(values):.1f} ({each}); the best is kept"
    )
