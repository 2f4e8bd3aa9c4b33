"""The converted stream against the float model: whole texts against pieces of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edgeseq.errors import ConversionError
from edgeseq.formats.trained_model import TrainedModel
from edgeseq.progress import ProgressCallback, ProgressUpdate, no_progress
from edgeseq.tasks.language_model import log_probabilities, perplexity
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.reference import reference_answers


class Compared(msgspec.Struct, frozen=True):
    """What came out: errors are of logits, `same_first` is the share of places with the same
    likeliest token, `golden` has ln p [tokens] of the first texts by the float model (0 for a
    text's first token, before which nothing stands), `golden_error` how far the converted one is
    from that at most."""

    tokens: int
    max_abs_error: float
    largest_logit: float
    cosine: float
    same_first: float
    float_perplexity: float
    perplexity: float
    golden: tuple[tuple[float, ...], ...]
    golden_error: float


class Streaming:
    """A .tflite model of the next word in the real runtime, one thread, bound by the names of its
    signature: one that carries a state, one that sees a window again (it takes `places`), or both:
    a cache, which is never filled beyond the window here."""

    def __init__(self, path: Path, window: int) -> None:
        """`window` is the longest text that the model sees at once. Raises `ConversionError` when
        the runtime refuses the file."""
        from ai_edge_litert.interpreter import Interpreter

        self._where, self._window = path, window
        try:
            self._interpreter: Any = Interpreter(model_path=str(path), num_threads=1)
            runner = self._interpreter.get_signature_runner("stream")
            self._inputs = {
                n: (d["index"], d["shape"]) for n, d in runner.get_input_details().items()
            }
            self._outputs = {n: d["index"] for n, d in runner.get_output_details().items()}
        except (ValueError, RuntimeError) as failure:
            raise self._refused(failure) from failure
        del runner  # while one lives, the interpreter refuses to resize
        self.restart()

    def restart(self) -> None:
        """Puts all states to zero."""
        self._seen: list[int] = []
        self._states = {
            name: np.zeros(shape, np.float32)
            for name, (_, shape) in self._inputs.items()
            if name not in ("input_ids", "places")
        }

    def feed(self, ids: Sequence[int]) -> FloatArray:
        """Logits [n, vocabulary] behind each of the tokens, of which a model with a window takes no
        more than fit into it; raises `ConversionError`."""
        given = list(ids)
        if "places" in self._inputs and not self._states:
            given = self._seen = [*self._seen, *ids][-self._window :]
        places = np.arange(len(given) - len(ids), len(given), dtype=np.int32)
        interpreter = self._interpreter
        try:
            self._resize("input_ids", (1, len(given)))
            if "places" in self._inputs:
                self._resize("places", places.shape)
            interpreter.allocate_tensors()
            interpreter.set_tensor(self._inputs["input_ids"][0], np.asarray([given], np.int32))
            if "places" in self._inputs:
                interpreter.set_tensor(self._inputs["places"][0], places)
            for name, value in self._states.items():
                interpreter.set_tensor(self._inputs[name][0], value)
            interpreter.invoke()
            logits: FloatArray = interpreter.get_tensor(self._outputs["logits"])[0]
            for name in self._states:
                self._states[name] = interpreter.get_tensor(self._outputs[f"{name}_next"])
        except (ValueError, RuntimeError) as failure:
            raise self._refused(failure) from failure
        return logits

    def _resize(self, name: str, shape: tuple[int, ...]) -> None:
        self._interpreter.resize_tensor_input(self._inputs[name][0], shape, strict=True)

    def _refused(self, failure: Exception) -> ConversionError:
        return ConversionError(
            "the runtime does not run the model", where=self._where, found=failure
        )


def compare(
    model: TrainedModel,
    path: Path,
    texts: Sequence[Sequence[int]],
    *,
    golden: int,
    golden_tokens: int,
    progress: ProgressCallback = no_progress,
) -> Compared:
    """Compares the file at `path` with `model` on `texts` (ids, two or more each).

    The converted model reads each text in two pieces from a fresh state, the float model at once,
    so that an error in carrying the state, or in what is seen of the window, shows. Raises
    `ConversionError` when the runtime does not run the file.
    """
    stream = Streaming(path, model.manifest.max_tokens)
    error, largest, cosine = 0.0, 0.0, 1.0
    same, tokens, gap = 0, 0, 0.0
    nats: list[list[float]] = [[], []]
    kept: list[tuple[float, ...]] = []
    for number, ids in enumerate(texts):
        (reference,) = reference_answers(model, [ids])
        stream.restart()
        half = max(1, len(ids) // 3)
        parts = [part for part in (ids[:half], ids[half:]) if len(part)]
        found = np.concatenate([stream.feed(part) for part in parts])
        error = max(error, float(np.abs(found - reference).max()))
        largest = max(largest, float(np.abs(reference).max()))
        norms = np.linalg.norm(reference, axis=1) * np.linalg.norm(found, axis=1)
        cosine = min(cosine, float(((reference * found).sum(1) / np.maximum(norms, 1e-12)).min()))
        same += int((reference.argmax(1) == found.argmax(1)).sum())
        tokens += len(ids)
        own, theirs = (log_probabilities(one[:-1], ids[1:]) for one in (reference, found))
        nats[0] += own.tolist()
        nats[1] += theirs.tolist()
        if number < golden:
            some = own[: golden_tokens - 1]
            kept.append((0.0, *some.tolist()))
            gap = max(gap, float(np.abs(some - theirs[: golden_tokens - 1]).max(initial=0.0)))
        progress(ProgressUpdate("compare with the float model", number + 1, len(texts)))
    return Compared(
        tokens=tokens,
        max_abs_error=error,
        largest_logit=largest,
        cosine=cosine,
        same_first=same / tokens,
        float_perplexity=perplexity(sum(nats[0]), len(nats[0])),
        perplexity=perplexity(sum(nats[1]), len(nats[1])),
        golden=tuple(kept),
        golden_error=gap,
    )
