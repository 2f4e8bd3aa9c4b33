"""The bundle: the folder that a device runs. It is data: loading it runs no code from it.

    BUNDLE/model.tflite     one signature, inputs and outputs bound by its names
    BUNDLE/tokenizer.json   a `tokenizers` file; of a model of numeric sequences instead
    BUNDLE/eval.npy         the numbers float32 [all steps, features] of the sequences in
                            `eval.jsonl` and `golden.json`, which name their rows
    BUNDLE/labels.json      the classes in the order of the outputs
    BUNDLE/runner.bin       tokenizer, labels and settings for the native runner, which maps it
                            (`edgeseq.formats.runner_file`); missing where `native_unsupported`
                            says why, and where it maps `eval.npy`
    BUNDLE/golden.json      a few inputs with the float model's outputs
    BUNDLE/eval.jsonl       the test examples scored on the device, one JSON object per line
    BUNDLE/bundle.json      this module's `BundleManifest`, with size and SHA-256 of every file

Version history of the schema: 1; 2, `logit_positions` instead of `places`; 3, `runner.bin`;
4, `padding`.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from edgeseq.formats.listed_files import FileEntry
from edgeseq.formats.padding import TEXT_ALONE, Padding
from edgeseq.formats.trained_model import Arch
from edgeseq.tasks.head import Head, is_numeric, is_per_text
from edgeseq.tasks.registry import task_of
from edgeseq.tasks.tag_transitions import TagTransitions
from edgeseq.tasks.word_features import FEATURES, WORD_FEATURES, WordFeatures

SCHEMA_VERSION = 4
RecipeName = Literal[
    "float32",
    "float16",
    "dynamic_wi8_afp32",
    "dynamic_wi4_afp32",
    "dynamic_wi4_ei4_afp32",
    "weight_only_wi8_afp32",
    "static_wi8_ai8",
]
Lowering = Literal["loop", "projected", "unrolled", "fused", "pooled", "encoder", "cached"]
MODEL_FILE, TOKENIZER_FILE, ROWS_FILE = "model.tflite", "tokenizer.json", "eval.npy"
RUNNER_FILE = "runner.bin"
MANIFEST_LIMIT_BYTES = 4 << 20


class TensorSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One input or output of the signature; −1 in `shape` is an open axis."""

    name: str
    dtype: Literal["int32", "float32"]
    shape: tuple[int, ...]


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The model's one signature.

    A text classifier has the input `input_ids` int32 [1, −1] and the output `logits` float32
    [1, labels], a token classifier [1, −1, labels]; the sequence axis is open, so a text is given
    at its real length and the cost follows it. A model of a fixed length has
    [1, length] instead: a shorter text is padded on its right with the id −1, which is not a token.
    A token classifier with word features also takes `word_features` int32 [1, −1 or length, 3],
    each token's rows (`edgeseq.tasks.word_features`); those of padding are 0.
    A model of numeric sequences has the input `input_features` float32 [1, −1 or length, features];
    one of a fixed length takes no shorter ones.

    A language model takes its states too (`h0`, `c0`, … float32; `recent_states` and `recent_words`
    of one with a word cache), and gives `logits` float32
    [1, −1, vocabulary] and the states behind the tokens (`h0_next`, …). One that sees the last
    `max_tokens` tokens alone also takes `logit_positions` int32 [−1], the positions to compute
    logits at, one row for each. It has no state and is given all tokens again for every word, or
    (lowering `cached`) its states are the KV cache: `cache_length` [1] says how full it is, and all
    are zero before the first token.
    """

    key: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class Fidelity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The conversion's comparison with the float model over the development set.

    `max_abs_error` and `cosine` (smallest) are over logits; `label_agreement` is the fraction of
    equal labels, of texts, or of the `n_answers` words of a token classifier, and None where
    numbers are predicted; `bound` is what
    the recipe promises for `max_abs_error` relative to the largest |logit|; `float_score` and
    `score` are the task's metric of both models on these examples.
    """

    n_examples: int
    max_abs_error: float
    cosine: float
    label_agreement: float | None
    bound: float | None = None
    float_score: float | None = None
    score: float | None = None
    n_answers: int | None = None


class Provenance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the bundle comes from, enough to reproduce it.

    `converter_peak_memory_bytes` is the highest resident set of the converting process, reading
    the model included. `tried_runtime`: the older runtime that the model was converted for and run
    in, or why it could not be run; None when it was converted for the current one.
    `padding_scores`: where the padding was chosen on development texts, the score with each.
    `float_products`: products are computed in float32 and not in the integers of the recipe,
    because these would raise the error of the predicted numbers.
    """

    created_utc: str
    source: str
    source_sha256: str
    data_name: str
    data_sha256: str
    tool_versions: dict[str, str]
    training: dict[str, Any] = {}
    teacher: str | None = None
    conversion_seconds: float | None = None
    converter_peak_memory_bytes: int | None = None
    tried_runtime: str | None = None
    padding_scores: dict[str, float] = {}
    float_products: bool = False


class BundleManifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`bundle.json`.

    `parameters` counts the weights of the source model; `max_tokens` is the longest input in
    tokens, special ones included: longer texts are truncated and the result counts them. `padding`
    says at which end, and whether shorter ones are filled up to it; only text classifiers have
    one besides the default.
    A model of numeric sequences has a vocabulary of 0, and `max_tokens` is the longest one in its
    data.
    `native_unsupported` is why the native runner cannot run the bundle; None when it can.
    `thresholds` are the probabilities from which on a text has each of the labels, where it may
    have any number of them (`edgeseq.tasks.label_thresholds`). `transitions` are those between the
    labels of a sentence's words, where the model was trained with them (a CRF).
    """

    name: str
    task: str
    arch: Arch
    recipe: RecipeName
    lowering: Lowering
    parameters: int
    vocabulary_size: int
    max_tokens: int
    signature: Signature
    fidelity: Fidelity
    provenance: Provenance
    files: dict[str, FileEntry]
    min_runtime_version: str | None = None
    native_unsupported: str | None = None
    padding: Padding = TEXT_ALONE
    thresholds: tuple[float, ...] = ()
    transitions: TagTransitions | None = None
    word_features: WordFeatures | None = None
    schema_version: int = SCHEMA_VERSION

    @property
    def file_names(self) -> tuple[str, ...]:
        """The files of the bundle besides `bundle.json`."""
        return bundle_file_names(self.native_unsupported, task_of(self.task).head)


class GoldenExample(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One input with the float model's output.

    `logits` is [labels], of a token classifier [tokens, labels] flattened (its text is in
    `words`, and in `word_rows` [3 · tokens] the rows of their features, if the model has any), of
    a language model ln p of each token. Of a numeric sequence `text` is the place of its rows
    (`edgeseq.tasks.sequence_places`), and there are no `token_ids`.
    """

    text: str
    token_ids: tuple[int, ...]
    logits: tuple[float, ...]
    words: tuple[str, ...] = ()
    word_rows: tuple[int, ...] = ()


class Golden(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`golden.json`: `tolerance` is the largest |difference| of a logit that the recipe allows
    on these examples (set from the conversion's own comparison, see the converter)."""

    examples: tuple[GoldenExample, ...]
    tolerance: float


def bundle_file_names(
    native_unsupported: str | None, head: Head = "text-classification"
) -> tuple[str, ...]:
    """The files of a bundle besides `bundle.json`; with a reason it has no `runner.bin`, which a
    model of numeric sequences does not need."""
    inputs = ROWS_FILE if is_numeric(head) else TOKENIZER_FILE
    files = (MODEL_FILE, inputs, "labels.json", "golden.json", "eval.jsonl")
    has_runner_file = native_unsupported is None and not is_numeric(head)
    return (*files, RUNNER_FILE) if has_runner_file else files


def feature_input(length: int) -> TensorSpec:
    """The input of word features of a model that takes `length` tokens (−1: any number)."""
    return TensorSpec(WORD_FEATURES, "int32", (1, length, len(FEATURES)))


def answer_shape(head: Head, labels: int, length: int) -> tuple[int, ...]:
    """The shape of the output `logits` of a model that takes `length` tokens (−1: any number)."""
    return (1, labels) if is_per_text(head) else (1, length, labels)
