"""The lowering that a device runs fastest is named, with by how much."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from edgeseq.formats.result import Finding, Run
from edgeseq.formats.storage import write_json
from edgeseq.reporting.budgets import Budget
from edgeseq.reporting.summary import read_and_decide

from ...fake_results import Fake, make_result, scale_times

LITTLE = Fake(n_queries=200, n_examples=300, limited=False, lengths=False)


def lowered(run: Run, lowering: str, factor: float, *findings: Finding) -> Run:
    """The run as if it had been measured of another lowering, `factor` times as slow."""
    name = run.bundle.name if lowering == "loop" else f"{run.bundle.name}-{lowering}"
    return msgspec.structs.replace(
        run,
        bundle=msgspec.structs.replace(run.bundle, name=name, lowering=lowering),
        queries=scale_times(run.queries, factor),
        findings=(*run.findings, *findings),
    )


def test_the_fastest_is_picked_and_said(tmp_path: Path) -> None:
    result = make_result(LITTLE)
    run = next(one for one in result.runs if one.bundle.arch == "lstm")
    others = [one for one in result.runs if one.bundle.arch == "bert"]
    broken = Finding(code="swap", severity="invalid", message="it swapped")
    runs = (
        lowered(run, "loop", 1.0),
        lowered(run, "fused", 3.0),
        lowered(run, "unrolled", 0.5, broken),
        *others,
    )
    path = tmp_path / "result.json"
    write_json(path, msgspec.structs.replace(result, runs=runs))
    [decided] = read_and_decide([path], Budget())
    [choice] = decided.summary.lowerings
    assert (choice.fastest_bundle, choice.lowering) == (run.bundle.name, "loop")
    best, fused = choice.candidates  # the invalid one is no candidate
    assert (best.lowering, best.ratio) == ("loop", None)
    assert fused.ratio == pytest.approx(3.0, rel=1e-3)
    assert fused.ratio_ci95 is not None
    assert fused.ratio_ci95[0] <= 3.0 <= fused.ratio_ci95[1]
    assert "is loop: fused takes 3 times" in decided.summary.boundary


def test_one_lowering_is_no_choice(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_json(path, make_result(LITTLE))
    [decided] = read_and_decide([path], Budget())
    assert decided.summary.lowerings == ()
