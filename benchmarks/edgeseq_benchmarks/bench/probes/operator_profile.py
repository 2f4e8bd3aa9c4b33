"""The profile of one bundle: the time per operator, and which operators XNNPACK runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from edgeseq.formats.bundle import BundleFiles
from edgeseq.formats.result import OperatorProfile, OperatorShare, OperatorTime
from edgeseq.formats.tflite_file import TfliteFile, read_tflite
from edgeseq.tasks.head import is_numeric
from edgeseq_benchmarks.bench import protocol
from edgeseq_benchmarks.bench.worker_client import WorkerClient, load_command, lost_while_loading

TOKENS = 32


def profile_bundle(
    bundle: BundleFiles,
    texts: Sequence[protocol.Text],
    *,
    threads: int = 1,
    tokens: int = TOKENS,
    timeout_s: float = 180.0,
) -> OperatorProfile:
    """Profiles `bundle` in a separate process, at `tokens` tokens or its longest input, which is
    the only one of a padded model.

    `texts` are sentences to make an input of. Raises `DeviceError` where the runtime has no
    profiler and `BundleError` when the process dies.
    """
    longest = bundle.manifest.max_tokens
    tokens = longest if bundle.manifest.padding.is_padded else min(tokens, longest)
    if is_numeric(bundle.head):  # no sequence is longer or shorter than a fixed length
        tokens = max(tokens, bundle.manifest.signature.inputs[0].shape[1])
        joined = str(texts[0])
    else:
        joined = " ".join(text if isinstance(text, str) else " ".join(text) for text in texts)
    with WorkerClient(bundle.manifest.name) as child, lost_while_loading(bundle):
        load = load_command(bundle, child, threads=threads, first_text=texts[0])
        child.request(load, protocol.ModelLoaded, timeout_s=timeout_s)
        command = protocol.ProfileOperators(
            model_path=load.model_path,
            texts=(joined,),
            tokens=tokens,
            labels=len(bundle.labels),
            head=bundle.head,
            threads=threads,
            has_word_features=bundle.manifest.word_features is not None,
        )
        timings = child.request(command, protocol.OperatorTimings, timeout_s=timeout_s)
    return OperatorProfile(
        tokens=timings.tokens,
        runs=timings.runs,
        plain_ns=timings.plain_ns,
        invoke_us=timings.invoke_us,
        operators=tuple(
            OperatorTime(name=name, by=by, calls=calls, total_us=total_us)
            for name, by, calls, total_us in timings.operators
        ),
        shares=operator_shares(read_tflite(bundle.model_path), timings.nodes),
    )


def operator_shares(
    model: TfliteFile, nodes: Sequence[tuple[int, int]]
) -> tuple[OperatorShare, ...]:
    """By subgraph and operator: how many nodes there are, and how many are delegated to XNNPACK.

    `nodes` are the (subgraph, node) pairs that the runtime ran by itself: what it did not run of
    a subgraph that it did run has become part of a delegate's node. Subgraphs that never ran
    (a branch not taken) are left out.
    """
    runtime_nodes = set(nodes)
    subgraphs = {subgraph for subgraph, _ in runtime_nodes}
    shares = []
    for number, subgraph in enumerate(model.subgraphs):
        if number not in subgraphs:
            continue
        total: Counter[str] = Counter()
        delegated: Counter[str] = Counter()
        for node, operator in enumerate(subgraph.operators):
            total[operator.name] += 1
            delegated[operator.name] += (number, node) not in runtime_nodes
        shares += [
            OperatorShare(subgraph.name or str(number), name, count, delegated[name])
            for name, count in total.most_common()
        ]
    return tuple(shares)
