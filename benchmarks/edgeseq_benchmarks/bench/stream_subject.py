"""A model of the next word in a benchmark: a query is one word, a score that of whole documents."""

from __future__ import annotations

import msgspec

from edgeseq.datasets.wikitext import EOS
from edgeseq.errors import BundleError
from edgeseq.formats.bundle import Bundle
from edgeseq.formats.result import Finding, Settings
from edgeseq.progress import ProgressCallback, ProgressUpdate
from edgeseq.tasks.examples import StreamExample
from edgeseq.tasks.predictions import Predictions
from edgeseq_benchmarks.bench import protocol
from edgeseq_benchmarks.bench.protocol import SliceDone, pack
from edgeseq_benchmarks.bench.subject import Subject
from edgeseq_benchmarks.bench.worker_client import WorkerClient

TIMED_WORDS = 2048
"""Words that are fed one by one and timed: the beginning of the test part, in its order."""
QUICK_WORDS = 20_000
"""A quick run scores whole documents until it has seen this many words."""
_WORD_S = 0.1
"""What scoring a word may take before the process counts as hung: a hundred times what it does."""


class StreamSubject(Subject):
    """A bundle whose head is `language-modeling`.

    Each timed text is one word, which goes on where the one before it ended; so the same word is
    answered differently at two places, and that is no fault. Documents are scored in a stage of
    their own (`score_documents`).
    """

    def __init__(self, bundle: Bundle, settings: Settings) -> None:
        """Reads the test documents; raises `BundleError` as `Subject` does."""
        super().__init__(bundle, settings)
        self.documents = tuple(one for one in self.examples if isinstance(one, StreamExample))
        words = [word for one in self.documents for word in one.words][:TIMED_WORDS]
        if not words:
            raise BundleError("holds no test word", where=bundle.path / "eval.jsonl")
        self.examples = tuple(
            StreamExample(id=f"word/{number}", words=(word,)) for number, word in enumerate(words)
        )
        self.order = list(range(len(words)))
        self.scored: list[protocol.DocumentScored] = []

    def slice_of_round(self, number: int, rounds: int) -> list[int]:
        """The words of one round, one after the other as they stand in the text."""
        size = max(1, -(-len(self.order) // rounds))
        begin = number * size % len(self.order)
        return self.order[begin : begin + size]

    def take_slice(self, done: SliceDone, examples: list[int], number: int) -> None:  # type: ignore[override]
        """Takes in the times of one round; the answers depend on what stood before."""
        answers = tuple(pack((0,)) for _ in examples)
        super().take_slice(
            msgspec.structs.replace(done, answers=answers, varied=()), examples, number
        )

    def predictions(self) -> Predictions | None:
        """The scores of the documents, once they have some."""
        if not self.scored:
            return None
        some = self.documents[: len(self.scored)]
        return Predictions(
            gold=(),
            predicted=(),
            sources=tuple(one.source for one in some),
            truncated=0,
            unknown_only=0,
            examples_sha256=self.examples_sha256,
            counts=tuple(len(one.words) for one in some),
            log_probabilities=tuple(one.nats for one in self.scored),
            top1_correct=tuple(one.top1_correct for one in self.scored),
            top3_correct=tuple(one.top3_correct for one in self.scored),
        )


def score_documents(
    subject: StreamSubject,
    child: WorkerClient,
    *,
    quick: bool,
    timeout_s: float,
    progress: ProgressCallback,
) -> None:
    """Scores the test documents, each from a fresh state; a quick run the first ones alone, and
    says so. Raises as `WorkerClient.ask` does."""
    total = sum(len(one.words) for one in subject.documents)
    words = 0
    for number, document in enumerate(subject.documents):
        if quick and words >= QUICK_WORDS:
            subject.findings.append(
                Finding(
                    "part-scored",
                    "note",
                    f"scored on the first {number} of {len(subject.documents)} documents, "
                    f"{words:,} of {total:,} words (quick)",
                )
            )
            break
        progress(ProgressUpdate("documents", words, total, subject.name))
        command = protocol.ScoreDocument(document.text, EOS)
        subject.scored.append(
            child.ask(
                command,
                protocol.DocumentScored,
                timeout_s=timeout_s + _WORD_S * len(document.words),
            )
        )
        words += len(document.words)
    progress(ProgressUpdate("documents", total, total))
