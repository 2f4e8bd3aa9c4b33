"""`edgeseq train lm`: a model of the next word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeseq.cli.console import mute_native_stderr, out, print_json, print_note, progress_bars


def mute_tensorflow() -> None:
    """Imports TensorFlow without its greeting."""
    import os

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import edgeseq_converters  # noqa: F401 - sets what TensorFlow reads when it is imported

    with mute_native_stderr():
        import tensorflow as tf

        tf.config.list_logical_devices()


def train_next_word(
    arch: str,
    out_dir: Path,
    values: dict[str, Any],
    *,
    data: str,
    data_dir: Path | None,
    options: dict[str, Any],
    json: bool,
) -> None:
    """Trains and says the perplexity, or that the training was held and how to go on.

    `options` are those of `edgeseq_converters.training.language_model.training.train_lm`.
    """
    from edgeseq.datasets.registry import load_dataset
    from edgeseq_converters.training.settings import read_settings

    mute_tensorflow()
    from edgeseq_converters.training.language_model.loop import Paused
    from edgeseq_converters.training.language_model.settings import LmBertSettings, LmSettings
    from edgeseq_converters.training.language_model.train_transformer import train_lm_bert
    from edgeseq_converters.training.language_model.training import train_lm

    train: Any = train_lm_bert if arch == "bert" else train_lm
    settings: Any = read_settings(values, LmBertSettings if arch == "bert" else LmSettings)
    with progress_bars() as report:
        dataset: Any = load_dataset(data, task="lm", data_dir=data_dir, progress=report)
        made = train(
            dataset,
            out_dir,
            settings=settings,
            data_dir=data_dir,
            progress=report,
            **options,
        )
    if isinstance(made, Paused):
        if json:
            print_json(made)
            return
        out.print(f"held at step {made.step} of {made.total}: {made.path}", markup=False)
        print_note("next: the same command goes on")
        return
    if json:
        print_json(made.manifest)
        return
    training = made.manifest.training
    out.print(
        f"{made.manifest.name}: perplexity {training.dev_score:.1f} a word on the development "
        f"part, {made.parameters:,} parameters, {training.seconds:.0f} s",
        markup=False,
    )
    print_note(f"next: edgeseq convert {out_dir} --out bundles/{made.manifest.name}")
