"""A `benchmark_model` of the same options and output, over ai-edge-litert: what the phone runs.

`python tool.py serve SOCKET` loads the runtime once and forks a process for each call, so that
tests need not wait for imports; `program(python)` is the program that the phone gets to see. It
asks that server, or does the work itself where its own memory is to be looked at (a test says
so with a file `watched`).

The lines follow `benchmark_model.cc`, `benchmark_tflite_model.cc` and `stats_calculator.h` of
LiteRT. Like the original it gives the same input again and again and never resets variables.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from pathlib import Path

_PROGRAM = """\
#!{python} -IS
import json, os, socket, sys, time
root = os.environ["STAND_IN_ROOT"]
flags = dict(word[2:].split("=", 1) for word in sys.argv[1:])
for what in ("hang", "crash"):
    path = os.path.join(root, what)
    if os.path.exists(path) and flags["graph"] in open(path).read().split():
        print("ERROR: told to " + what, file=sys.stderr, flush=True)
        if what == "crash":
            os.abort()
        time.sleep(600)
where = os.environ["STAND_IN_SOCKET"]
if os.path.exists(os.path.join(root, "watched")) and float(flags.get("min_secs", 1)) > 0:
    import site
    site.main()
    sys.path.insert(0, {folder!r})
    import tool
    sys.exit(tool.main(sys.argv[1:]))
with socket.socket(socket.AF_UNIX) as peer:
    peer.connect(where)
    call = json.dumps([os.getcwd(), sys.argv[1:]]).encode()
    socket.send_fds(peer, [len(call).to_bytes(4, "big") + call], [1, 2])
    sys.exit(peer.recv(1)[0])
"""


def program(python: str) -> str:
    """The program's text, to be run by that Python."""
    return _PROGRAM.format(python=python, folder=str(Path(__file__).parent))


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def info(line: str) -> None:
    say(f"INFO: {line}")


def fail(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def main(arguments: list[str]) -> int:
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    flags = dict(word[2:].split("=", 1) for word in arguments)
    begun = time.perf_counter_ns()
    try:
        model = Interpreter(model_path=flags["graph"], num_threads=int(flags["num_threads"]))
    except (ValueError, OSError):
        fail(f"ERROR: Failed to load model {flags['graph']}")
        return 1
    info(f"Loaded model {flags['graph']}")
    shape = [int(size) for size in flags["input_layer_shape"].split(",")]
    model.resize_tensor_input(model.get_input_details()[0]["index"], shape)
    info("Created TensorFlow Lite XNNPACK delegate for CPU.")
    model.allocate_tensors()
    init_us = (time.perf_counter_ns() - begun) // 1000
    place = model.get_input_details()[0]["index"]
    name, path = flags["input_layer_value_files"].split(":")
    content = Path(path).read_bytes()
    if name != flags["input_layer"] or len(content) != 4 * shape[0] * shape[1]:
        fail(f"FATAL: The size of {path} is {len(content)} bytes.")
        os.abort()
    values = np.frombuffer(content, np.int32).reshape(shape)

    def run(runs: int, seconds: float) -> list[int]:
        times: list[int] = []
        least = f"at least {runs} iterations and at least {seconds:g} seconds"
        info(f"Running benchmark for {least} but terminate if exceeding 150 seconds.")
        end = time.monotonic() + seconds
        while len(times) < runs or time.monotonic() < end:
            model.set_tensor(place, values)
            start = time.perf_counter_ns()
            model.invoke()
            times.append((time.perf_counter_ns() - start) // 1000)
        info(statistic(times) + "\n")
        return times

    warmup = run(int(flags["warmup_runs"]), float(flags["warmup_min_secs"]))
    runs = run(int(flags["num_runs"]), float(flags["min_secs"]))
    if flags.get("enable_op_profiling") == "true":
        profile(model._get_ops_details(), runs)
    first = warmup[0] if warmup else 0
    mean = sum(warmup) / len(warmup) if warmup else float("nan")
    info(
        f"Inference timings in us: Init: {init_us}, First inference: {first}, "
        f"Warmup (avg): {mean:g}, Inference (avg): {sum(runs) / len(runs):g}"
    )
    if "output_filepath" in flags:
        output = model.get_tensor(model.get_output_details()[0]["index"])
        Path(flags["output_filepath"]).write_bytes(output.tobytes())
    return 0


def statistic(times: list[int]) -> str:
    if not times:
        return "count=0"
    if min(times) == max(times):
        return f"count={len(times)} curr={times[-1]}" + ("(all same)" if len(times) > 1 else "")
    mean = sum(times) / len(times)
    spread = (sum(one * one for one in times) / len(times) - mean * mean) ** 0.5
    return (
        f"count={len(times)} first={times[0]} curr={times[-1]} min={min(times)} max={max(times)} "
        f"avg={mean:g} std={int(spread)}"
    )


def profile(operators: list[dict[str, object]], runs: list[int]) -> None:
    """The summary by node type; the runtime gives Python no times, so all operators get equal
    shares of the real mean: a test looks at how it is read, not at what it says."""
    kinds: dict[str, int] = {}
    for operator in operators:
        kinds[str(operator["op_name"])] = kinds.get(str(operator["op_name"]), 0) + 1
    mean_ms = sum(runs) / len(runs) / 1000 / max(1, len(operators))
    say("\n============================== Summary by node type ==============================")
    heads = (
        "[Node type]",
        "[count]",
        "[avg ms]",
        "[avg %]",
        "[cdf %]",
        "[mem KB]",
        "[times called]",
    )
    say("\t" + "\t".join(f"{head:>12}" for head in heads))
    for kind, count in kinds.items():
        cells = (kind, count, f"{mean_ms * count:.3f}", "0.000%", "0.000%", "0.000", count)
        say("\t" + "\t".join(f"{cell:>12}" for cell in cells))
    say(f"\nTimings (microseconds): {statistic(runs)}\nMemory (bytes): count=0\n")


def serve(path: str) -> None:
    """Forks a process for each call that comes over the socket."""
    import numpy  # noqa: F401 - loaded once, for all
    from ai_edge_litert.interpreter import Interpreter  # noqa: F401

    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()
    say("ready")
    while True:
        peer, _ = server.accept()
        with peer:
            try:
                answer(peer)
            except OSError:
                # The caller was killed, as by a bench that was interrupted: the next one is not.
                continue


def answer(peer: socket.socket) -> None:
    """Does what one caller asks for; raises `OSError` where it is gone."""
    head, fds, _, _ = socket.recv_fds(peer, 4, 2)
    try:
        call = receive(peer, int.from_bytes(head, "big"))
        folder, arguments = json.loads(call)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.chdir(folder)
                os.dup2(fds[0], 1)
                os.dup2(fds[1], 2)
                status = main(arguments)
                sys.stdout.flush()
            finally:
                os._exit(status)
    finally:
        for fd in fds:
            os.close(fd)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    peer.sendall(bytes([code if code >= 0 else 128 - code]))


def receive(peer: socket.socket, length: int) -> bytes:
    """That many bytes; raises `OSError` where the caller ends before (or says nothing at all)."""
    call = b""
    while len(call) < length:
        part = peer.recv(length - len(call))
        if not part:
            break
        call += part
    if not call or len(call) < length:
        raise ConnectionResetError("the caller ended before it had asked")
    return call


if __name__ == "__main__":
    serve(sys.argv[2])
