"""Measures XNNPACK's weight cache: `CompiledModel` with it and without it, against `Interpreter`.

    python benchmarks/studies/weight_cache.py BUNDLE... [--write]

XNNPACK keeps a second copy of the weights, packed for its kernels, in anonymous memory. With a
cache file that copy is mapped from disk instead, where the kernel may drop and read it again. Only
`CompiledModel` offers the cache. Each way answers the bundle's test texts at their real lengths,
in separate processes that take turns; the cache file is created once before. "file released": after
the first answer the file's pages are taken out of the process, because the packed weights are what
is multiplied by. The runner of `edgeseq bench` stays with `Interpreter`, which every runtime has;
its ledger too has both, of the whole program with its tokenizer and the longest texts.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edgeseq.formats.bundle import read_bundle
from edgeseq.formats.bundle_manifest import MODEL_FILE
from edgeseq.formats.codec import decode_json
from edgeseq.runtime.interpreter import SignatureNames, TfliteModel
from edgeseq.runtime.text_tokenizer import TextTokenizer
from edgeseq.stats.latency import median
from edgeseq.units import format_bytes, format_duration_ns
from edgeseq_benchmarks.bench.probes.machine_state import Watch, device_info
from edgeseq_benchmarks.bench.probes.process_memory import (
    read_memory,
    release_mapping,
    reset_peak,
    trim,
)

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- weight-cache -->\n", "<!-- /weight-cache -->\n"
TEXTS, TURNS = 200, 5
Answer = Callable[[list[int]], Any]


class CacheTask(msgspec.Struct, frozen=True):
    """What a process is to do: answer `texts` (token ids), with a `cache` file or none."""

    way: str
    model: str
    key: str
    input_name: str
    output_name: str
    labels: int
    cache: str
    texts: tuple[tuple[int, ...], ...]


class CacheSample(msgspec.Struct, frozen=True):
    """What it took, in bytes beyond the imported runtime after the last text, and in ns."""

    anonymous_bytes: int
    file_bytes: int
    peak_bytes: int
    load_ns: int
    latency_ns: tuple[int, ...]
    logits_sum: float


def with_interpreter(task: CacheTask) -> Answer:
    """The way of `edgeseq bench`."""
    signature = SignatureNames(task.key, task.input_name, task.output_name)
    return TfliteModel(task.model, signature=signature, num_labels=task.labels).infer


def with_compiled_model(task: CacheTask) -> Answer:
    """The same through `CompiledModel`, one thread, with the cache file if there is one."""
    # The runtime is loaded in the measured child alone.
    from ai_edge_litert import compiled_model, cpu_options, options  # noqa: PLC0415 - see above

    cpu = cpu_options.CpuOptions(num_threads=1, xnnpack_weight_cache_path=task.cache)
    model = compiled_model.CompiledModel.from_file(
        task.model, options=options.Options(cpu_options=cpu)
    )
    buffers: dict[str, Any] = {}

    def answer(token_ids: list[int]) -> Any:
        if len(token_ids) != buffers.get("tokens"):
            model.resize_input_tensor_by_name(task.key, task.input_name, [1, len(token_ids)])
            buffers["in"] = model.create_input_buffer_by_name(task.key, task.input_name)
            buffers["out"] = model.create_output_buffer_by_name(task.key, task.output_name)
            buffers["tokens"] = len(token_ids)
        buffers["in"].write(np.array([token_ids], dtype=np.int32))
        inputs, outputs = {task.input_name: buffers["in"]}, {task.output_name: buffers["out"]}
        model.run_by_name(task.key, inputs, outputs)
        return buffers["out"].read(task.labels, np.float32)

    return answer


CACHE, RELEASED = ", cache", ", file released"
WAYS: dict[str, Callable[[CacheTask], Answer]] = {
    "Interpreter": with_interpreter,
    f"Interpreter{RELEASED}": with_interpreter,
    "CompiledModel": with_compiled_model,
    f"CompiledModel{CACHE}": with_compiled_model,
    f"CompiledModel{CACHE}{RELEASED}": with_compiled_model,
}


def child() -> None:
    """One process: import, load, predict, print what it cost."""
    task = decode_json(sys.stdin.buffer.read(), CacheTask)
    # Both belong to the bare runtime, whose memory is not counted.
    from ai_edge_litert import compiled_model, interpreter  # noqa: F401, PLC0415 - see above

    trim()
    before = read_memory("runtime_imported", peak_is_of_phase=False)
    reset_peak()
    begun_ns = time.perf_counter_ns()
    answer = WAYS[task.way](task)
    total = float(np.abs(answer(list(task.texts[0]))).sum())
    if task.way.endswith(RELEASED) and not release_mapping(task.model):
        raise SystemExit(f"{task.model} is not mapped")
    load_ns, latency_ns = time.perf_counter_ns() - begun_ns, []
    for text in task.texts:
        token_ids = list(text)
        begun_ns = time.perf_counter_ns()
        logits = answer(token_ids)
        latency_ns.append(time.perf_counter_ns() - begun_ns)
        total += float(np.abs(logits).sum())
    after = read_memory("steady", peak_is_of_phase=True)
    sample = CacheSample(
        anonymous_bytes=after.anonymous_bytes - before.anonymous_bytes,
        file_bytes=after.file_bytes - before.file_bytes,
        peak_bytes=(after.peak_bytes or after.rss_bytes) - before.rss_bytes,
        load_ns=load_ns,
        latency_ns=tuple(latency_ns),
        logits_sum=total,
    )
    sys.stdout.write(msgspec.json.encode(sample).decode())


def measure(path: Path, folder: Path) -> dict[str, list[CacheSample]]:
    """Every way in turn, `TURNS` times, after one run that makes the cache file."""
    bundle = read_bundle(path)
    signature = bundle.manifest.signature
    encoder = TextTokenizer.of_bundle(bundle)
    texts = [tuple(encoder.token_ids(example.text)) for example in bundle.read_examples()[:TEXTS]]
    cache = folder / f"{bundle.manifest.name}.cache"
    base = CacheTask(
        way=f"CompiledModel{CACHE}",
        model=str(bundle.model_path.absolute()),
        key=signature.key,
        input_name=signature.inputs[0].name,
        output_name=signature.outputs[0].name,
        labels=len(bundle.labels),
        cache=str(cache),
        texts=tuple(texts),
    )
    _run(base)
    samples: dict[str, list[CacheSample]] = {way: [] for way in WAYS}
    for _ in range(TURNS):
        for way in WAYS:
            file = base.cache if CACHE in way else ""
            samples[way].append(_run(msgspec.structs.replace(base, way=way, cache=file)))
    if not cache.is_file():
        raise SystemExit(f"{path}: CompiledModel wrote no cache file")
    return samples


def _run(task: CacheTask) -> CacheSample:
    done = subprocess.run(
        [sys.executable, __file__, "--child"],
        input=msgspec.json.encode(task),
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{task.way} failed:\n{done.stderr.decode(errors='replace')[-2000:]}")
    return decode_json(done.stdout, CacheSample)


def lines(bundle: Path, samples_by_mode: dict[str, list[CacheSample]]) -> Iterator[str]:
    """The rows of one bundle: medians over the processes; latency is the median of a text."""
    size_bytes = (bundle / MODEL_FILE).stat().st_size
    usual = samples_by_mode[next(iter(WAYS))]
    for way, samples in samples_by_mode.items():
        peak, anonymous, mapped, load_ns = (
            median([getattr(sample, name) for sample in samples])
            for name in ("peak_bytes", "anonymous_bytes", "file_bytes", "load_ns")
        )
        ratios = [
            median(sample.latency_ns) / median(reference.latency_ns)
            for sample, reference in zip(samples, usual, strict=True)
        ]
        first = usual[0].logits_sum
        is_same = all(abs(sample.logits_sum - first) < 1e-3 * first for sample in samples)
        yield (
            f"| {bundle.name} ({format_bytes(size_bytes)}) | {way} "
            f"| {format_bytes(int(anonymous))} | {format_bytes(int(mapped))} "
            f"| {format_bytes(int(peak))} | {peak / size_bytes:.2f} "
            f"| {format_duration_ns(load_ns)} "
            f"| {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) "
            f"| {'equal' if is_same else 'DIFFERENT'} |"
        )


def page(bundles: Sequence[Path]) -> str:
    """The whole table as Markdown, with the machine and how busy it was."""
    watch = Watch()
    rows: list[str] = []
    with tempfile.TemporaryDirectory(prefix="edgeseq-cache-") as folder:
        for path in bundles:
            rows += lines(path, measure(path, Path(folder)))
    load = watch.read("after").load_other_cores or 0.0
    device = device_info()
    head = [
        f"{device.cpu_model} ({device.cores} cores), one thread, {TEXTS} test texts, {TURNS} "
        f"processes of each way in turn; other programs used {load:.2f} of a core.",
        "",
        "| bundle | way | anonymous | mapped files | peak | peak / file | load, first answer "
        "| latency / Interpreter's | answers |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*head, *rows]) + "\n"


def main() -> int:
    """Measures, prints, and with `--write` keeps the table."""
    if sys.argv[1:] == ["--child"]:
        child()
        return 0
    parser = argparse.ArgumentParser(description="XNNPACK's weight cache")
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    text = page(arguments.bundles)
    sys.stdout.write(text)
    if arguments.write:
        before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        README.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
