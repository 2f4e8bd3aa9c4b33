"""A classifier as people publish them: a Keras file of a fixed length without a mask, and the JSON
of the Tokenizer that it was trained with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from edgeseq.tasks.examples import Dataset, TextExample

LENGTH = 10
LABELS = ("bad", "fine", "good")
WORDS = tuple(f"word{number}" for number in range(30))
KNOWN_WORDS = 24
Probabilities = np.ndarray[Any, np.dtype[np.float32]]


def random_texts(count: int, seed: int) -> list[str]:
    """Texts of 1 to 25 words, some of them unknown, in Keras' length both shorter and longer."""
    rng = np.random.default_rng(seed)
    return [
        " ".join(rng.choice([*WORDS, "Unknown!", "WORD1,"], int(rng.integers(1, 26))))
        for _ in range(count)
    ]


class PaddedModel(NamedTuple):
    """The files, and Keras' own objects."""

    path: Path
    tokenizer_path: Path
    model: Any
    tokenizer: Any

    def padded(self, texts: Sequence[str], padding: str, truncation: str) -> Any:
        """Keras' own padded ids [texts, LENGTH]."""
        import keras

        ids = self.tokenizer.texts_to_sequences(texts)
        return keras.utils.pad_sequences(ids, maxlen=LENGTH, padding=padding, truncating=truncation)

    def answers(
        self, texts: Sequence[str], padding: str = "pre", truncation: str = "pre"
    ) -> Probabilities:
        """Keras' own answers [texts, labels] to its own padded input."""
        return np.asarray(self.model(self.padded(texts, padding, truncation)))

    def dataset(self, padding: str = "pre", truncation: str = "pre", count: int = 40) -> Dataset:
        """Random texts with the labels that Keras gives them with this padding."""
        parts = {}
        for number, name in enumerate(("train", "dev", "test")):
            texts = random_texts(count, number)
            best = self.answers(texts, padding, truncation).argmax(axis=1)
            parts[name] = tuple(
                TextExample(id=f"{name}/{index}", text=text, label=LABELS[label])
                for index, (text, label) in enumerate(zip(texts, best, strict=True))
            )
        return Dataset(
            name="invented",
            task="text-classification",
            labels=LABELS,
            licence="none",
            origin="invented",
            sha256="0" * 64,
            **parts,
        )


def write_padded_model(folder: Path, *, flatten: bool = False) -> PaddedModel:
    """A bidirectional LSTM with random weights, large enough that padding changes its answers; its
    states flattened, or the last ones."""
    keras = pytest.importorskip("keras")
    text = pytest.importorskip("tf_keras").preprocessing.text
    tokenizer = text.Tokenizer(num_words=KNOWN_WORDS)
    tokenizer.fit_on_texts([" ".join(WORDS[: number + 1]) for number in range(len(WORDS))])
    model = keras.Sequential(
        [
            keras.layers.Input((LENGTH,), dtype="int32"),
            keras.layers.Embedding(KNOWN_WORDS, 6),
            keras.layers.Bidirectional(keras.layers.LSTM(5, return_sequences=flatten)),
            *([keras.layers.Flatten()] if flatten else []),
            keras.layers.Dense(len(LABELS), activation="softmax"),
        ]
    )
    rng = np.random.default_rng(1)
    model.set_weights([rng.normal(size=weight.shape, scale=0.8) for weight in model.weights])
    path, tokenizer_path = folder / "padded.keras", folder / "tokenizer.json"
    model.save(path)
    tokenizer_path.write_text(tokenizer.to_json(), encoding="utf-8")
    return PaddedModel(path, tokenizer_path, model, tokenizer)
