"""What the measured process (`worker`) and its parent (`children`) say to each other.

One JSON line a message, commands down stdin, replies up stdout. Columns of numbers travel as
packed 64-bit integers of the machine's own byte order: both ends are on one machine. The structs
stand here and not in `edgeseq.formats.result`, so that the measured process stays small.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Literal

import msgspec

from edgeseq.tasks.task import Head

Phase = Literal[
    "started",
    "runtime_imported",
    "tokenizer_loaded",
    "model_loaded",
    "tensors_allocated",
    "first_answer",
    "steady",
]


Text = str | tuple[str, ...]
"""What is asked about: a text, or the words that one consists of."""
Answer = int | tuple[int, ...]
"""The class of a text, or of each of its words."""


class Command(msgspec.Struct, frozen=True, tag_field="command"):
    """What the parent asks for; each is answered by one reply unless its docstring says more."""


class CheckBundle(Command, frozen=True, tag="check"):
    """Check the bundle folder at `path` without running its model; answered by `BundleChecked`.

    The process bounds its own memory first and keeps that bound.
    """

    path: str


class LoadModel(Command, frozen=True, tag="load"):
    """Import the runtime, load tokenizer and model, answer `first_text`; answered by `ModelLoaded`.

    `spawned_ns` is the parent's `time.perf_counter_ns()` before it started the process (one clock
    for all processes on Linux: CLOCK_MONOTONIC). With `ledger`, memory is read after each phase;
    with `announce`, a `PhaseReached` is sent after each phase, so that a process that dies leaves
    word. `span_labels` are the labels where they are BIO tags.
    """

    model_path: str
    tokenizer_path: str
    max_tokens: int
    labels: int
    signature_key: str
    input_name: str
    output_name: str
    threads: int
    first_text: Text
    spawned_ns: int
    ledger: bool = False
    announce: bool = False
    head: Head = "text-classification"
    span_labels: tuple[str, ...] = ()


class RunSlice(Command, frozen=True, tag="slice"):
    """Time the texts one by one, in order, in whole passes; answered by `SliceDone`.

    Passes are repeated until both minima are reached or another pass would exceed `max_queries`.
    `warmup_texts` come first; their times are reported apart.
    """

    texts: tuple[Text, ...]
    warmup_texts: tuple[Text, ...]
    min_queries: int
    max_queries: int
    min_duration_ns: int


class RunLength(Command, frozen=True, tag="length"):
    """Time inference alone on the texts cut to exactly `tokens`; answered by `LengthDone`.

    Ends after `min_samples` once `min_duration_ns` have passed, in any case after
    `max_duration_ns` or `max_samples`.
    """

    tokens: int
    texts: tuple[str, ...]
    min_samples: int
    max_samples: int
    min_duration_ns: int
    max_duration_ns: int


class PredictTexts(Command, frozen=True, tag="predict_texts"):
    """Answer the texts in order, untimed; answered by `TextPredictions`."""

    texts: tuple[Text, ...]


class InferTokens(Command, frozen=True, tag="infer_tokens"):
    """Answer lists of token ids in order, untimed; answered by `TokenLogits`."""

    token_ids: tuple[tuple[int, ...], ...]


class ScoreDocument(Command, frozen=True, tag="document"):
    """Score a document word by word from a fresh state, untimed; answered by `DocumentScored`.

    `before` is the word that stands before its first one.
    """

    text: str
    before: str


class Complete(Command, frozen=True, tag="complete"):
    """The `count` likeliest tokens behind a text, read from a fresh state; answered by `TopK`.

    `before` is the word that stands before its first one.
    """

    text: str
    before: str
    count: int


class RunLimited(Command, frozen=True, tag="limited"):
    """Answer the texts until one of the bounds is reached.

    Answered by any number of `LimitedProgress`, the last of which has `done` set: what was answered
    must be known even when the process is killed in between.
    """

    texts: tuple[Text, ...]
    max_duration_ns: int


class ReadMemory(Command, frozen=True, tag="memory"):
    """Read the memory of the phase that ends now; answered by `MemoryReading`."""

    phase: Phase


class ProfileOperators(Command, frozen=True, tag="profile"):
    """Profile the model's operators on one input of `tokens` tokens; answered by `OperatorTimings`.

    The input is the first of `texts` that is long enough, cut; without one, as long as they go.
    """

    model_path: str
    texts: tuple[Text, ...]
    tokens: int
    labels: int
    threads: int
    head: Head = "text-classification"


class ReleaseWeights(Command, frozen=True, tag="release_weights"):
    """Release the model file's pages and begin a phase; answered by `WeightsReleased`."""


class MeasureOverhead(Command, frozen=True, tag="overhead"):
    """Run the measuring loop around nothing; answered by `Overhead`."""

    queries: int


class Finish(Command, frozen=True, tag="finish"):
    """End; the process exits with 0 and sends nothing."""


AnyCommand = (
    CheckBundle
    | LoadModel
    | RunSlice
    | RunLength
    | PredictTexts
    | InferTokens
    | ScoreDocument
    | Complete
    | RunLimited
    | ReadMemory
    | ReleaseWeights
    | MeasureOverhead
    | ProfileOperators
    | Finish
)


class Reply(msgspec.Struct, frozen=True, tag_field="reply"):
    """What the measured process answers."""


class BundleChecked(Reply, frozen=True, tag="checked"):
    """The bundle is what it says, as far as can be seen without running it."""


class MemoryReading(Reply, frozen=True, tag="memory"):
    """Memory at the end of a phase; the fields of `edgeseq.formats.result.MemoryPhase`."""

    phase: Phase
    rss_bytes: int
    pss_bytes: int | None
    anonymous_bytes: int
    file_bytes: int
    peak_bytes: int | None
    minor_faults: int
    major_faults: int


class WeightsReleased(Reply, frozen=True, tag="weights_released"):
    """How many bytes of the model's file are mapped; 0 where none is, so that none can go."""

    mapped_bytes: int


class ModelLoaded(Reply, frozen=True, tag="loaded"):
    """The model has answered once.

    Times are in ns since the parent started the process (`import_ns`) or since the step before;
    `threads_started` counts the threads that loading and the first answer have added;
    `mapped_files` are the files that the process has mapped.
    """

    package: Literal["ai-edge-litert", "tflite-runtime", "tensorflow"]
    python: str
    import_ns: int
    load_ns: int
    first_answer_ns: int
    total_ns: int
    threads_started: int
    memory: tuple[MemoryReading, ...]
    mapped_files: tuple[str, ...]


class PhaseReached(Reply, frozen=True, tag="reached"):
    """A phase has ended."""

    phase: Phase


class QueryColumns(msgspec.Struct, frozen=True):
    """Packed columns of equal length, one entry a query (see `pack` and `unpack`).

    `text` is the index into the command's texts.
    """

    text: bytes
    tokens: bytes
    tokenize_ns: bytes
    inference_ns: bytes
    decode_ns: bytes
    total_ns: bytes


class SliceDone(Reply, frozen=True, tag="slice"):
    """The times of a slice, and what the process itself went through meanwhile.

    `cpu_ns` is processor time of the whole process, `waiting_ns` the time in which a thread of it
    was ready to run but had no processor (None where the kernel does not say); `truncated`,
    `unknown_only`, `windowed` and `varied` are indices into the texts. `answers` has the packed
    classes of each text as it was answered first; `varied` are those that got another one later.
    """

    warmup: QueryColumns
    queries: QueryColumns
    wall_ns: int
    cpu_ns: int
    waiting_ns: int | None
    minor_faults: int
    major_faults: int
    rss_bytes: int
    truncated: tuple[int, ...]
    unknown_only: tuple[int, ...]
    answers: tuple[bytes, ...] = ()
    varied: tuple[int, ...] = ()
    windowed: tuple[int, ...] = ()


class LengthDone(Reply, frozen=True, tag="length"):
    """Packed times of inference; empty when no text is long enough."""

    inference_ns: bytes


class TextPrediction(msgspec.Struct, frozen=True):
    """One text as the model saw it, with the logits [labels], or [words, labels] in a row; None is
    what is no number (NaN). `answer` is the class, or one a word."""

    token_ids: tuple[int, ...]
    truncated: bool
    unknown_only: bool
    logits: tuple[float | None, ...]
    answer: Answer = 0
    windowed: bool = False


class TextPredictions(Reply, frozen=True, tag="text_predictions"):
    """The answers in the order of the texts."""

    answers: tuple[TextPrediction, ...]


class DocumentScored(Reply, frozen=True, tag="document"):
    """The sum of ln p of all tokens in nats, their number, how many had
    the highest probability, or one of the three highest."""

    nats: float
    tokens: int
    top1_correct: int
    top3_correct: int


class TopK(Reply, frozen=True, tag="top_k"):
    """Tokens with their probabilities, the likeliest first; `tokens_read` is the text's length."""

    words: tuple[str, ...]
    probabilities: tuple[float, ...]
    tokens_read: int
    unknown: int


class TokenLogits(Reply, frozen=True, tag="token_logits"):
    """Logits [inputs][labels] or [inputs][tokens · labels] in the order of the inputs; None is what
    is no number (NaN)."""

    logits: tuple[tuple[float | None, ...], ...]


class LimitedProgress(Reply, frozen=True, tag="limited"):
    """Times of the queries answered since the last of these."""

    total_ns: tuple[int, ...]
    done: bool


class OperatorTimings(Reply, frozen=True, tag="profiled"):
    """Times of operators over all `runs`: (name, who ran it, calls, µs), the longest first.

    `nodes` are the (subgraph, node) pairs that the runtime ran by itself.
    """

    tokens: int
    runs: int
    invoke_us: int
    plain_ns: tuple[int, ...]
    operators: tuple[tuple[str, Literal["runtime", "xnnpack"], int, int], ...]
    nodes: tuple[tuple[int, int], ...]


class Overhead(Reply, frozen=True, tag="overhead"):
    """Packed `total_ns` of queries that did nothing."""

    total_ns: bytes


class Refusal(Reply, frozen=True, tag="refused"):
    """The command cannot be done; the fields of an `EdgeseqError` of that kind."""

    kind: Literal["bundle", "device"]
    what: str
    where: str | None = None
    found: str | None = None
    expected: str | None = None
    fix: str | None = None


AnyReply = (
    BundleChecked
    | MemoryReading
    | WeightsReleased
    | ModelLoaded
    | PhaseReached
    | SliceDone
    | LengthDone
    | TextPredictions
    | TokenLogits
    | DocumentScored
    | TopK
    | LimitedProgress
    | Overhead
    | OperatorTimings
    | Refusal
)


def pack(numbers: Iterable[int]) -> bytes:
    """Integers as 64-bit words."""
    return array("q", numbers).tobytes()


def unpack(content: bytes) -> tuple[int, ...]:
    """What `pack` packed."""
    numbers = array("q")
    numbers.frombytes(content)
    return tuple(numbers)
