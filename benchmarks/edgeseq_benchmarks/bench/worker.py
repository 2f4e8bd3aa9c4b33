"""The measured process: holds one model, answers the parent's commands, ends when it is alone.

Started as `python -m edgeseq_benchmarks.bench.worker`, one JSON line a command on stdin, one a
reply on
the stdout that it was started with. It ends when stdin does, and the kernel kills it when the
parent dies first (prctl(2), PR_SET_PDEATHSIG): a process deep in page faults reads no stdin.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any

import msgspec

from edgeseq.errors import BundleError, DeviceError
from edgeseq.formats.codec import json_decoder
from edgeseq.runtime import PADDING_ID
from edgeseq.runtime.interpreter import (
    SignatureNames,
    TfliteModel,
    TfliteRuntime,
    find_runtime,
)
from edgeseq.runtime.stateful import StatefulModel, next_tokens, score_document
from edgeseq.runtime.text_tokenizer import TextTokenizer
from edgeseq_benchmarks.bench import protocol
from edgeseq_benchmarks.bench.probes import process_memory
from edgeseq_benchmarks.bench.probes.query_timer import (
    Recorder,
    collector_off,
    time_overhead,
    time_texts,
)
from edgeseq_benchmarks.bench.protocol import AnyCommand, AnyReply, MemoryReading, Phase

if TYPE_CHECKING:
    from edgeseq_benchmarks.bench.query_steps import Reader

_PR_SET_PDEATHSIG = 1
# Answers within the limit are reported at most this often: reporting takes time too.
_REPORT_INTERVAL_NS = 100_000_000


class _Worker:
    """The state of the process: the loaded model, and the phase that memory is read for."""

    def __init__(self, replies: IO[bytes]) -> None:
        self._replies = replies
        self._encoder = msgspec.json.Encoder()
        self._peak_is_of_phase = False
        self._model: TfliteModel | StatefulModel | None = None
        self._model_path = ""
        self._texts: TextTokenizer | None = None
        self._reader: Reader | None = None

    def send(self, reply: AnyReply) -> None:
        self._replies.write(self._encoder.encode(reply) + b"\n")
        self._replies.flush()

    @property
    def model(self) -> TfliteModel | StatefulModel:
        if self._model is None:
            raise DeviceError("no model is loaded", fix="send `load` first")
        return self._model

    @property
    def stream(self) -> StatefulModel:
        if not isinstance(self._model, StatefulModel):
            raise DeviceError("no model of the next word is loaded", fix="send `load` first")
        return self._model

    @property
    def texts(self) -> TextTokenizer:
        if self._texts is None:
            raise DeviceError("no tokenizer is loaded", fix="send `load` first")
        return self._texts

    @property
    def reader(self) -> Reader:
        if self._reader is None:
            raise DeviceError("no model is loaded", fix="send `load` first")
        return self._reader

    def load(self, command: protocol.LoadModel) -> protocol.ModelLoaded:
        ledger: list[MemoryReading] = []

        def ended(phase: Phase) -> None:
            if command.announce:
                self.send(protocol.PhaseReached(phase))
            if command.ledger:
                ledger.append(self.read_memory(phase))

        runtime = _import_everything()
        from edgeseq_benchmarks.bench.query_steps import reader

        imported_ns = time.perf_counter_ns()
        threads = process_memory.count_threads()
        if command.ledger:
            process_memory.trim()
            # The first phase began with the process: its peak needs no reset.
            self._peak_is_of_phase = True
        ended("runtime_imported")
        begun_ns = time.perf_counter_ns()
        self._texts = TextTokenizer.from_file(command.tokenizer_path, command.max_tokens)
        ended("tokenizer_loaded")
        self._model = model = _load_model(runtime, command)
        self._model_path = command.model_path
        self._reader = steps = reader(
            command.head, self._texts, model, command.max_tokens, command.span_labels
        )
        ended("model_loaded")
        model.allocate(_longest(steps.tokenize(command.first_text)))
        ended("tensors_allocated")
        loaded_ns = time.perf_counter_ns()
        steps.decode(steps.infer(steps.tokenize(command.first_text)))
        answered_ns = time.perf_counter_ns()
        ended("first_answer")
        return protocol.ModelLoaded(
            package=runtime.package,
            python=".".join(str(part) for part in sys.version_info[:3]),
            import_ns=imported_ns - command.spawned_ns,
            load_ns=loaded_ns - begun_ns,
            first_answer_ns=answered_ns - loaded_ns,
            total_ns=answered_ns - command.spawned_ns,
            threads_started=process_memory.count_threads() - threads,
            memory=tuple(ledger),
            mapped_files=process_memory.mapped_files() if command.ledger else (),
        )

    def read_memory(self, phase: Phase) -> MemoryReading:
        reading = process_memory.read_memory(phase, peak_is_of_phase=self._peak_is_of_phase)
        self._peak_is_of_phase = process_memory.reset_peak()
        return reading

    def release_weights(self) -> protocol.WeightsReleased:
        mapped_bytes = process_memory.release_mapping(self._model_path)
        self._peak_is_of_phase = process_memory.reset_peak()
        return protocol.WeightsReleased(mapped_bytes)

    def run_slice(self, command: protocol.RunSlice) -> protocol.SliceDone:
        steps = self.reader
        warmup, queries = Recorder(), Recorder()
        with collector_off():
            time_texts(command.warmup_texts, steps, warmup)
            faults, waiting_ns = process_memory.read_faults(), process_memory.read_waiting_ns()
            cpu_ns, begun_ns = time.process_time_ns(), time.perf_counter_ns()
            while True:
                time_texts(command.texts, steps, queries)
                made, took_ns = len(queries.total_ns), time.perf_counter_ns() - begun_ns
                enough = made >= command.min_queries and took_ns >= command.min_duration_ns
                if enough or made + len(command.texts) > command.max_queries:
                    break
            cpu_ns = time.process_time_ns() - cpu_ns
            waited_ns, faults_after = process_memory.read_waiting_ns(), process_memory.read_faults()
        happened = [steps.happened(text) for text in command.texts]
        answers = [queries.answers[number] for number in range(len(command.texts))]
        return protocol.SliceDone(
            warmup=warmup.columns(),
            queries=queries.columns(),
            wall_ns=took_ns,
            cpu_ns=cpu_ns,
            waiting_ns=(
                None if waiting_ns is None or waited_ns is None else waited_ns - waiting_ns
            ),
            minor_faults=faults_after[0] - faults[0],
            major_faults=faults_after[1] - faults[1],
            rss_bytes=process_memory.read_memory("steady", peak_is_of_phase=False).rss_bytes,
            truncated=tuple(number for number, one in enumerate(happened) if one[0]),
            unknown_only=tuple(number for number, one in enumerate(happened) if one[1]),
            windowed=tuple(number for number, one in enumerate(happened) if one[2]),
            answers=tuple(
                protocol.pack((answer,) if isinstance(answer, int) else answer)
                for answer in answers
            ),
            varied=tuple(sorted(queries.varied)),
        )

    def run_length(self, command: protocol.RunLength) -> protocol.LengthDone:
        cut = (self.texts.encode_exact(text, command.tokens) for text in command.texts)
        inputs = [token_ids for token_ids in cut if token_ids is not None]
        times_ns: list[int] = []
        if inputs:
            ask = self._one_answer(inputs)
            ask(0)  # resizing belongs to no sample
            clock = time.perf_counter_ns
            with collector_off():
                first_ns = clock()
                while len(times_ns) < command.max_samples:
                    begun_ns = clock()
                    ask(len(times_ns))
                    ended_ns = clock()
                    times_ns.append(ended_ns - begun_ns)
                    took_ns = ended_ns - first_ns
                    enough = len(times_ns) >= command.min_samples
                    if took_ns >= command.max_duration_ns or (
                        enough and took_ns >= command.min_duration_ns
                    ):
                        break
        return protocol.LengthDone(protocol.pack(times_ns))

    def _one_answer(self, inputs: list[list[int]]) -> Callable[[int], object]:
        """What is timed at one length: an answer to the inputs in turn; of a stream the next word
        behind the first one, from the state that its other words lead to."""
        model = self.model
        if isinstance(model, StatefulModel):
            again = model.prefill(inputs[0])
            return lambda _number: again()
        return lambda number: model.infer(inputs[number % len(inputs)])

    def score_document(self, command: protocol.ScoreDocument) -> protocol.DocumentScored:
        ids = self.texts.token_ids(command.text) if command.text.strip() else []
        before = self.texts.token_ids(command.before)[-1]
        return protocol.DocumentScored(*score_document(self.stream, ids, before))

    def read_on(self, command: protocol.Complete) -> protocol.TopK:
        ids = self.texts.token_ids(command.text) if command.text.strip() else []
        before = self.texts.token_ids(command.before)[-1]
        best, probabilities = next_tokens(self.stream, ids, before, command.count)
        return protocol.TopK(
            words=tuple(self.texts.token(token_id) for token_id in best),
            probabilities=tuple(probabilities),
            tokens_read=len(ids),
            unknown=self.texts.count_unknown(ids),
        )

    def run_limited(self, command: protocol.RunLimited) -> None:
        clock, steps = time.perf_counter_ns, self.reader
        first_ns = reported_ns = clock()
        some_ns: list[int] = []
        for text in command.texts:
            begun_ns = clock()
            steps.decode(steps.infer(steps.tokenize(text)))
            ended_ns = clock()
            some_ns.append(ended_ns - begun_ns)
            if ended_ns - first_ns >= command.max_duration_ns:
                break
            if ended_ns - reported_ns >= _REPORT_INTERVAL_NS:
                self.send(protocol.LimitedProgress(tuple(some_ns), done=False))
                some_ns.clear()
                reported_ns = clock()
        self.send(protocol.LimitedProgress(tuple(some_ns), done=True))

    def answer_texts(self, command: protocol.PredictTexts) -> protocol.TextPredictions:
        answers = []
        for text in command.texts:
            read = self.reader.read(text)
            answers.append(
                protocol.TextPrediction(
                    token_ids=tuple(read.token_ids),
                    truncated=read.truncated,
                    unknown_only=read.unknown_only,
                    logits=tuple(read.logits),
                    answer=read.answer,
                    windowed=read.windowed,
                )
            )
        return protocol.TextPredictions(tuple(answers))

    def answer_tokens(self, command: protocol.InferTokens) -> protocol.TokenLogits:
        model = self.model
        infer = model.infer if isinstance(model, TfliteModel) else model.token_log_probabilities
        return protocol.TokenLogits(
            tuple(tuple(infer(ids).ravel().tolist()) for ids in command.token_ids)
        )

    def check(self, command: protocol.CheckBundle) -> protocol.BundleChecked:
        # Imported here: a process that is measured holds none of this.
        from edgeseq_benchmarks.bench.bundle_checks import check_bundle
        from edgeseq_benchmarks.bench.limits.rlimit import bound_this_process

        bound_this_process()
        check_bundle(command.path, _import_everything().package)
        return protocol.BundleChecked()

    def profile(self, command: protocol.ProfileOperators) -> protocol.OperatorTimings:
        from edgeseq_benchmarks.bench.probes.litert_profiler import profile

        texts = [text if isinstance(text, str) else " ".join(text) for text in command.texts]
        cut = (self.texts.encode_exact(text, command.tokens) for text in texts)
        token_ids = next((ids for ids in cut if ids), None)
        if token_ids is None:
            token_ids = self.texts.token_ids(texts[0])
        missing = (self.model.fixed_length or 0) - len(token_ids)
        token_ids = [*token_ids, *[PADDING_ID] * missing]
        by_token = (len(token_ids),) if command.head != "text-classification" else ()
        found = profile(
            command.model_path,
            token_ids,
            output_shape=(1, *by_token, command.labels),
            threads=command.threads,
        )
        by_time = sorted(found.times_us, key=lambda key: -found.times_us[key])
        return protocol.OperatorTimings(
            tokens=len(token_ids),
            runs=found.runs,
            invoke_us=found.invoke_us,
            plain_ns=found.plain_ns,
            operators=tuple(
                (
                    name,
                    "runtime" if by == "runtime" else "xnnpack",
                    found.calls[name, by],
                    found.times_us[name, by],
                )
                for name, by in by_time
            ),
            nodes=tuple(sorted(found.nodes)),
        )

    def do(self, command: AnyCommand) -> None:
        """Does one command and sends what it is answered by."""
        if isinstance(command, protocol.RunLimited):
            self.run_limited(command)  # answers more than once
            return
        answers: dict[type[protocol.Command], Callable[[Any], AnyReply]] = {
            protocol.CheckBundle: self.check,
            protocol.ProfileOperators: self.profile,
            protocol.LoadModel: self.load,
            protocol.RunSlice: self.run_slice,
            protocol.RunLength: self.run_length,
            protocol.PredictTexts: self.answer_texts,
            protocol.InferTokens: self.answer_tokens,
            protocol.ScoreDocument: self.score_document,
            protocol.Complete: self.read_on,
            protocol.ReadMemory: lambda asked: self.read_memory(asked.phase),
            protocol.ReleaseWeights: lambda _: self.release_weights(),
            protocol.MeasureOverhead: lambda asked: protocol.Overhead(
                time_overhead(asked.queries).tobytes()
            ),
        }
        self.send(answers[type(command)](command))


def _load_model(runtime: TfliteRuntime, command: protocol.LoadModel) -> TfliteModel | StatefulModel:
    """The model that a bundle's head asks for; `labels` of a stream is its vocabulary."""
    if command.head == "language-modeling":
        return StatefulModel(
            command.model_path,
            max_tokens=command.max_tokens,
            runtime=runtime,
            signature_key=command.signature_key,
            vocabulary_size=command.labels,
            threads=command.threads,
        )
    return TfliteModel(
        command.model_path,
        runtime=runtime,
        signature=SignatureNames(command.signature_key, command.input_name, command.output_name),
        num_labels=command.labels,
        by_token=command.head != "text-classification",
        threads=command.threads,
    )


def _longest(inputs: Any) -> int:
    """Tokens of the longest input of one text: a list of ids, or words in windows."""
    return len(inputs) if isinstance(inputs, list) else max(map(len, inputs.windows))


def _import_everything() -> TfliteRuntime:
    """Imports what every model of this runtime needs: the baseline of the memory ledger."""
    import numpy as np
    import tokenizers

    from edgeseq_benchmarks.bench import query_steps as reading

    # Named, so that nobody takes the imports for unused.
    del np, tokenizers, reading
    return find_runtime()


def _refusal(error: BundleError | DeviceError) -> protocol.Refusal:
    return protocol.Refusal(
        kind="bundle" if isinstance(error, BundleError) else "device",
        what=error.what,
        where=error.where,
        found=None if error.found is None else str(error.found),
        expected=None if error.expected is None else str(error.expected),
        fix=error.fix,
    )


def _die_with_parent(parent: int) -> None:
    libc = ctypes.CDLL(None)
    if hasattr(libc, "prctl"):
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # The parent may have died before the kernel was told.
    if os.getppid() != parent:
        sys.exit(0)


def main() -> None:
    """Serves commands until `finish` or the end of stdin."""
    _die_with_parent(int(sys.argv[1]))
    # Whatever native code prints to stdout goes to stderr; only replies go where it went.
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    worker = _Worker(replies)
    decoder = json_decoder(AnyCommand)
    for line in sys.stdin.buffer:
        command = decoder.decode(line)
        if isinstance(command, protocol.Finish):
            break
        try:
            worker.do(command)
        except (BundleError, DeviceError) as error:
            worker.send(_refusal(error))


if __name__ == "__main__":
    main()
