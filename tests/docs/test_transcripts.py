"""Transcripts in guides: a command that needs a network, and what it prints with servers here."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from edgeseq.datasets.registry import BUILT_IN

from ..edgeseq.api.hub_server import serve_hub
from ..edgeseq.datasets.faulty_server import serve
from .test_docs import ROOT, Block, blocks_of, commands_of, edgeseq_arguments

COPIES = Path(os.environ.get("EDGESEQ_DATA", "missing"))


def transcripts(page: Path) -> Iterator[tuple[Block, Block]]:
    """Each block of commands that need a network with the block of their output."""
    blocks = list(blocks_of(page))
    for commands, output in itertools.pairwise(blocks):
        if commands.mark == "needs: network" and output.mark == "output":
            yield commands, output


def shown_by(commands: Block, folder: Path, environment: dict[str, str]) -> str:
    """What the commands print to stdout and stderr, which must all succeed."""
    shown = ""
    for words in commands_of(commands.text):
        arguments = edgeseq_arguments(words)
        assert arguments is not None
        finished = subprocess.run(
            [sys.executable, "-m", "edgeseq", *arguments],
            cwd=folder,
            env={**os.environ, **environment, "COLUMNS": "400"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        assert finished.returncode == 0, finished.stdout
        shown += finished.stdout
    return shown


def test_data_guide(tmp_path: Path) -> None:
    ((commands, output),) = transcripts(ROOT / "docs" / "guides" / "data.md")
    source = BUILT_IN["sec-fin"]
    with serve() as server:
        for file in source.downloads:
            copy = COPIES / source.folders[0] / file.name
            if not copy.is_file():
                pytest.skip(f"EDGESEQ_DATA has no {file.name}")
            server.files[urlsplit(file.url).path] = copy
        environment = {
            "EDGESEQ_DATA": "",
            "EDGESEQ_DATA_MIRROR": server.address,
            "XDG_CACHE_HOME": str(tmp_path / "cache"),
        }
        assert shown_by(commands, tmp_path, environment) == output.text


def test_hub_guide(example_files: Path, tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    ((commands, output),) = transcripts(ROOT / "docs" / "guides" / "hub.md")
    shutil.copytree(example_files, tmp_path / "page")
    with serve_hub() as hub:
        environment = {
            "HF_ENDPOINT": hub.address,
            "HF_HOME": str(tmp_path / "hf-home"),
            "HF_TOKEN": hub.token,
            "HF_HUB_DISABLE_XET": "1",
        }
        shown = shown_by(commands, tmp_path / "page", environment)
    assert shown.replace(hub.address, "https://huggingface.co") == output.text
    pulled = tmp_path / "page" / "reviews"
    assert {path.name for path in pulled.iterdir()} == {
        path.name for path in (example_files / "bundles" / "lstm").iterdir()
    }
