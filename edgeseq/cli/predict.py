"""`edgeseq predict`: a model's answers, for a person to try."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from edgeseq.cli.console import JsonOption, out, print_json, print_note
from edgeseq.formats.bundle_zip import open_bundle
from edgeseq.units import format_share
from edgeseq_benchmarks.bench.generate import continue_texts
from edgeseq_benchmarks.bench.predictor import Prediction
from edgeseq_benchmarks.bench.predictor import predict as answer


def predict(
    bundle: Annotated[Path, typer.Argument(help="A bundle: a folder or .zip.")],
    texts: Annotated[list[str], typer.Argument(help="Texts, each in quotation marks.")],
    json: JsonOption = False,
) -> None:
    """Answer texts with a bundle, through the runtime of the device.

    Example: edgeseq predict runs/lstm "arrived late but works great"
    """

    with open_bundle(bundle, verify_hashes=False) as opened:
        head = opened.head
    if head == "language-modeling":
        _continue(bundle, texts, json=json)
        return
    predictions = answer(bundle, texts)
    if json:
        print_json(predictions)
        return
    if predictions[0].words:
        for prediction in predictions:
            _print_words(prediction)
        return
    table = Table()
    table.add_column("text")
    table.add_column("answer", no_wrap=True)
    for label in predictions[0].probabilities:
        table.add_column(escape(label), justify="right", no_wrap=True)
    for prediction in predictions:
        shares = (format_share(share) for share in prediction.probabilities.values())
        table.add_row(escape(prediction.text), escape(prediction.label), *shares)
    out.print(table)
    for number, prediction in enumerate(predictions, start=1):
        if prediction.truncated:
            print_note(f"text {number} was cut at {prediction.tokens} tokens, the longest input")
        if prediction.unknown_only:
            print_note(f"text {number} holds no word that the model knows: a guess")


def _continue(bundle: Path, texts: list[str], *, json: bool) -> None:
    """How each text goes on: the likeliest next words."""

    found = continue_texts(bundle, texts)
    if json:
        print_json(found)
        return
    table = Table()
    table.add_column("text")
    for number in range(len(found[0].words)):
        table.add_column(f"next word, {number + 1}.", no_wrap=True)
    for one in found:
        offered = zip(one.words, one.probabilities, strict=True)
        table.add_row(
            escape(one.text), *(f"{escape(word)} {format_share(share)}" for word, share in offered)
        )
    out.print(table)
    for number, one in enumerate(found, start=1):
        if one.unknown:
            print_note(f"{one.unknown} of {one.tokens} words of text {number} are unknown")


def _print_words(prediction: Prediction) -> None:
    """A tagger's answer: a line a word."""

    table = Table(title=escape(prediction.text), title_justify="left")
    for column in ("word", "tag", "share"):
        table.add_column(column, justify="right" if column == "share" else "left")
    for word, tag, share in zip(prediction.words, prediction.tags, prediction.shares, strict=True):
        table.add_row(escape(word), escape(tag), format_share(share))
    out.print(table)
    if prediction.truncated:
        print_note("a word was cut: it is longer than the model's longest input")
