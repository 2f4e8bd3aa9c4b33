"""The built wheel as new users start it: by uvx, by pipx, and by the commands of tutorials."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from ..docs.conftest import example_files  # noqa: F401 - a fixture
from ..docs.test_docs import BLOCKS_OF, check_output, run_cheap_commands
from ..fake_results import write_result

pytestmark = [pytest.mark.wheel, pytest.mark.index]

ROOT = Path(__file__).parents[2]
TUTORIALS = ("csv-to-board", "keras-model")


def _run(
    command: list[str], folder: Path, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """A program of this Python's environment, without this checkout."""
    scripts = sysconfig.get_path("scripts")
    return subprocess.run(
        [shutil.which(command[0], path=scripts) or command[0], *command[1:]],
        cwd=folder,
        env={
            "PATH": os.pathsep.join((scripts, os.environ["PATH"])),
            "HOME": str(folder),
            "COLUMNS": "400",
            **{name: os.environ[name] for name in ("SSL_CERT_FILE",) if name in os.environ},
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.fixture(scope="module")
def uv_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    cache = tmp_path_factory.mktemp("uv")
    return {"UV_CACHE_DIR": str(cache), "UV_PYTHON": sys.executable, "UV_NO_PROGRESS": "1"}


def _printed_command(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The command that the error names, in the last line."""
    assert done.returncode == 2, done.stdout + done.stderr
    line = done.stderr.splitlines()[-1]
    named = re.fullmatch(r"error: edgeseq demo needs \w+, which is not installed; run: (.+)", line)
    assert named, done.stderr
    return shlex.split(named[1])


def test_the_demo_by_uvx_names_its_command(
    wheel: Path, uv_environment: dict[str, str], tmp_path: Path
) -> None:
    demo = ["edgeseq", "demo", "--out", "my demo"]
    done = _run(["uvx", "--from", str(wheel), *demo], tmp_path, uv_environment)
    command = _printed_command(done)
    requirement = f"{wheel}[convert,report]"
    assert command == ["uvx", "--from", requirement, *demo]
    # Half a gigabyte, so it is resolved and not installed.
    resolve = ["uv", "pip", "install", "--dry-run", "--target", str(tmp_path / "none"), requirement]
    resolved = _run(resolve, tmp_path, uv_environment)
    assert resolved.returncode == 0, resolved.stderr
    # Environments of uv have no pip, which fetches the demo's data and weights.
    assert re.search(r"^ \+ pip==", resolved.stderr, re.M)
    assert re.search(r"^ \+ tensorflow==", resolved.stderr, re.M)


def test_what_a_command_by_uvx_names_runs(
    wheel: Path, uv_environment: dict[str, str], tmp_path: Path
) -> None:
    write_result(tmp_path / "result.json")
    report = ["edgeseq", "report", "result.json", "--out", "report"]
    light = _run(["uvx", "--from", str(wheel), *report], tmp_path, uv_environment)
    assert light.returncode == 0, light.stderr
    assert not (tmp_path / "report" / "report.html").exists()
    [named] = re.findall(r"for those: (uvx .+), here or on another", light.stderr)
    full = _run(shlex.split(named), tmp_path, uv_environment)
    assert full.returncode == 0, full.stderr
    assert (tmp_path / "report" / "report.html").is_file()


def test_the_demo_by_pipx_names_its_command(wheel: Path, tmp_path: Path) -> None:
    done = _run(["pipx", "run", "--spec", str(wheel), "edgeseq", "demo"], tmp_path, {})
    spec = f"{wheel}[convert,report]"
    assert _printed_command(done) == ["pipx", "run", "--spec", spec, "edgeseq", "demo"]


@pytest.fixture(scope="module")
def workstation(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`bin` of an environment with the wheel, whose libraries are those of this Python."""
    folder = tmp_path_factory.mktemp("workstation")
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=60
    )
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--quiet"]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True, timeout=120)
    asked = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = subprocess.run([python, "-c", asked], check=True, capture_output=True, text=True)
    Path(site.stdout.strip(), "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def test_commands_of_tutorials(
    workstation: Path,
    example_files: Path,  # noqa: F811 - the fixture
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Their blocks of Python are run in the environment of the wheel too."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    for name in TUTORIALS:
        page = tmp_path / name
        shutil.copytree(example_files, page)
        monkeypatch.chdir(page)
        blocks = BLOCKS_OF[ROOT / "docs" / "tutorials" / f"{name}.md"]
        outputs = 0
        for block, following in zip(blocks, [*blocks[1:], None], strict=True):
            if block.mark:
                continue
            if block.language == "python":
                script = [workstation / "python", "-c", block.text]
                subprocess.run(script, check=True, capture_output=True, timeout=120)
            elif block.language == "":
                shown = run_cheap_commands(block, [str(workstation / "edgeseq")])
                check_output(shown, following)
                outputs += bool(shown and following and following.mark == "output")
        assert outputs, name


def test_the_environment_of_the_wheel_has_no_checkout(workstation: Path) -> None:
    script = "import edgeseq, edgeseq_benchmarks, edgeseq_converters as c; print(c.__file__)"
    clean = {"PATH": os.environ["PATH"]}
    done = subprocess.run(
        [workstation / "python", "-c", script], check=True, capture_output=True, env=clean
    )
    assert done.stdout.decode().startswith(str(workstation.parent))
