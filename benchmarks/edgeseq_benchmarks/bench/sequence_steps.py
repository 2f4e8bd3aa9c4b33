"""The steps of a query on a numeric sequence: numbers, or one label."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeseq.errors import BundleError, DeviceError
from edgeseq.runtime.interpreter import TfliteRuntime
from edgeseq.runtime.sequence_rows import SequenceRows
from edgeseq_benchmarks.bench import protocol
from edgeseq_benchmarks.bench.protocol import Classes, Text, TextPrediction, TokenizationFlags
from edgeseq_benchmarks.bench.query_steps import StatelessSteps

if TYPE_CHECKING:
    from edgeseq.formats.bundle import BundleFiles


class SequenceSteps(StatelessSteps):
    """A text is the place of a sequence in the rows (`edgeseq.tasks.sequence_places`): what is
    timed in the place of tokenizing is reading its numbers."""

    by_token = False

    @staticmethod
    def load_inputs(command: protocol.LoadModel) -> SequenceRows:
        return SequenceRows(command.tokenizer_path)

    @staticmethod
    def check_inputs(bundle: BundleFiles, /) -> None:
        """Checks that `eval.npy` has the rows of every example; raises `BundleError`."""
        path = bundle.path / bundle.input_file
        rows = SequenceRows(str(path))
        features = bundle.manifest.signature.inputs[0].shape[2]
        if rows.rows.shape[1] != features or not rows.is_finite():
            raise BundleError(
                "does not hold the numbers of this model",
                where=path,
                found=f"{rows.rows.shape[1]} features",
                expected=f"{features} features, each number finite",
                fix="convert the bundle again",
            )
        row_ranges = [example.model_input for example in bundle.read_examples()]
        for row_range in (*row_ranges, *(example.text for example in bundle.golden.examples)):
            rows.numbers(str(row_range))

    def __init__(
        self, command: protocol.LoadModel, runtime: TfliteRuntime, rows: SequenceRows
    ) -> None:
        super().__init__(command, runtime, rows)
        self.tokenize: Callable[[Any], Any] = rows.numbers
        self.infer: Callable[[Any], Any] = self._model.infer
        self.count: Callable[[Any], int] = len

    def allocate(self, text: Text) -> None:
        self._model.allocate(len(self.tokenize(text)))

    def decode(self, outputs: Any) -> Classes:
        """The class of a sequence: the largest logit."""
        return int(outputs.argmax())

    def predict(self, text: Text) -> TextPrediction:
        outputs = self.infer(self.tokenize(text))
        return TextPrediction(
            token_ids=(), logits=tuple(outputs.tolist()), classes=self.decode(outputs)
        )

    def flags(self, _text: Text) -> TokenizationFlags:
        return TokenizationFlags()

    def logits(self, _token_ids: Sequence[int], _word_rows: Sequence[int] = (), /) -> Any:
        raise DeviceError("the model takes numbers, not token ids", fix="send `predict_texts`")


class RegressionSteps(SequenceSteps):
    """Numbers of a sequence, which are the model's outputs as they are."""

    def decode(self, outputs: Any) -> Classes:
        """The bits of the numbers, so that they travel exactly (`sequence_subject` reads them)."""
        bits: list[int] = outputs.view(np.int32).tolist()
        return tuple(bits)
