"""The table of commands."""

from __future__ import annotations

from typing import Annotated

import typer

import edgeseq
from edgeseq.cli import (
    bench,
    compare,
    convert,
    data,
    device,
    inspect,
    predict,
    recommend,
    report,
    run,
    train,
)

app = typer.Typer(
    name="edgeseq",
    help="Which text model fits your small device, measured on that device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"edgeseq {edgeseq.__version__}")
        raise typer.Exit


@app.callback()
def edgeseq_command(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Which text model fits your small device, measured on that device."""


app.command("demo")(run.demo)
app.command("run")(run.run)
app.add_typer(data.app)
app.command("train")(train.train)
app.command("bench")(bench.bench)
app.command("predict")(predict.predict)
app.command("convert")(convert.convert)
app.command("inspect")(inspect.inspect)
app.command("report")(report.report)
app.command("recommend")(recommend.recommend)
app.command("compare")(compare.compare)
app.command("doctor")(device.doctor)
app.add_typer(device.app)
