"""The table of commands: what it lists is what its commands say of themselves."""

from __future__ import annotations

import pytest
import typer

from edgeseq.cli.app import COMMANDS, app


@pytest.mark.parametrize("name", COMMANDS)
def test_a_summary_is_the_commands_own_help(name: str) -> None:
    group = typer.main.get_command(app)
    command = group.commands[name]
    own_help = " ".join((command.help or "").split("\n\n")[0].split())
    assert COMMANDS[name].summary == own_help
