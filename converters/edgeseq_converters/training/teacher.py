"""A fine-tuned BERT as a teacher: what it outputs for texts, words and word pieces.

A BERT student learns, beside the labels,

- the teacher's logits, by squared error (Tang et al. 2019; TinyBERT's prediction layer, Jiao et al.
  2020, uses soft cross-entropy to the same end),
- the teacher's states after evenly matched layers, where both have the same width: student layer j
  of S follows teacher layer (j + 1)·T/S - 1 of T, so that the last follows the last (TinyBERT's
  g(m)). As in patient distillation (Sun et al. 2019, "Patient Knowledge Distillation for BERT Model
  Compression", equation 7) one state per text is compared, scaled to length 1; here the mean over
  the tokens, which the head reads, not the first token's.

It starts as every so many layers of its teacher (DistilBERT, Sanh et al. 2019, section 2). An LSTM
learns the logits alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tokenizers import Tokenizer

from edgeseq.errors import CheckpointError, InputError
from edgeseq.formats.trained_model import (
    BertConfig,
    TrainedModel,
)
from edgeseq.progress import ProgressCallback, no_progress
from edgeseq.tasks.examples import Dataset, TaggedExample
from edgeseq.tasks.tagging import path_scores, tag_probabilities
from edgeseq.tasks.word_features import NO_WORD
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.training.batching import TokenTexts
from edgeseq_converters.training.bert_model import BertClassifier
from edgeseq_converters.training.marks import encode_marked
from edgeseq_converters.training.predictor import Predictor, token_specification
from edgeseq_converters.training.settings import BagSettings, BertSettings, LstmSettings
from edgeseq_converters.training.tags import encode_tagged, logits_by_word, word_encoder
from edgeseq_converters.training.teacher_cache import TeacherCache, cached_rows
from edgeseq_converters.training.teacher_model import bert_of
from edgeseq_converters.training.texts import encode_texts
from edgeseq_converters.training.transfer import TransferSet, transfer_set

AnyFloats = npt.NDArray[np.floating]

LABEL_CORRECTION = 0.6
"""How far stored logits are moved towards the label (`correct_stale_logits`): with 0.6, those of
the demo's teacher are right as often on its training texts (89.9 %) as its final weights (89.5
%)."""


class TeacherOutputs(msgspec.Struct, frozen=True):
    """A teacher's outputs for texts.

    `logits` [texts, labels]; `states` [texts, matched layers, hidden], each of length 1, lowest
    layer first, with no layer where states are not compared.
    """

    logits: FloatArray
    states: FloatArray


class DistillationData(msgspec.Struct, frozen=True):
    """A teacher's outputs for the training texts, and for those of the `transfer` set behind them.

    `logits_source` says whether those for the training texts were stored with the teacher or
    computed.
    """

    outputs: TeacherOutputs
    logits_source: Literal["stored", "computed"]
    transfer: TransferSet | None

    @property
    def extra_texts(self) -> tuple[str, ...]:
        """The texts of the transfer set."""
        return () if self.transfer is None else self.transfer.texts


def distil_to_student(
    data: Dataset[Any],
    teacher: TrainedModel,
    settings: LstmSettings | BagSettings,
    stored: FloatArray | None,
    *,
    data_dir: Path | None = None,
    cache: TeacherCache | None = None,
    progress: ProgressCallback = no_progress,
) -> DistillationData:
    """Logits of `teacher` for a student with a table of its own; those for the training texts are
    computed unless they are `stored` [texts, labels]."""
    logits = stored
    if logits is None:
        texts = [example.text for example in data.train]
        logits = teacher_logits(teacher, texts, cache=cache, progress=progress)
    transfer = transfer_set(data, teacher, settings, data_dir=data_dir, progress=progress)
    if transfer is not None:
        transferred = teacher_logits(teacher, transfer.texts, cache=cache, progress=progress)
        logits = np.concatenate([logits, transferred])
    outputs = TeacherOutputs(logits, np.empty((len(logits), 0, 0), np.float32))
    return DistillationData(outputs, "computed" if stored is None else "stored", transfer)


def distil_to_bert(
    data: Dataset[Any],
    teacher: TrainedModel,
    settings: BertSettings,
    student: BertConfig,
    *,
    data_dir: Path | None = None,
    progress: ProgressCallback = no_progress,
) -> DistillationData:
    """Outputs of `teacher` for a BERT of the dimensions `student`.

    Raises `InputError` when states of different widths would be compared, or the student has more
    layers, and what `transfer_set` raises.
    """
    layers: tuple[int, ...] = ()
    if settings.hidden_state_weight:
        width = bert_of(teacher).hidden_size
        if width != student.hidden_size:
            raise InputError(
                "states of different widths cannot be compared",
                where="hidden_state_weight",
                found=f"{student.hidden_size} and the teacher's {width}",
                fix="set hidden_state_weight=0, or start from the teacher (no checkpoint)",
            )
        layers = matched_layers(
            bert_of(teacher).layers, student.layers, frozen=settings.frozen_layers or 0
        )
    transfer = transfer_set(data, teacher, settings, data_dir=data_dir, progress=progress)
    texts = [example.text for example in data.train]
    if transfer is not None:
        texts += transfer.texts
    outputs = teacher_outputs(teacher, texts, layers=layers, progress=progress)
    return DistillationData(outputs, "computed", transfer)


def matched_layers(teacher_layers: int, student_layers: int, *, frozen: int = 0) -> tuple[int, ...]:
    """For each trained layer of the student, lowest first, the teacher's layer that it follows.

    Raises `InputError` when the student has more layers than the teacher.
    """
    if student_layers > teacher_layers:
        raise InputError(
            "the student has more layers than its teacher",
            where="layers",
            found=student_layers,
            expected=f"<= {teacher_layers}",
        )
    return tuple(
        (number + 1) * teacher_layers // student_layers - 1
        for number in range(frozen, student_layers)
    )


def teacher_outputs(
    teacher: TrainedModel,
    texts: Sequence[str],
    *,
    layers: tuple[int, ...] = (),
    progress: ProgressCallback = no_progress,
) -> TeacherOutputs:
    """Logits, and states after `layers` (numbers from 0, ascending), in one pass over the texts."""
    config = bert_of(teacher)
    labels = len(teacher.manifest.labels)
    model = BertClassifier(config, labels, teacher.weights)

    def outputs(ids: Any, mask: Any) -> Any:
        means = model.layer_means(model.lower(ids, mask), mask)
        compared = [tf.math.l2_normalize(means[number], axis=1) for number in layers]
        pooled = means[-1] if config.pooling == "mean" else model.pooled(ids, mask)
        return tf.concat([model.head(pooled), *compared], axis=1)

    ids = encode_texts(teacher.tokenizer_json, texts, teacher.manifest.max_tokens)
    rows = Predictor(outputs)(TokenTexts(ids), stage=_stage(teacher), progress=progress)
    states = rows[:, labels:].reshape(len(texts), len(layers), config.hidden_size)
    return TeacherOutputs(logits=np.ascontiguousarray(rows[:, :labels]), states=states)


def teacher_logits(
    teacher: TrainedModel,
    texts: Sequence[str],
    *,
    cache: TeacherCache | None = None,
    progress: ProgressCallback = no_progress,
) -> FloatArray:
    """The teacher's logits [texts, labels], read from `cache` if they are there; the texts may have
    marked mentions."""

    def compute() -> FloatArray:
        encode = encode_marked if bert_of(teacher).pooling == "markers" else encode_texts
        ids = encode(teacher.tokenizer_json, texts, teacher.manifest.max_tokens)
        model = _frozen_model(teacher)
        return Predictor(model.call)(TokenTexts(ids), stage=_stage(teacher), progress=progress)

    return cached_rows(cache, "logits", teacher, texts, compute)


def teacher_tag_probabilities(
    teacher: TrainedModel,
    examples: Sequence[TaggedExample],
    *,
    cache: TeacherCache | None = None,
    progress: ProgressCallback = no_progress,
) -> FloatArray:
    """The teacher's probabilities of each tag [words, labels] for the words of the examples, read
    from `cache` if they are there."""
    manifest = teacher.manifest
    if bert_of(teacher).head != "token_classification":
        raise CheckpointError(
            "cannot teach token classification",
            where=manifest.name,
            expected="a BERT with the head token_classification",
        )
    sentences = ["\n".join(example.words) for example in examples]

    def compute() -> FloatArray:
        return _tag_probabilities(teacher, examples, progress)

    return cached_rows(cache, "tag_probabilities", teacher, sentences, compute)


def _tag_probabilities(
    teacher: TrainedModel, examples: Sequence[TaggedExample], progress: ProgressCallback
) -> FloatArray:
    manifest = teacher.manifest
    features = manifest.word_features
    encoder = word_encoder(teacher.tokenizer_json, manifest.max_tokens, features)
    words = encode_tagged(examples, manifest.labels, encoder)
    logits = logits_by_word(
        Predictor(_frozen_model(teacher).call, inputs=token_specification(features)),
        TokenTexts(words.ids),
        words,
        stage=_stage(teacher),
        progress=progress,
    )
    if manifest.transitions is None:
        return softmax(logits)
    scores = path_scores(manifest.transitions)
    sentences = np.split(logits, np.cumsum(words.counts)[:-1])
    shares = [tag_probabilities(sentence, scores) for sentence in sentences]
    return np.concatenate(shares).astype(np.float32)


def token_states(
    teacher: TrainedModel, token_ids: Iterable[int], *, progress: ProgressCallback = no_progress
) -> FloatArray:
    """The teacher's last state of each token on its own between the special tokens: [n, hidden].

    A table of word pieces holds what they meant before fine-tuning; this is what the task made of
    them (Tulkens & van Dongen 2024, "Model2Vec").
    """
    # All layers are frozen: `lower` runs them all and returns the states of every token.
    model = _frozen_model(teacher)
    before, after = special_tokens(teacher.tokenizer_json)

    def state(ids: Any, mask: Any) -> Any:
        return model.lower(ids, mask)[:, len(before)]

    features = teacher.manifest.word_features
    rows: list[Any] = [[*before, int(token_id), *after] for token_id in token_ids]
    if features is not None:
        rows = [[(token_id, *NO_WORD) for token_id in row] for row in rows]
    texts = TokenTexts(rows)
    return Predictor(state, inputs=token_specification(features))(
        texts, stage=f"{_stage(teacher)}: tokens", progress=progress
    )


def special_tokens(tokenizer_json: str) -> tuple[list[int], list[int]]:
    """The ids that the tokenizer puts before and behind every text."""
    tokenizer = Tokenizer.from_str(tokenizer_json)
    tokenizer.no_padding()
    encoding = tokenizer.encode("a")
    text_positions = [n for n, special in enumerate(encoding.special_tokens_mask) if not special]
    if not text_positions:
        return list(encoding.ids), []
    return list(encoding.ids[: text_positions[0]]), list(encoding.ids[text_positions[-1] + 1 :])


def softmax(logits: FloatArray) -> FloatArray:
    """Logits [..., labels] → shares that add up to 1."""
    odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: FloatArray = odds / odds.sum(axis=-1, keepdims=True)
    return shares


def correct_stale_logits(
    logits: FloatArray, labels: FloatArray, shares_of: Callable[[FloatArray], AnyFloats] = softmax
) -> FloatArray:
    """Logits stored during training [texts, labels], moved to about where the teacher's last step
    on each text led.

    They are from before the update that the text's own labels (0 and 1 [texts, labels]) then made.
    The gradient of the cross-entropy by the logits is `shares_of` them (softmax, or sigmoid where a
    text has any number of labels) − labels, so they move `LABEL_CORRECTION` times its negative.
    """
    corrected: FloatArray = (logits + LABEL_CORRECTION * (labels - shares_of(logits))).astype(
        np.float32
    )
    return corrected


def _frozen_model(teacher: TrainedModel) -> BertClassifier:
    config = bert_of(teacher)
    labels = len(teacher.manifest.labels)
    return BertClassifier(
        config,
        labels,
        teacher.weights,
        frozen_layers=config.layers,
        word_features=teacher.manifest.word_features,
    )


def _stage(teacher: TrainedModel) -> str:
    return f"run teacher {teacher.manifest.name}"
