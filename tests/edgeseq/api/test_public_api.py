"""The public names of `import edgeseq`, their documentation, and what they do without a model."""

from __future__ import annotations

import inspect
import io
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from rich.console import Console

import edgeseq as es
from edgeseq.api import progress as api_progress
from edgeseq.api.model import output_folder
from edgeseq.formats.result import read_result
from edgeseq.progress import ProgressCallback, ProgressUpdate, no_progress

from ...fake_results import MODELS, Fake, make_result, with_native_runner

FUNCTIONS = {
    "bench", "bench_all", "check_export", "compare", "convert", "convert_all", "convert_to_tflite",
    "describe_weights", "export", "fetch_dataset",
    "inspect", "list_datasets", "load_bundle", "load_dataset", "load_model",
    "load_result", "pull", "push", "recommend", "report", "run", "save_dataset", "search",
    "serve", "summarize_dataset", "train",
}  # fmt: skip
CLASSES = {
    "Bundle", "Comparison", "Dataset", "EdgeseqError", "Model", "Prediction", "Report", "Result",
}  # fmt: skip
MODULES = {"devices", "errors"}


def test_the_public_names_are_these() -> None:
    assert set(es.__all__) == FUNCTIONS | CLASSES | MODULES
    assert set(es.__all__) <= set(dir(es))
    for name in FUNCTIONS:
        assert inspect.isfunction(getattr(es, name))
    for name in CLASSES:
        assert inspect.isclass(getattr(es, name))
    for name in MODULES:
        assert isinstance(getattr(es, name), ModuleType)
    with pytest.raises(AttributeError, match="absent"):
        _ = es.absent  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_functions_say_what_they_take_raise_and_look_like(name: str) -> None:
    function = getattr(es, name)
    text = inspect.getdoc(function) or ""
    sections = ["Examples"]
    if inspect.signature(function).parameters:
        sections.append("Args")
    if name != "list_datasets":
        sections.append("Raises")
    for section in sections:
        assert f"\n{section}:\n" in text, section
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD:
            assert f"    {parameter.name}:" in text
    if "options" in inspect.signature(function).parameters and "**options:" not in text:
        module = sys.modules[function.__module__]
        title = "".join(part.title() for part in name.split("_"))
        names = {
            "LoadDataset": "DatasetOptions",
            "Train": "TrainingOptions",
            "Search": "SearchKeywords",
            "ConvertToTflite": "TfliteOptions",
        }
        for option in getattr(module, names.get(title, f"{title}Options")).__annotations__:
            assert f"    {option}:" in text, option


def test_names_are_used_in_any_order() -> None:
    """A function of the name of a package must survive the package's import."""
    names = ", ".join(f"es.{name}" for name in sorted(es.__all__))
    code = f"import edgeseq as es\nfor _ in range(2): assert callable(es.report)\n{names}\n"
    code += "assert callable(es.report), es.report\n"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.fixture
def result(tmp_path: Path) -> es.Result:
    path = tmp_path / "saved.json"
    es.Result(make_result(Fake(n_examples=300))).save(path)
    return es.load_result(path)


def test_a_result_gives_numbers_by_name(result: es.Result, tmp_path: Path) -> None:
    name = MODELS[0].name
    assert name in result
    assert len(result) == len(result.names) == len(list(result))
    measured = result[name]
    assert measured.latency.p95 is not None
    assert measured.latency.ci95 is not None
    assert measured.latency.ci95[0] <= measured.latency.p95
    assert measured.accuracy == measured.score
    assert measured.memory.process is not None
    assert measured.memory.model is not None
    assert measured.memory.model < measured.memory.process
    assert result.path == tmp_path / "saved.json"
    assert read_result(tmp_path / "saved.json") == result.record
    with pytest.raises(es.errors.ResultError, match="no such bundle"):
        result["absent"]


def test_a_bundle_in_two_runners_is_two_measurements() -> None:
    result = es.api.result.Result(with_native_runner(make_result(Fake(models=MODELS[4:]))))
    names = tuple(model.name for model in MODELS[4:])
    assert result.names == names
    assert len(result) == 4
    native, python = result[names[0]], result.measurement(names[0], "python")
    assert (native.runner, python.runner) == ("native", "python")
    assert native.memory.working is not None
    assert python.memory.working is not None
    assert native.memory.working < python.memory.working
    assert native.memory.working_bracket is not None
    assert native.memory.working_bracket[1] == native.memory.working
    with pytest.raises(es.errors.ResultError, match="not measured in this runner"):
        result.measurement(names[0], "benchmark_model")
    frame = result.to_frame()
    assert frame["runner"].tolist() == ["native", "python"] * 2
    assert frame["working_memory_bytes"].tolist() == [m.memory.working for m in result]
    assert "working memory" in result._repr_html_()
    report = es.report([result], budget="memory=20MB")
    assert report.verdict.runner == "native"
    assert es.recommend([result], runner="python", memory="20MB").verdict.winner is None
    assert "In a Python process" in report._repr_html_()


def test_a_result_as_rows_and_as_a_frame(
    result: es.Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = result.to_rows()
    assert [row["bundle"] for row in rows] == list(result.names)
    assert rows[0]["p95_ms_low"] <= rows[0]["p95_ms"]
    frame = result.to_frame()
    assert frame.loc[result.names[0], "p95_ms"] == rows[0]["p95_ms"]
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(es.errors.InputError, match="pandas"):
        result.to_frame()


def test_reports_and_comparisons_of_results(result: es.Result, tmp_path: Path) -> None:
    report = es.report([result], budget="memory=1GB")
    assert report.verdict.winner in result.names
    assert es.recommend([result], memory="1 GB").verdict == report.verdict
    assert es.recommend([result], memory="1kB").verdict.winner is None
    assert report.save(tmp_path / "report").is_file()
    comparison = es.compare(result, result)
    assert comparison.regressions("p95>10% size>1MB") == ()
    for shown in (result, report, comparison):
        assert "<table" in shown._repr_html_()
    assert result.names[0] in result._repr_html_()
    with pytest.raises(es.errors.InputError, match="unknown limit"):
        es.recommend([result], weight="1kB")


def test_data_sets(invented_corpus: Path) -> None:
    data = es.load_dataset(invented_corpus / "train.csv", dev=invented_corpus / "dev.csv")
    assert (len(data.dev), len(data.train) + len(data.test)) == (100, 600)
    assert "negative, neutral, positive" in data._repr_html_()
    assert "train" in repr(data)
    assert "customer-feedback" in {entry.name for entry in es.list_datasets()}
    with pytest.raises(es.errors.DataError, match="unknown data set"):
        es.load_dataset("nowhere")


@pytest.mark.parametrize(
    "name", ["bench", "convert", "convert_to_tflite", "load_dataset", "run", "train"]
)
def test_an_unknown_option_is_refused_as_python_does(name: str, tmp_path: Path) -> None:
    arguments: dict[str, tuple[object, ...]] = {
        "bench": ([],), "convert": (tmp_path, None), "convert_to_tflite": (tmp_path, "x.tflite"),
        "load_dataset": ("sst3",), "run": ("demo",), "train": ("sst3",),
    }  # fmt: skip
    with pytest.raises(TypeError, match="unexpected keyword argument 'quik'"):
        getattr(es, name)(*arguments[name], quik=True)


def test_models_that_cannot_be_read(tmp_path: Path) -> None:
    for name in ("absent.keras", "model.pkl"):
        (tmp_path / "model.pkl").write_bytes(b"")
        with pytest.raises(es.errors.CheckpointError):
            es.load_model(tmp_path / name)


def test_an_interrupt_removes_the_temporary_output() -> None:
    written: list[Path] = []

    def write() -> None:
        with output_folder(None, "lstm") as (path, _):
            path.mkdir()
            written.append(path)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert not written[0].parent.exists()


def test_progress_takes_a_callback_or_none() -> None:
    updates: list[ProgressUpdate] = []
    with api_progress.progress_of(updates.append) as callback:
        callback(ProgressUpdate("work", 1, 2))
    assert updates == [ProgressUpdate("work", 1, 2)]
    with api_progress.progress_of(None) as callback:
        assert callback is no_progress
    with api_progress.progress_of("auto") as callback:  # stderr is a file in a test
        assert callback is no_progress


@pytest.mark.parametrize("delay_s", [0.0, 60.0])
def test_a_bar_appears_after_a_delay(delay_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_progress, "BAR_DELAY_S", delay_s)
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    with api_progress.terminal_bars(console, still=True) as callback:
        _work(callback)
    assert ("work" in screen.getvalue()) == (delay_s == 0.0)


def test_a_bar_of_a_notebook_is_html_that_disappears(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    class Handle:
        def update(self, page: str) -> None:
            shown.append(page)

    def display(page: str, *, display_id: bool) -> Handle:
        shown.append(page)
        return Handle()

    ipython, module = ModuleType("IPython"), ModuleType("IPython.display")
    module.__dict__.update(HTML=str, display=display)
    kernel = type("Shell", (), {"kernel": None})()
    ipython.__dict__.update(get_ipython=lambda: kernel, display=module)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.setattr(api_progress, "BAR_DELAY_S", 0.0)
    with api_progress.progress_of("auto") as callback:
        _work(callback)
    assert 'value="1" max="2"' in shown[0]
    assert "&lt;b&gt;" in shown[0]
    assert shown[-1] == ""


def _work(callback: ProgressCallback) -> None:
    callback(ProgressUpdate("work", 1, 2, note="<b>"))
    callback(ProgressUpdate("work", 2, 2))
