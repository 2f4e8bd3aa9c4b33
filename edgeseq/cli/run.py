"""`edgeseq run` and `edgeseq demo`: a whole comparison, from text to report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

import edgeseq
from edgeseq.cli.console import JsonOption, err, out, print_error, print_json, progress_bars
from edgeseq.errors import DeviceError
from edgeseq.suite.devices import suite_targets
from edgeseq.suite.engine import StepEvent, run_suite
from edgeseq.suite.quick import find_suite
from edgeseq.suite.schema import read_suite
from edgeseq.suite.times import peak_memory_bytes

DataDirOption = Annotated[
    Path | None,
    typer.Option("--data-dir", envvar="EDGESEQ_DATA", help="Folder with local copies of data."),
]
OnOption = Annotated[
    list[str] | None,
    typer.Option(
        "--on",
        help="Device to measure on, as for `edgeseq bench`; default: this machine. "
        "May be repeated.",
    ),
]
PythonOption = Annotated[
    str | None,
    typer.Option("--python", help="The Python on the device, such as ~/edgeseq/bin/python."),
]


def run(
    suite: Annotated[
        str,
        typer.Argument(help="Suite file (TOML), or a name: demo, sentiment, pos, ner, coref, lm."),
    ],
    *,
    out_dir: Annotated[
        Path | None, typer.Option("--out", help="Folder for everything; default: the suite's name.")
    ] = None,
    data_dir: DataDirOption = None,
    on: OnOption = None,
    python: PythonOption = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A part of the texts and few epochs: a look in minutes.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Run a whole comparison described in one file; running it again resumes.

    Example: edgeseq run my-suite.toml --out runs/mine
    """
    path = find_suite(suite)
    root = out_dir
    if root is None:
        root = Path(read_suite(path).name + ("-quick" if quick else ""))
    _run(path, root, data_dir=data_dir, on=on or (), python=python, quick=quick, json=json)


def demo(
    out_dir: Annotated[Path, typer.Option("--out", help="Folder for everything.")] = Path(
        "edgeseq-demo"
    ),
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Run the main job: customer-feedback sentiment, an LSTM and a distilled BERT, to a report.

    Example: edgeseq demo --out edgeseq-demo
    """
    suite = Path(edgeseq.__file__).parent / "suites" / "demo.toml"
    _run(suite, out_dir, data_dir=data_dir, json=json)


def _run(
    suite: Path,
    root: Path,
    *,
    data_dir: Path | None,
    on: Sequence[str] = (),
    python: str | None = None,
    quick: bool = False,
    json: bool,
) -> None:
    suite_targets(on, python)  # a name that is none is refused before hours of training
    # Nothing may move on the screen by itself while a model is measured.
    try:
        with progress_bars(still=True) as report:
            finished = run_suite(
                suite,
                root,
                data_dir=data_dir,
                on=on,
                python=python,
                quick=quick,
                progress=report,
                on_step=_say,
            )
    except KeyboardInterrupt:
        print_error(f"interrupted; finished steps are kept below {root}: run it again to go on")
        raise typer.Exit(130) from None
    answer = finished.answer("report")
    if json:
        print_json(
            {
                "root": str(root),
                "seconds": finished.seconds,
                "steps": finished.events,
                "verdict": answer["verdict"],
                "boundaries": answer["boundaries"],
                "lost": finished.lost,
            }
        )
    else:
        peak_bytes = peak_memory_bytes(finished.events)
        headline, *rest = closing_lines(root, answer, finished.seconds, peak_bytes)
        out.print()
        out.print(headline, markup=False, style="bold", soft_wrap=True)
        for line in rest:
            out.print(line, markup=False, soft_wrap=True)
    for line in finished.lost:
        print_error(f"{line}; the report is without it: run it again to measure there")
    if finished.lost:
        raise typer.Exit(DeviceError.exit_code)


def closing_lines(
    root: Path, answer: dict[str, Any], seconds: float, peak_memory_bytes: int
) -> list[str]:
    """What a run says in the end, the verdict first; `answer` is that of the step `report`."""
    verdict = answer["verdict"]
    headline = f"Ship {verdict['winner']}." if verdict["winner"] else "Nothing to ship."
    return [
        f"{headline} {verdict['why']}",
        *answer["boundaries"],
        "",
        f"report   {root / 'report' / 'report.html'}",
        f"         {root / 'report' / 'report.md'}",
        f"took     {seconds / 60:.1f} min, at most {peak_memory_bytes / 1e9:.1f} GB of memory",
    ]


def _say(event: StepEvent) -> None:
    note = event.answer.get("note", "")
    state = "kept" if event.kept else f"{event.seconds:.0f} s"
    err.print(f"[green]✓[/] {event.title}  [dim]{state}  {note}[/]", soft_wrap=True)
