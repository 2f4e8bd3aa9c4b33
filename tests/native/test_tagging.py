"""The C decoder of tags gives what the Python one gives, on random logits."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from edgeseq.tasks.tag_transitions import TagTransitions
from edgeseq.tasks.tagging import TagDecoder, path_scores, tag_probabilities
from edgeseq_benchmarks.native.build import FLAGS, SOURCE_DIR, compile_program, find_compiler
from edgeseq_benchmarks.native.targets import host_target

from .native_models import TAGS, random_transitions

pytestmark = pytest.mark.skipif(host_target() is None, reason="no native runner for this machine")
SOURCES = ("tagging", "scores", "pages", "failure", "status")
Decode = Callable[..., tuple[list[int], list[float]]]


@pytest.fixture(scope="module")
def decode(tmp_path_factory: pytest.TempPathFactory) -> Decode:
    """The program: tags and their probabilities, of the words of all sentences."""
    target = host_target()
    assert target is not None
    program = tmp_path_factory.mktemp("tagging") / "tagging_program"
    sources = [SOURCE_DIR / f"{name}.c" for name in SOURCES]
    sources.append(Path(__file__).parent / "tagging_program.c")
    sanitize = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    flags = (*FLAGS, f"-I{SOURCE_DIR}", *sanitize)
    compile_program(find_compiler(target), sources, program, flags=flags)

    def run(
        labels: str, transitions: TagTransitions | None, sentences: list[np.ndarray]
    ) -> tuple[list[int], list[float]]:
        scores: list[float] = []
        if transitions is not None:
            scores = [*transitions.start, *chain(*transitions.pairs), *transitions.end]
        parts = [struct.pack(f"<I{len(scores)}f", len(scores), *scores)]
        parts += [struct.pack("<I", len(rows)) + rows.tobytes() for rows in sentences]
        done = subprocess.run(
            [program, labels], input=b"".join(parts), capture_output=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
        lines = [line.split() for line in done.stdout.decode().splitlines()]
        return [int(tag) for tag, _ in lines], [float(share) for _, share in lines]

    return run


@pytest.mark.parametrize("has_rules", [False, True])
@pytest.mark.parametrize("has_transitions", [False, True])
@pytest.mark.parametrize("has_ties", [False, True])
def test_random_logits_get_the_same_tags(
    decode: Decode, has_rules: bool, has_transitions: bool, has_ties: bool
) -> None:
    rng = np.random.default_rng(11)
    transitions = random_transitions() if has_transitions else None
    sentences = [
        rng.normal(0, 2, (length, len(TAGS))).astype(np.float32)
        for length in rng.integers(0, 40, 300)
    ]
    if has_ties:
        sentences = [np.round(rows) for rows in sentences]
        if transitions is not None:
            halves = [np.round(2 * np.array(row)) / 2 for row in transitions.pairs]
            transitions = TagTransitions(
                (0.0,) * len(TAGS), tuple(tuple(row.tolist()) for row in halves), (0.0,) * len(TAGS)
            )
    labels = " ".join(TAGS) if has_rules else str(len(TAGS))
    found, shares = decode(labels, transitions, sentences)
    decoder = TagDecoder(TAGS if has_rules else (), transitions)
    expected = [decoder.best_tags(rows).tolist() for rows in sentences]
    assert found == list(chain(*expected))
    scores = None if transitions is None else path_scores(transitions)
    of_tags = [
        tag_probabilities(rows, scores)[range(len(tags)), tags]
        for rows, tags in zip(sentences, expected, strict=True)
    ]
    np.testing.assert_allclose(shares, np.concatenate(of_tags), rtol=1e-9, atol=1e-300)
    plain = np.concatenate([rows.argmax(axis=1) for rows in sentences]).tolist()
    assert (found == plain) == (not has_rules and not has_transitions)
