"""Checks of a bundle that do not run its model; called in a process that may die."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from edgeseq.errors import BundleError, DataError
from edgeseq.formats.bundle import BundleFiles, check_model, read_bundle
from edgeseq.formats.codec import decode_json
from edgeseq.formats.storage import read_bytes
from edgeseq.formats.tokenizer_limits import check_steps
from edgeseq.tasks.head import is_numeric

TOKENIZER_LIMIT_BYTES = 256 << 20


class _AddedToken(msgspec.Struct):
    id: int


class _TokenizerModel(msgspec.Struct):
    vocab: dict[str, int] | list[tuple[str, float]]


class _TokenizerFile(msgspec.Struct):
    """The part of `tokenizer.json` that determines the ids."""

    model: _TokenizerModel
    added_tokens: list[_AddedToken] = []
    normalizer: dict[str, Any] | None = None
    pre_tokenizer: dict[str, Any] | None = None


def check_bundle(path: str, package: str) -> BundleFiles:
    """The bundle in a folder, checked: hashes, schema, signature, tokenizer, graph, operators.

    `package` is the runtime that is to run it. Raises `BundleError`.
    """
    bundle = read_bundle(Path(path))
    if not is_numeric(bundle.head):
        check_tokenizer(bundle.tokenizer_path, bundle.manifest.vocabulary_size)
        check_runner_file(bundle)
    check_model(bundle)
    check_operators(bundle, package)
    return bundle


def check_operators(bundle: BundleFiles, package: str) -> None:
    """Checks that the installed runtime has every operator in the version that the file names.

    A release without a table is not checked: loading it shows. Raises `BundleError`.
    """
    # Loads flatbuffers; the parent of the measured process, which imports this too, stays small.
    from edgeseq.formats import tflite_file, tflite_runtimes  # noqa: PLC0415 - see above

    try:
        runtime = f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return
    if runtime not in tflite_runtimes.operator_versions():
        return
    for support in tflite_runtimes.runtime_support(tflite_file.read_tflite(bundle.model_path)):
        if support.runtime == runtime and not support.loads:
            raise BundleError(
                f"needs operators that {runtime} does not have",
                where=bundle.model_path,
                found=", ".join(support.missing_operators)[:300],
                fix="convert it for this runtime, or update the runtime",
            )


def check_tokenizer(path: Path, vocabulary_size: int) -> None:
    """Checks that `tokenizer.json` can only give ids from 0 to `vocabulary_size` − 1.

    A larger one makes the model read outside of its table. Raises `BundleError` for that, when the
    file is not a tokenizer, and as `check_steps` does.
    """
    content = read_bytes(path, error=BundleError, limit_bytes=TOKENIZER_LIMIT_BYTES)
    try:
        tokenizer = decode_json(content, _TokenizerFile)
    except (msgspec.DecodeError, UnicodeDecodeError) as failure:
        raise BundleError(
            "is not a tokenizer", where=path, found=str(failure), fix="convert the bundle again"
        ) from failure
    for steps in (tokenizer.normalizer, tokenizer.pre_tokenizer):
        check_steps(steps, error=BundleError, where=path)
    vocabulary = tokenizer.model.vocab
    ids = range(len(vocabulary)) if isinstance(vocabulary, list) else vocabulary.values()
    largest = max((*ids, *(token.id for token in tokenizer.added_tokens)), default=-1)
    smallest = min((*ids, *(token.id for token in tokenizer.added_tokens)), default=-1)
    if smallest < 0 or largest >= vocabulary_size:
        raise BundleError(
            "has token ids that the model has no row for",
            where=path,
            found=f"{smallest} to {largest}",
            expected=f"0 to {vocabulary_size - 1}",
            fix="convert the bundle again",
        )


def check_runner_file(bundle: BundleFiles) -> None:
    """Checks that `runner.bin` is what `tokenizer.json` and `bundle.json` compile to.

    Another release of the `tokenizers` library than that of the conversion may have other Unicode
    tables; then the file is not compared. Raises `BundleError`.
    """
    path, manifest = bundle.runner_file_path, bundle.manifest
    installed = metadata.version("tokenizers")
    if path is None or manifest.provenance.tool_versions.get("tokenizers", installed) != installed:
        return
    # The tables of Unicode take a second to compile: not where no bundle is checked.
    from edgeseq.formats import runner_file  # noqa: PLC0415 - see above

    content = read_bytes(
        bundle.tokenizer_path, error=BundleError, limit_bytes=TOKENIZER_LIMIT_BYTES
    )
    settings = runner_file.RunnerSettings.of(manifest, bundle.labels)
    try:
        compiled = runner_file.compile_runner_file(content.decode("utf-8"), settings)
    except (runner_file.UnsupportedTokenizerError, UnicodeDecodeError) as failure:
        raise BundleError(
            "should not be there: the native runner cannot have this tokenizer",
            where=path,
            found=failure,
            fix="convert the bundle again",
        ) from failure
    if compiled != read_bytes(path, error=BundleError, limit_bytes=TOKENIZER_LIMIT_BYTES):
        raise BundleError(
            "does not go with tokenizer.json and bundle.json",
            where=path,
            fix="convert the bundle again",
        )


def check_text(text: str, *, where: str) -> None:
    """Raises `DataError` for an empty or broken text."""
    if not text.strip():
        raise DataError("is empty", where=where, fix="give a text with at least one word")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as failure:
        raise DataError(
            "is not valid Unicode", where=where, found=failure.reason, fix="write it as UTF-8"
        ) from failure
