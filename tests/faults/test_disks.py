"""Full and read-only disks: an error line, the old output whole, and no draft."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

import edgeseq as es
from edgeseq.errors import OutputError
from edgeseq.formats.bundle import read_bundle
from edgeseq.formats.result import read_result
from edgeseq.formats.storage import write_json
from edgeseq.formats.trained_model import read_model_folder, write_model_folder
from edgeseq.reporting.charts import chart_sections
from edgeseq.reporting.deployment_report import make_report
from edgeseq.reporting.sections import ReportFigure
from edgeseq.suite.output_folder import claim_folder
from studies.reliability import record

from ..fake_results import Fake, make_result
from ..small_disks import mounted_disk
from .commands import Command, drafts
from .conftest import TinyRun
from .failing_writes import FailingWrites

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(900)]


def _content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def _refusal(writes: FailingWrites, write: Callable[[], object]) -> str | None:
    try:
        with writes.installed():
            write()
    except OutputError as error:
        return str(error)
    return None


def _fail_each_write(
    name: str, folder: Path, write: Callable[[], object], *, at_least: int
) -> None:
    """Runs `write` with its first, second, … write failing, until it needs no more."""
    before = _content(folder)
    for fail_at in range(1, 500):
        writes = FailingWrites(fail_at)
        refusal = _refusal(writes, write)
        assert not drafts(folder)
        if refusal is None:
            assert fail_at > at_least
            record(f"failed writes of {name}", fail_at - 1)
            return
        assert "disk is full" in refusal
        assert _content(folder) == before, f"write {fail_at}"
    pytest.fail("it never succeeded")


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text("old")
    result = make_result(Fake(n_examples=20, n_queries=40))
    _fail_each_write("a file", tmp_path, lambda: write_json(path, result), at_least=4)
    assert read_result(path) == result


def test_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures: dict[str, bytes] = {}
    draw_png = chart_sections.draw_png

    def draw_once(figure: ReportFigure) -> bytes:
        if figure.name not in figures:
            figures[figure.name] = draw_png(figure)
        return figures[figure.name]

    monkeypatch.setattr(chart_sections, "draw_png", draw_once)
    path = tmp_path / "result.json"
    write_json(path, make_result(Fake(n_examples=20, n_queries=40)))
    out = tmp_path / "out"
    report = make_report([path])
    report.save(out / "report")
    _fail_each_write("a report", out, lambda: report.save(out / "report"), at_least=12)


def test_a_trained_model(tiny_run: TinyRun, tmp_path: Path) -> None:
    model = read_model_folder(tiny_run.model)
    out = tmp_path / "out"
    write_model_folder(out / "model", model)
    training = msgspec.structs.replace(model.manifest.training, dev_score=0.5)
    manifest = msgspec.structs.replace(model.manifest, training=training)
    changed = msgspec.structs.replace(model, manifest=manifest)
    _fail_each_write(
        "a model",
        out,
        lambda: write_model_folder(out / "model", changed, overwrite=True),
        at_least=10,
    )


def test_a_bundle(tiny_run: TinyRun, tmp_path: Path) -> None:
    out = tmp_path / "out"
    bundle = es.load_bundle(tiny_run.bundle)
    bundle.save(out / "bundle")
    _fail_each_write("a bundle", out, lambda: bundle.save(out / "bundle.zip"), at_least=4)
    read_bundle(out / "bundle")


def test_the_folder_of_a_suite(tiny_run: TinyRun, tmp_path: Path) -> None:
    root = tmp_path / "out"
    root.mkdir()
    _fail_each_write(
        "a suite's folder", root, lambda: claim_folder(root, tiny_run.suite), at_least=8
    )


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system with the given options of tmpfs."""
    with mounted_disk(tmp_path / "disk", request.param) as folder:
        yield folder


def _commands(tiny_run: TinyRun, out: Path) -> list[list[str | Path]]:
    result = tiny_run.root / "result.json"
    return [
        ["report", result, "--out", out / "report"],
        ["convert", tiny_run.model, *tiny_run.data_options, "--out", out / "bundle"],
        ["bench", tiny_run.bundle, "--quick", "--no-working-memory", "--out", out / "result.json"],
        ["run", tiny_run.suite, "--out", out / "suite"],
    ]


def _error_line(command: Command) -> str:
    """The one line with which it fails."""
    done = command.run()
    assert done.returncode == 2, (command.arguments, done.stderr)
    assert "Traceback" not in done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    return line


@pytest.mark.parametrize("disk", ["size=16k"], indirect=True)
def test_a_full_disk_is_one_line(tiny_run: TinyRun, disk: Path, scratch: Path) -> None:
    for arguments in _commands(tiny_run, disk):
        assert "disk is full" in _error_line(Command(arguments, scratch))
        assert not drafts(disk)
        assert not list(scratch.iterdir())


@pytest.mark.parametrize("disk", ["ro"], indirect=True)
def test_a_read_only_folder_is_one_line(tiny_run: TinyRun, disk: Path, scratch: Path) -> None:
    for arguments in _commands(tiny_run, disk):
        assert "may not be written to" in _error_line(Command(arguments, scratch))
        assert not list(disk.iterdir())
        assert not list(scratch.iterdir())
