"""The messages between the measured process (`worker`) and its parent (`worker_client`).

One JSON line per message: commands on stdin, replies on stdout. Columns of numbers are packed
64-bit integers in the machine's byte order, since both ends are on one machine. The structs are
not in `edgeseq.formats.result`, so that the measured process stays small.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Literal

import msgspec

from edgeseq.formats.padding import TEXT_ALONE, Padding
from edgeseq.tasks.head import Head
from edgeseq.tasks.tag_transitions import TagTransitions
from edgeseq.tasks.word_features import WordFeatures

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
"""The input of a query: a text, its words, or the place of a numeric sequence."""
Classes = int | tuple[int, ...]
"""The class of a text, or of each of its words; a 1 or 0 for each label, whether a text has it; or
the bits of each predicted number (float32)."""


class Command(msgspec.Struct, frozen=True, tag_field="command"):
    """A request of the parent; each gets one reply unless its docstring says otherwise."""


class CheckBundle(Command, frozen=True, tag="check"):
    """Check the bundle folder at `path` without running its model; answered by `BundleChecked`.

    The process bounds its own memory first and keeps that bound.
    """

    path: str


class LoadModel(Command, frozen=True, tag="load"):
    """Import the runtime, load tokenizer and model, run `first_text`; answered by `ModelLoaded`.

    `spawned_ns` is the parent's `time.perf_counter_ns()` before it started the process (one clock
    for all processes on Linux: CLOCK_MONOTONIC). With `ledger`, memory is read after each phase;
    with `announce`, a `PhaseReached` is sent after each phase, for a process that may be killed.
    `span_labels` are the labels where they are BIO tags. `padding` is for the Python process: the
    native one has it in its runner file.
    `thresholds` [labels] are the logits from which on a text has a label, where it may have any
    number of them, and `transitions` those between labels of words: for the Python process too, as
    are `word_features`.
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
    padding: Padding = TEXT_ALONE
    thresholds: tuple[float, ...] = ()
    transitions: TagTransitions | None = None
    features: int | None = None
    word_features: WordFeatures | None = None


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
    """Time inference alone on the texts truncated to exactly `tokens`; answered by `LengthDone`.

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
    """Predict the texts in order, untimed; answered by `TextPredictions`."""

    texts: tuple[Text, ...]


class InferTokens(Command, frozen=True, tag="infer_tokens"):
    """Run lists of token ids in order, untimed; answered by `TokenLogits`.

    `word_rows` [3 · tokens] of each list are for a model with word features; without them its
    tokens belong to no word.
    """

    token_ids: tuple[tuple[int, ...], ...]
    word_rows: tuple[tuple[int, ...], ...] = ()


class ScoreDocument(Command, frozen=True, tag="document"):
    """Score a document word by word from a fresh state, untimed; answered by `DocumentScored`.

    `start_text` is the word before its first one.
    """

    text: str
    start_text: str


class Complete(Command, frozen=True, tag="complete"):
    """Predict the `count` next tokens after a text, from a fresh state; answered by `TopK`.

    `start_text` is the word before its first one.
    """

    text: str
    start_text: str
    count: int


class RunLimited(Command, frozen=True, tag="limited"):
    """Run the texts until one of the bounds is reached.

    Answered by any number of `LimitedProgress`, the last of which has `done` set: the times must be
    known even when the process is killed in between.
    """

    texts: tuple[Text, ...]
    max_duration_ns: int


class ReadMemory(Command, frozen=True, tag="memory"):
    """Read the memory of the phase that ends now; answered by `MemoryReading`."""

    phase: Phase


class ProfileOperators(Command, frozen=True, tag="profile"):
    """Profile the model's operators on one input of `tokens` tokens; answered by `OperatorTimings`.

    The input is the first of `texts` that is long enough, truncated; without one, the first.
    """

    model_path: str
    texts: tuple[Text, ...]
    tokens: int
    labels: int
    threads: int
    head: Head = "text-classification"
    has_word_features: bool = False


class ReleaseWeights(Command, frozen=True, tag="release_weights"):
    """Release the model file's pages and begin a phase; answered by `WeightsReleased`.

    The native runner has none: it releases them when it has loaded the model.
    """


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
    """A reply of the measured process."""


class BundleChecked(Reply, frozen=True, tag="checked"):
    """The bundle is valid, as far as can be checked without running it."""


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
    """How many bytes of the model's file are mapped; 0 where no file is."""

    mapped_bytes: int


class ModelLoaded(Reply, frozen=True, tag="loaded"):
    """The model has run once.

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
    """Packed columns of equal length, one entry per query (see `pack` and `unpack`).

    `text` is the index into the command's texts.
    """

    text: bytes
    tokens: bytes
    tokenize_ns: bytes
    inference_ns: bytes
    decode_ns: bytes
    total_ns: bytes


class TokenizationFlags(msgspec.Struct, frozen=True):
    """Whether a text was truncated, has no known token, and was run in several windows."""

    truncated: bool = False
    unknown_only: bool = False
    windowed: bool = False


class SliceDone(Reply, frozen=True, tag="slice"):
    """The times of a slice, and what the process itself went through meanwhile.

    `cpu_ns` is processor time of the whole process, `waiting_ns` the time in which a thread of it
    was ready to run but had no processor (None where the kernel does not report it).
    `predictions` has the packed classes of each text in its first pass, `flags` what tokenizing
    lost of it; `inconsistent` are the indices of texts that got other classes in a later pass.
    """

    warmup: QueryColumns
    queries: QueryColumns
    wall_ns: int
    cpu_ns: int
    waiting_ns: int | None
    minor_faults: int
    major_faults: int
    rss_bytes: int
    flags: tuple[TokenizationFlags, ...]
    predictions: tuple[bytes, ...]
    inconsistent: tuple[int, ...]


class LengthDone(Reply, frozen=True, tag="length"):
    """Packed times of inference; empty when no text is long enough."""

    inference_ns: bytes


class TextPrediction(msgspec.Struct, frozen=True):
    """One text: the ids of all its inputs, concatenated, the logits [labels], or [words, labels]
    flattened (None is NaN), and the classes. With word features there are the rows [3 · tokens] of
    all tokens; `tag_scores` are the probabilities of the words' tags where these depend on each
    other (Python process)."""

    token_ids: tuple[int, ...]
    logits: tuple[float | None, ...]
    classes: Classes = 0
    flags: TokenizationFlags = TokenizationFlags()
    word_rows: tuple[int, ...] = ()
    tag_scores: tuple[float, ...] = ()


class TextPredictions(Reply, frozen=True, tag="text_predictions"):
    """The predictions in the order of the texts."""

    predictions: tuple[TextPrediction, ...]


class DocumentScored(Reply, frozen=True, tag="document"):
    """The sum of ln p of all tokens in nats, their number, and how many had the highest
    probability or one of the three highest."""

    nats: float
    tokens: int
    top1_correct: int
    top3_correct: int


class TopK(Reply, frozen=True, tag="top_k"):
    """Tokens with their probabilities, the highest first; `tokens_read` is the text's length,
    `unknown` how many of its tokens are unknown."""

    words: tuple[str, ...]
    probabilities: tuple[float, ...]
    tokens_read: int
    unknown: int


class TokenLogits(Reply, frozen=True, tag="token_logits"):
    """Logits [inputs][labels] or [inputs][tokens · labels] in the order of the inputs; None is
    NaN."""

    logits: tuple[tuple[float | None, ...], ...]


class LimitedProgress(Reply, frozen=True, tag="limited"):
    """Times of the queries that were run since the last of these replies; `major_faults` are the
    process's major page faults since it began (getrusage(2))."""

    total_ns: tuple[int, ...]
    done: bool
    major_faults: int | None = None


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


class CommandError(Reply, frozen=True, tag="error"):
    """The command failed; the fields of an `EdgeseqError` of that kind."""

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
    | CommandError
)


def pack(numbers: Iterable[int]) -> bytes:
    """Integers as 64-bit words."""
    return array("q", numbers).tobytes()


def unpack(content: bytes) -> tuple[int, ...]:
    """What `pack` packed."""
    numbers = array("q")
    numbers.frombytes(content)
    return tuple(numbers)
