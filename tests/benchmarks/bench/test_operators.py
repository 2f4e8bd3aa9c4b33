"""The operator profile: real profiles of a real runtime, by structure and sums, never by time."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import tflite

from edgeseq.errors import BundleError
from edgeseq.formats.bundle import read_bundle
from edgeseq.formats.bundle_manifest import Signature, TensorSpec
from edgeseq.formats.result import (
    OperatorProfile,
    OperatorShare,
    OperatorTime,
    Settings,
    read_result,
)
from edgeseq.formats.storage import write_json
from edgeseq.formats.tflite_file import read_tflite
from edgeseq.reporting.deployment_report import make_report
from edgeseq.reporting.format import (
    format_delegation,
    format_profile_lines,
    format_profile_summary,
)
from edgeseq_benchmarks.bench.probes.operator_profile import operator_shares, profile_bundle
from edgeseq_benchmarks.bench.runner import bench
from edgeseq_benchmarks.bench.validity.stage_checks import profile_findings

MakeBundle = Callable[..., Path]


def test_a_profile_names_every_operator_and_who_ran_it(make_bundle: MakeBundle) -> None:
    bundle = read_bundle(make_bundle("bag"))
    found = profile_bundle(bundle, ["the kettle leaks"] * 20)
    operators = read_tflite(bundle.model_path).subgraphs[0].operators
    assert found.tokens == 32
    assert found.runs > 0
    assert len(found.plain_ns) > 0
    assert sum(share.nodes for share in found.shares) == len(operators)
    by_runtime = {one.name: one.calls for one in found.operators if one.by == "runtime"}
    for share in found.shares:
        assert 0 <= share.delegated <= share.nodes
        # What was not taken over was run by the runtime, once a run and node.
        assert by_runtime.get(share.name, 0) == (share.nodes - share.delegated) * found.runs
    gather = next(share for share in found.shares if share.name == "GATHER")
    assert (gather.nodes, gather.delegated) == (1, 0), "XNNPACK has no GATHER"
    assert any(one.by == "xnnpack" for one in found.operators)
    assert sum(one.total_us for one in found.operators) <= found.invoke_us


def test_a_short_text_is_profiled_at_its_own_length(make_bundle: MakeBundle) -> None:
    found = profile_bundle(read_bundle(make_bundle("bag")), ["soup"])
    assert found.tokens == 2


def test_a_model_of_a_fixed_length_is_profiled_at_it(make_bundle: MakeBundle, models: Path) -> None:
    content = bytearray((models / "bag.tflite").read_bytes())
    tensors = tflite.Model.GetRootAs(content, 0).Subgraphs(0)
    entry = tensors.Tensors(tensors.Inputs(0))
    entry.ShapeAsNumpy()[1] = entry.ShapeSignatureAsNumpy()[1] = 16
    signature = Signature(
        key="serving_default",
        inputs=(TensorSpec("input_ids", "int32", (1, 16)),),
        outputs=(TensorSpec("logits", "float32", (1, 3)),),
    )
    path = make_bundle("fixed", content=bytes(content), max_tokens=16, signature=signature)
    assert profile_bundle(read_bundle(path), ["soup " * 30]).tokens == 16


def test_a_model_that_cannot_be_profiled_is_an_error_not_a_crash(make_bundle: MakeBundle) -> None:
    bundle = read_bundle(make_bundle("bag"))
    (bundle.path / "model.tflite").write_bytes(b"\x18\0\0\0TFL3" + bytes(56))
    with pytest.raises(BundleError, match=r"model\.tflite|cannot be loaded"):
        profile_bundle(bundle, ["soup"])


def test_the_run_the_report_and_inspect_show_it(
    make_bundle: MakeBundle, brief: Settings, tmp_path: Path
) -> None:
    path = make_bundle("kettle")
    result = bench([path], settings=msgspec.structs.replace(brief, profile=True))
    assert result.runs[0].profile is not None
    write_json(tmp_path / "result.json", result)
    assert read_result(tmp_path / "result.json") == result
    make_report([tmp_path / "result.json"]).save(tmp_path / "report")
    for page in ("report.md", "report.html"):
        text = (tmp_path / "report" / page).read_text()
        assert "Where the time goes" in text
        assert "GATHER" in text
    done = subprocess.run(
        [sys.executable, "-m", "edgeseq", "inspect", str(path), "--profile", "--json"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    shown = msgspec.convert(json.loads(done.stdout)["profile"], OperatorProfile)
    assert shown.shares == result.runs[0].profile.shares


def test_inspect_runs_no_file_that_is_not_a_bundle(make_bundle: MakeBundle) -> None:
    model = make_bundle("kettle") / "model.tflite"
    done = subprocess.run(
        [sys.executable, "-m", "edgeseq", "inspect", str(model), "--profile"],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "only a bundle can be run" in done.stderr


def some_profile(**changes: object) -> OperatorProfile:
    profile = OperatorProfile(
        tokens=32,
        runs=10,
        plain_ns=(90_000, 100_000, 120_000),
        invoke_us=1_200,
        operators=(
            OperatorTime("Fully Connected", "xnnpack", 20, 900),
            OperatorTime("GATHER", "runtime", 10, 200),
            OperatorTime("ADD", "runtime", 5, 50),
        ),
        shares=(
            OperatorShare("main", "FULLY_CONNECTED", 2, 2),
            OperatorShare("main", "GATHER", 1, 0),
            OperatorShare("body", "ADD", 3, 1),
        ),
    )
    return msgspec.structs.replace(profile, **changes)


def test_shares_are_of_the_graph_and_nothing_is_left_out() -> None:
    lines = format_profile_lines(some_profile(), limit=1)
    assert lines == (
        ("Fully Connected", "xnnpack", "2", "0.090 ms", "75.0 %"),
        ("2 others", "", "1.5", "0.025 ms", "20.8 %"),
        ("between operators, loops, the profiler", "", "", "0.005 ms", "4.2 %"),
    )
    assert format_delegation(some_profile()) == (
        "XNNPACK runs 3 of 6 operators, but not ADD 2 of 3, GATHER 1 of 1"
    )
    assert "0.120 ms under the profiler and 0.100 ms without" in format_profile_summary(
        some_profile()
    )


def test_a_profiler_that_took_most_of_the_time_is_said() -> None:
    assert profile_findings(some_profile()) == []
    found = profile_findings(some_profile(invoke_us=8_000))
    assert [finding.code for finding in found] == ["profile-distorts"]
    assert "8.0 times as long" in found[0].message


def test_a_subgraph_that_never_ran_is_left_out(make_bundle: MakeBundle) -> None:
    model = read_tflite(make_bundle("bag") / "model.tflite")
    assert operator_shares(model, ()) == ()
    every = [(0, number) for number in range(len(model.subgraphs[0].operators))]
    assert all(share.delegated == 0 for share in operator_shares(model, every))
