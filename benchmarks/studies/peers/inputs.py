"""What all contenders are given: the same weights, and token ids of real texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
from tokenizers import BertWordPieceTokenizer

from edgeseq.datasets.registry import load_dataset
from edgeseq.tasks.examples import Dataset, TextExample

FloatArray = npt.NDArray[np.float32]
Ids = list[int]

VOCABULARY = 8_000
CLASSES = 3
LENGTHS = (8, 32, 128)
"""Tokens of the texts of one length; the last is also what fixed files are padded to."""
PADDED_LENGTH = LENGTHS[-1]
TEXTS_PER_LENGTH = 8
REAL = "real"
"""The name of the workload of texts at the lengths that they have."""


class Shape(msgspec.Struct, frozen=True):
    """Sizes of an LSTM classifier that gives the logits of its last state."""

    embedding: int
    hidden: int

    @property
    def title(self) -> str:
        return f"{self.embedding}/{self.hidden}"

    @property
    def products_a_token(self) -> tuple[int, int]:
        """Multiply-adds of the input projection and of the recurrent product."""
        return self.embedding * 4 * self.hidden, self.hidden * 4 * self.hidden


SHAPES = (Shape(64, 128), Shape(128, 256))


def make_weights(shape: Shape, seed: int = 0) -> dict[str, FloatArray]:
    """Arrays as a fresh Keras layer would draw them, wide enough that the gates do something.

    `table` [V, E], `kernel` [E, 4H] and `recurrent` [H, 4H] with gates i, f, c, o, `bias` [4H]
    (1 for the forget gate), `head` [H, 3], `head_bias` [3].
    """
    rng = np.random.default_rng(seed)
    embedding, hidden = shape.embedding, shape.hidden

    def normal(scale: float, *sizes: int) -> FloatArray:
        return rng.normal(scale=scale, size=sizes).astype(np.float32)

    bias = np.zeros(4 * hidden, np.float32)
    bias[hidden : 2 * hidden] = 1.0
    return {
        "table": normal(1.0, VOCABULARY, embedding),
        "kernel": normal(embedding**-0.5, embedding, 4 * hidden),
        "recurrent": normal(0.7 * hidden**-0.5, hidden, 4 * hidden),
        "bias": bias,
        "head": normal(3.0 * hidden**-0.5, hidden, CLASSES),
        "head_bias": normal(0.1, CLASSES),
    }


def reference_logits(weights: dict[str, FloatArray], ids: Sequence[int]) -> FloatArray:
    """The network in NumPy, in double precision, gates as in `make_weights`; logits [3].

    c = σ(f)·c + σ(i)·tanh(g), h = σ(o)·tanh(c) (Hochreiter & Schmidhuber 1997, forget gate of
    Gers et al. 2000).
    """
    w = {name: array.astype(np.float64) for name, array in weights.items()}
    h = c = np.zeros(w["recurrent"].shape[0])
    for projected in w["table"][list(ids)] @ w["kernel"] + w["bias"]:
        i, f, g, o = np.split(projected + h @ w["recurrent"], 4)
        c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
        h = np.tanh(c) / (1 + np.exp(-o))
    logits: FloatArray = (h @ w["head"] + w["head_bias"]).astype(np.float32)
    return logits


class FloatReference:
    """`reference_logits` of one network; every text is computed once."""

    def __init__(self, weights: dict[str, FloatArray]) -> None:
        self._weights = weights
        self._known: dict[tuple[int, ...], FloatArray] = {}

    def logits(self, ids: Sequence[int]) -> FloatArray:
        """Logits [3] of a text."""
        key = tuple(ids)
        if key not in self._known:
            self._known[key] = reference_logits(self._weights, ids)
        return self._known[key]


class Workloads(msgspec.Struct, frozen=True):
    """Token ids by workload (`"8"`, `"32"`, `"128"`, `"real"`), and others to calibrate with."""

    texts: dict[str, list[Ids]]
    calibration: list[Ids]
    source: str


def make_workloads(data_dir: Path | None, *, real_texts: int) -> Workloads:
    """Ids of customer-feedback texts by a word-piece vocabulary made of its training part.

    Real lengths are `real_texts` quantiles of the test texts' lengths, so that few stand for all;
    other lengths are test texts one after the other, cut. Calibration takes training texts.
    Raises `FetchError` when the data set cannot be had.
    """
    data = load_dataset("customer-feedback", data_dir=data_dir)
    encode = _train_tokenizer([example.text for example in data.train])
    return workloads_of(data, encode, LENGTHS, real_texts=real_texts)


def workloads_of(
    data: Dataset[TextExample],
    encode: Callable[[str], Ids],
    lengths: Sequence[int],
    *,
    real_texts: int,
    texts_per_length: int = TEXTS_PER_LENGTH,
) -> Workloads:
    """The workloads of a data set by any tokenizer (see `make_workloads`)."""
    tests = [encode(example.text) for example in data.test]
    by_length = sorted((ids for ids in tests if 0 < len(ids) <= PADDED_LENGTH), key=len)
    indices = ((np.arange(real_texts) + 0.5) / real_texts * len(by_length)).astype(int)
    real = [by_length[index] for index in indices]
    # In the order of measuring neighbours differ in length, as they do in use.
    np.random.default_rng(0).shuffle(real)
    running = [token for ids in tests for token in ids]
    texts = {
        str(length): [
            running[number * length : (number + 1) * length] for number in range(texts_per_length)
        ]
        for length in lengths
    }
    trains = [encode(example.text) for example in data.train[:2_000:20]]
    return Workloads(texts | {REAL: real}, trains, f"{data.name} {data.sha256[:12]}")


def _train_tokenizer(texts: Sequence[str]) -> Callable[[str], Ids]:
    tokenizer = BertWordPieceTokenizer(lowercase=True)
    tokenizer.train_from_iterator(texts, vocab_size=VOCABULARY, show_progress=False)

    def encode(text: str) -> Ids:
        return list(tokenizer.encode(text).ids)

    return encode


def fit(ids: Sequence[int], length: int) -> Ids:
    """The ids cut or padded with 0, on the right, to `length`."""
    return [*ids[:length], *[0] * (length - len(ids))]
