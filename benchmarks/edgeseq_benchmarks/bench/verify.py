"""The check before every run: the bundle is valid, and this runtime reproduces its predictions.

A damaged model can crash native code, and a malicious flatbuffer can do anything to the process
that runs it. So the large files are only read in a child process: hashes, the graph's structure and
operator versions, the tokenizer's ids, the largest token id, and the golden examples, forwards and
backwards. The parent only reads `bundle.json` and small files.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from edgeseq.errors import BundleError
from edgeseq.formats.bundle import BundleFiles
from edgeseq.formats.result import Finding
from edgeseq.tasks.head import is_numeric
from edgeseq_benchmarks.bench import protocol, validity
from edgeseq_benchmarks.bench.launcher import Launcher, python_launcher
from edgeseq_benchmarks.bench.limits.rlimit import bounded_command
from edgeseq_benchmarks.bench.worker_client import WorkerClient, load_command, lost_while_loading


def verify(
    bundle: BundleFiles,
    launcher: Launcher | None = None,
    *,
    threads: int = 1,
    texts: tuple[protocol.Text, ...] = (),
    available_bytes: int | None = None,
    check_timeout_s: float = 180.0,
    answer_timeout_s: float = 120.0,
) -> list[Finding]:
    """Checks `bundle` in a separate process; returns findings about its predictions.

    The files are checked in Python on this machine, the predictions in the process that `launcher`
    starts. `texts` are run in addition to the golden examples to see whether state leaks from one
    to the next. Each process is bound to the memory that its machine has free: `available_bytes`
    for the machine of `launcher`, where it is known.

    Raises `BundleError` when the bundle is invalid, when the runtime cannot load it, and when a
    process dies or hangs.
    """
    launcher = launcher or python_launcher()
    golden = bundle.golden.examples
    texts = (*(example.words or example.text for example in golden), *texts)
    is_sequence = is_numeric(bundle.head)
    token_ids = () if is_sequence else tuple(example.token_ids for example in golden)
    word_rows = tuple(example.word_rows for example in golden if example.word_rows)
    with ExitStack() as stack:
        stack.enter_context(lost_while_loading(bundle))
        child = stack.enter_context(WorkerClient(bundle.manifest.name))
        child.request(
            protocol.CheckBundle(str(bundle.path.absolute())),
            protocol.BundleChecked,
            timeout_s=check_timeout_s,
        )
        if launcher.runner != "python":
            child.end()
            child = stack.enter_context(
                WorkerClient(
                    bundle.manifest.name,
                    launcher,
                    wrap=partial(bounded_command, available_bytes=available_bytes),
                )
            )
        load = load_command(bundle, child, threads=threads, first_text=texts[0])
        child.request(load, protocol.ModelLoaded, timeout_s=check_timeout_s)
        if not is_sequence:
            _run_largest_id(bundle, child, answer_timeout_s)
        predicted, predicted_again = (
            child.request(
                protocol.PredictTexts(inputs), protocol.TextPredictions, timeout_s=answer_timeout_s
            ).predictions
            for inputs in (texts, texts[::-1])
        )
        forwards, backwards = (
            child.request(
                protocol.InferTokens(ids, rows), protocol.TokenLogits, timeout_s=answer_timeout_s
            ).logits
            for ids, rows in ((token_ids, word_rows), (token_ids[::-1], word_rows[::-1]))
        )
    golden_ids = [prediction.token_ids for prediction in predicted[: len(token_ids)]]
    golden_logits = (
        [prediction.logits for prediction in predicted[: len(golden)]] if is_sequence else forwards
    )
    return [
        *([] if is_sequence else validity.token_findings(bundle, golden_ids)),
        *validity.word_findings(bundle, [prediction.word_rows for prediction in predicted]),
        *validity.golden_findings(bundle, golden_logits),
        *validity.leak_findings(
            [*forwards, *(prediction.logits for prediction in predicted)],
            [*backwards[::-1], *(prediction.logits for prediction in predicted_again[::-1])],
        ),
    ]


def _run_largest_id(bundle: BundleFiles, child: WorkerClient, timeout_s: float) -> None:
    """The embedding table must have a row for the largest id of the tokenizer."""
    largest = bundle.manifest.vocabulary_size - 1
    try:
        child.request(
            protocol.InferTokens(((largest,),)), protocol.TokenLogits, timeout_s=timeout_s
        )
    except BundleError as failure:
        raise BundleError(
            "has no row for the largest token id of its vocabulary, or cannot run it",
            where=bundle.model_path,
            found=f"token id {largest}: {failure.found or failure.what}",
            expected=f"an output for every id from 0 to {largest}",
            fix="convert the bundle again",
        ) from failure
