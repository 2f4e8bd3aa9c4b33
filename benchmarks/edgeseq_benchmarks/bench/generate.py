"""How a text goes on, by a bundle whose head is `language-modeling`, for a person to try."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from edgeseq.datasets.wikitext import EOS
from edgeseq.formats.bundle_zip import open_bundle
from edgeseq_benchmarks.bench import protocol
from edgeseq_benchmarks.bench.bundle_checks import check_text
from edgeseq_benchmarks.bench.worker_client import WorkerClient, load_command, lost_while_loading

OFFERED = 3
_TIMEOUT_S = 180.0


class Continuation(msgspec.Struct, frozen=True):
    """The likeliest next words of one text with their probabilities in 0..1, the likeliest first.

    `tokens` is how many words were read, `unknown` how many of them the model does not know.
    """

    text: str
    words: tuple[str, ...]
    probabilities: tuple[float, ...]
    tokens: int
    unknown: int


def continue_texts(
    path: Path, texts: Sequence[str], *, threads: int = 1, count: int = OFFERED
) -> tuple[Continuation, ...]:
    """The `count` likeliest words behind each text, which is fed word by word from a fresh state.

    Words stand between white space, as in the training text. The model runs in a process of its
    own. Raises `DataError` for an empty text and `BundleError` for a bundle that cannot be used.
    """
    for number, text in enumerate(texts, start=1):
        check_text(text, where=f"text {number}")
    found = []
    with (
        open_bundle(path, verify_hashes=False) as bundle,
        WorkerClient(bundle.manifest.name) as child,
        lost_while_loading(bundle),
    ):
        check = protocol.CheckBundle(str(bundle.path.absolute()))
        child.ask(check, protocol.BundleChecked, timeout_s=_TIMEOUT_S)
        load = load_command(bundle, child, threads=threads, first_text=texts[0])
        child.ask(load, protocol.ModelLoaded, timeout_s=_TIMEOUT_S)
        for text in texts:
            command = protocol.Complete(text, EOS, min(count, bundle.manifest.vocabulary_size))
            answer = child.ask(command, protocol.TopK, timeout_s=_TIMEOUT_S)
            found.append(
                Continuation(
                    text=text,
                    words=answer.words,
                    probabilities=answer.probabilities,
                    tokens=answer.tokens_read,
                    unknown=answer.unknown,
                )
            )
    return tuple(found)
