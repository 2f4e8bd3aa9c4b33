"""Holds our latencies against another tool's, against themselves, and against their own overhead.

    python benchmarks/studies/crosscheck.py BUNDLE... [--tokens 128] [--write]

Three questions, on this machine now:

- Does `litert-benchmark` of ai-edge-litert see the same median? It runs `CompiledModel` where we
  run `Interpreter`, so both get the same file with its sequence axis set to one length, one thread
  and the same token ids; processes of both take turns. (By itself the tool fills an input with
  random numbers, negative ones among them, and times a model that refuses them: the fill is
  replaced by our ids, its loop and clock are its own.)
- Do two runs of the same bundle agree, or does the result call itself unstable?
- What does the measuring loop itself cost a query?

Load of other programs is printed: on a busy machine the answers are about that.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import msgspec
import tflite

from edgeseq.formats.bundle import BundleFiles, read_bundle
from edgeseq.formats.result import ResultRecord
from edgeseq.stats.latency import median as nearest_rank_median
from edgeseq.units import format_duration_ns
from edgeseq_benchmarks.bench import protocol
from edgeseq_benchmarks.bench.launcher import python_launcher
from edgeseq_benchmarks.bench.probes.machine_state import Watch, device_info
from edgeseq_benchmarks.bench.runner import bench, default_settings
from edgeseq_benchmarks.bench.worker_client import WorkerClient, load_command

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- crosscheck -->\n", "<!-- /crosscheck -->\n"
TURNS = 7
AGREES, REPEATS, OVERHEAD_NS = 0.10, 0.05, 15_000
QUIET_CORES = 0.1
# The other tool, with our token ids in the input and its own samples on stdout.
PROGRAM = """
import json, sys
from ai_edge_litert.tools import benchmark_litert_model as tool
ids, model, runs = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3]
def fill(buffer, details):
    buffer.write(tool.np.array([ids], dtype=tool.np.int32))
seen = []
percentile = tool.percentile
def keep(samples, p):
    seen[:] = samples
    return percentile(samples, p)
tool.fill_random_input, tool.percentile = fill, keep
sys.argv = ["litert-benchmark", "--model", model, "--num_runs", runs, "--warmup_runs", "20"]
tool.run_benchmark(tool.parse_args())
print("SAMPLES " + json.dumps(seen))
"""


class AgreementCheck(NamedTuple):
    """One answer: what was compared, both values, and whether the target is met."""

    what: str
    ours: str
    other_tool: str
    difference: str
    target: str
    is_met: bool


def with_fixed_length(content: bytes, tokens: int) -> bytes:
    """The .tflite file with its one input's open axis set to `tokens`."""
    changed = bytearray(content)
    graph = tflite.Model.GetRootAs(changed, 0).Subgraphs(0)
    tensor = graph.Tensors(graph.Inputs(0))
    for view in (tensor.ShapeAsNumpy(), tensor.ShapeSignatureAsNumpy()):
        if not isinstance(view, int):  # 0: the file has no such vector
            view[1] = tokens
    return bytes(changed)


def agreement(bundle: BundleFiles, tokens: int, runs: int) -> AgreementCheck:
    """Medians of inference alone by us and by litert-benchmark, processes in turn."""
    texts = [example.text for example in bundle.read_examples()]
    text = " ".join(texts[:tokens])
    ours_ns, theirs_ns = [], []
    with tempfile.TemporaryDirectory() as folder:
        fixed = Path(folder) / "model.tflite"
        fixed.write_bytes(with_fixed_length(bundle.model_path.read_bytes(), tokens))
        shutil.copy(bundle.tokenizer_path, folder)
        for _ in range(TURNS):
            logits, ids = _ours(bundle, Path(folder), text, tokens, runs)
            ours_ns.append(median(logits))
            theirs_ns.append(median(_theirs(fixed, ids, runs)))
    # The least disturbed process of each: what other programs take is not the tools' difference.
    ours, theirs = min(ours_ns), min(theirs_ns)
    apart = ours / theirs - 1
    return AgreementCheck(
        f"{bundle.manifest.name}, {tokens} tokens, median inference, litert-benchmark",
        format_duration_ns(ours),
        format_duration_ns(theirs),
        f"{apart:+.1%}",
        f"within {AGREES:.0%}",
        abs(apart) <= AGREES,
    )


def _ours(
    bundle: BundleFiles, folder: Path, text: str, tokens: int, runs: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Times of our own loop, and the token ids that it ran."""
    with WorkerClient(bundle.manifest.name, python_launcher(folder)) as child:
        load = load_command(bundle, child, threads=1, first_text=text)
        child.request(load, protocol.ModelLoaded, timeout_s=120)
        answered = child.request(
            protocol.PredictTexts((text,)), protocol.TextPredictions, timeout_s=120
        )
        command = protocol.RunLength(tokens, (text,), runs, runs, 0, 10**11)
        child.request(command, protocol.LengthDone, timeout_s=300)  # as many to warm up
        done = child.request(command, protocol.LengthDone, timeout_s=300)
    ids = answered.predictions[0].token_ids
    # A text cut at `tokens` keeps its last special token, as the longest input does.
    ids = ids if len(ids) <= tokens else (*ids[: tokens - 1], ids[-1])
    return protocol.unpack(done.inference_ns), ids


def _theirs(model: Path, ids: Sequence[int], runs: int) -> list[float]:
    command = [sys.executable, "-c", PROGRAM, json.dumps(ids), str(model), str(runs)]
    done = subprocess.run(command, capture_output=True, check=True, text=True, timeout=600)
    line = next(line for line in done.stdout.splitlines() if line.startswith("SAMPLES "))
    return [ms * 1e6 for ms in json.loads(line.removeprefix("SAMPLES "))]


def repeats(path: Path, *, full: bool) -> tuple[AgreementCheck, ResultRecord]:
    """The median of a whole query in two runs of the same bundle."""
    settings = msgspec.structs.replace(default_settings(quick=not full), cold_starts=1)
    first, second = (bench([path], settings=settings) for _ in range(2))
    medians = [nearest_rank_median(result.runs[0].queries.total_ns) for result in (first, second)]
    apart = medians[1] / medians[0] - 1
    codes = {
        f.code for result in (first, second) for f in (*result.findings, *result.runs[0].findings)
    }
    unstable = codes & {"unstable", "processor-shared", "background-load", "stolen-time"}
    note = f", and says {', '.join(sorted(unstable))}" if unstable else ""
    return AgreementCheck(
        f"{first.runs[0].bundle.name}, median query, two runs",
        format_duration_ns(medians[0]),
        format_duration_ns(medians[1]),
        f"{apart:+.1%}{note}",
        f"within {REPEATS:.0%}, or unstable",
        abs(apart) <= REPEATS or bool(unstable),
    ), first


def overhead(bundle: BundleFiles) -> AgreementCheck:
    """The measuring loop around nothing."""
    with WorkerClient(bundle.manifest.name) as child:
        load = load_command(bundle, child, threads=1, first_text="soup")
        child.request(load, protocol.ModelLoaded, timeout_s=120)
        reply = child.request(protocol.MeasureOverhead(20_000), protocol.Overhead, timeout_s=60)
    ns = median(protocol.unpack(reply.total_ns))
    return AgreementCheck(
        *("overhead of the loop, a query", f"{ns / 1e3:.2f} µs", "–", "–"),
        *(f"at most {OVERHEAD_NS / 1e3:.0f} µs", ns <= OVERHEAD_NS),
    )


def lines(checks: Sequence[AgreementCheck], about: str) -> Iterator[str]:
    """The answers as Markdown."""
    yield about
    yield ""
    yield "| what | ours | other | apart | target | |"
    yield "|---|---|---|---|---|---|"
    for check in checks:
        holds = "holds" if check.is_met else "**missed**"
        yield (
            f"| {check.what} | {check.ours} | {check.other_tool} "
            f"| {check.difference} | {check.target} | {holds} |"
        )


def main() -> int:
    """Compares, prints, and with `--write` keeps the table."""
    parser = argparse.ArgumentParser(description="our latencies against another tool's")
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--full", action="store_true", help="full runs where runs are repeated")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    watch, checks = Watch(), []
    bundles = [read_bundle(path) for path in arguments.bundles]
    for bundle in bundles:
        checks.append(agreement(bundle, arguments.tokens, arguments.runs))
    for path in arguments.bundles:
        check, result = repeats(path, full=arguments.full)
        checks.append(check)
    checks.append(overhead(bundles[0]))
    load = watch.read("after").load_other_cores or 0.0
    device = device_info()
    quiet = "quiet" if load <= QUIET_CORES else "**not quiet: measure again**"
    about = (
        f"Measured {result.created_utc} on {device.cpu_model} ({device.cores} cores) with "
        f"{result.runtime.package} {result.runtime.version}, 1 thread, {TURNS} processes of each "
        f"tool in turn. Other programs used {load:.2f} of a core ({quiet})."
    )
    text = "\n".join(lines(checks, about)) + "\n"
    sys.stdout.write(text)
    if arguments.write:
        page = README.read_text(encoding="utf-8")
        before, _, rest = page.partition(BEGIN)
        _, _, after = rest.partition(END)
        README.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")
    return 0 if all(agreement_check.is_met for agreement_check in checks) else 3


if __name__ == "__main__":
    sys.exit(main())
