"""`edgeseq run` and `edgeseq demo`: a whole comparison, from text to report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import edgeseq as es
from edgeseq.api.fetch import missing_source
from edgeseq.cli.console import (
    JsonOption,
    err,
    out,
    print_error,
    print_json,
    print_line,
    print_note,
    progress_bars,
)
from edgeseq.errors import DeviceError
from edgeseq.formats.result import RUNNER_TITLES
from edgeseq.reporting.verdict import headline_of
from edgeseq.units import format_bytes

if TYPE_CHECKING:  # the help needs no engine
    from edgeseq.api.run import RunOptions
    from edgeseq.suite.engine import StepEvent

DataDirOption = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        envvar="EDGESEQ_DATA",
        help="Folder with local copies of data sets and weights.",
    ),
]
OnOption = Annotated[
    list[str] | None,
    typer.Option(
        "--on",
        help="Device to measure on, as for `edgeseq bench`; default: this machine. Repeatable.",
    ),
]
PythonOption = Annotated[
    str | None,
    typer.Option(
        "--python", help="Python interpreter on the device, such as ~/edgeseq/bin/python."
    ),
]

SchedulerOption = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        help="Address of a Dask scheduler, such as tcp://host:8786, whose workers run the "
        "steps; needs --store.",
    ),
]
StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        help="Folder or URL (ssh://, s3://) that keeps what steps made, for other machines "
        "and runs.",
    ),
]


def run(
    suite: Annotated[
        str,
        typer.Argument(help="Suite file (TOML), or a name: demo, sentiment, pos, ner, coref, lm."),
    ],
    *,
    out_dir: Annotated[
        Path | None, typer.Option("--out", help="Output folder; default: the suite's name.")
    ] = None,
    data_dir: DataDirOption = None,
    on: OnOption = None,
    python: PythonOption = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Smoke run: a data subset, one small model per architecture."),
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Download a built-in data set without asking.")
    ] = False,
    scheduler: SchedulerOption = None,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Run a whole comparison described in a suite file; running it again resumes.

    Example: edgeseq run my-suite.toml --out runs/mine
    """
    if yes or (sys.stdin.isatty() and err.is_terminal):
        _fetch_data(suite, data_dir, is_confirmed=yes)
    options: RunOptions = {
        "data_dir": data_dir,
        "devices": on or (),
        "python": python,
        "quick": quick,
        "scheduler": scheduler,
        "store": store,
    }
    _run(suite, out_dir, options, json=json)


def demo(
    out_dir: Annotated[Path, typer.Option("--out", help="Output folder.")] = Path("edgeseq-demo"),
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Run the demo: an LSTM and a distilled BERT on customer feedback, from text to report.

    Example: edgeseq demo --out edgeseq-demo
    """
    _run("demo", out_dir, {"data_dir": data_dir}, json=json)


def _fetch_data(suite: str, data_dir: Path | None, *, is_confirmed: bool) -> None:
    """Downloads the suite's data set if it is missing and the user agrees."""
    source = missing_source(suite, data_dir)
    if source is None:
        return
    entry, size = source.entry, format_bytes(source.download_bytes)
    print_note(f"{suite} needs {entry.name}, {size} from {entry.origin}")
    print_note(f"licence: {entry.licence}")
    print_note(f"cite: {entry.citation}")
    if is_confirmed or typer.confirm("Download it?", err=True):
        with progress_bars() as progress:
            es.fetch_dataset(entry.name, data_dir=data_dir, progress=progress)


def _run(suite: str, out_dir: Path | None, options: RunOptions, *, json: bool) -> None:
    # Nothing may move on the screen by itself while a model is measured.
    try:
        with progress_bars(still=True) as progress:
            options.update({"progress": progress, "on_step": _print_step})
            output = es.run(suite, out=out_dir, **options)
    except KeyboardInterrupt:
        print_error("interrupted; finished steps are kept: run it again to resume")
        raise typer.Exit(130) from None
    root, answer = output.root, output.steps.answer("report")
    if json:
        print_json(
            {
                "root": str(root),
                "seconds": output.steps.seconds,
                "steps": output.steps.events,
                "verdict": answer["verdict"],
                "boundaries": answer["boundaries"],
                "lost": output.lost_devices,
            }
        )
    else:
        headline, *lines = closing_lines(
            root, answer, output.steps.seconds, output.peak_memory_bytes
        )
        out.print()
        out.print(headline, markup=False, style="bold", soft_wrap=True)
        for line in lines:
            print_line(line)
    for line in output.lost_devices:
        print_error(f"{line}; the report is without it: run it again to measure there")
    if output.lost_devices:
        raise typer.Exit(DeviceError.exit_code)


def closing_lines(
    root: Path, answer: dict[str, Any], seconds: float, peak_memory_bytes: int
) -> list[str]:
    """What a run says in the end, the verdict first; `answer` is that of the step `report`."""
    verdict = answer["verdict"]
    process = RUNNER_TITLES.get(verdict.get("runner")) if verdict["winner"] else None
    headline = headline_of(verdict["winner"], is_doubted=bool(verdict.get("doubts")))
    headline += f" in a {process}." if process else "."
    return [
        " ".join(filter(None, (headline, verdict["why"], verdict.get("proof")))),
        *answer["boundaries"],
        "",
        f"report   {root / 'report' / 'report.html'}",
        f"         {root / 'report' / 'report.md'}",
        f"took     {seconds / 60:.1f} min, at most {peak_memory_bytes / 1e9:.1f} GB of memory",
    ]


def _print_step(event: StepEvent) -> None:
    note = event.answer.get("note", "")
    state = "reused" if event.reused else f"{event.seconds:.0f} s"
    err.print(f"[green]✓[/] {event.title}  [dim]{state}  {note}[/]", soft_wrap=True)
