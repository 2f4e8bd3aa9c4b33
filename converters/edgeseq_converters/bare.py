"""A recurrent network as a bare .tflite file: no tokenizer, no data, no bundle."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edgeseq.errors import ConversionError, DataError, InputError, OutputError
from edgeseq.files import read_bytes, write_bytes
from edgeseq.progress import Progress, Report, silent
from edgeseq_converters.answering import Answering
from edgeseq_converters.importers import read_network
from edgeseq_converters.lower import Target, network_to_tflite
from edgeseq_converters.network import Activation, Dense, Network
from edgeseq_converters.network_reference import answers
from edgeseq_converters.recipes import Recipe

LENGTHS = (1, 2, 5, 8, 13, 21, 32, 64)
"""Of the random texts that a file is compared on where no token ids are given: 4 of each."""


class BareModel(msgspec.Struct, frozen=True):
    """What was written, and how far it is from the float network on `n_examples` texts.

    `max_abs_error` is over the outputs, `relative_error` that over the largest |output|.
    """

    path: str
    size_bytes: int
    output: str
    shape: tuple[int, ...]
    n_examples: int
    max_abs_error: float
    relative_error: float
    parameters: int
    streaming: bool


def output_name(network: Network) -> str:
    """`probabilities` when the network ends in a softmax or a sigmoid, else `logits`."""
    last = network.layers[-1]
    function = last.function if isinstance(last, Dense | Activation) else "linear"
    return "probabilities" if function in ("softmax", "sigmoid") else "logits"


def convert_bare(
    source: Path,
    out: Path,
    recipe: Recipe,
    target: Target,
    *,
    description: Path | None = None,
    ids: Path | None = None,
    streaming: bool = False,
    replace: bool = False,
    report: Report = silent,
) -> BareModel:
    """Writes the network at `source` as the file `out`, after comparing it with the float one.

    `ids` names a file with a JSON list of token ids a line: what the file is compared on and a
    static recipe takes its ranges from. Without it the comparison uses random ids, and static
    recipes are refused. Raises `CheckpointError`, `ConversionError`, `DataError`, `InputError` and
    `OutputError`; nothing is written then.
    """
    network = read_network(source, description=description)
    texts = (
        read_ids(ids, network.embedding.vocabulary_size)
        if ids is not None
        else _random_ids(network, target)
    )
    if recipe.activations != "float32" and ids is None:
        raise InputError(
            "a static recipe needs real texts to take its ranges from",
            found=recipe.name,
            fix="name a file of token ids with --ids, one JSON list a line",
        )
    if out.exists() and not replace:
        raise OutputError("is there already", where=out, fix="choose another --out or --replace")
    report(Progress("write the operators", 0, 1))
    name = output_name(network)
    content = network_to_tflite(network, recipe, target, texts, output=name, streaming=streaming)
    draft = out.with_name(f".{out.name}.draft")
    try:
        write_bytes(draft, content)
        model = _compare(network, draft, texts, output=name, recipe=recipe, report=report)
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)
    report(Progress("write the operators", 1, 1))
    return msgspec.structs.replace(model, path=str(out), streaming=streaming)


def _compare(
    network: Network,
    path: Path,
    texts: Sequence[Sequence[int]],
    *,
    output: str,
    recipe: Recipe,
    report: Report,
) -> BareModel:
    asked = Answering(path, output=output)
    expected = answers(network, [text[: asked.fixed_length] for text in texts])
    worst = 0.0
    shape: tuple[int, ...] = ()
    for number, (text, wanted) in enumerate(zip(texts, expected, strict=True)):
        found = asked.answer(text)[: len(wanted)]
        worst = max(worst, float(np.abs(found - wanted).max()))
        shape = (1, -1, wanted.shape[1]) if wanted.ndim == 2 else (1, wanted.shape[0])
        report(Progress("compare with the float network", number, len(texts)))
    largest = max(float(np.abs(wanted).max()) for wanted in expected)
    relative = worst / max(largest, 1e-6)
    if not np.isfinite(relative) or relative > recipe.bound.relative_error:
        raise ConversionError(
            f"answers differ from the float network's by {relative:.2g} of the largest output",
            where=network.name,
            expected=f"<= {recipe.bound.relative_error:g} with {recipe.name}",
            fix="choose a finer recipe",
        )
    return BareModel(
        path="",
        size_bytes=path.stat().st_size,
        output=output,
        shape=shape,
        n_examples=len(texts),
        max_abs_error=worst,
        relative_error=relative,
        parameters=network.parameters,
        streaming=False,
    )


def _random_ids(network: Network, target: Target) -> list[list[int]]:
    rng = np.random.default_rng(0)
    lowest = 1 if network.embedding.mask_zero and network.embedding.vocabulary_size > 1 else 0
    lengths = [n for n in LENGTHS if target.steps is None or n <= target.steps]
    high = network.embedding.vocabulary_size
    return [rng.integers(lowest, high, n).tolist() for n in lengths for _ in range(4)]


def read_ids(path: Path, size: int, *, longest: int | None = None) -> list[list[int]]:
    """The lists of token ids below `size` in a file, one a line.

    Raises `DataError` naming the line, also for one with more than `longest` ids.
    """
    texts = []
    for number, line in enumerate(read_bytes(path, error=DataError).splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            found: Any = msgspec.json.decode(line, type=list[int])
        except (msgspec.DecodeError, json.JSONDecodeError) as failure:
            raise DataError(
                "is no list of token ids", where=where, found=failure, expected="[12, 7, 5]"
            ) from failure
        if not found or min(found) < 0 or max(found) >= size:
            raise DataError(
                "has a token id beyond the embedding table",
                where=where,
                found=f"{min(found)} to {max(found)}" if found else "no id",
                expected=f"0 to {size - 1}",
            )
        if longest is not None and len(found) > longest:
            raise DataError(
                "is longer than the model takes", where=where, found=len(found), expected=longest
            )
        texts.append(found)
    if not texts:
        raise DataError("holds no token ids", where=path, expected="a JSON list a line")
    return texts
