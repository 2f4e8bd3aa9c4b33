"""`edgeseq predict`: a model's answers, for a person to try."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeseq.cli.console import JsonOption, out, print_json, print_note

if TYPE_CHECKING:
    from edgeseq_benchmarks.predict import Prediction


def predict(
    bundle: Annotated[Path, typer.Argument(help="A bundle: a folder or .zip.")],
    texts: Annotated[list[str], typer.Argument(help="Texts, each in quotation marks.")],
    json: JsonOption = False,
) -> None:
    """Answer texts with a bundle, through the runtime of the device.

    Example: edgeseq predict runs/lstm "arrived late but works great"
    """
    from edgeseq_benchmarks.predict import predict as answer
    from rich.markup import escape
    from rich.table import Table

    from edgeseq.units import format_share

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


def _print_words(prediction: Prediction) -> None:
    """A tagger's answer: a line a word."""
    from rich.markup import escape
    from rich.table import Table

    from edgeseq.units import format_share

    table = Table(title=escape(prediction.text), title_justify="left")
    for column in ("word", "tag", "share"):
        table.add_column(column, justify="right" if column == "share" else "left")
    for word, tag, share in zip(prediction.words, prediction.tags, prediction.shares, strict=True):
        table.add_row(escape(word), escape(tag), format_share(share))
    out.print(table)
    if prediction.truncated:
        print_note("a word was cut: it is longer than the model's longest input")
