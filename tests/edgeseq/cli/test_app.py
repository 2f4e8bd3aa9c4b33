"""The table of commands: what it lists is what its commands say of themselves."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import typer

from edgeseq.cli.app import COMMANDS, app
from edgeseq.installation import command_with_extras


@pytest.mark.parametrize("name", COMMANDS)
def test_a_summary_is_the_commands_own_help(name: str) -> None:
    group = typer.main.get_command(app)
    command = group.commands[name]
    own_help = " ".join((command.help or "").split("\n\n")[0].split())
    assert COMMANDS[name].summary == own_help


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["co"], {"compare", "convert"}),
        (["compare", "--ju"], {"--junit"}),
        (["device", "rem"], {"remove"}),
    ],
)
def test_a_shell_completes_commands_and_options(words: list[str], expected: set[str]) -> None:
    settings = {
        "_EDGESEQ_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["edgeseq", *words]),
        "COMP_CWORD": str(len(words)),
    }
    done = subprocess.run(
        [sysconfig.get_path("scripts") + "/edgeseq"],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert set(done.stdout.split()) == expected, done.stderr


@pytest.mark.parametrize(
    ("name", "extras"), [("demo", "convert,report"), ("search", "convert,report,search")]
)
def test_a_command_without_its_libraries_names_all_extras_that_it_needs(
    name: str, extras: str, tmp_path: Path
) -> None:
    arguments = [name]
    if name == "search":
        arguments += ["text-classification", "--data", "mine.csv", "--budget", "size=1MB"]
    script = (
        "import sys; sys.modules['ai_edge_litert'] = None; sys.argv = ['edgeseq', *sys.argv[1:]]; "
        "from edgeseq.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"error: edgeseq {name} needs ai_edge_litert")
    assert command_with_extras(extras.split(",")) in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())
