"""A bundle's answers to texts, for a person to try."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from edgeseq.errors import BundleError
from edgeseq.formats.bundle_zip import open_bundle
from edgeseq.tasks.mentions import check_marked
from edgeseq_benchmarks.bench import protocol
from edgeseq_benchmarks.bench.bundle_checks import check_text
from edgeseq_benchmarks.bench.worker_client import WorkerClient, load_command, lost_while_loading

_TIMEOUT_S = 180.0


class Prediction(msgspec.Struct, frozen=True):
    """One text's answer: `label` is the likeliest, `probabilities` are by label, in 0..1.

    `tokens` is the length that was run; `truncated` says that the text was longer than the
    model's longest input, `unknown_only` that it holds no token that the model knows. A tagger
    answers each of the `words` with one of `tags` instead, of the probability in `shares`;
    `label` then is all tags in a row.
    """

    text: str
    label: str
    probabilities: dict[str, float]
    tokens: int
    truncated: bool
    unknown_only: bool
    words: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()


def words_of(text: str) -> tuple[str, ...]:
    """A text as words: letters and digits together, with an apostrophe, hyphen or point between
    them, and every other sign by itself."""
    return tuple(re.findall(r"\w+(?:['’.-]\w+)*|[^\w\s]", text))


def predict(path: Path, texts: Sequence[str], *, threads: int = 1) -> tuple[Prediction, ...]:
    """The answers of the bundle at `path`, in the order of `texts`.

    The model runs in a process of its own, because native code may crash on a damaged one.
    Raises `DataError` for an empty text, and one without the marked mentions that the task asks
    about, and `BundleError` for a bundle that cannot be used.
    """
    for number, text in enumerate(texts, start=1):
        check_text(text, where=f"text {number}")
    with (
        open_bundle(path, verify_hashes=False) as bundle,
        WorkerClient(bundle.manifest.name) as child,
        lost_while_loading(bundle),
    ):
        for number, text in enumerate(texts, start=1):
            if bundle.manifest.task == "coref":
                check_marked(text, where=f"text {number}")
        check = protocol.CheckBundle(str(bundle.path.absolute()))
        child.ask(check, protocol.BundleChecked, timeout_s=_TIMEOUT_S)
        by_word = bundle.head == "token-classification"
        asked: tuple[protocol.Text, ...] = tuple(
            words_of(text) if by_word else text for text in texts
        )
        load = load_command(bundle, child, threads=threads, first_text=asked[0])
        child.ask(load, protocol.ModelLoaded, timeout_s=_TIMEOUT_S)
        answered = child.ask(
            protocol.PredictTexts(asked), protocol.TextPredictions, timeout_s=_TIMEOUT_S
        )
    if by_word:
        return tuple(
            _tagged(path, text, words, bundle.labels, answer)
            for text, words, answer in zip(texts, asked, answered.answers, strict=True)
        )
    return tuple(
        Prediction(
            text=text,
            label=max(probabilities, key=lambda label: probabilities[label]),
            probabilities=probabilities,
            tokens=len(answer.token_ids),
            truncated=answer.truncated,
            unknown_only=answer.unknown_only,
        )
        for text, answer in zip(texts, answered.answers, strict=True)
        for probabilities in [_probabilities(path, bundle.labels, answer.logits)]
    )


def _tagged(
    path: Path,
    text: str,
    words: protocol.Text,
    labels: Sequence[str],
    answer: protocol.TextPrediction,
) -> Prediction:
    """The tags of one text's words; each logit row is a word's."""
    tags = answer.answer if isinstance(answer.answer, tuple) else (answer.answer,)
    rows = [
        answer.logits[at : at + len(labels)] for at in range(0, len(answer.logits), len(labels))
    ]
    named = tuple(labels[tag] for tag in tags)
    return Prediction(
        text=text,
        label=" ".join(named),
        probabilities={},
        tokens=len(answer.token_ids),
        truncated=answer.truncated,
        unknown_only=answer.unknown_only,
        words=tuple(words),
        tags=named,
        shares=tuple(
            _probabilities(path, labels, row)[tag] for row, tag in zip(rows, named, strict=True)
        ),
    )


def _probabilities(
    path: Path, labels: Sequence[str], logits: Sequence[float | None]
) -> dict[str, float]:
    """Softmax of the logits [labels] by label."""
    numbers = [logit for logit in logits if logit is not None and math.isfinite(logit)]
    if len(numbers) != len(labels):
        raise BundleError(
            "the model answers with what is no number",
            where=path,
            found=list(logits),
            fix="convert it again with another recipe",
        )
    largest = max(numbers)  # subtracted, so that no exponential overflows
    exponentials = [math.exp(logit - largest) for logit in numbers]
    total = sum(exponentials)
    return {label: value / total for label, value in zip(labels, exponentials, strict=True)}
