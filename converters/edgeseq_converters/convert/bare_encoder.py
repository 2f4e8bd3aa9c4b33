"""A checkpoint of the BERT family as a bare .tflite file, with any of its heads."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgeseq.formats.trained_model import BertConfig
from edgeseq.progress import ProgressCallback, ProgressUpdate, no_progress
from edgeseq_converters.convert.bare import read_ids
from edgeseq_converters.convert.bare_file import (
    BareModel,
    Content,
    Expected,
    check_free,
    write_bare,
)
from edgeseq_converters.convert.lower.dispatch import Target, lower
from edgeseq_converters.convert.lower.encoder import encoder
from edgeseq_converters.convert.recipes import Recipe
from edgeseq_converters.models.encoder import bert_config
from edgeseq_converters.models.huggingface.checkpoint import HeadName, read_model
from edgeseq_converters.models.reference_encoder import bert_answers

LENGTHS = (1, 2, 5, 8, 13, 21, 32, 64, 128)
"""Of the random texts that a file is compared on where no token ids are given."""


def convert_bare_encoder(
    source: Path | str,
    out: Path,
    recipe: Recipe,
    target: Target,
    *,
    head: HeadName = "auto",
    max_tokens: int | None = None,
    ids: Path | None = None,
    overwrite: bool = False,
    progress: ProgressCallback = no_progress,
) -> BareModel:
    """Writes the checkpoint `source` (a folder or a hub id) as the file `out`, after comparing it
    with the float model: sentence embeddings, tags, masked words or classes (`encoder.lower`).

    `ids` names a file with a JSON list of token ids a line: what the file is compared on, and
    what int4 weights are rounded for. Without it the comparison uses random ids. Raises
    `CheckpointError`, `FetchError`, `ConversionError`, `DataError` and `OutputError`; nothing is
    written then.
    """
    check_free(out, overwrite=overwrite)
    model = read_model(source, head=head, max_tokens=max_tokens, progress=progress)
    config = bert_config(model)
    longest = model.manifest.max_tokens
    if ids is None:
        texts, known = _random_ids(config, longest), []
    else:
        known = read_ids(ids, config.vocabulary_size, longest=longest)
        texts = known
    progress(ProgressUpdate("write the operators", 0, 1))
    content = lower(model, recipe, target, known)
    progress(ProgressUpdate("write the operators", 1, 1))
    made = Content(content, encoder.output_name(config.head), model.manifest.name, model.parameters)
    expected = Expected(texts, bert_answers(model, texts))
    return write_bare(out, made, expected, recipe, progress=progress)


def _random_ids(config: BertConfig, longest: int) -> list[list[int]]:
    rng = np.random.default_rng(0)
    lengths = [length for length in LENGTHS if length <= longest]
    return [rng.integers(0, config.vocabulary_size, n).tolist() for n in lengths for _ in range(2)]
