"""`edgeseq device`: save boards and phones by name, and check whether one is ready."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from edgeseq.api.devices import (
    add_device,
    check_device,
    devices_path,
    list_devices,
    remove_device,
)
from edgeseq.cli import device_emulate
from edgeseq.cli.console import JsonOption, out, print_json, print_line, print_note
from edgeseq.errors import RefusedError
from edgeseq_benchmarks.devices.doctor import DeviceFacts, Diagnosis

app = typer.Typer(
    name="device",
    help="Manage saved devices and check their setup.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
)

app.command("emulate")(device_emulate.emulate)

NameArgument = Annotated[str, typer.Argument(help="Short name, such as kitchen-pi.")]
_COLOURS = {"ok": "green", "warning": "yellow", "problem": "bold red"}


@app.command("add")
def add(
    name: NameArgument,
    address: Annotated[
        str, typer.Argument(help="ssh://USER@HOST[:PORT], adb:SERIAL or emulated:BOARD.")
    ],
    *,
    python: Annotated[
        str,
        typer.Option(
            help="Python interpreter on the device that has the runtime: a command or a path."
        ),
    ] = "python3",
    note: Annotated[str, typer.Option(help="Note about the device.")] = "",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Overwrite a saved device of that name.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Save a device under a short name, for `--on NAME`.

    Example: edgeseq device add kitchen ssh://pi@kitchen.local --python '~/edgeseq-venv/bin/python'
    """
    entry = add_device(name, address, python=python, note=note, overwrite=overwrite)
    if json:
        print_json({"name": name, "device": entry, "path": str(devices_path())})
        return
    print_note(f"saved in {devices_path()}; next: edgeseq device doctor {name}")


@app.command("list")
def list_saved(json: JsonOption = False) -> None:
    """List the saved devices.

    Example: edgeseq device list
    """
    devices = list_devices()
    if json:
        print_json({"path": str(devices_path()), "devices": devices})
        return
    if not devices:
        print_note("no devices are saved; add one: edgeseq device add NAME ssh://USER@HOST")
        return
    table = Table()
    for title in ("name", "address", "Python", "note"):
        table.add_column(title, overflow="fold")
    for name, entry in devices.items():
        table.add_row(*(escape(cell) for cell in (name, entry.address, entry.python, entry.note)))
    out.print(table)


@app.command("remove")
def remove(name: NameArgument) -> None:
    """Remove a saved device; nothing changes on the device.

    Example: edgeseq device remove kitchen
    """
    remove_device(name)
    print_note(f"removed {name}")


@app.command("doctor")
def doctor(
    device: Annotated[
        str, typer.Argument(help="Name from `edgeseq device list`, an address, or local.")
    ] = "local",
    *,
    python: Annotated[
        str | None, typer.Option(help="Check this Python on the device: a command or a path.")
    ] = None,
    facts: Annotated[
        bool, typer.Option("--facts", help="With --json: also print the recorded facts.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Check whether a device is ready to benchmark, and print the commands that fix it.

    Exits with 0 when it is ready, 3 when something must be fixed, 4 when it cannot be reached.

    Example: edgeseq device doctor kitchen
    """
    check = check_device(device, python=python)
    if json:
        answer = {
            "device": check.device,
            "can_bench": check.ready,
            "diagnoses": check.diagnoses,
        }
        print_json(answer | ({"facts": check.facts} if facts else {}))
    else:
        _print(check.facts, check.diagnoses)
    if not check.ready:
        problems = [
            diagnosis.subject for diagnosis in check.diagnoses if diagnosis.severity == "problem"
        ]
        raise RefusedError(
            "is not ready to benchmark",
            where=check.device,
            found=f"problems: {', '.join(problems)}",
        )


def _print(facts: DeviceFacts, diagnoses: tuple[Diagnosis, ...]) -> None:
    system = facts.system
    title = f"{facts.device}: {system.board or system.machine}, {system.os_name}"
    table = Table.grid(padding=(0, 2))
    for _ in range(3):
        table.add_column(overflow="fold")
    for diagnosis in diagnoses:
        table.add_row(
            f"[{_COLOURS[diagnosis.severity]}]{diagnosis.severity}[/]",
            escape(diagnosis.subject),
            escape(diagnosis.message),
        )
    out.print(escape(title), soft_wrap=True, style="bold")
    out.print(table)
    for diagnosis in diagnoses:
        where = "" if facts.device == "local" else "on the device"
        _print_fix(diagnosis.subject, where, diagnosis.fix)
        _print_fix(diagnosis.subject, "on this machine", diagnosis.fix_on_host)


def _print_fix(subject: str, where: str, commands: tuple[str, ...]) -> None:
    """Below the table and unbroken, so that a line can be copied."""
    if not commands:
        return
    out.print(f"\n{subject}, to fix it{f' ({where})' if where else ''}:", markup=False)
    for command in commands:
        print_line(f"  {command}")
