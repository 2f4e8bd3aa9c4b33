"""The three steps of one query, for each head: tokenize, infer, decode.

What is timed is what an application would do: for words, dividing them into tokens, running every
window of a long text, and finding the best tags are all part of the query. Only the measured
process imports these modules: NumPy's pages must not be mapped in its parent. Each head has a
module, so that a process holds no other head's code.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from edgeseq.errors import DeviceError
from edgeseq.runtime.interpreter import SignatureNames, TfliteModel, TfliteRuntime
from edgeseq.tasks.head import Head
from edgeseq.tasks.word_features import FEATURES
from edgeseq_benchmarks.bench import protocol
from edgeseq_benchmarks.bench.probes.query_timer import TimedSteps
from edgeseq_benchmarks.bench.protocol import Text, TextPrediction, TokenizationFlags

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edgeseq.formats.bundle import BundleFiles

STEPS: dict[Head, str] = {
    "text-classification": "text_steps:TextClassificationSteps",
    "multilabel-classification": "multilabel_steps:MultilabelSteps",
    "token-classification": "tagging_steps:TokenClassificationSteps",
    "language-modeling": "streaming_steps:LanguageModelSteps",
    "sequence-classification": "sequence_steps:SequenceSteps",
    "sequence-regression": "sequence_steps:RegressionSteps",
}
"""The steps of each head, `MODULE:CLASS`."""


def load_steps_class(head: Head) -> type[TaskSteps]:
    """Imports the steps of a head."""
    module, _, name = STEPS[head].partition(":")
    steps: type[TaskSteps] = getattr(
        importlib.import_module(f"edgeseq_benchmarks.bench.{module}"), name
    )
    return steps


class InputReader(Protocol):
    """What a model's inputs are read with: a tokenizer, or the rows of numeric sequences."""

    def encode_exact(self, text: str, tokens: int) -> Any:
        """The input of `text` at exactly so many tokens or steps; None when it is shorter."""

    def token_ids(self, text: str) -> Any:
        """The input of `text`: token ids, or numbers [steps, features]."""


class TaskSteps(TimedSteps, Protocol):
    """The timed steps of a query, and what is needed of a loaded model besides."""

    fixed_length: int | None
    """Number of tokens that the model always takes, or None for an open axis."""

    @staticmethod
    def check_inputs(_bundle: BundleFiles, /) -> None:
        """Checks what inputs are read with; raises `BundleError`."""

    @staticmethod
    def load_inputs(command: protocol.LoadModel) -> InputReader:
        """Loads what inputs are read with."""

    def __init__(self, command: protocol.LoadModel, runtime: TfliteRuntime, inputs: Any) -> None:
        """Loads the model, whose inputs are read with `inputs` (`load_inputs`); raises
        `BundleError` when the file is not of that head."""

    def allocate(self, text: Text) -> None:
        """Allocates tensors for the longest input of `text`."""

    def predict(self, text: Text) -> TextPrediction:
        """Everything about one text, untimed."""

    def flags(self, text: Text) -> TokenizationFlags:
        """What was lost of a text when it was tokenized."""

    def logits(
        self, token_ids: Sequence[int], word_rows: Sequence[int] = (), /
    ) -> npt.NDArray[np.floating[Any]]:
        """The logits of one input given as token ids, of a model with word features with the rows
        [3 · tokens] of their words."""

    def repeatable(self, inputs: list[Any]) -> Callable[[int], object]:
        """What is timed at one length: inference on the inputs in turn, by number."""

    def score_document(self, text: str, start_text: str) -> protocol.DocumentScored:
        """Scores a document from a fresh state; `start_text` is the word before its first one.

        Raises `DeviceError` for a head other than `language-modeling`, as `complete` does.
        """

    def complete(self, text: str, start_text: str, count: int) -> protocol.TopK:
        """The `count` most probable words after a text that is read from a fresh state."""


class StatelessSteps:
    """What the heads of models without state have in common."""

    by_token: ClassVar[bool]

    def __init__(self, command: protocol.LoadModel, runtime: TfliteRuntime, inputs: Any) -> None:
        self._tokenizer = inputs
        self._model = TfliteModel(
            command.model_path,
            runtime=runtime,
            signature=SignatureNames(
                command.signature_key, command.input_name, command.output_name
            ),
            num_labels=command.labels,
            by_token=self.by_token,
            features=command.features,
            word_features=None if command.word_features is None else len(FEATURES),
            threads=command.threads,
        )
        self.fixed_length = self._model.fixed_length

    def logits(
        self, token_ids: Sequence[int], _word_rows: Sequence[int] = (), /
    ) -> npt.NDArray[np.float32]:
        return self._model.infer(token_ids)

    def repeatable(self, inputs: list[Any]) -> Callable[[int], object]:
        infer = self._model.infer
        return lambda number: infer(inputs[number % len(inputs)])

    def score_document(self, _text: str, _start_text: str) -> protocol.DocumentScored:
        raise DeviceError("no language model is loaded", fix="send `load` first")

    def complete(self, _text: str, _start_text: str, _count: int) -> protocol.TopK:
        raise DeviceError("no language model is loaded", fix="send `load` first")
