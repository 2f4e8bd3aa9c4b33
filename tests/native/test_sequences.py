"""The native runner answers numeric sequences as the Python one does, to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from edgeseq.errors import BundleError, DeviceError, EdgeseqError
from edgeseq_benchmarks.bench import protocol
from edgeseq_benchmarks.bench.launcher import python_launcher
from edgeseq_benchmarks.bench.worker_client import WorkerClient

from .conftest import TIMEOUT_S, Runner, started
from .sequence_files import CASES, PLACES, SequenceCase, load_command, write_sequence_case
from .test_runner_predictions import bits


class Written(NamedTuple):
    """A case with the folder of its files."""

    case: SequenceCase
    folder: Path

    def load(self, **changed: Any) -> protocol.LoadModel:
        return load_command(self.case, self.folder, **changed)


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Written:
    write_sequence_case(request.param, tmp_path)
    return Written(request.param, tmp_path)


@pytest.fixture
def first(tmp_path: Path) -> Written:
    write_sequence_case(CASES[0], tmp_path)
    return Written(CASES[0], tmp_path)


def test_sequences_get_the_same_numbers(written: Written, runner: Runner) -> None:
    commands = (
        protocol.PredictTexts(PLACES),
        protocol.RunSlice(PLACES, PLACES[:2], len(PLACES) + 1, 10 * len(PLACES), 0),
        protocol.RunLength(9, PLACES, 2, 4, 0, 10**9),
        protocol.RunLength(10, PLACES, 2, 4, 0, 10**9),
    )
    replies = []
    with started(runner) as native, WorkerClient("python", python_launcher()) as python:
        for child in (native, python):
            child.request(written.load(), protocol.ModelLoaded, timeout_s=TIMEOUT_S)
            predicted = child.request(commands[0], protocol.TextPredictions, timeout_s=TIMEOUT_S)
            measured = child.request(commands[1], protocol.SliceDone, timeout_s=TIMEOUT_S)
            lengths = [
                len(child.request(command, protocol.LengthDone, timeout_s=TIMEOUT_S).inference_ns)
                for command in commands[2:]
            ]
            replies.append((predicted.predictions, measured, lengths))
    (found, slice_found, lengths_found), (expected, slice_expected, lengths_expected) = replies
    assert [bits(one.logits) for one in found] == [bits(one.logits) for one in expected]
    assert [one.classes for one in found] == [one.classes for one in expected]
    assert {one.token_ids for one in found} == {()}
    assert slice_found.predictions == slice_expected.predictions
    assert slice_found.queries.tokens == slice_expected.queries.tokens
    assert slice_found.flags == slice_expected.flags
    assert [bool(count) for count in lengths_found] == [bool(count) for count in lengths_expected]
    assert len({tuple(bits(one.logits)) for one in found}) > 1


def test_a_place_without_rows_is_refused(first: Written, runner: Runner) -> None:
    with started(runner) as native:
        native.request(first.load(), protocol.ModelLoaded, timeout_s=TIMEOUT_S)
        for place in ("0:0", "56:9", "9", "a:9", "-1:9", "1:9 ", "999999999999:9", ""):
            with pytest.raises(BundleError, match=r"no such rows|names no rows"):
                native.request(
                    protocol.PredictTexts((place,)), protocol.TextPredictions, timeout_s=TIMEOUT_S
                )
        for command in (protocol.PredictTexts((("a", "b"),)), protocol.InferTokens(((4, 5),))):
            with pytest.raises(DeviceError, match=r"list of words|takes numbers, not token ids"):
                native.request(command, protocol.TextPredictions, timeout_s=TIMEOUT_S)


def _whole(array: Any) -> Callable[[Path], None]:
    return lambda path: np.save(path, array)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4])


@pytest.mark.parametrize(
    "change",
    [
        _cut,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:60]),
        lambda path: path.unlink(),
        _whole(np.zeros((60, 3))),
        _whole(np.zeros(60, np.float32)),
        _whole(np.asfortranarray(np.zeros((60, 3), np.float32))),
        _whole(np.zeros((60, 4), np.float32)),
    ],
)
def test_rows_of_another_form_are_refused(
    change: Callable[[Path], None], first: Written, runner: Runner
) -> None:
    change(first.folder / "eval.npy")
    with started(runner) as native:
        match = r"does not hold rows of numbers|is not that of numeric sequences"
        with pytest.raises(EdgeseqError, match=match):
            native.request(first.load(), protocol.ModelLoaded, timeout_s=TIMEOUT_S)
