"""One bundle under measurement: its test examples, and the observations so far."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

from edgeseq.errors import BundleError, DeviceError, EdgeseqError, OutputError
from edgeseq.formats.bundle import BundleFiles
from edgeseq.formats.bundle_identity import bundle_identity
from edgeseq.formats.memory_limits import LimitedRun, WorkingMemorySearch
from edgeseq.formats.result import (
    ColdStart,
    EnergyWindow,
    Finding,
    LengthPoint,
    MemoryPhase,
    OperatorProfile,
    Queries,
    Run,
    Settings,
    Slice,
)
from edgeseq.tasks.examples import AnyExample, gold_classes, sample_positions
from edgeseq.tasks.predictions import Predictions
from edgeseq_benchmarks.bench import validity
from edgeseq_benchmarks.bench.launcher import Launcher, missing_runner, python_launcher
from edgeseq_benchmarks.bench.protocol import (
    ModelLoaded,
    QueryColumns,
    SliceDone,
    Text,
    TokenizationFlags,
    unpack,
)
from edgeseq_benchmarks.bench.worker_client import WorkerLostError

_COLUMNS = ("tokens", "tokenize_ns", "inference_ns", "decode_ns", "total_ns")


class QueryTable:
    """Queries in order, as columns."""

    def __init__(self) -> None:
        self._columns: dict[str, list[int]] = {name: [] for name in ("example", "round", *_COLUMNS)}

    def add(self, columns: QueryColumns, examples: Sequence[int], number: int) -> None:
        """Appends the columns of one reply; `examples` are the indices of the command's texts."""
        texts = unpack(columns.text)
        self._columns["example"] += [examples[text] for text in texts]
        self._columns["round"] += [number] * len(texts)
        for name in _COLUMNS:
            self._columns[name] += unpack(getattr(columns, name))

    def queries(self) -> Queries:
        """The columns as the result stores them."""
        return Queries(**{name: tuple(column) for name, column in self._columns.items()})


class Subject:
    """A bundle under measurement in one runner."""

    def __init__(
        self, bundle: BundleFiles, settings: Settings, launcher: Launcher | None = None
    ) -> None:
        """Reads the test examples; raises `BundleError` when there is none or a line is wrong.

        `launcher` starts its processes; a Python process on this machine by default.
        """
        self.bundle = bundle
        self.launcher = launcher or python_launcher()
        self.name = bundle.manifest.name
        self.title = self.name
        """For people: with the runner where the bundle is measured in several."""
        self.examples: tuple[AnyExample, ...] = bundle.read_examples()
        if not self.examples:
            raise BundleError(
                "has no test examples",
                where=bundle.path / "eval.jsonl",
                fix="convert the bundle again from a data set with a test part",
            )
        self.findings: list[Finding] = []
        self.examples_sha256 = bundle.manifest.files["eval.jsonl"].sha256
        if settings.examples is not None and settings.examples < len(self.examples):
            self._sample_examples(settings.examples)
        self.order = list(range(len(self.examples)))
        # One fixed order for every model that has the same examples.
        random.Random(settings.seed).shuffle(self.order)  # noqa: S311
        self.failed = False
        self.refusal: EdgeseqError | None = None
        self.loaded: ModelLoaded | None = None
        self.slowest_ns = 0
        self.warmup, self.table = QueryTable(), QueryTable()
        self.slices: list[Slice] = []
        self.lengths: dict[int, list[int]] = {}
        self.memory: list[MemoryPhase] = []
        self.after_weight_release: MemoryPhase | None = None
        self.cold_starts: list[ColdStart] = []
        self.limited: list[LimitedRun] = []
        self.working_memory: WorkingMemorySearch | None = None
        self.profile: OperatorProfile | None = None
        self.energy: EnergyWindow | None = None
        self._predicted: dict[int, tuple[int, ...]] = {}
        self._inconsistent: set[int] = set()
        self._flags: dict[int, TokenizationFlags] = {}

    def _sample_examples(self, count: int) -> None:
        """Keeps `count` of the examples, drawn with a fixed seed: the same on every machine."""
        total = len(self.examples)
        self.examples = tuple(self.examples[number] for number in sample_positions(total, count))
        # Only predictions on the same sample may be compared.
        sample = f"{self.examples_sha256} {count}"
        self.examples_sha256 = hashlib.sha256(sample.encode()).hexdigest()
        message = f"only {count} of the {total} test examples were run"
        self.findings.append(Finding("part-of-examples", "note", message))

    def texts(self, examples: Sequence[int]) -> tuple[Text, ...]:
        """The inputs of test examples given by index: their texts, or their words."""
        return tuple(self.examples[number].model_input for number in examples)

    def slice_of_round(self, number: int, rounds: int) -> list[int]:
        """The examples of one round: every `rounds`-th of the fixed order, at least one."""
        return self.order[number::rounds] or [self.order[number % len(self.order)]]

    def joined_texts(self, tokens: int, count: int) -> tuple[str, ...]:
        """`count` texts of at least `tokens` words each, made of test sentences joined."""
        texts, position = [], 0
        for _ in range(count):
            words: list[str] = []
            for _ in range(tokens):  # a text without a word must not keep this from ending
                words += self.examples[self.order[position % len(self.order)]].text.split()
                position += 1
                if len(words) >= tokens:
                    break
            texts.append(" ".join(words))
        return tuple(texts)

    def sweep_lengths(self, settings: Settings) -> tuple[int, ...]:
        """The lengths in tokens at which inference alone is timed; a model whose texts are padded
        has no other than its longest."""
        manifest = self.bundle.manifest
        max_tokens = manifest.max_tokens
        if manifest.padding.is_padded:
            return (max_tokens,)
        return tuple(tokens for tokens in settings.length_tokens if tokens <= max_tokens)

    def add_slice(self, done: SliceDone, examples: Sequence[int], number: int) -> None:
        """Adds the observations of round `number`; `examples` are those of the slice."""
        self.table.add(done.queries, examples, number)
        for example, packed, flags in zip(examples, done.predictions, done.flags, strict=True):
            classes = unpack(packed)
            if self._predicted.setdefault(example, classes) != classes:
                self._inconsistent.add(example)
            self._flags[example] = flags
        self._inconsistent |= {examples[text] for text in done.inconsistent}
        self.slices.append(
            Slice(
                round=number,
                wall_ns=done.wall_ns,
                cpu_ns=done.cpu_ns,
                waiting_ns=done.waiting_ns,
                minor_faults=done.minor_faults,
                major_faults=done.major_faults,
                rss_bytes=done.rss_bytes,
            )
        )

    def mark_failed(self, stage: str, reason: object) -> None:
        """Ends this bundle's measurement, and no other's."""
        self.failed = True
        message = f"measurement stopped early ({stage}): {reason}"
        code = "process-lost" if self.refusal is None else "runner-refused"
        self.findings.append(Finding(code, "invalid", message))

    def add_missing_runner(self, runner: str, reason: EdgeseqError) -> None:
        """Notes why the bundle was not measured in another runner as well."""
        self.findings.append(missing_runner(runner, reason))

    @contextmanager
    def required_stage(self, stage: str) -> Iterator[None]:
        """A stage whose failure ends this bundle's measurement, and no other's."""
        try:
            yield
        except (WorkerLostError, BundleError, DeviceError) as error:
            self.mark_failed(stage, error)

    @contextmanager
    def optional_stage(self, stage: str) -> Iterator[None]:
        """A stage whose failure leaves all other measurements valid."""
        try:
            yield
        except (WorkerLostError, BundleError, DeviceError, OutputError) as error:
            message = f"measurement stopped early ({stage}): {error}"
            self.findings.append(Finding("stage-failed", "warning", message))

    def predicted_classes(self) -> list[tuple[int, ...]] | None:
        """What the model gave for each test example, once every one has been run."""
        if len(self._predicted) < len(self.examples):
            return None
        return [self._predicted[number] for number in range(len(self.examples))]

    def predictions(self) -> Predictions | None:
        """The predictions, once every test example has one."""
        predicted = self.predicted_classes()
        if predicted is None:
            return None
        labels = self.bundle.labels
        is_one_label = self.bundle.head in ("text-classification", "sequence-classification")
        return Predictions(
            gold=tuple(
                number for example in self.examples for number in gold_classes(example, labels)
            ),
            predicted=tuple(number for classes in predicted for number in classes),
            counts=() if is_one_label else tuple(map(len, predicted)),
            windowed=self._count_flag("windowed"),
            sources=tuple(example.source for example in self.examples),
            truncated=self._count_flag("truncated"),
            unknown_only=self._count_flag("unknown_only"),
            examples_sha256=self.examples_sha256,
        )

    @property
    def peak_bytes(self) -> int:
        """The largest memory of any phase, by the resident set where no peak could be read."""
        return max(phase.peak_bytes or phase.rss_bytes for phase in self.memory)

    @property
    def needed_peak_bytes(self) -> int:
        """`peak_bytes`, without the pages of the file that are not read again where that is known:
        a limit makes the kernel drop them first."""
        released = self.after_weight_release
        return self.peak_bytes if released is None else released.peak_bytes or released.rss_bytes

    @property
    def anonymous_bytes(self) -> int:
        """Memory that the kernel cannot drop, once the model has answered."""
        return self.memory[-1].anonymous_bytes

    def longest_examples(self, count: int) -> list[int]:
        """The indices of the `count` longest test examples, the longest first."""
        return sorted(self.order, key=lambda number: -len(self.examples[number].text))[:count]

    @property
    def by_word(self) -> bool:
        """Whether an example has a label per word."""
        return not self.bundle.task.is_per_text

    def _count_flag(self, name: Literal["truncated", "unknown_only", "windowed"]) -> int:
        return sum(getattr(flags, name) for flags in self._flags.values())

    def run(self, settings: Settings) -> Run:
        """All observations, with the findings about them."""
        queries = self.table.queries()
        findings = list(self.findings)
        if queries.total_ns:
            findings += validity.timing_findings(queries, self.slices, settings)
            findings += validity.prediction_findings(
                len(self.examples),
                inconsistent=len(self._inconsistent),
                truncated=self._count_flag("truncated"),
                unknown_only=self._count_flag("unknown_only"),
                windowed=self._count_flag("windowed"),
                by_word=self.by_word,
            )
        if self.loaded is not None:
            findings += validity.thread_findings(settings.threads, self.loaded.threads_started)
        return Run(
            bundle=bundle_identity(self.bundle),
            runner=self.launcher.runner,
            warmup=self.warmup.queries(),
            queries=queries,
            lengths=tuple(
                LengthPoint(tokens=tokens, inference_ns=tuple(times_ns))
                for tokens, times_ns in sorted(self.lengths.items())
            ),
            memory=tuple(self.memory),
            after_weight_release=self.after_weight_release,
            cold_starts=tuple(self.cold_starts),
            predictions=self.predictions(),
            limited=tuple(self.limited),
            findings=tuple(findings),
            slices=tuple(self.slices),
            threads_started=None if self.loaded is None else self.loaded.threads_started,
            profile=self.profile,
            energy=self.energy,
            working_memory=self.working_memory,
        )
