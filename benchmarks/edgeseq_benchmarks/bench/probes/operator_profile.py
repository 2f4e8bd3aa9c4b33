"""The profile of one bundle: which operators take the time, and which ones XNNPACK took over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from edgeseq.formats.bundle import Bundle
from edgeseq.formats.result import OperatorProfile, OperatorShare, OperatorTime
from edgeseq.formats.tflite_file import TfliteFile, read_tflite
from edgeseq_benchmarks.bench import protocol
from edgeseq_benchmarks.bench.worker_client import WorkerClient, load_command, lost_while_loading

TOKENS = 32


def profile_bundle(
    bundle: Bundle,
    texts: Sequence[protocol.Text],
    *,
    threads: int = 1,
    tokens: int = TOKENS,
    timeout_s: float = 180.0,
) -> OperatorProfile:
    """Profiles `bundle` at `tokens` tokens (or its longest input) in a process of its own.

    `texts` are sentences to make an input of. Raises `DeviceError` where the runtime has no
    profiler and `BundleError` when the process dies.
    """
    tokens = min(tokens, bundle.manifest.max_tokens)
    with WorkerClient(bundle.manifest.name) as child, lost_while_loading(bundle):
        load = load_command(bundle, child, threads=threads, first_text=texts[0])
        child.ask(load, protocol.ModelLoaded, timeout_s=timeout_s)
        command = protocol.ProfileOperators(
            model_path=load.model_path,
            texts=(" ".join(one if isinstance(one, str) else " ".join(one) for one in texts),),
            tokens=tokens,
            labels=len(bundle.labels),
            head=bundle.head,
            threads=threads,
        )
        found = child.ask(command, protocol.OperatorTimings, timeout_s=timeout_s)
    return OperatorProfile(
        tokens=found.tokens,
        runs=found.runs,
        plain_ns=found.plain_ns,
        invoke_us=found.invoke_us,
        operators=tuple(
            OperatorTime(name=name, by=by, calls=calls, total_us=total_us)
            for name, by, calls, total_us in found.operators
        ),
        shares=shares(read_tflite(bundle.model_path), found.nodes),
    )


def shares(model: TfliteFile, nodes: Sequence[tuple[int, int]]) -> tuple[OperatorShare, ...]:
    """By subgraph and operator: how many nodes there are, and how many XNNPACK took over.

    `nodes` are the (subgraph, node) pairs that the runtime ran by itself: what it did not run of
    a subgraph that it did run has become part of a delegate's node. Subgraphs that never ran
    (a branch not taken) are left out.
    """
    own = set(nodes)
    ran = {subgraph for subgraph, _ in own}
    found = []
    for number, subgraph in enumerate(model.subgraphs):
        if number not in ran:
            continue
        total: Counter[str] = Counter()
        taken: Counter[str] = Counter()
        for node, operator in enumerate(subgraph.operators):
            total[operator.name] += 1
            taken[operator.name] += (number, node) not in own
        found += [
            OperatorShare(subgraph.name or str(number), name, count, taken[name])
            for name, count in total.most_common()
        ]
    return tuple(found)
