"""The device half alone: the wheel with the extra `device` or `device-legacy`, and nothing else.

The wheel is built from the checkout and installed into environments of their own, in which the
installed command is run on bundles that were converted here.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers

from edgeseq_benchmarks.devices.wheels import (
    BASE,
    LEGACY,
    LITERT,
    NEEDED_MODULES,
    OLDEST_PYTHON,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
HEAVY = {"tensorflow", "keras", "tf-keras", "transformers", "torch", "scipy", "jinja2", "altair"}
HEAVY |= {"vl-convert-python", "h5py", "safetensors", "datasets"}
WORDS = ("[UNK]", "good", "bad", "lamp", "tent", "the", "is", "a", "fine", "poor")
DESCRIPTION = """
[embedding]
weight = "embedding.weight"
[[layer]]
kind = "lstm"
prefix = "lstm"
[[layer]]
kind = "pool"
how = "last"
[[layer]]
kind = "linear"
prefix = "head"
"""
LEGACY_RUNTIME = "tflite-runtime==2.14"
TEXT = "the lamp is fine"
# What pip calls a system with 32-bit ARM and the glibc of Debian 12.
ARM32 = (
    *(f"manylinux_2_{minor}_armv7l" for minor in (17, 28, 31, 34, 35, 36)),
    *("manylinux2014_armv7l", "linux_armv7l"),
)


class Environment(NamedTuple):
    """A virtual environment and a home folder of its own."""

    folder: Path
    home: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def run(self, *arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        """The installed command, in an empty folder and without anything of this environment."""
        done = subprocess.run(
            [str(self.folder / "bin" / "edgeseq"), *map(str, arguments)],
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
            cwd=self.home,
            env={"PATH": os.environ["PATH"], "HOME": str(self.home), "COLUMNS": "200"},
        )
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done

    def json(self, *arguments: str | Path) -> Any:
        return json.loads(self.run(*arguments, "--json").stdout)

    def packages(self) -> dict[str, str]:
        """Versions of what is installed, by name."""
        listed = subprocess.run(
            [str(self.python), "-m", "pip", "list", "--format", "json"],
            check=True,
            capture_output=True,
            timeout=60,
        )
        return {one["name"].lower(): one["version"] for one in json.loads(listed.stdout)}


def _environment(folder: Path, python: str, wheel: Path, extra: str) -> Environment:
    subprocess.run([python, "-m", "venv", str(folder / "venv")], check=True, timeout=60)
    home = folder / "home"
    home.mkdir()
    made = Environment(folder / "venv", home)
    # Compiled when it is imported: most of it never is.
    pip = [str(made.python), "-m", "pip", "install", "--quiet", "--no-compile"]
    subprocess.run(
        [*pip, "--only-binary=:all:", f"{wheel}[{extra}]"],
        check=True,
        capture_output=True,
        timeout=240,
    )
    return made


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Environment:
    """`edgeseq[device]` on this Python."""
    return _environment(tmp_path_factory.mktemp("device"), sys.executable, wheel, "device")


def _legacy_python() -> str:
    """A Python that tflite-runtime has wheels for."""
    if sys.version_info[:2] <= LEGACY.newest_python:
        return sys.executable
    for name in ("python3.11", "python3.10"):
        path = shutil.which(name)
        # A name may stand for nothing (pyenv's do), so it is started.
        if path and not subprocess.run([path, "-c", ""], check=False, timeout=30).returncode:
            return path
    return pytest.skip("tflite-runtime needs Python 3.11 or 3.10, and neither is installed here")


@pytest.fixture(scope="module")
def legacy(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Environment:
    """`edgeseq[device-legacy]` on Python 3.11 or 3.10."""
    python = _legacy_python()
    return _environment(tmp_path_factory.mktemp("legacy"), python, wheel, "device-legacy")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A small LSTM, in float32 and int8, made for tflite-runtime 2.14 by the command."""
    folder = tmp_path_factory.mktemp("source")
    rng = np.random.default_rng(0)
    shapes = {
        "embedding.weight": (len(WORDS), 8),
        "lstm.weight_ih_l0": (4 * 6, 8),
        "lstm.weight_hh_l0": (4 * 6, 6),
        "lstm.bias_ih_l0": (4 * 6,),
        "lstm.bias_hh_l0": (4 * 6,),
        "head.weight": (2, 6),
        "head.bias": (2,),
    }
    arrays = {n: rng.normal(size=s, scale=0.7).astype(np.float32) for n, s in shapes.items()}
    save_file(arrays, folder / "feedback.safetensors")
    (folder / "network.toml").write_text(DESCRIPTION)
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    rows = [
        f"{' '.join(rng.choice(WORDS[1:], int(rng.integers(1, 9))))} {number},{label}"
        for number, label in enumerate(rng.choice(["bad", "good"], 200))
    ]
    (folder / "rows.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    made = subprocess.run(
        [
            *(str(Path(sysconfig.get_path("scripts")) / "edgeseq"), "convert"),
            *(str(folder / "feedback.safetensors"), "--out", str(folder / "bundles")),
            *("--description", str(folder / "network.toml")),
            *("--data", str(folder / "rows.csv")),
            *("--tokenizer", str(folder / "tokenizer.json"), "--runtime", LEGACY_RUNTIME),
            *("--recipe", "float32", "--recipe", "dynamic_wi8_afp32"),
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert made.returncode == 0, made.stderr
    return sorted(path.parent for path in folder.glob("bundles/*/bundle.json"))


def _whole_way(environment: Environment, bundles: list[Path], runtime: str) -> None:
    """Every command of the device half, in the order in which a person would type them."""
    result, report = environment.home / "result.json", environment.home / "report"
    doctor = environment.json("doctor")
    assert doctor["can_bench"], doctor
    diagnoses = {diagnosis["subject"]: diagnosis for diagnosis in doctor["diagnoses"]}
    assert diagnoses["runtime"]["message"].startswith(runtime)

    predicted = environment.json("predict", bundles[0], TEXT)
    assert TEXT in json.dumps(predicted)
    inspected = environment.json("inspect", bundles[0])
    assert inspected["operators"]

    environment.run("bench", *bundles, "--quick", "--out", result)
    measured = json.loads(result.read_text())
    assert measured["runtime"]["package"] == runtime
    assert {run["bundle"]["name"] for run in measured["runs"]} == {path.name for path in bundles}
    for run in measured["runs"]:
        assert run["queries"]["total_ns"]
        assert run["predictions"]["predicted"]
        invalid = {one["code"] for one in run["findings"] if one["severity"] == "invalid"}
        # Another program may disturb a test machine; a wrong answer may not happen.
        assert not invalid & {"golden-differs", "tokenizer-differs", "failed", "state-leaks"}

    written = environment.run("report", result, "--out", report)
    assert {path.name for path in report.iterdir()} == {"report.md", "summary.json"}
    hints = [line for line in written.stderr.splitlines() if "[report]'" in line]
    assert len(hints) == 1
    assert all(path.name in (report / "report.md").read_text() for path in bundles)
    rows = json.loads((report / "summary.json").read_text())["rows"]
    assert len(rows) == len(measured["runs"])
    code = 0 if json.loads((report / "summary.json").read_text())["verdict"]["winner"] else 3
    environment.run("recommend", result, "--memory", "1GB", code=code)
    environment.run("compare", result, result, "--fail-on", "score>1pt size>1%")

    refused = environment.run("train", "sentiment", "--arch", "lstm", "--out", "x", code=2)
    assert re.search(r"run: pip install '/.+\.whl\[convert\]'$", refused.stderr)


@pytest.mark.wheel
@pytest.mark.index
def test_the_device_half_alone(device: Environment, bundles: list[Path]) -> None:
    installed = device.packages()
    assert not HEAVY & set(installed), "the device half must not bring these"
    assert "ai-edge-litert" in installed
    _whole_way(device, bundles[:1], "ai-edge-litert")


@pytest.mark.wheel
@pytest.mark.index
def test_the_device_half_on_the_older_runtime(legacy: Environment, bundles: list[Path]) -> None:
    installed = legacy.packages()
    assert not HEAVY & set(installed)
    assert installed["tflite-runtime"] == "2.14.0"
    assert installed["numpy"].startswith("1.")
    _whole_way(legacy, bundles[:1], "tflite-runtime")


@pytest.mark.wheel
@pytest.mark.index
def test_both_runtimes_answer_the_same(
    device: Environment, legacy: Environment, bundles: list[Path]
) -> None:
    for bundle in bundles:
        answers = [one.json("predict", bundle, TEXT, "poor tent") for one in (device, legacy)]
        [current, older] = [
            [value for text in answer for value in text["scores"].values()] for answer in answers
        ]
        assert current == pytest.approx(older, abs=0.02)


def _requirements() -> dict[str, str]:
    """The distribution's requirements for `device-legacy`, by name."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    listed = [*project["dependencies"], *project["optional-dependencies"]["device-legacy"]]
    words = [one.split(";")[0].strip() for one in listed if "tomli" not in one]
    names = [word.replace("=", "<").replace(">", "<").split("<")[0] for word in words]
    return dict(zip(names, words, strict=True))


@pytest.mark.index
@pytest.mark.parametrize("python", [OLDEST_PYTHON, LITERT.newest_python])
def test_what_the_doctor_prescribes_resolves_for_a_64_bit_board(
    python: tuple[int, int], tmp_path: Path
) -> None:
    """With the oldest and the newest Python, and the oldest glibc, that the doctor lets pass."""
    glibc = LITERT.oldest_glibc[1]
    tags = [f"manylinux_2_{minor}_aarch64" for minor in range(17, glibc + 1)]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--dry-run"),
            *("--ignore-installed", "--target", str(tmp_path), "--only-binary=:all:"),
            *("--python-version", f"{python[0]}.{python[1]}"),
            *(word for tag in ("manylinux2014_aarch64", *tags) for word in ("--platform", tag)),
            *LITERT.requirements,
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.index
def test_the_32_bit_raspberry_pi_wheel_set_resolves_and_unpacks(tmp_path: Path) -> None:
    """All of `device-legacy` for ARMv7 and Python 3.11, but for NumPy and msgspec: the index has
    no wheels of these for that processor, as the guide and the doctor say.

    tflite-runtime and tflite ask for NumPy, and tokenizers for a hub client whose own needs have
    no wheels there and which it does not import: these are taken alone, as in the guide.
    """
    elsewhere = {"numpy", "msgspec"}
    wanted = [words for name, words in _requirements().items() if name not in elsewhere]
    platforms = [word for platform in ARM32 for word in ("--platform", platform)]
    alone = [one for one in wanted if one.startswith(("tflite", "tokenizers"))]
    rest = [one for one in wanted if one not in alone]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(tmp_path / "wheels")]
    pip += ["--only-binary=:all:", "--python-version", "3.11", *platforms]
    for names, more in ((alone, ["--no-deps"]), (rest, [])):
        done = subprocess.run(
            [*pip, *more, *names], check=False, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
    wheels = sorted((tmp_path / "wheels").glob("*.whl"))
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            assert archive.testzip() is None
            archive.extractall(tmp_path / "site")
    for module in ("tflite_runtime", "tokenizers", "tflite", "flatbuffers", "typer", "rich"):
        assert (tmp_path / "site" / module).is_dir(), module
    native = [path for path in (tmp_path / "site").rglob("*.so*") if path.is_file()]
    assert {path.relative_to(tmp_path / "site").parts[0] for path in native} >= {
        "tflite_runtime",
        "tokenizers",
    }
    for path in native:
        head = path.read_bytes()[:20]
        # ELF of 32 bits (byte 4 is 1) for ARM (machine 40), by the ELF specification.
        assert (head[:4], head[4], head[18]) == (b"\x7fELF", 1, 40), path.name


def test_the_doctor_asks_for_what_the_distribution_asks_for() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    assert set(BASE) <= set(project["dependencies"])
    assert LITERT.requirements[0] in project["optional-dependencies"]["device"]
    legacy = project["optional-dependencies"]["device-legacy"]
    assert any(one.startswith(LEGACY.requirements[0]) for one in legacy)
    assert {one.split(">")[0] for one in BASE} | {"numpy"} == set(NEEDED_MODULES)


def test_the_table_of_installed_sizes_is_made_from_what_was_kept(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location(
        "installed_sizes", ROOT / "benchmarks" / "studies" / "installed_sizes.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = tmp_path / "README.md"
    page.write_text("<!-- installed-sizes -->old<!-- /installed-sizes -->")
    assert module.main(["--again", "--write"], page=page) == 0
    text = page.read_text()
    assert "old" not in text
    assert "`edgeseq[device]`" in text
    assert "`edgeseq[device-legacy]`" in text
    page.write_text("no place")
    assert module.main(["--again", "--write"], page=page) == 2
