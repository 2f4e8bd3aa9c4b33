"""The parts of `benchmarks/studies/peers/` for BERTs that need no other tool: weights, files,
verdicts."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgeseq.formats.result import DeviceInfo
from studies.peers import bert_table
from studies.peers.bert_files import (
    KINDS,
    BertBuildOrder,
    TorchBertReference,
    _run,
    write_checkpoint,
)
from studies.peers.bert_head import fit_head
from studies.peers.bert_table import BertPeersResult, FileSizes, ThreadsResult, fastest
from studies.peers.contenders import OPEN, BuildFailure, Contender
from studies.peers.inputs import REAL
from studies.peers.limit import MachineLimits
from studies.peers.result import PeerRow
from studies.peers.rounds import Agreement, PeerProcess, RoundTiming, check_answers, time_rounds

RIGHT = Agreement(max_error=1e-6, relative_error=1e-6, equal_labels=1.0, texts=48)
TEXTS = [[2, 17, 9, 3], [2, 40, 41, 42, 3], [2, 7, 3]]


def row(name: str, precision: str, round_ns: float, feeding: str = "open") -> PeerRow:
    timings = {one: RoundTiming((round_ns,) * 4, 5e4, 9e5, 100) for one in ("32", "128", REAL)}
    peer = name.split(maxsplit=1)[0]
    return PeerRow(name, peer, precision, feeding, "", "", 650_000, RIGHT, timings)  # type: ignore[arg-type]


def result(*rows: PeerRow, threads: int = 1) -> BertPeersResult:
    return BertPeersResult(
        created_utc="2026-01-02T03:04:05+00:00",
        edgeseq_version="0.1.0",
        device=DeviceInfo("board", "x86_64", "A CPU", ("avx2",), 2, 1 << 30, "6.1", "Linux"),
        versions={"onnxruntime": "1.32.0"},
        checkpoint="a-bert",
        sizes=FileSizes(6, 384, 1536),
        texts="customer-feedback 0123",
        real_tokens=(5, 25),
        rounds=4,
        quick=True,
        machine=MachineLimits({}, 50e9),
        runs=(ThreadsResult(threads, rows, (BuildFailure("x 32", "a | b"),)),),
    )


def test_a_real_bert_answers_in_rounds_with_two_threads(
    tmp_path: Path, small_bert_checkpoint: Path
) -> None:
    checkpoint = tmp_path / "checkpoint"
    write_checkpoint(str(small_bert_checkpoint), checkpoint)
    order = BertBuildOrder(
        "edgeseq", "dynamic", OPEN, str(checkpoint), str(tmp_path / "m.tflite"), TEXTS
    )
    assert _run(order, tmp_path / "order.json") is None
    reference = TorchBertReference(checkpoint)
    logits = np.array([reference.logits(ids) for ids in TEXTS])
    assert logits.shape == (3, 3)
    assert np.ptp(logits, axis=0).max() > 0.001
    files = {OPEN: order.path}
    contender = Contender("edgeseq", "edgeseq", "dynamic", "open", files, (REAL,))
    with PeerProcess(contender, {REAL: TEXTS}, threads=2) as child:
        assert check_answers(child, reference, {REAL: TEXTS}).wrong(contender) is None
        timings = time_rounds([child], {REAL: TEXTS}, rounds=2, wall=True, log=lambda _: None)
    timing = timings["edgeseq"][REAL]
    assert len(timing.rounds_ns) == 2
    assert timing.wall_ns == np.median(timing.rounds_ns)


def test_a_fitted_head_knows_its_texts(tmp_path: Path, small_bert_checkpoint: Path) -> None:
    write_checkpoint(str(small_bert_checkpoint), tmp_path)
    labels = [2, 0, 1]
    before = TorchBertReference(tmp_path)
    assert [int(np.argmax(before.logits(ids))) for ids in TEXTS] != labels
    assert fit_head(tmp_path, TEXTS, labels) == 1
    after = TorchBertReference(tmp_path)
    logits = np.array([after.logits(ids) for ids in TEXTS])
    assert np.argmax(logits, axis=1).tolist() == labels
    # What flows into the head is as it was: the file's other weights are the same.
    assert np.abs(logits).max() == pytest.approx(3, rel=1e-4)


def test_a_maker_that_fails_says_why(tmp_path: Path) -> None:
    order = BertBuildOrder(
        "edgeseq", "dynamic", OPEN, str(tmp_path / "none"), str(tmp_path / "m"), TEXTS
    )
    cause = _run(order, tmp_path / "order.json")
    assert cause is not None
    assert "cannot be converted: found nothing" in cause


def test_every_promise_has_its_contenders() -> None:
    names = {kind.name for kind in KINDS} | {f"{kind.name} at 128" for kind in KINDS}
    assert {name for target in bert_table.TARGETS for name in target.against} <= names


def test_ratios_are_against_the_fastest_and_ours_unpadded() -> None:
    found = result(
        row("edgeseq dynamic_wi8_afp32", "dynamic", 10.0),
        row("edgeseq dynamic_wi8_afp32 at 128", "dynamic", 1.0, "padded"),
        row("onnxruntime dynamic", "dynamic", 30.0),
        row("onnxruntime fused dynamic", "dynamic", 20.0),
    )
    ours = fastest(found.runs[0].rows, "32", precision="dynamic")
    assert ours is not None
    assert ours.name == "edgeseq dynamic_wi8_afp32"
    text = "\n".join(bert_table.lines(found))
    assert "| dynamic int8, ONNX Runtime | 1 | 1.6 | 32 | 2.00 (2.00 to 2.00) | met |" in text
    assert "| float32, ONNX Runtime | 1 | 1 | 32 | – | not measured |" in text
    assert "| x 32 | a \\| b |" in text


def test_the_bound_counts_the_products() -> None:
    sizes = FileSizes(layers=1, width=2, inner=3)
    # Four 2x2 and two 2x3 products for each of 5 tokens, 5x5 of width 2 twice.
    assert sizes.products(5) == 5 * (16 + 12) + 2 * 25 * 2


def test_a_result_survives_its_file(tmp_path: Path) -> None:
    found = result(row("edgeseq float32", "float32", 10.0))
    assert msgspec.json.decode(msgspec.json.encode(found), type=BertPeersResult) == found
