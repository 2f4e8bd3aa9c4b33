"""A bundle's predictions for a few texts, for a person to try."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from edgeseq.errors import BundleError
from edgeseq.formats.bundle import BundleFiles
from edgeseq.formats.bundle_zip import open_bundle
from edgeseq.tasks.examples import EOS
from edgeseq.tasks.head import is_numeric
from edgeseq.tasks.mentions import check_marked
from edgeseq.tasks.multilabel_classification import LABEL_SEPARATOR
from edgeseq_benchmarks.bench import protocol
from edgeseq_benchmarks.bench.bundle_checks import check_text
from edgeseq_benchmarks.bench.worker_client import WorkerClient, load_command, lost_while_loading

DEFAULT_TOP_K = 3
TIMEOUT_S = 180.0


class Prediction(msgspec.Struct, frozen=True):
    """One text's prediction: `label` has the highest of `scores`, which are softmax, in 0..1.

    Where a text may have any number of labels, `labels` are those whose score, a sigmoid, reaches
    the bundle's threshold, and `label` is these with `;` between them.

    `tokens` is the length that was run; `truncated` means that the text was longer than the model's
    longest input, `unknown_only` that it has no token that the model knows. A token classifier
    gives each of the `words` one of `tags` with its score in `tag_scores`; `label` then is all
    tags, and `scores` is empty.
    """

    text: str
    label: str
    scores: dict[str, float]
    tokens: int
    truncated: bool
    unknown_only: bool
    words: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    tag_scores: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()


class SequencePrediction(msgspec.Struct, frozen=True):
    """One numeric sequence's prediction: the numbers `values` by their names; of a classifier
    `label`, the highest of `values`, which then are softmax, in 0..1. `steps` is its length."""

    values: dict[str, float]
    label: str | None
    steps: int


class Continuation(msgspec.Struct, frozen=True):
    """The most probable next words of one text with their probabilities in 0..1, highest first.

    `tokens` is how many words were read, `unknown` how many of them the model does not know.
    """

    text: str
    words: tuple[str, ...]
    probabilities: tuple[float, ...]
    tokens: int
    unknown: int


def split_words(text: str) -> tuple[str, ...]:
    """A text as words: letters and digits together, with an apostrophe, hyphen or point between
    them, and every other sign by itself."""
    return tuple(re.findall(r"\w+(?:['’.-]\w+)*|[^\w\s]", text))


def predict(path: Path, texts: Sequence[str], *, threads: int = 1) -> tuple[Prediction, ...]:
    """The predictions of the bundle at `path`, in the order of `texts`.

    The model runs in a separate process, because native code may crash on a damaged one. Raises
    `DataError` for an empty text, and for one without the marked mentions that the task needs, and
    `BundleError` for a bundle that cannot be used.
    """
    with _loaded(path, texts, threads) as (bundle, child):
        inputs: tuple[protocol.Text, ...] = tuple(_inputs(bundle, text) for text in texts)
        command = protocol.PredictTexts(inputs)
        reply = child.request(command, protocol.TextPredictions, timeout_s=TIMEOUT_S)
        return tuple(
            _prediction(bundle, text, words, output)
            for text, words, output in zip(texts, inputs, reply.predictions, strict=True)
        )


def continue_texts(
    path: Path, texts: Sequence[str], *, threads: int = 1, count: int = DEFAULT_TOP_K
) -> tuple[Continuation, ...]:
    """The `count` most probable next words after each text, which is read from a fresh state.

    Words are separated by white space, as in the training text. Raises as `predict` does.
    """
    continuations = []
    with _loaded(path, texts, threads) as (bundle, child):
        count = min(count, bundle.manifest.vocabulary_size)
        for text in texts:
            command = protocol.Complete(text, EOS, count)
            top = child.request(command, protocol.TopK, timeout_s=TIMEOUT_S)
            continuations.append(
                Continuation(text, top.words, top.probabilities, top.tokens_read, top.unknown)
            )
    return tuple(continuations)


@contextmanager
def checked_worker(bundle: BundleFiles) -> Iterator[WorkerClient]:
    """A process that has checked the bundle."""
    with WorkerClient(bundle.manifest.name) as child, lost_while_loading(bundle):
        check = protocol.CheckBundle(str(bundle.path.absolute()))
        child.request(check, protocol.BundleChecked, timeout_s=TIMEOUT_S)
        yield child


@contextmanager
def _loaded(
    path: Path, texts: Sequence[str], threads: int
) -> Iterator[tuple[BundleFiles, WorkerClient]]:
    """The bundle, checked and loaded in a process; checks the texts first."""
    for number, text in enumerate(texts, start=1):
        check_text(text, where=f"text {number}")
    with open_bundle(path, verify_hashes=False) as bundle:
        if is_numeric(bundle.head):
            raise BundleError(
                "reads numeric sequences, not texts",
                where=path,
                fix="call predict_sequences, or name a file of arrays (.npy, .npz or .csv)",
            )
        if bundle.manifest.task == "coref":
            for number, text in enumerate(texts, start=1):
                check_marked(text, where=f"text {number}")
        with checked_worker(bundle) as child:
            first_text = _inputs(bundle, texts[0])
            load = load_command(bundle, child, threads=threads, first_text=first_text)
            child.request(load, protocol.ModelLoaded, timeout_s=TIMEOUT_S)
            yield bundle, child


def _inputs(bundle: BundleFiles, text: str) -> protocol.Text:
    return split_words(text) if bundle.head == "token-classification" else text


def _prediction(
    bundle: BundleFiles, text: str, words: protocol.Text, output: protocol.TextPrediction
) -> Prediction:
    """The prediction from the logits [labels], or [words, labels], of one text."""
    size = len(bundle.labels)
    rows = [output.logits[at : at + size] for at in range(0, len(output.logits), size)]
    shares_of = _sigmoid if bundle.task.is_multilabel else softmax
    scores = [shares_of(bundle, row) for row in rows]
    prediction = Prediction(
        text=text,
        label=max(scores[0], key=lambda label: scores[0][label]),
        scores=scores[0],
        tokens=len(output.token_ids),
        truncated=output.flags.truncated,
        unknown_only=output.flags.unknown_only,
    )
    if isinstance(output.classes, int):
        return prediction
    if isinstance(words, str):
        decisions = zip(bundle.labels, output.classes, strict=True)
        labels = tuple(label for label, has_it in decisions if has_it)
        return msgspec.structs.replace(
            prediction, label=LABEL_SEPARATOR.join(labels), labels=labels
        )
    tags = tuple(bundle.labels[tag] for tag in output.classes)
    return msgspec.structs.replace(
        prediction,
        label=" ".join(tags),
        scores={},
        words=words,
        tags=tags,
        tag_scores=output.tag_scores
        or tuple(row[tag] for row, tag in zip(scores, tags, strict=True)),
    )


def softmax(bundle: BundleFiles, logits: Sequence[float | None]) -> dict[str, float]:
    """Probabilities by label from logits [labels]; raises `BundleError` for NaN."""
    numbers = finite_logits(bundle, logits)
    largest = max(numbers)  # subtracted, so that no exponential overflows
    exponentials = [math.exp(logit - largest) for logit in numbers]
    total = sum(exponentials)
    return {label: value / total for label, value in zip(bundle.labels, exponentials, strict=True)}


def _sigmoid(bundle: BundleFiles, logits: Sequence[float | None]) -> dict[str, float]:
    """The probability of each label by itself, from logits [labels]; raises as `softmax`."""
    numbers = finite_logits(bundle, logits)
    shares = (0.5 * (1 + math.tanh(logit / 2)) for logit in numbers)  # without overflow
    return dict(zip(bundle.labels, shares, strict=True))


def finite_logits(bundle: BundleFiles, logits: Sequence[float | None]) -> list[float]:
    """The outputs of one input; raises `BundleError` for NaN."""
    numbers = [logit for logit in logits if logit is not None and math.isfinite(logit)]
    if len(numbers) != len(bundle.labels):
        raise BundleError(
            "the model returned NaN or infinity",
            where=bundle.path,
            found=list(logits),
            fix="convert it again with another recipe",
        )
    return numbers
