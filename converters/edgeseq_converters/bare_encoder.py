"""A checkpoint of the BERT family as a bare .tflite file, with any of its heads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from edgeseq.errors import ConversionError, OutputError
from edgeseq.files import write_bytes
from edgeseq.model_folder import BertConfig, TrainedModel
from edgeseq.progress import Progress, Report, silent
from edgeseq_converters import encoder
from edgeseq_converters.answering import Answering
from edgeseq_converters.bare import BareModel, read_ids
from edgeseq_converters.bert_arrays import bert_config
from edgeseq_converters.bert_reference import bert_answers
from edgeseq_converters.checkpoint import HeadName, read_model
from edgeseq_converters.lower import Target, lower
from edgeseq_converters.recipes import Recipe

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
    replace: bool = False,
    report: Report = silent,
) -> BareModel:
    """Writes the checkpoint `source` (a folder or a hub id) as the file `out`, after comparing it
    with the float model: sentence embeddings, tags, masked words or classes (`encoder.lower`).

    `ids` names a file with a JSON list of token ids a line: what the file is compared on, and
    what int4 weights are rounded for. Without it the comparison uses random ids. Raises
    `CheckpointError`, `FetchError`, `ConversionError`, `DataError` and `OutputError`; nothing is
    written then.
    """
    if out.exists() and not replace:
        raise OutputError("is there already", where=out, fix="choose another --out or --replace")
    model = read_model(source, head=head, max_tokens=max_tokens, report=report)
    config = bert_config(model)
    longest = model.manifest.max_tokens
    if ids is None:
        texts, known = _random_ids(config, longest), []
    else:
        known = read_ids(ids, config.vocabulary_size, longest=longest)
        texts = known
    report(Progress("write the operators", 0, 1))
    content = lower(model, recipe, target, known)
    report(Progress("write the operators", 1, 1))
    draft = out.with_name(f".{out.name}.draft")
    try:
        write_bytes(draft, content)
        made = _compare(model, draft, texts, recipe, report=report)
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)
    return msgspec.structs.replace(made, path=str(out))


def _compare(
    model: TrainedModel,
    path: Path,
    texts: Sequence[Sequence[int]],
    recipe: Recipe,
    *,
    report: Report,
) -> BareModel:
    config = bert_config(model)
    name = encoder.output_name(config.head)
    asked = Answering(path, output=name)
    worst = largest = 0.0
    shape: tuple[int, ...] = ()
    for number, (text, wanted) in enumerate(zip(texts, bert_answers(model, texts), strict=True)):
        worst = max(worst, float(np.abs(asked.answer(text) - wanted).max()))
        largest = max(largest, float(np.abs(wanted).max()))
        shape = (1, -1, wanted.shape[1]) if wanted.ndim == 2 else (1, wanted.shape[0])
        report(Progress("compare with the float model", number + 1, len(texts)))
    relative = worst / max(largest, 1e-6)
    if not np.isfinite(relative) or relative > recipe.bound.relative_error:
        raise ConversionError(
            f"answers differ from the float model's by {relative:.2g} of the largest output",
            where=model.manifest.name,
            expected=f"<= {recipe.bound.relative_error:g} with {recipe.name}",
            fix="choose a finer recipe",
        )
    return BareModel(
        path="",
        size_bytes=path.stat().st_size,
        output=name,
        shape=shape,
        n_examples=len(texts),
        max_abs_error=worst,
        relative_error=relative,
        parameters=model.parameters,
        streaming=False,
    )


def _random_ids(config: BertConfig, longest: int) -> list[list[int]]:
    rng = np.random.default_rng(0)
    lengths = [length for length in LENGTHS if length <= longest]
    return [rng.integers(0, config.vocabulary_size, n).tolist() for n in lengths for _ in range(2)]
