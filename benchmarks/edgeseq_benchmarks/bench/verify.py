"""The check before every run: the bundle's own promises, kept by this runtime on this machine.

A damaged model can crash native code, and a flatbuffer that was made to do harm can do anything
to the process that runs it. So everything that looks into the large files happens in a child:
hashes, the graph's structure and operator versions, the tokenizer's ids, the largest token id, and
the golden examples, forwards and backwards. The parent only reads `bundle.json` and what is small.
"""

from __future__ import annotations

from edgeseq.errors import BundleError
from edgeseq.formats.bundle import Bundle
from edgeseq.formats.result import Finding
from edgeseq_benchmarks.bench import protocol, validity
from edgeseq_benchmarks.bench.worker_client import WorkerClient, load_command, lost_while_loading


def verify(
    bundle: Bundle,
    *,
    threads: int = 1,
    texts: tuple[protocol.Text, ...] = (),
    check_timeout_s: float = 180.0,
    answer_timeout_s: float = 120.0,
) -> list[Finding]:
    """Checks `bundle` in a process of its own; returns what is to be said of its answers.

    `texts` are answered beside the golden examples when state that leaks is looked for. Raises
    `BundleError` when the bundle is not what it says, when this runtime cannot load it, and when
    the process that tried died or hung.
    """
    golden = bundle.golden.examples
    texts = (*(example.words or example.text for example in golden), *texts)
    token_ids = tuple(example.token_ids for example in golden)
    with WorkerClient(bundle.manifest.name) as child, lost_while_loading(bundle):
        child.ask(
            protocol.CheckBundle(str(bundle.path.absolute())),
            protocol.BundleChecked,
            timeout_s=check_timeout_s,
        )
        load = load_command(bundle, child, threads=threads, first_text=texts[0])
        child.ask(load, protocol.ModelLoaded, timeout_s=check_timeout_s)
        _answer_largest_id(bundle, child, answer_timeout_s)
        answered, again = (
            child.ask(
                protocol.PredictTexts(some), protocol.TextPredictions, timeout_s=answer_timeout_s
            ).answers
            for some in (texts, texts[::-1])
        )
        forwards, backwards = (
            child.ask(
                protocol.InferTokens(inputs), protocol.TokenLogits, timeout_s=answer_timeout_s
            ).logits
            for inputs in (token_ids, token_ids[::-1])
        )
    return [
        *validity.token_findings(bundle, [one.token_ids for one in answered[: len(token_ids)]]),
        *validity.golden_findings(bundle, forwards),
        *validity.leak_findings(
            [*forwards, *(one.logits for one in answered)],
            [*backwards[::-1], *(one.logits for one in again[::-1])],
        ),
    ]


def _answer_largest_id(bundle: Bundle, child: WorkerClient, timeout_s: float) -> None:
    """The table must have a row for the largest id that the tokenizer may give."""
    largest = bundle.manifest.vocabulary_size - 1
    try:
        child.ask(protocol.InferTokens(((largest,),)), protocol.TokenLogits, timeout_s=timeout_s)
    except BundleError as failure:
        raise BundleError(
            "has no row for the largest token id of its vocabulary, or cannot answer it",
            where=bundle.model_path,
            found=f"token id {largest}: {failure.found or failure.what}",
            expected=f"an answer for every id from 0 to {largest}",
            fix="convert the bundle again",
        ) from failure
