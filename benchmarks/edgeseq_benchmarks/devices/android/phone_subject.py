"""One bundle on the phone: its inputs, the runs made of them, and their output."""

from __future__ import annotations

from edgeseq.errors import BundleError
from edgeseq.formats.bundle import BundleFiles, check_model
from edgeseq.formats.bundle_identity import bundle_identity
from edgeseq.formats.result import ColdStart, LengthPoint, Queries, Run, Settings
from edgeseq.runtime import PADDING_ID
from edgeseq.runtime.text_tokenizer import TextTokenizer
from edgeseq.tasks.examples import TextExample
from edgeseq.tasks.predictions import Predictions
from edgeseq_benchmarks.bench import validity
from edgeseq_benchmarks.bench.bundle_checks import check_tokenizer
from edgeseq_benchmarks.bench.subject import Subject
from edgeseq_benchmarks.devices.android.benchmark_model import (
    CLOCK_NS,
    TIMED_RUNS,
    class_number,
    nanoseconds,
    parse_logits,
)
from edgeseq_benchmarks.devices.android.tool_runs import ToolOutput, ToolRun, pack_inputs

# Beside the time that the tool is told to warm up for (see `ToolOptions`).
_WARMUP_RUNS = 2


class PhoneSubject(Subject):
    """A `Subject` whose texts were cut into tokens on the workstation.

    `number` names its files on the phone. A fused LSTM keeps its state between the runs of a
    process, and the tool never resets it: such a model answers in processes of one run each.
    """

    def __init__(self, bundle: BundleFiles, settings: Settings, number: int) -> None:
        """Checks the bundle without running it; raises `BundleError` for one that is wrong."""
        check_tokenizer(bundle.tokenizer_path, bundle.manifest.vocabulary_size)
        check_model(bundle)
        super().__init__(bundle, settings)
        if not all(isinstance(example, TextExample) for example in self.examples):
            raise BundleError(
                "predicts more than one label per text, which is not measured through adb",
                where=bundle.path,
                fix="measure it in a Linux userland on the phone, see docs/guides/android.md",
            )
        self._rows = [item for item in self.examples if isinstance(item, TextExample)]
        self._class_numbers: dict[int, int] = {}
        self.number = number
        self.stateful = bundle.manifest.lowering == "fused"
        encoder = TextTokenizer.of_bundle(bundle)
        encoded = [encoder.encode(example.text) for example in self._rows]
        self._tokens = [len(item.token_ids) for item in encoded]
        self._truncated = {n for n, item in enumerate(encoded) if item.truncated}
        self._unknown_only = {n for n, item in enumerate(encoded) if item.unknown_only}
        self._golden = [example.token_ids for example in bundle.golden.examples]
        golden_texts = [
            encoder.encode(example.text).token_ids for example in bundle.golden.examples
        ]
        self.findings += validity.token_findings(bundle, [tuple(ids) for ids in golden_texts])
        self._at_length = self._length_inputs(encoder, settings)
        lengths = [ids for inputs in self._at_length.values() for ids in inputs]
        inputs = [*(item.token_ids for item in encoded), *self._golden, *lengths]
        self._padded = [self._filled_up(list(token_ids)) for token_ids in inputs]
        self.packed, self._offsets = pack_inputs(self._padded)
        self._queries: dict[str, list[int]] = {name: [] for name in Queries.__struct_fields__}
        self._warmups: dict[str, list[int]] = {name: [] for name in Queries.__struct_fields__}

    def _length_inputs(
        self, encoder: TextTokenizer, settings: Settings
    ) -> dict[int, list[list[int]]]:
        """By length in tokens, as many real inputs as give the samples that were asked for."""
        inputs_by_length: dict[int, list[list[int]]] = {}
        manifest = self.bundle.manifest
        if manifest.signature.inputs[0].shape[1] > 0 or manifest.padding.is_padded:
            return inputs_by_length  # always filled up to the same length
        inputs = -(-settings.length_samples // TIMED_RUNS)
        for tokens in settings.length_tokens:
            texts = self.joined_texts(tokens, inputs)
            exact = [
                ids for text in texts if (ids := encoder.encode_exact(text, tokens)) is not None
            ]
            if tokens <= self.bundle.manifest.max_tokens and exact:
                inputs_by_length[tokens] = exact
        return inputs_by_length

    def _filled_up(self, token_ids: list[int]) -> list[int]:
        length = self.bundle.manifest.signature.inputs[0].shape[1]
        return (token_ids + [PADDING_ID] * length)[:length] if length > 0 else token_ids

    def job(self, text: int, *, warmups: int, runs: int, keep_logits: bool = False) -> ToolRun:
        """The job of one input by its number in the file."""
        tokens = len(self._padded[text])
        return ToolRun(self.number, self._offsets[text], tokens, warmups, runs, keep_logits)

    @property
    def longest(self) -> ToolRun:
        """The longest test example."""
        return self.job(self._tokens.index(max(self._tokens)), warmups=1, runs=1)

    def near(self, tokens: int) -> ToolRun:
        """The test example whose length comes nearest to `tokens`, warmed up and timed."""
        text = min(range(len(self._tokens)), key=lambda n: abs(self._tokens[n] - tokens))
        return self.job(text, warmups=5, runs=TIMED_RUNS)

    def golden_jobs(self) -> list[ToolRun]:
        """The golden examples, each in a separate process."""
        first = len(self.examples)
        numbers = range(first, first + len(self._golden))
        return [self.job(number, warmups=0, runs=1, keep_logits=True) for number in numbers]

    def take_golden(self, done: list[ToolOutput]) -> None:
        """Compares the answers with the float model's."""
        rows = [parse_logits(item.logits, len(self.bundle.labels)) for item in done]
        if any(row is None for row in rows):
            raise BundleError(
                "gave no readable logits",
                where=self.name,
                found=" ".join(done[0].logits)[:100] or "an empty output file",
                expected=f"{len(self.bundle.labels)} float32 values",
                fix="take a benchmark_model that knows --output_filepath",
            )
        self.findings += validity.golden_findings(self.bundle, [row for row in rows if row])

    def round_jobs(
        self, number: int, rounds: int, *, first: bool
    ) -> tuple[list[ToolRun], list[int]]:
        """One round's runs and the example of each; the first pass also keeps the logits.

        The runs of a stateful model that only give logits come after those that are timed.
        """
        examples = self.slice_of_round(number, rounds)
        is_kept = first and not self.stateful
        timed = [
            self.job(n, warmups=_WARMUP_RUNS, runs=TIMED_RUNS, keep_logits=is_kept)
            for n in examples
        ]
        if not (first and self.stateful):
            return timed, examples
        answers = [self.job(n, warmups=0, runs=1, keep_logits=True) for n in examples]
        return [*timed, *answers], [*examples, *examples]

    def take_round(self, job: ToolRun, done: ToolOutput, example: int, number: int) -> None:
        """Takes in one job of a round; raises `BundleError` when it has no answer or no time."""
        if job.keep_logits:
            logits = parse_logits(done.logits, len(self.bundle.labels))
            if logits is None:
                raise BundleError("gave no readable logits", where=self.name)
            self._class_numbers[example] = class_number(logits)
        if job.warmups == 0:
            return
        times = done.times
        if len(times.runs_us) != TIMED_RUNS:
            raise BundleError("gave no times that can be read", where=self.name,
                              found=" / ".join(done.lines)[:200])  # fmt: skip
        for columns, runs_us in ((self._queries, times.runs_us), (self._warmups, times.warmup_us)):
            for run_us in runs_us:
                columns["example"].append(example)
                columns["round"].append(number)
                columns["tokens"].append(self._tokens[example])
                columns["tokenize_ns"].append(0)
                columns["decode_ns"].append(0)
                columns["inference_ns"].append(nanoseconds(run_us))
                columns["total_ns"].append(nanoseconds(run_us))

    @property
    def query_count(self) -> int:
        """How many timed queries there are."""
        return len(self._queries["total_ns"])

    def take_cold(self, done: ToolOutput) -> None:
        """Takes in the loading and first inference of a fresh process."""
        times = done.times
        if times.init_us is None or times.first_us is None:
            return  # an older tool prints the first inference only as part of the warm-up
        load_ns, first_ns = map(nanoseconds, (times.init_us, times.first_us))
        self.cold_starts.append(ColdStart(0, load_ns, first_ns, load_ns + first_ns))

    def length_jobs(self) -> tuple[list[ToolRun], list[int]]:
        """The jobs at chosen lengths, and the length of each one."""
        jobs, lengths, text = [], [], len(self.examples) + len(self._golden)
        for tokens, inputs in self._at_length.items():
            for _ in inputs:
                jobs.append(self.job(text, warmups=_WARMUP_RUNS, runs=TIMED_RUNS))
                lengths.append(tokens)
                text += 1
        return jobs, lengths

    def take_length(self, done: ToolOutput, tokens: int) -> None:
        """Takes in one job at a chosen length."""
        self.lengths.setdefault(tokens, []).extend(map(nanoseconds, done.times.runs_us))

    def predictions(self) -> Predictions | None:
        """The answers, once every test example has one."""
        if len(self._class_numbers) < len(self._rows):
            return None
        labels = self.bundle.labels
        return Predictions(
            gold=tuple(labels.index(example.label) for example in self._rows),
            predicted=tuple(self._class_numbers[number] for number in range(len(self._rows))),
            sources=tuple(example.source for example in self._rows),
            truncated=len(self._truncated),
            unknown_only=len(self._unknown_only),
            examples_sha256=self.examples_sha256,
        )

    def run(self, settings: Settings) -> Run:
        """Everything observed, with what it means."""
        queries = Queries(**{name: tuple(column) for name, column in self._queries.items()})
        findings = list(self.findings)
        if queries.total_ns:
            timing = validity.timing_findings(queries, (), settings)
            # Processes of the native tool have no slices, so none is too short.
            findings += [item for item in timing if item.code != "query-cap"]
            findings += validity.clock_findings(queries, CLOCK_NS)
            findings += validity.prediction_findings(
                len(self.examples),
                truncated=len(self._truncated),
                unknown_only=len(self._unknown_only),
            )
        return Run(
            bundle=bundle_identity(self.bundle),
            runner="benchmark_model",
            warmup=Queries(**{name: tuple(column) for name, column in self._warmups.items()}),
            queries=queries,
            lengths=tuple(
                LengthPoint(tokens, tuple(times_ns))
                for tokens, times_ns in sorted(self.lengths.items())
            ),
            memory=tuple(self.memory),
            cold_starts=tuple(self.cold_starts),
            predictions=self.predictions(),
            limited=(),
            findings=tuple(findings),
            profile=self.profile,
            scope="inference",
        )
