"""What the runner must know of a bundle besides its tokenizer."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import chain

import msgspec

from edgeseq.formats.bundle_manifest import BundleManifest, Signature, TensorSpec
from edgeseq.formats.padding import TEXT_ALONE, Padding
from edgeseq.formats.runner_file.layout import Section
from edgeseq.tasks.multilabel_classification import threshold_logits
from edgeseq.tasks.registry import task_of
from edgeseq.tasks.tag_transitions import TagTransitions
from edgeseq.tasks.word_features import WordFeatures

_HEADS = (
    "text-classification",
    "token-classification",
    "language-modeling",
    "multilabel-classification",
)
_PADDING = ("none", "pre", "post")
_MAX_AXES = 8
NO_ID = -1


class RunnerSettings(msgspec.Struct, frozen=True):
    """A bundle as the runner sees it; `max_tokens` counts special tokens too, and texts are filled
    up to it where `padding` says so; `thresholds`, `transitions` and
    `word_features` are those of the manifest."""

    name: str
    task: str
    max_tokens: int
    vocabulary_size: int
    labels: tuple[str, ...]
    signature: Signature
    padding: Padding = TEXT_ALONE
    thresholds: tuple[float, ...] = ()
    transitions: TagTransitions | None = None
    word_features: WordFeatures | None = None

    @classmethod
    def of(cls, manifest: BundleManifest, labels: Sequence[str]) -> RunnerSettings:
        """The settings of a bundle that exists."""
        return cls(
            name=manifest.name,
            task=manifest.task,
            max_tokens=manifest.max_tokens,
            vocabulary_size=manifest.vocabulary_size,
            labels=tuple(labels),
            signature=manifest.signature,
            padding=manifest.padding,
            thresholds=manifest.thresholds,
            transitions=manifest.transitions,
            word_features=manifest.word_features,
        )


class TokenizerFacts(msgspec.Struct, frozen=True):
    """What settings take from the tokenizer: special tokens around a text, the unknown token (None:
    there is none), the six markers of mentions (or none)."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    unknown_id: int | None
    marker_ids: tuple[int, ...]


class _Strings:
    """Strings that end with a NUL, found by their offset."""

    def __init__(self) -> None:
        self.content = b""

    def add(self, text: str) -> int:
        offset = len(self.content)
        self.content += text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode() + b"\0"
        return offset


def settings_sections(settings: RunnerSettings, tokenizer: TokenizerFacts) -> dict[Section, bytes]:
    """The sections of the settings."""
    strings, task = _Strings(), task_of(settings.task)
    is_stream = task.head == "language-modeling"
    names = [strings.add(text) for text in (settings.name, settings.task, settings.signature.key)]
    tensors = (*settings.signature.inputs, *settings.signature.outputs)
    tensor_records = b"".join(_tensor(tensor, strings) for tensor in tensors)
    labels = [strings.add(label) for label in settings.labels]
    markers = tokenizer.marker_ids or (NO_ID,) * 6
    unknown = NO_ID if tokenizer.unknown_id is None else tokenizer.unknown_id
    record = struct.pack(
        "<6I7i8IIi2I",
        _HEADS.index(task.head),
        settings.max_tokens,
        settings.vocabulary_size if is_stream else len(labels),
        len(labels),
        task.bio_labels,
        bool(tokenizer.marker_ids),
        *markers,
        unknown,
        len(tokenizer.before),
        len(tokenizer.after),
        *names,
        len(settings.signature.inputs),
        len(settings.signature.outputs),
        settings.vocabulary_size,
        _PADDING.index(settings.padding.side),
        settings.padding.pad_id,
        settings.padding.truncation == "pre",
        0 if settings.word_features is None else settings.word_features.rows,
    )
    special_ids = (*tokenizer.before, *tokenizer.after)
    return {
        Section.SETTINGS: record,
        Section.STRINGS: strings.content,
        Section.TENSORS: tensor_records,
        Section.LABELS: struct.pack(f"<{len(labels)}I", *labels)
        + struct.pack(f"<{len(settings.thresholds)}f", *threshold_logits(settings.thresholds)),
        Section.SPECIAL_IDS: struct.pack(f"<{len(special_ids)}i", *special_ids),
        Section.TRANSITIONS: _transitions(settings.transitions),
    }


def _transitions(transitions: TagTransitions | None) -> bytes:
    if transitions is None:
        return b""
    scores = (*transitions.start, *chain(*transitions.pairs), *transitions.end)
    return struct.pack(f"<{len(scores)}f", *scores)


def _tensor(tensor: TensorSpec, strings: _Strings) -> bytes:
    shape = (*tensor.shape, *(0,) * (_MAX_AXES - len(tensor.shape)))
    return struct.pack(
        "<3I8i", strings.add(tensor.name), tensor.dtype == "float32", len(tensor.shape), *shape
    )
