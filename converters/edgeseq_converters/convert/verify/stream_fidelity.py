"""Compares a converted language model with the float one: texts in two pieces with whole texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgeseq.errors import ConversionError, DataError
from edgeseq.formats.bundle_manifest import Fidelity, Golden, GoldenExample
from edgeseq.formats.trained_model import TrainedModel
from edgeseq.tasks.examples import EOS, Dataset, StreamExample
from edgeseq.tasks.perplexity import log_probabilities, perplexity
from edgeseq_converters.convert.recipes import Recipe
from edgeseq_converters.convert.verify.fidelity import Measured, check_relative_error
from edgeseq_converters.convert.verify.samples import N_GOLDEN, TextInputs
from edgeseq_converters.models.arrays import FloatArray, vocabulary_size
from edgeseq_converters.models.reference import reference_answers

N_PIECES = 32
PIECE_TOKENS = 64
"""Pieces of development text that a conversion is compared on: 2,048 positions over the whole
vocabulary."""
GOLDEN_TOKENS = 32


class StreamComparison:
    """Compares files converted from a language model with the float model; `calibration` and
    `token_ids` as in `TextComparison`."""

    def __init__(self, model: TrainedModel, dataset: Dataset[StreamExample]) -> None:
        """Raises `CheckpointError` for a damaged tokenizer and `DataError` without any text."""
        self._model = model
        self._max_tokens = min(PIECE_TOKENS, model.manifest.max_tokens)
        self._inputs = TextInputs(model, vocabulary_size(model), self._max_tokens)
        self.token_ids = self._pieces(dataset.dev, where=dataset.name)
        self.calibration = self._pieces(dataset.train or dataset.dev, where=dataset.name)

    def _pieces(
        self, examples: Sequence[StreamExample], *, where: str
    ) -> tuple[tuple[int, ...], ...]:
        """Pieces of text, spread over the documents, an `<eos>` before each."""
        documents = [document for document in examples if document.words]
        if not documents:
            raise DataError("has no development text to compare a conversion on", where=where)
        pieces = []
        for number in range(N_PIECES):
            words = documents[number % len(documents)].words
            start = (number * 131) % max(1, len(words) - self._max_tokens)
            piece = words[start : start + self._max_tokens - 1]
            pieces.append(self._inputs.encode(" ".join([EOS, *piece])))
        return tuple(pieces)

    def measure(self, outputs: Sequence[FloatArray], recipe: Recipe, *, where: Path) -> Measured:
        """Compares the file's logits [tokens, vocabulary] for each of `token_ids` with the float
        model's, computed one text at a time.

        Raises `ConversionError` about `where` when they are further apart than the recipe allows.
        """
        max_error, largest, min_cosine, golden_error = 0.0, 0.0, 1.0, 0.0
        same_token_count, float_nats, nats = 0, [], []
        golden_nats: list[tuple[float, ...]] = []
        for ids, converted in zip(self.token_ids, outputs, strict=True):
            (reference,) = reference_answers(self._model, [ids])
            max_error = max(max_error, float(np.abs(converted - reference).max()))
            largest = max(largest, float(np.abs(reference).max()))
            norms = np.linalg.norm(reference, axis=1) * np.linalg.norm(converted, axis=1)
            cosines = (reference * converted).sum(1) / np.maximum(norms, 1e-12)
            min_cosine = min(min_cosine, float(cosines.min()))
            same_token_count += int((reference.argmax(1) == converted.argmax(1)).sum())
            text_nats, converted_nats = (
                log_probabilities(logits[:-1], ids[1:]) for logits in (reference, converted)
            )
            float_nats += text_nats.tolist()
            nats += converted_nats.tolist()
            if len(golden_nats) < N_GOLDEN:
                errors = np.abs(text_nats - converted_nats)[: GOLDEN_TOKENS - 1]
                golden_error = max(golden_error, float(errors.max(initial=0.0)))
                golden_nats.append((0.0, *text_nats[: GOLDEN_TOKENS - 1].tolist()))
        tokens = sum(map(len, self.token_ids))
        agreement = same_token_count / tokens
        fidelity = Fidelity(
            n_examples=tokens,
            max_abs_error=max_error,
            cosine=min_cosine,
            label_agreement=agreement,
            bound=recipe.bound.relative_error,
            float_score=perplexity(sum(float_nats), len(float_nats)),
            score=perplexity(sum(nats), len(nats)),
        )
        check_relative_error(max_error / max(largest, 1e-6), recipe, where=where)
        if agreement < recipe.bound.label_agreement:
            raise ConversionError(
                f"predicts another token in {1 - agreement:.1%} of the positions",
                where=where,
                expected=f"<= {1 - recipe.bound.label_agreement:.1%} with {recipe.name} "
                f"({recipe.bound.reason})",
                fix="choose a finer recipe",
            )
        return Measured(fidelity, self._golden(golden_nats, golden_error, recipe))

    def _golden(
        self, nats: Sequence[tuple[float, ...]], golden_error: float, recipe: Recipe
    ) -> Golden:
        """ln p of each token behind the first one, by the float model; the first one's is 0."""
        words = self._inputs.tokens()
        examples = []
        for ids, text_nats in zip(self.token_ids, nats, strict=False):
            golden_ids = tuple(ids[:GOLDEN_TOKENS])
            text = " ".join(words[token_id] for token_id in golden_ids)
            examples.append(GoldenExample(text=text, token_ids=golden_ids, logits=text_nats))
        largest = max(abs(value) for text_nats in nats for value in text_nats)
        tolerance = 2 * golden_error + recipe.bound.slack * largest
        return Golden(examples=tuple(examples), tolerance=tolerance)
