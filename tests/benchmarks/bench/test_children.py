"""The measured process and its parent: protocol, loss, orphans, and a parent that stands still."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from edgeseq.errors import BundleError, DeviceError
from edgeseq.formats.bundle import read_bundle
from edgeseq_benchmarks.bench import protocol
from edgeseq_benchmarks.bench.worker_client import WorkerClient, WorkerLostError, load_command

MakeBundle = Callable[..., Path]


def load(child: WorkerClient, path: Path, **options: bool) -> protocol.ModelLoaded:
    command = load_command(read_bundle(path), child, threads=1, first_text="soup", **options)
    return child.request(command, protocol.ModelLoaded, timeout_s=60)


def some_slice(texts: tuple[str, ...], **bounds: int) -> protocol.RunSlice:
    defaults = {"min_queries": 1, "max_queries": 10**6, "min_duration_ns": 0}
    return protocol.RunSlice(texts=texts, warmup_texts=texts[:1], **(defaults | bounds))


def test_every_message_survives_its_way() -> None:
    columns = protocol.QueryColumns(*[protocol.pack([1, -2, 2**62])] * 6)
    commands: list[protocol.AnyCommand] = [
        some_slice(("a", "ü\n\x00🫖")),
        protocol.RunLength(8, ("a",), 1, 2, 3, 4),
        protocol.PredictTexts(("a", "")),
        protocol.InferTokens(((1, 2), (3,))),
        protocol.RunLimited(("a",), 5),
        protocol.ReadMemory("steady"),
        protocol.MeasureOverhead(3),
        protocol.Finish(),
    ]
    flags = (protocol.TokenizationFlags(truncated=True),)
    replies: list[protocol.AnyReply] = [
        protocol.SliceDone(columns, columns, 1, 2, None, 3, 4, 5, flags, (b"12345678",), (0,)),
        protocol.TokenLogits(((1.5, None),)),
        protocol.LimitedProgress((1,), done=False),
        protocol.CommandError("bundle", "is wrong", found="x"),
        protocol.PhaseReached("model_loaded"),
    ]
    for command in commands:
        line = msgspec.json.encode(command)
        assert b"\n" not in line
        assert msgspec.json.decode(line, type=protocol.AnyCommand) == command
    for reply in replies:
        assert msgspec.json.decode(msgspec.json.encode(reply), type=protocol.AnyReply) == reply
    assert protocol.unpack(columns.tokens) == (1, -2, 2**62)


def test_a_slice_is_run_in_whole_passes_until_its_minima(make_bundle: MakeBundle) -> None:
    texts = ("soup", "the lamp broke", "a very quiet kettle")
    with WorkerClient("child") as child:
        load(child, make_bundle("bundle"))
        for bounds, queries in (
            ({}, 3),
            ({"min_queries": 4}, 6),
            ({"min_queries": 100, "max_queries": 8}, 6),
            ({"max_queries": 0}, 3),
        ):
            done = child.request(some_slice(texts, **bounds), protocol.SliceDone, timeout_s=60)
            passes = queries // len(texts)
            assert protocol.unpack(done.queries.text) == (0, 1, 2) * passes
            assert protocol.unpack(done.queries.tokens) == (2, 4, 5) * passes
            assert len(protocol.unpack(done.warmup.total_ns)) == 1


def test_lengths_are_exact_or_left_out(make_bundle: MakeBundle) -> None:
    with WorkerClient("child") as child:
        load(child, make_bundle("bundle"))
        for texts, samples in ((("soup " * 20,), 5), (("soup",), 0)):
            command = protocol.RunLength(16, texts, 5, 5, 0, 10**9)
            done = child.request(command, protocol.LengthDone, timeout_s=60)
            assert len(protocol.unpack(done.inference_ns)) == samples


def test_the_parent_stands_still_while_a_child_measures(make_bundle: MakeBundle) -> None:
    with WorkerClient("child") as child:
        load(child, make_bundle("bundle"))
        command = some_slice(("soup", "lamp"), min_duration_ns=1_000_000_000)
        begun_s = time.process_time()
        done = child.request(command, protocol.SliceDone, timeout_s=60)
        used_s = time.process_time() - begun_s
    assert done.wall_ns >= 1_000_000_000
    # Sending, receiving and decoding; a parent that polls or spins would use far more.
    assert used_s < 0.1


def test_chatter_on_stdout_does_not_reach_the_protocol(make_bundle: MakeBundle) -> None:
    def chatty(command: list[str]) -> list[str]:
        # A module loaded before the worker's, as native code would, prints to descriptor 1.
        program = (
            "import os, runpy, sys; sys.argv = sys.argv[1:]\n"
            "import edgeseq.runtime.interpreter as runtimes\n"
            "find = runtimes.find_runtime\n"
            "def chatter(): os.write(1, b'INFO: hello\\n'); return find()\n"
            "runtimes.find_runtime = chatter\n"
            "from edgeseq_benchmarks.bench.worker import main; main()"
        )
        return [sys.executable, "-c", program, "worker", command[-1]]

    with WorkerClient("child", wrap=lambda command: chatty(list(command))) as child:
        load(child, make_bundle("bundle"))
        assert "hello" in child.stderr_tail() or "XNNPACK" in child.stderr_tail()


def test_a_process_that_speaks_nonsense_is_lost() -> None:
    def nonsense(_command: object) -> list[str]:
        return [sys.executable, "-c", "print('hello'); input(); input()"]

    with (
        WorkerClient("child", wrap=nonsense) as child,
        pytest.raises(WorkerLostError, match="breaks the protocol"),
    ):
        child.request(protocol.MeasureOverhead(1), protocol.Overhead, timeout_s=60)


def test_a_process_that_hangs_is_lost_and_ended(make_bundle: MakeBundle) -> None:
    with WorkerClient("child") as child:
        load(child, make_bundle("bundle"))
        os.kill(child.pid, signal.SIGSTOP)
        with pytest.raises(WorkerLostError, match="did not answer in time") as caught:
            child.request(protocol.MeasureOverhead(1), protocol.Overhead, timeout_s=0.2)
        assert caught.value.hung
    assert not Path(f"/proc/{child.pid}").exists()


def test_a_process_that_dies_is_lost_with_its_last_words() -> None:
    def dies(_command: object) -> list[str]:
        return [sys.executable, "-c", "import sys; sys.exit('no more')"]

    with (
        WorkerClient("child", wrap=dies) as child,
        pytest.raises(WorkerLostError, match=r"exit status 1.*no more"),
    ):
        child.request(protocol.MeasureOverhead(1), protocol.Overhead, timeout_s=60)


def test_commands_before_loading_are_refused() -> None:
    with WorkerClient("child") as child, pytest.raises(DeviceError, match="no model is loaded"):
        child.request(protocol.InferTokens(((1,),)), protocol.TokenLogits, timeout_s=60)


def test_a_token_id_out_of_range_is_an_error_and_no_crash(make_bundle: MakeBundle) -> None:
    with WorkerClient("child") as child:
        load(child, make_bundle("bundle"))
        with pytest.raises(BundleError, match="inference failed"):
            child.request(protocol.InferTokens(((10_000,),)), protocol.TokenLogits, timeout_s=60)
        answer = child.request(protocol.InferTokens(((3,),)), protocol.TokenLogits, timeout_s=60)
        assert len(answer.logits[0]) == 3


def test_a_child_does_not_outlive_its_parent(make_bundle: MakeBundle) -> None:
    program = (
        "import sys, time\n"
        "from edgeseq_benchmarks.bench.worker_client import WorkerClient\n"
        "child = WorkerClient('orphan'); print(child.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        parent.kill()
    deadline = time.monotonic() + 30
    while _runs(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(pid)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_importing_the_device_half_loads_no_framework() -> None:
    """But for the modules of the measured process, and those that predict and measure nothing:
    pages that the parent has mapped cannot be evicted from the page cache before a limited run."""
    program = (
        "import importlib, pkgutil, sys\n"
        "import edgeseq_benchmarks.bench as bench\n"
        "for module in pkgutil.walk_packages(bench.__path__, bench.__name__ + '.'):\n"
        "    apart = ('.worker', '_steps', '.litert_profiler', '.sequence_predictor')\n"
        "    if not module.name.endswith(apart):\n"
        "        importlib.import_module(module.name)\n"
        "import edgeseq.cli.bench, edgeseq.api.bench, edgeseq.suite.jobs.bench\n"
        "import edgeseq_benchmarks.devices.remote.agent\n"
        "heavy = {'tensorflow', 'torch', 'numpy', 'tokenizers', 'ai_edge_litert', 'scipy'}\n"
        "heavy |= {'http.server', 'ssl'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60
    )
    assert answer.stdout.strip() == "[]"


def modules_of_the_measured_process(steps: str) -> list[str]:
    """The modules of edgeseq that it has imported with this module of steps, and `tokenizers`."""
    program = (
        "import sys, edgeseq_benchmarks.bench.worker\n"
        f"import edgeseq_benchmarks.bench.{steps}\n"
        "modules = [name for name in sys.modules if name.startswith('edgeseq.')]\n"
        "print(sorted([*modules, *({'tokenizers'} & set(sys.modules))]))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60
    )
    modules: list[str] = ast.literal_eval(answer.stdout)
    return modules


def test_the_measured_process_imports_no_formats_or_statistics() -> None:
    """What it imports is part of every model's memory."""
    assert modules_of_the_measured_process("text_steps") == [
        "edgeseq.errors",
        "edgeseq.formats",
        "edgeseq.formats.codec",
        "edgeseq.formats.padding",
        "edgeseq.runtime",
        "edgeseq.runtime.interpreter",
        "edgeseq.runtime.text_tokenizer",
        "edgeseq.tasks",
        "edgeseq.tasks.head",
        "edgeseq.tasks.mentions",
        "edgeseq.tasks.tag_transitions",
        "edgeseq.tasks.word_features",
        "edgeseq.units",
        "tokenizers",
    ]


def test_a_process_that_measures_numeric_sequences_loads_no_tokenizer() -> None:
    assert modules_of_the_measured_process("sequence_steps") == [
        "edgeseq.errors",
        "edgeseq.formats",
        "edgeseq.formats.codec",
        "edgeseq.formats.padding",
        "edgeseq.runtime",
        "edgeseq.runtime.interpreter",
        "edgeseq.runtime.sequence_rows",
        "edgeseq.tasks",
        "edgeseq.tasks.head",
        "edgeseq.tasks.sequence_places",
        "edgeseq.tasks.tag_transitions",
        "edgeseq.tasks.word_features",
        "edgeseq.units",
    ]
