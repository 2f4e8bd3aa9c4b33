"""The native worker's replies, and what it does with a hostile parent, model or library."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeseq.errors import BundleError, DeviceError
from edgeseq_benchmarks.bench import protocol
from edgeseq_benchmarks.bench.worker_client import WorkerClient, WorkerLostError

from .conftest import TIMEOUT_S, Runner, Write, both, started
from .native_models import Case, Files, write_case

TEXT = "the teapot was lovely"
PHASES = (
    "runtime_imported",
    "tokenizer_loaded",
    "model_loaded",
    "tensors_allocated",
    "first_answer",
)


@pytest.fixture
def files(write: Write) -> Files:
    return write(Case("lstm", "dynamic_wi8_afp32", "loop"))


@pytest.fixture
def child(runner: Runner) -> Iterator[WorkerClient]:
    """A native worker without a model."""
    with started(runner) as child:
        yield child


def load(child: WorkerClient, files: Files, **more: Any) -> protocol.ModelLoaded:
    command = files.load(native=True, first_text=TEXT, **more)
    return child.request(command, protocol.ModelLoaded, timeout_s=TIMEOUT_S)


def test_the_ledger_has_the_phases_of_the_python_worker(runner: Runner, files: Files) -> None:
    with both(runner, files, TEXT) as children:
        native, python = (
            child.request(
                files.load(
                    native=child is children[0],
                    first_text=TEXT,
                    ledger=True,
                    spawned_ns=child.spawned_ns,
                ),
                protocol.ModelLoaded,
                timeout_s=TIMEOUT_S,
            )
            for child in children
        )
    assert native.package == "ai-edge-litert"
    assert native.python == ""
    assert [reading.phase for reading in native.memory] == list(PHASES)
    assert [reading.phase for reading in python.memory] == list(PHASES)
    for reading in native.memory:
        assert reading.rss_bytes == reading.anonymous_bytes + reading.file_bytes
        assert reading.peak_bytes is None or reading.peak_bytes >= reading.rss_bytes
    assert native.memory[-1].rss_bytes < python.memory[-1].rss_bytes
    names = {Path(path).name for path in native.mapped_files}
    assert {"libLiteRt.so", "model.tflite", "runner.bin", runner.program.name} <= names
    assert list(native.mapped_files) == sorted(set(native.mapped_files))
    assert 0 < native.import_ns < native.total_ns
    assert native.total_ns >= native.load_ns + native.first_answer_ns


def test_phases_are_announced_as_they_end(child: WorkerClient, files: Files) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    child.send(files.load(native=True, first_text=TEXT, announce=True), deadline=deadline)
    reached = [child.receive(protocol.PhaseReached, deadline=deadline).phase for _ in PHASES]
    assert reached == list(PHASES)
    loaded = child.receive(protocol.ModelLoaded, deadline=deadline)
    assert (loaded.memory, loaded.mapped_files) == ((), ())


def test_memory_is_read_by_phase(child: WorkerClient, files: Files) -> None:
    first = child.request(
        protocol.ReadMemory("started"), protocol.MemoryReading, timeout_s=TIMEOUT_S
    )
    assert (first.phase, first.peak_bytes) == ("started", None)
    load(child, files)
    second = child.request(
        protocol.ReadMemory("steady"), protocol.MemoryReading, timeout_s=TIMEOUT_S
    )
    assert second.rss_bytes > first.rss_bytes
    assert second.peak_bytes is None or second.peak_bytes >= second.rss_bytes
    status = Path(f"/proc/{child.pid}/smaps_rollup").read_text()
    rss_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("Rss"))
    assert abs(second.rss_bytes - rss_kb * 1024) < 1 << 18


def test_a_limited_run_reports_every_query(child: WorkerClient, files: Files) -> None:
    load(child, files)
    texts = (TEXT,) * 300
    deadline = time.monotonic() + TIMEOUT_S
    child.send(protocol.RunLimited(texts, 60 * 10**9), deadline=deadline)
    times: list[int] = []
    while True:
        progress = child.receive(protocol.LimitedProgress, deadline=deadline)
        times += progress.total_ns
        assert progress.major_faults is not None
        if progress.done:
            break
    assert len(times) == len(texts)
    child.send(protocol.RunLimited(texts, 0), deadline=deadline)
    progress = child.receive(protocol.LimitedProgress, deadline=deadline)
    assert (len(progress.total_ns), progress.done) == (1, True)


def test_the_loop_around_nothing_is_timed(child: WorkerClient) -> None:
    overhead = child.request(protocol.MeasureOverhead(1000), protocol.Overhead, timeout_s=TIMEOUT_S)
    assert len(protocol.unpack(overhead.total_ns)) == 1000


def test_passes_go_on_until_both_minima_are_reached(child: WorkerClient, files: Files) -> None:
    load(child, files)
    for minimum, most, expected in ((1, 100, 2), (5, 100, 6), (5, 3, 2)):
        command = protocol.RunSlice((TEXT, "a"), (), minimum, most, 0)
        done = child.request(command, protocol.SliceDone, timeout_s=TIMEOUT_S)
        assert len(protocol.unpack(done.queries.total_ns)) == expected
        assert done.wall_ns > 0
        assert done.cpu_ns > 0


def test_a_model_that_leaks_state_is_inconsistent(
    child: WorkerClient, files: Files, tmp_path: Path
) -> None:
    """Variables of the graph, which no runner resets, as in the Python worker."""
    script = Path(__file__).parents[1] / "benchmarks" / "make_models.py"
    subprocess.run([sys.executable, script, tmp_path], check=True, capture_output=True, timeout=200)
    for name, inconsistent in (("bag", ()), ("counting", (0,))):
        command = files.load(native=True, first_text="the")
        command = msgspec.structs.replace(command, model_path=str(tmp_path / f"{name}.tflite"))
        child.request(command, protocol.ModelLoaded, timeout_s=TIMEOUT_S)
        ids = protocol.InferTokens(((3, 4), (3, 4)))
        first, second = child.request(ids, protocol.TokenLogits, timeout_s=TIMEOUT_S).logits
        assert (first == second) == (inconsistent == ())


@pytest.mark.parametrize("recipe", ["float32", "dynamic_wi8_afp32", "static_wi8_ai8"])
def test_a_fused_recurrent_operator_is_refused_when_it_is_loaded(
    recipe: str, child: WorkerClient, tmp_path: Path
) -> None:
    files = write_case(Case("lstm", recipe, "fused"), tmp_path / "fused")
    with pytest.raises(BundleError, match=r"variable tensors,.*--runner python"):
        load(child, files)


@pytest.mark.skipif("EDGESEQ_RUNNER_SANITIZED" in os.environ, reason="a sanitizer reports it")
def test_a_crash_is_reported_after_a_model_that_was_refused(
    child: WorkerClient, files: Files
) -> None:
    load(child, files)
    command = files.load(native=True, first_text=TEXT)
    command = msgspec.structs.replace(command, tokenizer_path="/nowhere/runner.bin")
    with pytest.raises(BundleError):
        child.request(command, protocol.ModelLoaded, timeout_s=TIMEOUT_S)
    os.kill(child.pid, signal.SIGSEGV)
    with pytest.raises(WorkerLostError, match="the runtime crashed; found SIGSEGV"):
        load(child, files)


@pytest.mark.parametrize("size", [0, 1, 7, 8, 100, 1000, 5000])
def test_a_truncated_model_is_refused(
    size: int, child: WorkerClient, files: Files, tmp_path: Path
) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes((files.folder / "model.tflite").read_bytes()[:size])
    command = msgspec.structs.replace(
        files.load(native=True, first_text=TEXT), model_path=str(path)
    )
    with pytest.raises(BundleError, match="is not a TFLite model"):
        child.request(command, protocol.ModelLoaded, timeout_s=TIMEOUT_S)
    load(child, files)  # and the process goes on


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"signature_key": "other"}, "does not have the expected signature"),
        ({"input_name": "ids"}, "does not have the expected signature"),
        ({"output_name": "scores"}, "does not have the expected signature"),
        ({"labels": 4}, "output .* expected"),
        ({"head": "token-classification"}, "output .* expected"),
        ({"head": "language-modeling"}, "shape of its vocabulary"),
        ({"model_path": "/nowhere/model.tflite"}, "is not a TFLite model"),
        ({"tokenizer_path": "/nowhere/runner.bin"}, "is not a runner file"),
        ({"tokenizer_path": "/etc/passwd"}, "is not a runner file"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    changes: dict[str, Any], what: str, child: WorkerClient, files: Files
) -> None:
    command = msgspec.structs.replace(files.load(native=True, first_text=TEXT), **changes)
    with pytest.raises((BundleError, DeviceError), match=what):
        child.request(command, protocol.ModelLoaded, timeout_s=TIMEOUT_S)
    load(child, files)


def test_token_ids_out_of_range_and_empty_inputs(child: WorkerClient, files: Files) -> None:
    load(child, files)
    for ids in ((10**9,), (-5,), ()):
        with pytest.raises(BundleError, match=r"inference failed|cannot take an input"):
            child.request(
                protocol.InferTokens(((3,), ids)), protocol.TokenLogits, timeout_s=TIMEOUT_S
            )
    child.request(protocol.InferTokens(((3,),)), protocol.TokenLogits, timeout_s=TIMEOUT_S)


def test_a_text_longer_than_a_mebibyte_is_refused(child: WorkerClient, files: Files) -> None:
    load(child, files)
    for text in ("a" * (1 << 20), "a " * (1 << 19)):
        child.request(protocol.PredictTexts((text,)), protocol.TextPredictions, timeout_s=TIMEOUT_S)
    with pytest.raises(DeviceError, match="tokens"):
        child.request(
            protocol.PredictTexts((TEXT, "a" * (2 << 20))),
            protocol.TextPredictions,
            timeout_s=TIMEOUT_S,
        )
    load(child, files)


def test_a_document_needs_a_token_before_its_first(child: WorkerClient, write: Write) -> None:
    load(child, write(Case("stream", "float32", "loop")))
    with pytest.raises(DeviceError, match="no token for what stands before a text") as caught:
        child.request(
            protocol.ScoreDocument(TEXT, " "), protocol.DocumentScored, timeout_s=TIMEOUT_S
        )
    assert "stdin" not in str(caught.value)


def test_commands_before_a_model_and_those_of_other_heads(
    child: WorkerClient, files: Files
) -> None:
    with pytest.raises(DeviceError, match="no model is loaded"):
        child.request(protocol.PredictTexts((TEXT,)), protocol.TextPredictions, timeout_s=TIMEOUT_S)
    load(child, files)
    for command, reply in (
        (protocol.ScoreDocument("a", "b"), protocol.DocumentScored),
        (protocol.Complete("a", "b", 3), protocol.TopK),
    ):
        with pytest.raises(DeviceError, match="no language model is loaded"):
            child.request(command, reply, timeout_s=TIMEOUT_S)
    with pytest.raises(DeviceError, match="not served by the native runner"):
        child.request(protocol.CheckBundle("/x"), protocol.BundleChecked, timeout_s=TIMEOUT_S)
    long = "x" * 256
    child._process.write(
        b'{"command":"%s"}\n' % long.encode(), deadline=time.monotonic() + TIMEOUT_S
    )
    with pytest.raises(DeviceError, match=f"not served by the native runner.*{long}"):
        child.receive(protocol.BundleChecked, deadline=time.monotonic() + TIMEOUT_S)
    with pytest.raises(DeviceError, match="list of words"):
        child.request(
            protocol.PredictTexts((("a", "b"),)), protocol.TextPredictions, timeout_s=TIMEOUT_S
        )


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"command":"finish"',
        b'{"command":"finish"}}',
        b'{"command":1}',
        b'{"texts":[]}',
        b'{"command":"predict_texts"}',
        b'{"command":"predict_texts","texts":["\\ud800"]}',
        b'{"command":"predict_texts","texts":["\\udc00\\ud800"]}',
        b'{"command":"predict_texts","texts":["\xff"]}',
        b'{"command":"predict_texts","texts":["\x01"]}',
        b'{"command":"predict_texts","texts":["\\x41"]}',
        b'{"command":"predict_texts","texts":[1]}',
        b'{"command":"predict_texts","texts":["a"],"x":' + b"[" * 100000 + b"}",
        b'{"command":"overhead","queries":1e3}',
        b'{"command":"overhead","queries":99999999999999999999}',
        b'{"command":"overhead","queries":-1}',
        b'{"command":"infer_tokens","token_ids":[[4294967296]]}',
        b"\x00" * 10,
        b"\xf0\x9f",
    ],
)
def test_a_line_that_is_no_command_ends_the_process_with_a_line(
    line: bytes, runner: Runner
) -> None:
    done = runner.serve(line)
    assert done.returncode == 1
    assert done.stdout == b""
    [said] = done.stderr.decode().splitlines()
    assert said.startswith("edgeseq-runner: stdin: ")


def test_texts_in_escapes_and_beyond_the_first_plane(child: WorkerClient, files: Files) -> None:
    """msgspec writes no escapes for these; another writer may."""
    load(child, files)
    text = 'naïve \N{GRINNING FACE}\t"\\ the\x7f 中'
    command = {"command": "predict_texts", "texts": [text, text]}
    lines = [
        json.dumps(command).encode(),
        json.dumps(command, ensure_ascii=False).encode(),
        msgspec.json.encode(protocol.PredictTexts((text, text))),
    ]
    assert len(set(lines)) == 3
    replies = []
    for line in lines:
        deadline = time.monotonic() + TIMEOUT_S
        child._process.write(line + b"\n", deadline=deadline)
        replies.append(child.receive(protocol.TextPredictions, deadline=deadline))
    assert replies[0] == replies[1] == replies[2]


def test_the_end_of_stdin_ends_the_process(runner: Runner) -> None:
    done = runner.serve()
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_missing_and_a_foreign_library_are_named(
    runner: Runner, files: Files, tmp_path: Path
) -> None:
    text = tmp_path / "libLiteRt.so"
    text.write_text("not a library")
    libc = next(
        line.split()[-1]
        for line in Path("/proc/self/maps").read_text().splitlines()
        if "libm.so" in line or "libc.so" in line
    )
    for path, what in (
        (Path("/nowhere/libLiteRt.so"), "cannot load"),
        (text, "cannot load"),
        (Path(libc), "lacks a function"),
    ):
        with (
            started(runner._replace(library=path)) as child,
            pytest.raises(DeviceError, match=f"{what}.*ai-edge-litert"),
        ):
            load(child, files)


def test_the_process_dies_with_its_parent(runner: Runner) -> None:
    script = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.argv[1], 'worker', str(os.getpid()), '--library', 'x'],\n"
        "                         stdin=subprocess.PIPE)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(runner.program)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    # The kernel closes the pipe that Popen waits for before it sets the new arguments.
    while not (arguments := Path(f"/proc/{pid}/cmdline").read_bytes()):
        time.sleep(0.01)
    assert arguments.startswith(bytes(runner.program))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    for _ in range(100):
        if not state_is_alive(pid):
            return
        time.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    pytest.fail("the worker outlived its parent")


def state_is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_another_parent_is_none(runner: Runner) -> None:
    """A parent that died before the kernel was told: the process ends at once."""
    done = runner.run("worker", "1", "--library", runner.library)
    assert (done.returncode, done.stdout) == (0, b"")


def test_a_launched_worker_measures_by_its_own_clock(runner: Runner, files: Files) -> None:
    commands = [
        files.load(native=True, first_text=TEXT, spawned_ns=0),
        protocol.Finish(),
    ]
    lines = b"".join(msgspec.json.encode(command) + b"\n" for command in commands)
    done = runner.run(
        "launch", runner.program, "worker", "0", "--library", runner.library, stdin=lines
    )
    assert done.returncode == 0
    loaded = msgspec.json.decode(done.stdout, type=protocol.ModelLoaded)
    assert 0 < loaded.import_ns < 60 * 10**9


def test_a_crash_of_the_runtime_is_a_line_and_a_signal(runner: Runner, files: Files) -> None:
    with started(runner) as child:
        load(child, files)
        os.kill(child.pid, signal.SIGSEGV)
        with pytest.raises(WorkerLostError, match="the runtime crashed; found SIGSEGV") as lost:
            load(child, files)
        assert lost.value.returncode == -signal.SIGSEGV
