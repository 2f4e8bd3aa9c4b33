"""A bundle on disk: read, and checked without a runtime."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from edgeseq.errors import BundleError
from edgeseq.formats.bundle_manifest import (
    MANIFEST_LIMIT_BYTES,
    MODEL_FILE,
    ROWS_FILE,
    RUNNER_FILE,
    SCHEMA_VERSION,
    TOKENIZER_FILE,
    BundleManifest,
    Golden,
    answer_shape,
    feature_input,
)
from edgeseq.formats.codec import decode_json
from edgeseq.formats.listed_files import check_file
from edgeseq.formats.padding import TEXT_ALONE
from edgeseq.formats.storage import check_path, read_bytes, read_json
from edgeseq.tasks.examples import AnyExample, SequenceExample, TaggedExample, labels_of
from edgeseq.tasks.head import TEXT_HEADS, Head, is_numeric, is_per_text
from edgeseq.tasks.registry import task_of
from edgeseq.tasks.task import Task

TEXT_LIMIT_BYTES = 512 << 20


class BundleFiles(msgspec.Struct, frozen=True):
    """A bundle that has been read and checked; large files stay on disk at `path`."""

    path: Path
    manifest: BundleManifest
    labels: tuple[str, ...]
    golden: Golden

    @property
    def model_path(self) -> Path:
        return self.path / MODEL_FILE

    @property
    def tokenizer_path(self) -> Path:
        return self.path / TOKENIZER_FILE

    @property
    def input_file(self) -> str:
        """The file that Python reads inputs with: the tokenizer, or the rows of the sequences."""
        return ROWS_FILE if is_numeric(self.head) else TOKENIZER_FILE

    @property
    def runner_file_path(self) -> Path | None:
        """`runner.bin`; None where the native runner needs none or cannot run the bundle."""
        return self.path / RUNNER_FILE if RUNNER_FILE in self.manifest.files else None

    @property
    def native_input_file(self) -> str | None:
        """The file that the native runner reads inputs with; None where it cannot run this."""
        if self.manifest.native_unsupported is not None:
            return None
        return ROWS_FILE if is_numeric(self.head) else RUNNER_FILE

    @property
    def model_sha256(self) -> str:
        return self.manifest.files[MODEL_FILE].sha256

    @property
    def size_bytes(self) -> int:
        """Bytes that a device must store for Python: model, tokenizer (of texts) and labels."""
        tokenizer = () if is_numeric(self.head) else (TOKENIZER_FILE,)
        names = (MODEL_FILE, *tokenizer, "labels.json")
        return sum(self.manifest.files[name].size_bytes for name in names)

    @property
    def native_size_bytes(self) -> int | None:
        """Bytes that a device must store for the native runner; None where it cannot be used."""
        if self.native_input_file is None:
            return None
        names = (MODEL_FILE,) if is_numeric(self.head) else (MODEL_FILE, RUNNER_FILE)
        return sum(self.manifest.files[name].size_bytes for name in names)

    @property
    def task(self) -> Task:
        """The task that the manifest names."""
        return task_of(self.manifest.task)

    @property
    def head(self) -> Head:
        """What the model predicts."""
        return self.task.head

    def read_examples(self) -> tuple[AnyExample, ...]:
        """The examples of `eval.jsonl`, of the task's type; raises `BundleError` naming the line
        that is wrong."""
        kind, known = self.task.example, frozenset(self.labels)
        path = self.path / "eval.jsonl"
        content = read_bytes(path, error=BundleError, limit_bytes=TEXT_LIMIT_BYTES)
        examples = []
        for number, line in enumerate(content.splitlines(), start=1):
            try:
                example = decode_json(line, kind)
            except (msgspec.DecodeError, UnicodeDecodeError) as failure:
                raise BundleError(
                    "is not an example", where=f"{path}:{number}", found=str(failure)
                ) from failure
            if unknown := [label for label in labels_of(example) if label not in known]:
                raise BundleError(
                    "unknown label",
                    where=f"{path}:{number}",
                    found=repr(unknown[0]),
                    expected=" or ".join(self.labels),
                )
            if isinstance(example, SequenceExample):
                self._check_sequence(example, where=f"{path}:{number}")
            if isinstance(example, TaggedExample) and len(example.words) != len(example.tags):
                raise BundleError(
                    "does not have one tag per word",
                    where=f"{path}:{number}",
                    found=f"{len(example.tags)} tags",
                    expected=len(example.words),
                )
            examples.append(example)
        return tuple(examples)

    def _check_sequence(self, example: SequenceExample, *, where: str) -> None:
        """Raises `BundleError` for a place outside of the rows, and for targets that do not fit."""
        expected = len(self.labels) if self.head == "sequence-regression" else 0
        is_place = example.start >= 0 and 1 <= example.steps <= self.manifest.max_tokens
        has_label = bool(example.label) == (expected == 0)
        if not is_place or not has_label or len(example.target) != expected:
            raise BundleError(
                "is not a sequence of this model",
                where=where,
                found=f"steps {example.steps} from {example.start}, {len(example.target)} targets",
                expected=f"1 to {self.manifest.max_tokens} steps, {expected} targets",
                fix="convert the bundle again",
            )


def read_bundle(path: Path, *, verify_hashes: bool = True) -> BundleFiles:
    """Reads a bundle folder and checks everything that can be checked without a runtime.

    Without `verify_hashes` the content of the large files is taken on trust: sizes and the small
    files are still checked. Raises `BundleError` naming the file that is missing, foreign, a
    link, damaged, of another size or hash, or that does not fit the others.
    """
    check_path(path, error=BundleError)
    if not path.is_dir():
        what = "is not a bundle folder" if path.exists() else "no such bundle"
        raise BundleError(what, where=path, fix="name what `edgeseq convert` wrote")
    manifest = read_manifest(path / "bundle.json")
    for name, entry in manifest.files.items():
        check_file(
            path / name,
            entry,
            verify_hashes=verify_hashes,
            listed_in="bundle.json",
            error=BundleError,
            fix="copy or convert the bundle again",
        )
    labels = read_json(
        path / "labels.json", tuple[str, ...], error=BundleError, limit_bytes=MANIFEST_LIMIT_BYTES
    )
    golden = read_json(
        path / "golden.json", Golden, error=BundleError, limit_bytes=MANIFEST_LIMIT_BYTES
    )
    _check_labels(path, labels, manifest)
    _check_signature(path, labels, manifest)
    _check_golden(path / "golden.json", golden, manifest, len(labels))
    return BundleFiles(path=path, manifest=manifest, labels=labels, golden=golden)


def is_bundle_name(name: str) -> bool:
    """Whether a bundle may have this name, which is printed in tables, file names and terminals:
    no path, no control character, no escape."""
    return re.fullmatch(r"[\w+ -][\w.+ -]{0,99}", name) is not None


def read_manifest(path: Path) -> BundleManifest:
    """Reads and checks `bundle.json` alone; raises `BundleError`."""
    if path.is_symlink():
        raise BundleError("is a link", where=path, fix="copy the bundle itself")
    manifest = read_json(
        path,
        BundleManifest,
        error=BundleError,
        limit_bytes=MANIFEST_LIMIT_BYTES,
        schema_version=SCHEMA_VERSION,
    )
    # Exactly these names: no other file, and no path out of the folder, is ever opened.
    if set(manifest.files) != set(manifest.file_names):
        raise BundleError(
            "does not list the files of a bundle",
            where=path,
            found=", ".join(sorted(manifest.files))[:200] or "none",
            expected=", ".join(manifest.file_names),
            fix="convert again",
        )
    if not is_bundle_name(manifest.name):
        raise BundleError(
            "has a name that is not usable",
            where=path,
            found=repr(manifest.name[:100]),
            expected="1 to 100 letters, digits, spaces and . _ + -, not beginning with a point",
            fix="convert again under another name",
        )
    vocabulary = 0 if is_numeric(task_of(manifest.task).head) else 1
    if manifest.max_tokens < 1 or manifest.vocabulary_size < vocabulary:
        raise BundleError(
            "says that the model takes no input",
            where=path,
            found=f"max_tokens {manifest.max_tokens}, vocabulary {manifest.vocabulary_size}",
            expected="at least 1",
            fix="convert again",
        )
    _check_padding(path, manifest)
    return manifest


def _check_padding(path: Path, manifest: BundleManifest) -> None:
    padding = manifest.padding
    head = task_of(manifest.task).head
    is_id = is_numeric(head) or 0 <= padding.pad_id < manifest.vocabulary_size
    if not is_id or (padding != TEXT_ALONE and head not in TEXT_HEADS):
        raise BundleError(
            "has a padding that the model cannot have",
            where=path,
            found=f"{padding.side} with id {padding.pad_id}, for {head}",
            expected=f"an id from 0 to {manifest.vocabulary_size - 1}, of a text classifier",
            fix="convert again",
        )


def _check_stream(path: Path, labels: tuple[str, ...], manifest: BundleManifest) -> None:
    """A model of the next word has no labels, and gives back every state that it takes; one with a
    window also takes the positions to compute logits at."""
    size = manifest.vocabulary_size
    inputs = {tensor.name: tensor.shape for tensor in manifest.signature.inputs}
    outputs = {tensor.name: tensor.shape for tensor in manifest.signature.outputs}
    ids, logits = inputs.pop("input_ids", ()), outputs.pop("logits", ())
    positions = inputs.pop("logit_positions", (-1,))
    states = {f"{name}_next": shape for name, shape in inputs.items()}
    shapes = (ids, positions, logits)
    if labels or shapes != ((1, -1), (-1,), (1, -1, size)) or states != outputs:
        raise BundleError(
            "is not a language model",
            where=path / "bundle.json",
            found=f"{len(labels)} labels, {manifest.signature}"[:300],
            expected="input_ids [1, -1], states and perhaps logit_positions [-1] to "
            f"logits [1, -1, {size}] and the states",
            fix="convert again",
        )


def _check_labels(path: Path, labels: tuple[str, ...], manifest: BundleManifest) -> None:
    if task_of(manifest.task).is_streaming:
        _check_stream(path, labels, manifest)
        return
    least = 1 if task_of(manifest.task).head == "sequence-regression" else 2
    if len(set(labels)) != len(labels) or len(labels) < least:
        raise BundleError(
            "holds no set of classes",
            where=path / "labels.json",
            found=", ".join(labels)[:200] or "none",
            expected=f"at least {least}, all different",
            fix="convert again",
        )
    _check_thresholds(path, labels, manifest)
    _check_transitions(path, labels, manifest)
    shapes = [output.shape for output in manifest.signature.outputs]
    inputs = [tensor.shape for tensor in manifest.signature.inputs]
    lengths = [*(shape[1] for shape in inputs if len(shape) > 1), -1]
    if shapes != [answer_shape(task_of(manifest.task).head, len(labels), lengths[0])]:
        raise BundleError(
            "lists another number of classes than the model's outputs",
            where=path / "labels.json",
            found=len(labels),
            expected=f"outputs {shapes}",
            fix="convert again",
        )


def _check_signature(path: Path, labels: tuple[str, ...], manifest: BundleManifest) -> None:
    """A model without states takes one input, of an open length or of its longest one."""
    head, signature = task_of(manifest.task).head, manifest.signature
    if head == "language-modeling":
        return
    shapes = [(tensor.dtype, tensor.shape) for tensor in (*signature.inputs, *signature.outputs)]
    entry = signature.inputs[0].shape if signature.inputs else ()
    dtype, axes = ("float32", 3) if is_numeric(head) else ("int32", 2)
    length = entry[1] if len(entry) == axes else -1
    answer = ("float32", answer_shape(head, len(labels), length))
    step_shape = entry[2:] if len(entry) == axes and min(entry[2:], default=1) > 0 else (-1,)
    lengths = (-1, manifest.max_tokens)
    expected = [[(dtype, (1, length, *step_shape)), answer] for length in lengths]
    if manifest.word_features is not None:
        words = feature_input(length)
        expected = [[ids, (words.dtype, words.shape), answer] for ids, answer in expected]
    has_words = head == "token-classification" or manifest.word_features is None
    if shapes not in expected or not has_words:
        inputs, outputs = (
            " ".join(f"{tensor.name} {tensor.dtype} {list(tensor.shape)}" for tensor in tensors)
            for tensors in (signature.inputs, signature.outputs)
        )
        raise BundleError(
            "its signature is not that of a text, token or sequence classifier",
            where=path / "bundle.json",
            found=f"{inputs} to {outputs}"[:300],
            expected=f"one {dtype} [1, -1 or max_tokens] (and word_features of a tagger that has "
            f"them) to one float32 {list(answer[1])}",
            fix="update edgeseq or convert again",
        )


def _check_thresholds(path: Path, labels: tuple[str, ...], manifest: BundleManifest) -> None:
    thresholds = manifest.thresholds
    expected = len(labels) if task_of(manifest.task).is_multilabel else 0
    if len(thresholds) != expected or not all(0 < threshold < 1 for threshold in thresholds):
        raise BundleError(
            "does not have a threshold for each label",
            where=path / "bundle.json",
            found=", ".join(map(str, thresholds))[:200] or "none",
            expected=f"{expected} above 0 and below 1" if expected else "none",
            fix="convert again",
        )


def _check_transitions(path: Path, labels: tuple[str, ...], manifest: BundleManifest) -> None:
    transitions, head = manifest.transitions, task_of(manifest.task).head
    if transitions is None or (head == "token-classification" and transitions.is_for(len(labels))):
        return
    raise BundleError(
        "has transitions that do not fit its labels",
        where=path / "bundle.json",
        found=f"{len(transitions.start)}, {len(transitions.pairs)} rows, {len(transitions.end)}",
        expected=f"{len(labels)} of each, for a label per word",
        fix="convert again",
    )


def _check_golden(path: Path, golden: Golden, manifest: BundleManifest, n_labels: int) -> None:
    if not golden.examples or not golden.tolerance >= 0:
        raise BundleError(
            "holds nothing to compare with",
            where=path,
            found=f"{len(golden.examples)} examples, tolerance {golden.tolerance}",
            expected="at least 1 example and a tolerance of at least 0",
            fix="convert again",
        )
    for number, example in enumerate(golden.examples):
        head = task_of(manifest.task).head
        expected = n_labels * (1 if is_per_text(head) else len(example.token_ids))
        if head == "language-modeling":
            expected = len(example.token_ids)
        if len(example.logits) != expected:
            raise BundleError(
                "has another number of logits than there are labels",
                where=f"{path}: example {number}",
                found=len(example.logits),
                expected=expected,
            )
        if is_numeric(head):
            continue  # its rows are looked at where they are read
        shortest = manifest.max_tokens if manifest.padding.is_padded else 1
        if not shortest <= len(example.token_ids) <= manifest.max_tokens:
            raise BundleError(
                "has a number of tokens that the model does not take",
                where=f"{path}: example {number}",
                found=len(example.token_ids),
                expected=f"{shortest} to {manifest.max_tokens}",
            )
        if not all(0 <= token_id < manifest.vocabulary_size for token_id in example.token_ids):
            raise BundleError(
                "has a token id outside of the vocabulary",
                where=f"{path}: example {number}",
                expected=f"0 to {manifest.vocabulary_size - 1}",
            )


def check_model(bundle: BundleFiles) -> None:
    """Checks that model.tflite is whole and has the signature that the manifest promises.

    Apart from `read_bundle` because it walks through the whole graph: tenths of a second, and
    memory that a process that is measured should not hold. Raises `BundleError`.
    """
    from edgeseq.formats.tflite_file import read_tflite  # noqa: PLC0415 - loads flatbuffers, which reading a manifest does not need

    promised = bundle.manifest.signature
    expected = [
        (
            promised.key,
            tuple((tensor.name, tensor.dtype, tensor.shape) for tensor in promised.inputs),
            tuple((tensor.name, tensor.dtype, tensor.shape) for tensor in promised.outputs),
        )
    ]
    signatures = []
    for entry in read_tflite(bundle.model_path).signatures:
        inputs, outputs = (
            tuple((name, tensor.dtype.lower(), tensor.shape) for name, tensor in tensors.items())
            for tensors in (entry.inputs, entry.outputs)
        )
        signatures.append((entry.key, inputs, outputs))
    if signatures != expected:
        raise BundleError(
            "does not have the signature in bundle.json",
            where=bundle.model_path,
            found=str(signatures)[:300],
            expected=expected,
            fix="convert again",
        )
