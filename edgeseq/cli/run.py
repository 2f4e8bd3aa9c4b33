"""`edgeseq run` and `edgeseq demo`: a whole comparison, from text to report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeseq.cli.console import JsonOption, err, out, print_error, print_json, progress_bars

if TYPE_CHECKING:
    from edgeseq.suite.engine import StepEvent

DataDirOption = Annotated[
    Path | None,
    typer.Option("--data-dir", envvar="EDGESEQ_DATA", help="Folder with local copies of data."),
]
OnOption = Annotated[str, typer.Option("--on", help="Device to measure on; `local` is this one.")]


def run(
    suite: Annotated[Path, typer.Argument(help="Suite file (TOML).")],
    out_dir: Annotated[
        Path | None, typer.Option("--out", help="Folder for everything; default: the suite's name.")
    ] = None,
    data_dir: DataDirOption = None,
    on: OnOption = "local",
    json: JsonOption = False,
) -> None:
    """Run a whole comparison described in one file; running it again resumes.

    Example: edgeseq run my-suite.toml --out runs/mine
    """
    from edgeseq.suite.schema import read_suite

    root = out_dir if out_dir is not None else Path(read_suite(suite).name)
    _run(suite, root, data_dir=data_dir, on=on, json=json)


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
    import edgeseq

    suite = Path(edgeseq.__file__).parent / "suites" / "demo.toml"
    _run(suite, out_dir, data_dir=data_dir, on="local", json=json)


def _run(suite: Path, root: Path, *, data_dir: Path | None, on: str, json: bool) -> None:
    from edgeseq.errors import InputError
    from edgeseq.suite.engine import run_suite
    from edgeseq.suite.times import peak_memory_bytes

    if on != "local":
        raise InputError("unknown device", where="--on", found=repr(on), expected="local")
    # Nothing may move on the screen by itself while a model is measured.
    try:
        with progress_bars(still=True) as report:
            finished = run_suite(suite, root, data_dir=data_dir, report=report, on_step=_say)
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
            }
        )
        return
    peak_bytes = peak_memory_bytes(finished.events)
    headline, *rest = closing_lines(root, answer, finished.seconds, peak_bytes)
    out.print()
    out.print(headline, markup=False, style="bold", soft_wrap=True)
    for line in rest:
        out.print(line, markup=False, soft_wrap=True)


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
