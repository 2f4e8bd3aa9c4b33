"""A language model under measurement: a query is one word, a score is that of whole documents."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from edgeseq.errors import BundleError
from edgeseq.formats.bundle import BundleFiles
from edgeseq.formats.result import Finding, Settings
from edgeseq.tasks.examples import EOS, StreamExample
from edgeseq.tasks.predictions import Predictions
from edgeseq_benchmarks.bench import protocol
from edgeseq_benchmarks.bench.context import BenchContext
from edgeseq_benchmarks.bench.launcher import Launcher
from edgeseq_benchmarks.bench.protocol import SliceDone, pack
from edgeseq_benchmarks.bench.subject import Subject
from edgeseq_benchmarks.bench.worker_client import WorkerClient

STREAM_LENGTHS = (1, 2, 4, 512)
"""Contexts, in words, at which the next word is timed in addition to the usual lengths."""
TIMED_WORDS = 2048
"""Words that are fed one by one and timed: the beginning of the test split, in its order."""
QUICK_WORDS = 20_000
"""A quick run scores whole documents until it has read this many words."""
_WORD_S = 0.1
"""Scoring a word may take this long before the process counts as hung: 100 times the usual."""


class StreamSubject(Subject):
    """A bundle whose head is `language-modeling`.

    Each timed text is one word, which continues the one before it, so the same word may get
    different predictions. Documents are scored in a separate stage (`score_documents`).
    """

    def __init__(
        self, bundle: BundleFiles, settings: Settings, launcher: Launcher | None = None
    ) -> None:
        """Reads the test documents; raises `BundleError` as `Subject` does."""
        super().__init__(bundle, settings, launcher)
        self.documents = tuple(
            example for example in self.examples if isinstance(example, StreamExample)
        )
        words = [word for document in self.documents for word in document.words][:TIMED_WORDS]
        if not words:
            raise BundleError("has no test words", where=bundle.path / "eval.jsonl")
        self.examples = tuple(
            StreamExample(id=f"word/{number}", words=(word,)) for number, word in enumerate(words)
        )
        self.order = list(range(len(words)))
        self.scores: list[protocol.DocumentScored] = []

    def slice_of_round(self, number: int, rounds: int) -> list[int]:
        """The words of one round, in the order of the text."""
        size = max(1, -(-len(self.order) // rounds))
        begin = number * size % len(self.order)
        return self.order[begin : begin + size]

    def sweep_lengths(self, settings: Settings) -> tuple[int, ...]:
        """The usual lengths and others, also beyond the model's window."""
        return tuple(sorted({*settings.length_tokens, *STREAM_LENGTHS}))

    def add_slice(self, done: SliceDone, examples: Sequence[int], number: int) -> None:
        """Adds the times of one round; the predictions depend on the words before."""
        predictions = tuple(pack((0,)) for _ in examples)
        done = msgspec.structs.replace(done, predictions=predictions, inconsistent=())
        super().add_slice(done, examples, number)

    def predictions(self) -> Predictions | None:
        """The scores of the documents, once there are some."""
        if not self.scores:
            return None
        documents = self.documents[: len(self.scores)]
        return Predictions(
            gold=(),
            predicted=(),
            sources=tuple(document.source for document in documents),
            truncated=0,
            unknown_only=0,
            examples_sha256=self.examples_sha256,
            counts=tuple(len(document.words) for document in documents),
            log_probabilities=tuple(score.nats for score in self.scores),
            top1_correct=tuple(score.top1_correct for score in self.scores),
            top3_correct=tuple(score.top3_correct for score in self.scores),
        )


def score_documents(subject: StreamSubject, child: WorkerClient, context: BenchContext) -> None:
    """Scores the test documents, each from a fresh state; a quick run only the first ones, with a
    finding. Raises as `WorkerClient.request` does."""
    total = sum(len(document.words) for document in subject.documents)
    words = 0
    for number, document in enumerate(subject.documents):
        if context.settings.quick and words >= QUICK_WORDS:
            message = (
                f"scored on the first {number} of {len(subject.documents)} documents, "
                f"{words:,} of {total:,} words (quick)"
            )
            subject.findings.append(Finding("part-scored", "note", message))
            break
        context.report("documents", words, total, subject.title)
        command = protocol.ScoreDocument(document.text, EOS)
        timeout_s = context.timeouts.answer_s + _WORD_S * len(document.words)
        subject.scores.append(child.request(command, protocol.DocumentScored, timeout_s=timeout_s))
        words += len(document.words)
    context.report("documents", total, total)
