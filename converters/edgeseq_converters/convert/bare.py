"""A recurrent network as a bare .tflite file: no tokenizer, no data, no bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edgeseq.errors import DataError, InputError
from edgeseq.formats.codec import decode_json
from edgeseq.formats.storage import read_bytes
from edgeseq.progress import ProgressCallback, ProgressUpdate, no_progress
from edgeseq_converters.convert.bare_file import (
    BareModel,
    Content,
    Expected,
    check_free,
    write_bare,
)
from edgeseq_converters.convert.lower.dispatch import Target, network_to_tflite
from edgeseq_converters.convert.recipes import Recipe
from edgeseq_converters.models.network import Activation, Dense, Network
from edgeseq_converters.models.read import read_network
from edgeseq_converters.models.reference_recurrent import answers

LENGTHS = (1, 2, 5, 8, 13, 21, 32, 64)
"""Of the random texts that a file is compared on where no token ids are given: 4 of each."""


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
    overwrite: bool = False,
    progress: ProgressCallback = no_progress,
) -> BareModel:
    """Writes the network at `source` as the file `out`, after comparing it with the float one.

    `ids` names a file with a JSON list of token ids a line: what the file is compared on, a
    static recipe takes its ranges from, and int4 weights are rounded for. Without it the
    comparison uses random ids, int4 weights are rounded each by itself, and static recipes are
    refused. Raises `CheckpointError`, `ConversionError`, `DataError`, `InputError` and
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
    check_free(out, overwrite=overwrite)
    progress(ProgressUpdate("write the operators", 0, 1))
    name = output_name(network)
    real = texts if ids is not None else ()
    content = network_to_tflite(network, recipe, target, real, output=name, streaming=streaming)
    progress(ProgressUpdate("write the operators", 1, 1))
    made = Content(content, name, network.name, network.parameters, streaming, target.runtime)
    cut = [text[: target.steps] for text in texts]
    return write_bare(out, made, Expected(cut, answers(network, cut)), recipe, progress=progress)


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
            found: Any = decode_json(line, list[int])
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
