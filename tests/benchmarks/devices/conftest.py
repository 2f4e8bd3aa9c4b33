"""A board's ssh server, its Python and a folder there, for tests of the whole way."""

from __future__ import annotations

import site
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from .ssh_server import Sshd, missing, naming, wait_until


@pytest.fixture(scope="session")
def board_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter in an environment with a runtime and nothing of this project's."""
    folder = tmp_path_factory.mktemp("board") / "env; with $(odd) 'name'"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    for path in Path(site.getsitepackages()[0]).iterdir():
        ours = path.name.lstrip("_").startswith(("edgeseq", "tflite", "flatbuffers", "tensorflow"))
        if not ours and path.suffix != ".pth":
            (packages / path.name).symlink_to(path)
    python = str(folder / "bin" / "python")
    # As over ssh, where a path of the one who runs the tests does not count.
    found = subprocess.run(
        [python, "-E", "-c", "import edgeseq"], capture_output=True, check=False, cwd="/"
    )
    assert b"ModuleNotFoundError" in found.stderr
    return python


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """An ssh server on this machine."""
    if reason := missing():
        pytest.skip(reason)
    server = Sshd(tmp_path_factory.mktemp("sshd"))
    yield server
    server.stop()


@pytest.fixture
def place_name() -> str:
    return "-a place; with $(odd) 'name'"


@pytest.fixture
def place(tmp_path: Path, place_name: str) -> Iterator[PurePosixPath]:
    """A folder on the board that must be empty in the end, with nothing that runs in it."""
    folder = tmp_path / place_name
    folder.mkdir()
    yield PurePosixPath(folder)
    assert wait_until(lambda: not list(folder.iterdir()))
    assert wait_until(lambda: not naming(str(tmp_path / "-a place")))
