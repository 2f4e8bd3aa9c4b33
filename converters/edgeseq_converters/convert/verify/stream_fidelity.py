"""The converted stream against the float model: whole texts against pieces of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from edgeseq.formats.trained_model import TrainedModel
from edgeseq.progress import ProgressCallback, ProgressUpdate, no_progress
from edgeseq.runtime.stateful import StatefulModel
from edgeseq.tasks.perplexity import log_probabilities, perplexity
from edgeseq_converters.convert.verify.fidelity import runtime_errors
from edgeseq_converters.models.reference import reference_answers


class Compared(msgspec.Struct, frozen=True):
    """What came out: errors are of logits, `same_first` is the share of places with the same
    likeliest token, `golden` has ln p [tokens] of the first texts by the float model (0 for a
    text's first token, before which nothing stands), `golden_error` how far the converted one is
    from that at most."""

    tokens: int
    max_abs_error: float
    largest_logit: float
    cosine: float
    same_first: float
    float_perplexity: float
    perplexity: float
    golden: tuple[tuple[float, ...], ...]
    golden_error: float


def compare(
    model: TrainedModel,
    path: Path,
    texts: Sequence[Sequence[int]],
    *,
    golden: int,
    golden_tokens: int,
    progress: ProgressCallback = no_progress,
) -> Compared:
    """Compares the file at `path` with `model` on `texts` (ids, two or more each).

    The converted model reads each text in two pieces from a fresh state, the float model at once,
    so that an error in carrying the state, or in what is seen of the window, shows. Raises
    `ConversionError` when the runtime does not run the file.
    """
    with runtime_errors(path):
        stream = StatefulModel(path, max_tokens=model.manifest.max_tokens)
    error, largest, cosine = 0.0, 0.0, 1.0
    same, tokens, gap = 0, 0, 0.0
    nats: list[list[float]] = [[], []]
    kept: list[tuple[float, ...]] = []
    for number, ids in enumerate(texts):
        (reference,) = reference_answers(model, [ids])
        stream.reset()
        half = max(1, len(ids) // 3)
        parts = [part for part in (ids[:half], ids[half:]) if len(part)]
        with runtime_errors(path):
            found = np.concatenate([stream.feed(part) for part in parts])
        error = max(error, float(np.abs(found - reference).max()))
        largest = max(largest, float(np.abs(reference).max()))
        norms = np.linalg.norm(reference, axis=1) * np.linalg.norm(found, axis=1)
        cosine = min(cosine, float(((reference * found).sum(1) / np.maximum(norms, 1e-12)).min()))
        same += int((reference.argmax(1) == found.argmax(1)).sum())
        tokens += len(ids)
        own, theirs = (log_probabilities(one[:-1], ids[1:]) for one in (reference, found))
        nats[0] += own.tolist()
        nats[1] += theirs.tolist()
        if number < golden:
            some = own[: golden_tokens - 1]
            kept.append((0.0, *some.tolist()))
            gap = max(gap, float(np.abs(some - theirs[: golden_tokens - 1]).max(initial=0.0)))
        progress(ProgressUpdate("compare with the float model", number + 1, len(texts)))
    return Compared(
        tokens=tokens,
        max_abs_error=error,
        largest_logit=largest,
        cosine=cosine,
        same_first=same / tokens,
        float_perplexity=perplexity(sum(nats[0]), len(nats[0])),
        perplexity=perplexity(sum(nats[1]), len(nats[1])),
        golden=tuple(kept),
        golden_error=gap,
    )
