"""The inputs of models that read texts; a module apart, because a process that measures numeric
sequences loads no tokenizer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tokenizers  # noqa: F401  (part of the memory baseline, as are all imports of the process)

from edgeseq.runtime.text_tokenizer import TextTokenizer
from edgeseq_benchmarks.bench import protocol

if TYPE_CHECKING:
    from edgeseq.formats.bundle import BundleFiles


class TokenizedSteps:
    """What all heads of texts have in common: their inputs are read with a tokenizer."""

    @staticmethod
    def check_inputs(_bundle: BundleFiles, /) -> None:
        """A tokenizer is checked with the other files (`bundle_checks`)."""

    @staticmethod
    def load_inputs(command: protocol.LoadModel) -> TextTokenizer:
        """The tokenizer of the bundle."""
        return TextTokenizer.from_file(command.tokenizer_path, command.max_tokens, command.padding)
