"""What the wheel holds, and who imports whom."""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "edgeseq": ROOT / "edgeseq",
    "edgeseq_converters": ROOT / "converters" / "edgeseq_converters",
    "edgeseq_benchmarks": ROOT / "benchmarks" / "edgeseq_benchmarks",
}
HEAVY = ("tensorflow", "keras", "transformers", "torch", "altair", "vl_convert", "scipy", "jinja2")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), "."],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=300,
    )
    return zipfile.ZipFile(next(out.glob("*.whl")))


def test_the_wheel_installs_three_names_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    top = {name.split("/")[0] for name in wheel.namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == set(PACKAGES)


def test_the_wheel_holds_what_is_read_at_run_time(wheel: zipfile.ZipFile) -> None:
    held = set(wheel.namelist())
    for name, folder in PACKAGES.items():
        for path in folder.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert f"{name}/{path.relative_to(folder).as_posix()}" in held
    assert "edgeseq/suites/demo.toml" in held
    assert not any(name.endswith((".tflite", ".safetensors", ".pkl", ".bin")) for name in held)


def test_the_wheel_holds_the_licence_and_the_command(wheel: zipfile.ZipFile) -> None:
    info = next(name.split("/")[0] for name in wheel.namelist() if ".dist-info/" in name)
    assert f"{info}/licenses/LICENSE" in wheel.namelist()
    entry_points = wheel.read(f"{info}/entry_points.txt").decode()
    assert "edgeseq = edgeseq.cli:main" in entry_points


def _loaded_by(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120
    )
    return {name.split(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize(
    "statement",
    [
        "import edgeseq",
        "import edgeseq.cli.app",
        "import edgeseq_benchmarks.bench.runner, edgeseq_benchmarks.bench.worker",
    ],
)
def test_importing_the_core_or_the_device_half_loads_nothing_heavy(statement: str) -> None:
    assert not _loaded_by(statement).intersection(HEAVY)


def test_the_command_line_loads_neither_half_nor_numpy_before_a_command_runs() -> None:
    loaded = _loaded_by("import edgeseq.cli.app")
    assert not loaded.intersection({"edgeseq_converters", "edgeseq_benchmarks", "numpy"})


def _imports(path: Path, *, top_level_only: bool) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


def test_no_half_imports_the_other() -> None:
    for name, other in (
        ("edgeseq_converters", "edgeseq_benchmarks"),
        ("edgeseq_benchmarks", "edgeseq_converters"),
    ):
        for path in PACKAGES[name].rglob("*.py"):
            assert other not in set(_imports(path, top_level_only=False)), path


def test_the_core_imports_a_half_only_inside_functions() -> None:
    for path in PACKAGES["edgeseq"].rglob("*.py"):
        names = set(_imports(path, top_level_only=True))
        assert not names.intersection({"edgeseq_converters", "edgeseq_benchmarks"}), path


def test_nothing_runs_code_from_data() -> None:
    """No pickle, no eval or exec, no shell."""
    for folder in PACKAGES.values():
        for path in folder.rglob("*.py"):
            assert not {"pickle", "marshal", "shelve"}.intersection(
                _imports(path, top_level_only=False)
            ), path
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    called = node.func.id if isinstance(node.func, ast.Name) else ""
                    assert called not in ("eval", "exec"), path
                    assert not any(keyword.arg == "shell" for keyword in node.keywords), path


def test_generated_pages_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
