"""The measured process: holds one model and serves the parent's commands.

Started as `python -m edgeseq_benchmarks.bench.worker PARENT_PID`: one JSON line per command on
stdin, one per reply on the stdout that it was started with. It ends when stdin does, and the kernel
kills it when the parent dies first (prctl(2), PR_SET_PDEATHSIG): a process deep in page faults
reads no stdin.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from typing import IO, Any

import msgspec

from edgeseq.errors import BundleError, DeviceError
from edgeseq.formats.codec import json_decoder
from edgeseq.runtime import PADDING_ID
from edgeseq.runtime.interpreter import find_runtime
from edgeseq.tasks.head import is_numeric, is_per_text
from edgeseq.tasks.word_features import FEATURES
from edgeseq_benchmarks.bench import protocol
from edgeseq_benchmarks.bench.probes import process_memory
from edgeseq_benchmarks.bench.probes.query_timer import (
    QueryRecorder,
    garbage_collection_off,
    time_overhead,
    time_texts,
)
from edgeseq_benchmarks.bench.protocol import AnyCommand, AnyReply, MemoryReading, Phase
from edgeseq_benchmarks.bench.query_steps import InputReader, TaskSteps, load_steps_class

_PR_SET_PDEATHSIG = 1
# Progress within a limit is reported at most this often: reporting takes time too.
_REPORT_INTERVAL_NS = 100_000_000


class _Worker:
    """The state of the process: the loaded model, and the phase that memory is read for."""

    def __init__(self, replies: IO[bytes]) -> None:
        self._replies = replies
        self._encoder = msgspec.json.Encoder()
        self._peak_is_of_phase = False
        self._model_path = ""
        self._inputs: InputReader | None = None
        self._steps: TaskSteps | None = None

    def send(self, reply: AnyReply) -> None:
        self._replies.write(self._encoder.encode(reply) + b"\n")
        self._replies.flush()

    @property
    def inputs(self) -> InputReader:
        if self._inputs is None:
            raise DeviceError("no tokenizer is loaded", fix="send `load` first")
        return self._inputs

    @property
    def steps(self) -> TaskSteps:
        if self._steps is None:
            raise DeviceError("no model is loaded", fix="send `load` first")
        return self._steps

    def load(self, command: protocol.LoadModel) -> protocol.ModelLoaded:
        ledger: list[MemoryReading] = []

        def end_phase(phase: Phase) -> None:
            if command.announce:
                self.send(protocol.PhaseReached(phase))
            if command.ledger:
                ledger.append(self.read_memory(phase))

        steps_class, runtime = load_steps_class(command.head), find_runtime()
        imported_ns = time.perf_counter_ns()
        threads = process_memory.count_threads()
        if command.ledger:
            process_memory.trim()
            # The first phase began with the process: its peak needs no reset.
            self._peak_is_of_phase = True
        end_phase("runtime_imported")
        begun_ns = time.perf_counter_ns()
        self._inputs = steps_class.load_inputs(command)
        end_phase("tokenizer_loaded")
        self._steps = steps = steps_class(command, runtime, self._inputs)
        self._model_path = command.model_path
        end_phase("model_loaded")
        steps.allocate(command.first_text)
        end_phase("tensors_allocated")
        loaded_ns = time.perf_counter_ns()
        steps.decode(steps.infer(steps.tokenize(command.first_text)))
        answered_ns = time.perf_counter_ns()
        end_phase("first_answer")
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
        steps = self.steps
        warmup, queries = QueryRecorder(), QueryRecorder()
        with garbage_collection_off():
            time_texts(command.warmup_texts, steps, warmup)
            faults, waiting_ns = process_memory.read_faults(), process_memory.read_waiting_ns()
            cpu_ns, begun_ns = time.process_time_ns(), time.perf_counter_ns()
            while True:
                time_texts(command.texts, steps, queries)
                count, wall_ns = len(queries.total_ns), time.perf_counter_ns() - begun_ns
                is_enough = count >= command.min_queries and wall_ns >= command.min_duration_ns
                if is_enough or count + len(command.texts) > command.max_queries:
                    break
            cpu_ns = time.process_time_ns() - cpu_ns
            waited_ns, faults_after = process_memory.read_waiting_ns(), process_memory.read_faults()
        predictions = [queries.predictions[number] for number in range(len(command.texts))]
        return protocol.SliceDone(
            warmup=warmup.columns(),
            queries=queries.columns(),
            wall_ns=wall_ns,
            cpu_ns=cpu_ns,
            waiting_ns=(
                None if waiting_ns is None or waited_ns is None else waited_ns - waiting_ns
            ),
            minor_faults=faults_after[0] - faults[0],
            major_faults=faults_after[1] - faults[1],
            rss_bytes=process_memory.read_memory("steady", peak_is_of_phase=False).rss_bytes,
            flags=tuple(steps.flags(text) for text in command.texts),
            predictions=tuple(
                protocol.pack((classes,) if isinstance(classes, int) else classes)
                for classes in predictions
            ),
            inconsistent=tuple(sorted(queries.inconsistent)),
        )

    def run_length(self, command: protocol.RunLength) -> protocol.LengthDone:
        exact = (self.inputs.encode_exact(text, command.tokens) for text in command.texts)
        inputs = [token_ids for token_ids in exact if token_ids is not None]
        times_ns: list[int] = []
        if inputs:
            infer = self.steps.repeatable(inputs)
            infer(0)  # resizing belongs to no sample
            clock = time.perf_counter_ns
            with garbage_collection_off():
                first_ns = clock()
                while len(times_ns) < command.max_samples:
                    begun_ns = clock()
                    infer(len(times_ns))
                    ended_ns = clock()
                    times_ns.append(ended_ns - begun_ns)
                    wall_ns = ended_ns - first_ns
                    is_enough = len(times_ns) >= command.min_samples
                    if wall_ns >= command.max_duration_ns or (
                        is_enough and wall_ns >= command.min_duration_ns
                    ):
                        break
        return protocol.LengthDone(protocol.pack(times_ns))

    def score_document(self, command: protocol.ScoreDocument) -> protocol.DocumentScored:
        return self.steps.score_document(command.text, command.start_text)

    def complete(self, command: protocol.Complete) -> protocol.TopK:
        return self.steps.complete(command.text, command.start_text, command.count)

    def run_limited(self, command: protocol.RunLimited) -> protocol.LimitedProgress:
        """Sends all replies but the last, which it returns."""
        clock, steps = time.perf_counter_ns, self.steps
        first_ns = reported_ns = clock()
        times_ns: list[int] = []

        def progress(*, done: bool) -> protocol.LimitedProgress:
            faults = resource.getrusage(resource.RUSAGE_SELF).ru_majflt
            return protocol.LimitedProgress(tuple(times_ns), done=done, major_faults=faults)

        for text in command.texts:
            begun_ns = clock()
            steps.decode(steps.infer(steps.tokenize(text)))
            ended_ns = clock()
            times_ns.append(ended_ns - begun_ns)
            if ended_ns - first_ns >= command.max_duration_ns:
                break
            if ended_ns - reported_ns >= _REPORT_INTERVAL_NS:
                self.send(progress(done=False))
                times_ns.clear()
                reported_ns = clock()
        return progress(done=True)

    def predict_texts(self, command: protocol.PredictTexts) -> protocol.TextPredictions:
        return protocol.TextPredictions(tuple(map(self.steps.predict, command.texts)))

    def infer_tokens(self, command: protocol.InferTokens) -> protocol.TokenLogits:
        logits = self.steps.logits
        word_rows = command.word_rows or ((),) * len(command.token_ids)
        pairs = zip(command.token_ids, word_rows, strict=True)
        return protocol.TokenLogits(
            tuple(tuple(logits(ids, rows).ravel().tolist()) for ids, rows in pairs)
        )

    def check(self, command: protocol.CheckBundle) -> protocol.BundleChecked:
        # Imported here: a process that is measured holds none of this.
        from edgeseq_benchmarks.bench.bundle_checks import check_bundle  # noqa: PLC0415 - see above
        from edgeseq_benchmarks.bench.limits.rlimit import bound_this_process  # noqa: PLC0415 - see above

        bound_this_process()
        bundle = check_bundle(command.path, find_runtime().package)
        load_steps_class(bundle.head).check_inputs(bundle)
        return protocol.BundleChecked()

    def profile(self, command: protocol.ProfileOperators) -> protocol.OperatorTimings:
        # Imported here: a process that is measured holds none of this.
        from edgeseq_benchmarks.bench.probes.litert_profiler import profile  # noqa: PLC0415 - see above

        texts = [text if isinstance(text, str) else " ".join(text) for text in command.texts]
        exact = (self.inputs.encode_exact(text, command.tokens) for text in texts)
        inputs = next((values for values in exact if values is not None), None)
        if inputs is None:
            inputs = self.inputs.token_ids(texts[0])
        if not is_numeric(command.head):
            missing = (self.steps.fixed_length or 0) - len(inputs)
            inputs = [*inputs, *[PADDING_ID] * missing]
        token_axis = () if is_per_text(command.head) else (len(inputs),)
        timings = profile(
            command.model_path,
            inputs,
            words=len(FEATURES) if command.has_word_features else None,
            output_shape=(1, *token_axis, command.labels),
            threads=command.threads,
        )
        by_time = sorted(timings.times_us, key=lambda key: -timings.times_us[key])
        return protocol.OperatorTimings(
            tokens=len(inputs),
            runs=timings.runs,
            invoke_us=timings.invoke_us,
            plain_ns=timings.plain_ns,
            operators=tuple(
                (
                    name,
                    "runtime" if by == "runtime" else "xnnpack",
                    timings.calls[name, by],
                    timings.times_us[name, by],
                )
                for name, by in by_time
            ),
            nodes=tuple(sorted(timings.nodes)),
        )

    def serve(self, command: AnyCommand) -> None:
        """Runs one command and sends its reply."""
        handlers: dict[type[protocol.Command], Callable[[Any], AnyReply]] = {
            protocol.CheckBundle: self.check,
            protocol.ProfileOperators: self.profile,
            protocol.LoadModel: self.load,
            protocol.RunSlice: self.run_slice,
            protocol.RunLength: self.run_length,
            protocol.RunLimited: self.run_limited,
            protocol.PredictTexts: self.predict_texts,
            protocol.InferTokens: self.infer_tokens,
            protocol.ScoreDocument: self.score_document,
            protocol.Complete: self.complete,
            protocol.ReadMemory: lambda command: self.read_memory(command.phase),
            protocol.ReleaseWeights: lambda _: self.release_weights(),
            protocol.MeasureOverhead: lambda command: protocol.Overhead(
                time_overhead(command.queries).tobytes()
            ),
        }
        self.send(handlers[type(command)](command))


def _command_error(error: BundleError | DeviceError) -> protocol.CommandError:
    return protocol.CommandError(
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
    # What native code prints to stdout goes to stderr; only replies go to the original stdout.
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    worker = _Worker(replies)
    decoder = json_decoder(AnyCommand)
    for line in sys.stdin.buffer:
        command = decoder.decode(line)
        if isinstance(command, protocol.Finish):
            break
        try:
            worker.serve(command)
        except (BundleError, DeviceError) as error:
            worker.send(_command_error(error))


if __name__ == "__main__":
    main()
