"""`benchmarks/studies/evidence.py`: scores come from files of numbers, and the page says what it
must."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edgeseq.errors import ResultError
from edgeseq.formats.result import read_result
from edgeseq.formats.storage import write_json
from edgeseq.formats.trained_model import (
    LstmConfig,
    ModelManifest,
    TrainedModel,
    Training,
    write_model_folder,
)
from edgeseq.reporting.budgets import Budget
from edgeseq.reporting.rows import read_groups
from edgeseq.reporting.summary import decide_group

from ..fake_results import write_result

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def evidence() -> Any:
    path = ROOT / "benchmarks" / "studies" / "evidence.py"
    spec = importlib.util.spec_from_file_location("evidence", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["evidence"] = module  # msgspec resolves the module's annotations there
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_stored_numbers_say(evidence: Any) -> None:
    folder = ROOT / "benchmarks" / "results"
    stored = evidence.read_stored(folder)
    kept = (ROOT / "docs" / "evidence.md").read_text(encoding="utf-8")
    assert kept == evidence.page(stored, evidence.read_trainings(folder / "trained")), (
        "run `python benchmarks/studies/evidence.py --write`"
    )
    for path in folder.glob("*.json"):
        assert path.stat().st_size <= evidence.LIMIT_BYTES


def test_the_guide_for_choosing_has_the_figures_of_the_stored_numbers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    choosing = importlib.import_module("studies.choosing")
    kept = (ROOT / "docs" / "choosing.md").read_text(encoding="utf-8")
    stored = choosing.read_stored(ROOT / "benchmarks" / "results")
    text = "\n".join(choosing.lines(stored))
    assert kept == choosing.put_measured(kept, text), (
        "run `python benchmarks/studies/choosing.py --write`"
    )
    for evidence in stored:
        session, models = choosing.representatives(evidence)
        best = {}
        for model in session.models:
            best[model.arch] = max(
                best.get(model.arch, -9e9), choosing.metric_of(evidence.task).rank(model.score)
            )
        for model in models:
            drop = best[model.arch] - choosing.metric_of(evidence.task).rank(model.score)
            assert 0 <= 100 * drop <= 1, model.bundle
    assert choosing.main(["--other"]) == 2
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "choosing.md").write_text("no markers")
    assert choosing.main(["--write"], root=tmp_path) == 2


def test_a_result_becomes_numbers_and_a_page(evidence: Any, tmp_path: Path) -> None:
    path = write_result(tmp_path / "result.json")
    (tmp_path / "docs").mkdir()
    assert evidence.main([str(path), "--write"], root=tmp_path) == 0
    (kept,) = (tmp_path / "benchmarks" / "results").glob("*.json")
    written = (tmp_path / "docs" / "evidence.md").read_text(encoding="utf-8")
    result = read_result(path)
    for run in result.runs:
        assert run.bundle.name in written
    assert result.device.cpu_model in written
    decided = decide_group(read_groups([path])[0], Budget()).summary.boundary
    assert f"**Which family wins.** {decided}" in written  # as a report says it
    # No answer and no text is kept, only numbers of whole runs.
    assert '"gold"' not in kept.read_text(encoding="utf-8")
    assert evidence.main(["--write"], root=tmp_path) == 0  # from the kept numbers alone
    assert (tmp_path / "docs" / "evidence.md").read_text(encoding="utf-8") == written
    assert evidence.main([str(path), "--write"], root=tmp_path) == 0
    assert len(list((tmp_path / "benchmarks" / "results").glob("*.json"))) == 1


def test_a_second_result_stands_behind_what_is_kept(evidence: Any, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    first = write_result(tmp_path / "result.json")
    assert evidence.main([str(first), "--write"], root=tmp_path) == 0
    later = read_result(first)
    later = msgspec.structs.replace(later, created_utc="2030-01-01T00:00:00+00:00")
    second = tmp_path / "later.json"
    second.write_bytes(msgspec.json.encode(later))
    for _ in range(2):  # the second time nothing is new
        assert evidence.main([str(second), "--add"], root=tmp_path) == 0
        (kept,) = evidence.read_stored(tmp_path / "benchmarks" / "results")
        assert [session.created_utc[:4] for session in kept.sessions] == ["2026", "2030"]
    assert evidence.main([str(second), "--write"], root=tmp_path) == 0
    (kept,) = evidence.read_stored(tmp_path / "benchmarks" / "results")
    assert [session.created_utc[:4] for session in kept.sessions] == ["2030"]


def test_printing_writes_nothing(
    evidence: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_result(tmp_path / "result.json")
    assert evidence.main([str(path)], root=tmp_path) == 0
    assert "# Evidence" in capsys.readouterr().out
    assert sorted(one.name for one in tmp_path.iterdir()) == ["result.json"]


def of(evidence: Any, **changes: Any) -> Any:
    """Evidence of one BERT on GAP."""
    model = {
        "bundle": "minilm-float32",
        "arch": "bert",
        "recipe": "float32",
        "lowering": "encoder",
        "parameters": 1,
        "model_size_bytes": 40_000_000,
        "model_sha256": "0" * 64,
        "seed": "7",
        "score": 0.8,
        "score_ci95": [0.78, 0.82],
        "per_source": [
            {"source": "masculine", "n_examples": 5, "score": 0.8, "score_ci95": [0.7, 0.9]},
            {"source": "feminine", "n_examples": 5, "score": 0.6, "score_ci95": [0.5, 0.7]},
        ],
        "n_examples": 10,
        "n_answers": 10,
        "p50_ms": 12.0,
        "p95_ms": None,
        "p50_ms_ci95": [11.0, 13.0],
        "p95_ms_ci95": None,
        "n_queries": 20,
        "peak_memory_bytes": 50_000_000,
        "peak_process_bytes": 90_000_000,
        "invalid_reasons": [],
    } | changes
    session = {
        "created_utc": "2026-01-01T00:00:00+00:00",
        "edgeseq_version": "1",
        "device": "here",
        "cpu_model": "A processor",
        "machine": "x86_64",
        "emulated": False,
        "runtime": "ai-edge-litert 2",
        "threads": 1,
        "quick": True,
        "models": [model],
    }
    file = {"task": "coref", "data_name": "gap", "data_sha256": "a" * 64, "sessions": [session]}
    return msgspec.convert(file, evidence.Evidence)


def test_a_target_is_judged_from_the_numbers(evidence: Any) -> None:
    target = evidence.EvidenceTarget("coref", "gap", "bert", 0.75)

    def verdict(target: Any = target, **changes: Any) -> str:
        return str(evidence.judge(target, [of(evidence, **changes)])[1])

    assert verdict() == "met"
    assert verdict(score=0.75) == "met"
    assert verdict(score=0.732) == "**missed** by 1.8 points"
    assert verdict(score=None) == "not measured"
    assert verdict(invalid_reasons=["leaks"], invalid_codes=["state-leaks"]) == "not measured"
    assert verdict(invalid_reasons=["no code"]) == "not measured"
    both = ["throttled", "state-leaks"]
    assert verdict(invalid_reasons=both, invalid_codes=both) == "not measured"
    assert verdict(invalid_reasons=["hot"], invalid_codes=["throttled"]) == verdict()
    assert verdict(arch="lstm") == "not measured"
    small = msgspec.structs.replace(target, max_size_bytes=1_000_000)
    assert evidence.judge(small, [of(evidence)]) == ("no model is small enough", "not measured")
    words = evidence.EvidenceTarget("lm", "wikitext2", "lstm", 110.0)
    changed = msgspec.structs.replace(of(evidence, arch="lstm", score=120.0), task="lm")
    changed = msgspec.structs.replace(changed, data_name="wikitext2")
    assert evidence.judge(words, [changed])[1].startswith("**missed** by 10")
    assert evidence.judge(msgspec.structs.replace(words, bound=130.0), [changed])[1] == "met"


def test_of_trainings_that_differ_in_the_seed_the_mean_is_judged(evidence: Any) -> None:
    target = evidence.EvidenceTarget("coref", "gap", "bert", 0.75)
    first, second = (
        of(evidence, bundle=f"minilm-seed-{seed}-float32", score=score)
        for seed, score in ((0, 0.8), (1, 0.68))
    )
    models = (first.sessions[0].models[0], second.sessions[0].models[0])
    session = msgspec.structs.replace(first.sessions[0], models=models)
    both = msgspec.structs.replace(first, sessions=(session,))
    text, verdict = evidence.judge(target, [both])
    assert text == "74.0 % (minilm-float32, 40.0 MB, mean of 2 seeds)"
    assert verdict == "**missed** by 1.0 points"


def test_the_genders_and_their_ratio_have_columns(evidence: Any) -> None:
    text = evidence.page([of(evidence)])
    assert "| masculine | feminine | feminine / masculine |" in text
    assert "| 80.0 % | 60.0 % | 0.75 | 12" in text
    assert "| 10 | 7 |" in text


def test_what_does_not_fit_is_one_line(
    evidence: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evidence.main([str(tmp_path / "none.json")], root=tmp_path) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    other = msgspec.structs.replace(of(evidence), task="unheard")
    write_json(tmp_path / "benchmarks" / "results" / "x.json", other)
    assert evidence.main([], root=tmp_path) == 2
    assert "unknown task" in capsys.readouterr().err


def test_a_model_s_training_is_kept_once(evidence: Any, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    record = Training(
        data_name="invented",
        data_sha256="a" * 64,
        n_train=9,
        seed=3,
        epochs=2,
        settings={"epochs": 2, "layer_decay": 1.0, "hard_label_weight": 0.3},
        seconds=90.0,
        dev_score=0.75,
        dev_scores=(0.5, 0.75),
    )
    config = LstmConfig(
        vocabulary_size=2, embedding_size=1, hidden_size=1, layers=1, bidirectional=False,
        pooling="max",
    )  # fmt: skip
    manifest = ModelManifest(
        name="small", task="pos", arch="lstm", labels=("A", "B"), max_tokens=8, training=record,
        lstm=config,
    )  # fmt: skip
    model = TrainedModel(manifest, {"table": np.zeros((2, 1), np.float32)}, "{}")
    write_model_folder(tmp_path / "model", model)
    for _ in range(2):
        assert evidence.main([str(tmp_path / "model"), "--write"], root=tmp_path) == 0
    (kept,) = evidence.read_trainings(tmp_path / "benchmarks" / "results" / "trained")
    (one,) = kept.models
    assert (one.name, one.dev_scores) == ("small", (0.5, 0.75))
    assert one.settings == {"epochs": 2}  # what a teacher would have needed is left out
    page = (tmp_path / "docs" / "evidence.md").read_text(encoding="utf-8")
    assert "Trainings tried on invented" in page
    assert "50.0 %, 75.0 % | 2 |" in page
    other = msgspec.structs.replace(kept, data_sha256="0" * 64)
    with pytest.raises(ResultError, match="other examples"):
        evidence.merged([kept], [other])


def test_what_a_word_costs_is_shown_where_it_was_timed(evidence: Any) -> None:
    costs = [{"tokens": 1, "p50_ms": 0.5}, {"tokens": 1024, "p50_ms": 9.25}]
    file = of(evidence, context_costs=costs)
    shown = evidence.page([file])
    assert "| model | 1 | 1,024 |" in shown
    assert "| minilm-float32 | 0.50 | 9.25 |" in shown
    assert "1,024" not in evidence.page([of(evidence, context_costs=costs, invalid_reasons=["x"])])
