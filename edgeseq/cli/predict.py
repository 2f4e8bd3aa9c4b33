"""`edgeseq predict`: predictions of a bundle for a few texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

import edgeseq as es
from edgeseq.cli.console import JsonOption, out, print_json, print_note
from edgeseq.units import format_share
from edgeseq_benchmarks.bench.predictor import Continuation, Prediction, SequencePrediction


def predict(
    bundle: Annotated[Path, typer.Argument(help="Bundle: a folder or .zip.")],
    texts: Annotated[
        list[str],
        typer.Argument(
            help="Texts, each in quotation marks; of numeric sequences a file of arrays "
            "(.npy, .npz, .csv)."
        ),
    ],
    json: JsonOption = False,
) -> None:
    """Predict labels, tags or the next words of texts, or numbers of sequences, with a bundle in
    the device's runtime.

    Example: edgeseq predict runs/lstm "arrived late but works great"
    """
    loaded_bundle = es.load_bundle(bundle)
    if loaded_bundle.head == "language-modeling":
        continuations = loaded_bundle.continue_texts(texts)
        print_json(continuations) if json else _print_continuations(continuations)
        return
    if loaded_bundle.head in ("sequence-classification", "sequence-regression"):
        sequences = [
            prediction for path in texts for prediction in loaded_bundle.predict_sequences(path)
        ]
        print_json(sequences) if json else _print_sequences(sequences)
        return
    predictions = loaded_bundle.predict(texts)
    if json:
        print_json(predictions)
    elif loaded_bundle.head == "token-classification":
        for prediction in predictions:
            _print_tags(prediction)
    else:
        _print_labels(predictions)


def _print_labels(predictions: Sequence[Prediction]) -> None:
    table = Table()
    table.add_column("text")
    table.add_column("label", no_wrap=True)
    for label in predictions[0].scores:
        table.add_column(escape(label), justify="right", no_wrap=True)
    for prediction in predictions:
        shares = (format_share(score) for score in prediction.scores.values())
        table.add_row(escape(prediction.text), escape(prediction.label) or "none", *shares)
    out.print(table)
    for number, prediction in enumerate(predictions, start=1):
        if prediction.truncated:
            print_note(
                f"text {number} was truncated at {prediction.tokens} tokens, the longest input"
            )
        if prediction.unknown_only:
            print_note(f"text {number} has no word that the model knows: its label is a guess")


def _print_sequences(predictions: Sequence[SequencePrediction]) -> None:
    table = Table()
    table.add_column("sequence", justify="right")
    table.add_column("steps", justify="right")
    is_class = predictions[0].label is not None
    for name in (*(("label",) if is_class else ()), *predictions[0].values):
        table.add_column(escape(name), justify="right", no_wrap=True)
    for number, prediction in enumerate(predictions, start=1):
        label = () if prediction.label is None else (escape(prediction.label),)
        show = format_share if is_class else "{:.6g}".format
        values = map(show, prediction.values.values())
        table.add_row(str(number), str(prediction.steps), *label, *values)
    out.print(table)


def _print_tags(prediction: Prediction) -> None:
    """One line per word."""
    table = Table(title=escape(prediction.text), title_justify="left")
    for column in ("word", "tag", "share"):
        table.add_column(column, justify="right" if column == "share" else "left")
    rows = zip(prediction.words, prediction.tags, prediction.tag_scores, strict=True)
    for word, tag, score in rows:
        table.add_row(escape(word), escape(tag), format_share(score))
    out.print(table)
    if prediction.truncated:
        print_note("a word was truncated: it is longer than the model's longest input")


def _print_continuations(continuations: Sequence[Continuation]) -> None:
    """One line per text with its most probable next words."""
    table = Table()
    table.add_column("text")
    for number in range(len(continuations[0].words)):
        table.add_column(f"next word, {number + 1}.", no_wrap=True)
    for continuation in continuations:
        words = zip(continuation.words, continuation.probabilities, strict=True)
        cells = (f"{escape(word)} {format_share(share)}" for word, share in words)
        table.add_row(escape(continuation.text), *cells)
    out.print(table)
    for number, continuation in enumerate(continuations, start=1):
        if continuation.unknown:
            print_note(
                f"{continuation.unknown} of {continuation.tokens} words of text {number} "
                "are unknown"
            )
