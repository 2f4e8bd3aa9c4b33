"""The native runner predicts what the Python one does, to the last bit of the logits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from edgeseq_benchmarks.bench import protocol

from .conftest import TIMEOUT_S, Runner, Write, both
from .native_models import STREAM_KINDS, Case, Files, all_cases, texts_for

CASES = list(all_cases())
STATELESS = [case for case in CASES if case.kind not in STREAM_KINDS]
STREAMING = [case for case in CASES if case.kind in STREAM_KINDS]


def name(case: Case) -> str:
    return case.name


def bits(numbers: Sequence[float | None]) -> list[int]:
    """Numbers as the bits of float64: a negative zero is another one."""
    return np.array([np.nan if n is None else n for n in numbers]).view(np.int64).tolist()


@pytest.mark.parametrize("case", STATELESS, ids=name)
def test_texts_get_the_same_tokens_logits_and_classes(
    case: Case, runner: Runner, write: Write
) -> None:
    files = write(case)
    texts = tuple(texts_for(files))
    with both(runner, files, texts[0]) as children:
        native, python = (
            child.request(
                protocol.PredictTexts(texts), protocol.TextPredictions, timeout_s=TIMEOUT_S
            ).predictions
            for child in children
        )
    for text, found, expected in zip(texts, native, python, strict=True):
        assert found.token_ids == expected.token_ids, text
        assert found.flags == expected.flags, text
        assert found.classes == expected.classes, text
        assert bits(found.logits) == bits(expected.logits), text


@pytest.mark.parametrize("case", CASES, ids=name)
def test_a_slice_differs_in_nothing_but_its_times(case: Case, runner: Runner, write: Write) -> None:
    files = write(case)
    texts = tuple(texts_for(files))
    if files.head == "language-modeling":
        texts = tuple(word for text in texts for word in str(text).split())
    command = protocol.RunSlice(texts, texts[:2], len(texts) + 1, 10 * len(texts), 0)
    with both(runner, files, texts[0]) as children:
        native, python = (
            child.request(command, protocol.SliceDone, timeout_s=TIMEOUT_S) for child in children
        )
    assert native.flags == python.flags
    assert native.predictions == python.predictions
    assert native.inconsistent == python.inconsistent
    for found, expected in ((native.warmup, python.warmup), (native.queries, python.queries)):
        assert (found.text, found.tokens) == (expected.text, expected.tokens)
        steps = [found.tokenize_ns, found.inference_ns, found.decode_ns]
        total = np.sum([protocol.unpack(column) for column in steps], axis=0)
        assert total.tolist() == list(protocol.unpack(found.total_ns))


@pytest.mark.parametrize("case", STATELESS, ids=name)
def test_token_ids_get_the_same_logits(case: Case, runner: Runner, write: Write) -> None:
    files = write(case)
    generator = np.random.default_rng(8)
    lengths = (1, 2, 7, 7, 23, 24)
    ids = tuple(tuple(generator.integers(0, 60, n).tolist()) for n in lengths)
    with both(runner, files, texts_for(files)[0]) as children:
        native, python = (
            child.request(protocol.InferTokens(ids), protocol.TokenLogits, timeout_s=TIMEOUT_S)
            for child in children
        )
    assert [bits(row) for row in native.logits] == [bits(row) for row in python.logits]


@pytest.mark.parametrize("case", STREAMING, ids=name)
def test_documents_score_the_same(case: Case, runner: Runner, write: Write) -> None:
    files = write(case)
    texts = [*map(str, texts_for(files)), "", "  "]
    with both(runner, files, "w1") as children:
        for text in texts:
            native, python = (
                child.request(
                    protocol.ScoreDocument(text, "<eos>"),
                    protocol.DocumentScored,
                    timeout_s=TIMEOUT_S,
                )
                for child in children
            )
            # The runner's exponentials are those of the C library, NumPy's its own: in float32
            # they differ in the last bit.
            assert native.nats == pytest.approx(python.nats, rel=1e-6, abs=1e-6)
            assert native.tokens == python.tokens
            assert native.top1_correct == python.top1_correct
            assert native.top3_correct == python.top3_correct


@pytest.mark.parametrize("case", STREAMING, ids=name)
def test_texts_continue_the_same(case: Case, runner: Runner, write: Write) -> None:
    files = write(case)
    with both(runner, files, "w1") as children:
        for text in [*map(str, texts_for(files)), "", "unheard of"]:
            for count in (1, 3, 40):
                command = protocol.Complete(text, "<eos>", count)
                native, python = (
                    child.request(command, protocol.TopK, timeout_s=TIMEOUT_S) for child in children
                )
                assert native.words == python.words
                assert native.probabilities == pytest.approx(python.probabilities, rel=1e-5)
                assert (native.tokens_read, native.unknown) == (python.tokens_read, python.unknown)


@pytest.mark.parametrize("case", STREAMING, ids=name)
def test_log_probabilities_of_a_text_are_the_same(case: Case, runner: Runner, write: Write) -> None:
    files = write(case)
    texts = tuple(texts_for(files))
    with both(runner, files, "w1") as children:
        native, python = (
            child.request(
                protocol.PredictTexts(texts), protocol.TextPredictions, timeout_s=TIMEOUT_S
            ).predictions
            for child in children
        )
    for found, expected in zip(native, python, strict=True):
        assert (found.token_ids, found.classes) == (expected.token_ids, expected.classes)
        assert found.logits == pytest.approx(expected.logits, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("case", [STATELESS[0], STREAMING[0], STREAMING[-1]], ids=name)
@pytest.mark.parametrize("tokens", [1, 5, 30, 500])
def test_inference_at_one_length_is_timed_where_a_text_is_long_enough(
    case: Case, tokens: int, runner: Runner, write: Write
) -> None:
    files = write(case)
    texts = tuple(str(text) for text in texts_for(files))
    command = protocol.RunLength(tokens, texts, 3, 5, 0, 10**9)
    with both(runner, files, texts[0]) as children:
        native, python = (
            child.request(command, protocol.LengthDone, timeout_s=TIMEOUT_S) for child in children
        )
    assert len(native.inference_ns) == len(python.inference_ns)


def test_all_threads_give_the_same_logits(runner: Runner, write: Write) -> None:
    files: Files = write(Case("bert", "dynamic_wi8_afp32", "encoder"))
    texts = tuple(texts_for(files))
    with both(runner, files, texts[0]) as (native, _):
        answers = []
        for threads in (1, 2, 4):
            load = files.load(native=True, first_text=texts[0], threads=threads)
            native.request(load, protocol.ModelLoaded, timeout_s=TIMEOUT_S)
            command = protocol.PredictTexts(texts)
            answers.append(native.request(command, protocol.TextPredictions, timeout_s=TIMEOUT_S))
        assert answers[0] == answers[1] == answers[2]
