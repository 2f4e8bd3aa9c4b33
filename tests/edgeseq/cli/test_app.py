"""The table of commands: what it lists is what its commands say of themselves."""

from __future__ import annotations

import os
import subprocess
import sysconfig

import pytest
import typer

from edgeseq.cli.app import COMMANDS, app


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
