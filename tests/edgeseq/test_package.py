"""What the wheel holds, and what importing a package loads."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import edgeseq

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "edgeseq": ROOT / "edgeseq",
    "edgeseq_converters": ROOT / "converters" / "edgeseq_converters",
    "edgeseq_benchmarks": ROOT / "benchmarks" / "edgeseq_benchmarks",
}
HEAVY = ("tensorflow", "keras", "transformers", "torch", "altair", "vl_convert", "scipy", "jinja2")


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that is built from it."""
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), "."],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=300,
    )
    return out


@pytest.fixture(scope="module")
def wheel(dist: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(next(dist.glob("*.whl")))


def test_the_metadata_is_complete(dist: Path, wheel: zipfile.ZipFile) -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *map(str, dist.iterdir())],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    path = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = wheel.read(path).decode()
    for line in (
        f"Version: {edgeseq.__version__}",
        "License-Expression: Apache-2.0",
        "Requires-Python: >=3.10",
        "Classifier: Typing :: Typed",
        "Description-Content-Type: text/markdown",
    ):
        assert f"\n{line}\n" in metadata
    assert {f"{name}/py.typed" for name in PACKAGES} <= set(wheel.namelist())


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


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_the_wheel_alone_builds_the_native_runner(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path / "unpacked")
    script = (
        "import sys; from pathlib import Path; from edgeseq_benchmarks.native import build; "
        "print(build.__file__, build.build_runner(cache_dir=Path(sys.argv[1])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "cache")],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "unpacked")},
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    module, program = done.stdout.split()
    assert module.startswith(str(tmp_path / "unpacked"))
    help_text = subprocess.run([program, "--help"], check=True, capture_output=True, text=True)
    assert "edgeseq-runner predict" in help_text.stdout


def test_the_wheel_holds_the_licence_and_the_command(wheel: zipfile.ZipFile) -> None:
    info = next(name.split("/")[0] for name in wheel.namelist() if ".dist-info/" in name)
    assert f"{info}/licenses/LICENSE" in wheel.namelist()
    entry_points = wheel.read(f"{info}/entry_points.txt").decode()
    assert "edgeseq = edgeseq.cli:main" in entry_points


def _modules_after(statement: str) -> set[str]:
    """The top-level names of the modules that a fresh Python has loaded after `statement`."""
    code = f"import sys\n{statement}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120
    )
    return {name.split(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize("statement", ["import edgeseq", "import edgeseq.cli.app"])
def test_importing_edgeseq_loads_no_half_and_no_array_library(statement: str) -> None:
    """Which module may import which at all is `lint-imports`' part."""
    loaded = _modules_after(statement)
    assert not loaded.intersection(
        {"edgeseq_converters", "edgeseq_benchmarks", "numpy", "tokenizers", "IPython", *HEAVY}
    )


@pytest.mark.parametrize("statement", ["import edgeseq.cli.run", "import edgeseq.suite.engine"])
def test_suites_load_their_scheduler_when_a_step_has_to_run(statement: str) -> None:
    assert not _modules_after(statement).intersection({"distributed", "dask", *HEAVY})


def test_importing_edgeseq_loads_one_module() -> None:
    code = "import sys\nimport edgeseq\nprint([n for n in sys.modules if n.startswith('edgeseq')])"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == "['edgeseq']"


def test_the_device_half_loads_nothing_heavy() -> None:
    statement = "import edgeseq_benchmarks.bench.runner, edgeseq_benchmarks.bench.worker"
    assert not _modules_after(statement).intersection(HEAVY)


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


def test_nothing_runs_code_from_data() -> None:
    """No pickle, no eval or exec, no shell."""
    for folder in PACKAGES.values():
        for path in folder.rglob("*.py"):
            assert not {"pickle", "marshal", "shelve"}.intersection(_imports(path)), path
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


def test_what_runs_in_an_older_runtime_needs_numpy_and_msgspec_alone() -> None:
    """See `edgeseq_converters.convert.verify.older_runtime`."""

    def loaded(code: str) -> set[str]:
        code += "; import sys; print(*{name.partition('.')[0] for name in sys.modules})"
        command = [sys.executable, "-c", code]
        return set(subprocess.run(command, check=True, capture_output=True).stdout.decode().split())

    added = loaded("import edgeseq.runtime.isolated_run") - loaded("import msgspec, numpy")
    # Before Python 3.11 `tomllib` is a package to install.
    assert added - (sys.stdlib_module_names - {"tomllib"}) == {"edgeseq"}
