"""The table of commands; the module of a command is imported when that command is run."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

import edgeseq
from edgeseq.errors import InputError
from edgeseq.installation import command_with_extras, missing_extra


class CommandEntry(NamedTuple):
    """Where a command is defined: a function, or a `typer.Typer` of subcommands.

    `summary` is its line in `edgeseq --help`; a test holds it to the command's own help. `extras`
    are those that it cannot do without.
    """

    module: str
    attribute: str
    summary: str
    extras: str = ""


COMMANDS = {
    "demo": CommandEntry(
        "edgeseq.cli.run",
        "demo",
        "Run the demo: an LSTM and a distilled BERT on customer feedback, from text to report.",
        extras="convert,report",
    ),
    "run": CommandEntry(
        "edgeseq.cli.run",
        "run",
        "Run a whole comparison described in a suite file; running it again resumes.",
        extras="convert,report",
    ),
    "search": CommandEntry(
        "edgeseq.cli.search",
        "search",
        "Search for the best model of your data within a budget; running it again resumes.",
        extras="convert,report,search",
    ),
    "train": CommandEntry(
        "edgeseq.cli.train", "train", "Train an LSTM or fine-tune a BERT.", extras="convert"
    ),
    "bench": CommandEntry(
        "edgeseq.cli.bench",
        "bench",
        "Measure latency, memory and accuracy of bundles on this machine or on other devices.",
    ),
    "predict": CommandEntry(
        "edgeseq.cli.predict",
        "predict",
        "Predict labels, tags or the next words of texts, or numbers of sequences, with a bundle "
        "in the device's runtime.",
    ),
    "convert": CommandEntry(
        "edgeseq.cli.convert",
        "convert",
        "Convert a model to TFLite, compare it with the float model, and write a bundle.",
    ),
    "inspect": CommandEntry(
        "edgeseq.cli.inspect",
        "inspect",
        "Show operators with versions, signatures, sizes by part, and which runtimes load a file.",
    ),
    "export": CommandEntry(
        "edgeseq.cli.export",
        "export",
        "Export a bundle to files that an app runs as they are, or check an export.",
    ),
    "push": CommandEntry(
        "edgeseq.cli.hub",
        "push",
        "Upload a bundle with a model card to the Hugging Face hub.",
    ),
    "pull": CommandEntry(
        "edgeseq.cli.hub",
        "pull",
        "Download a bundle from the Hugging Face hub and check it.",
    ),
    "report": CommandEntry(
        "edgeseq.cli.report",
        "report",
        "Report which model to ship and why: an HTML page, Markdown with pictures, "
        "and a JSON summary.",
    ),
    "serve": CommandEntry(
        "edgeseq.cli.serve",
        "serve",
        "Serve the report on this machine, and renew it while a suite or a fleet is measured.",
    ),
    "recommend": CommandEntry(
        "edgeseq.cli.recommend",
        "recommend",
        "Recommend a model within limits, with the reasons against every other model.",
    ),
    "compare": CommandEntry(
        "edgeseq.cli.compare",
        "compare",
        "Compare two results of the same models, with intervals; fail on a regression.",
    ),
    "table": CommandEntry(
        "edgeseq.cli.tables",
        "table",
        "Write the numbers of results as a table: a row per model and runner, units in the names.",
    ),
    "log": CommandEntry(
        "edgeseq.cli.tables",
        "log",
        "Log results in MLflow: a run per result with its report, and a nested run per model.",
    ),
    "doctor": CommandEntry(
        "edgeseq.cli.device",
        "doctor",
        "Check whether a device is ready to benchmark, and print the commands that fix it.",
    ),
    "data": CommandEntry(
        "edgeseq.cli.data",
        "app",
        "Data sets: origin, licence and content.",
    ),
    "device": CommandEntry(
        "edgeseq.cli.device",
        "app",
        "Manage saved devices and check their setup.",
    ),
    "native": CommandEntry(
        "edgeseq.cli.native",
        "app",
        "Build the native runner, a C program that needs no Python.",
    ),
}


class LazyCommands(MutableMapping[str, Any]):
    """The commands of `COMMANDS` by name, each imported at its first use.

    Importing every command would load what only one of them needs: `edgeseq --help` would take a
    second on a small board.
    """

    def __init__(self) -> None:
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            self._loaded[name] = _load(name, COMMANDS[name])
        return self._loaded[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class LazyGroup(TyperGroup):
    """A group that lists its commands by their summaries and imports the one that is run."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = LazyCommands()
        self._lists_summaries = False

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the base class has it
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - the base class has it
        if self._lists_summaries:
            return TyperCommand(cmd_name, help=COMMANDS[cmd_name].summary)
        return self.commands.get(cmd_name)

    @contextmanager
    def _summaries(self) -> Iterator[None]:
        self._lists_summaries = True
        try:
            yield
        finally:
            self._lists_summaries = False

    def format_help(self, ctx: Any, formatter: Any) -> None:
        with self._summaries():
            super().format_help(ctx, formatter)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """The commands and options that begin with `incomplete`."""
        with self._summaries():
            return super().shell_complete(ctx, incomplete)


def missing_libraries(name: str, error: ModuleNotFoundError) -> InputError | None:
    """What brings all libraries that the command needs; None if no extra brings the module."""
    missing = missing_extra(error)
    entry = COMMANDS.get(name)
    if missing is None or entry is None or not entry.extras:
        return missing
    extras = entry.extras.split(",")
    if "report" in extras and shutil.which("cc") is None:
        extras.append("native")
    return InputError(
        f"edgeseq {name} needs {error.name}, which is not installed",
        fix=f"run: {command_with_extras(extras)}",
    )


def _load(name: str, entry: CommandEntry) -> Any:
    module = importlib.import_module(entry.module)
    definition = getattr(module, entry.attribute)
    if isinstance(definition, typer.Typer):
        return typer.main.get_command(definition)
    single = typer.Typer(
        add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich"
    )
    single.command(name)(definition)
    return typer.main.get_command(single)


app = typer.Typer(
    name="edgeseq",
    cls=LazyGroup,
    help="Which text model fits your small device, measured on that device.",
    no_args_is_help=True,
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
