"""Settings of a training: what `[model.train]` of a suite and `edgeseq train --set` take."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from edgeseq.errors import InputError
from edgeseq.formats.codec import from_builtins
from edgeseq.tasks.coreference import COREF
from edgeseq.tasks.head import is_numeric
from edgeseq.tasks.registry import task_of
from edgeseq.tasks.word_features import WordFeatures

if TYPE_CHECKING:  # loads NumPy, which the check of settings does without
    from edgeseq_converters.training.teacher_cache import TeacherCache

# Upper limits are far above what anyone trains here: they catch a mistyped number in a line instead
# of after hours, or as a process without memory.
Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Epochs = Annotated[int, msgspec.Meta(ge=1, le=10_000)]
Width = Annotated[int, msgspec.Meta(ge=1, le=8192)]
Layers = Annotated[int, msgspec.Meta(ge=1, le=128)]
Tokens = Annotated[int, msgspec.Meta(ge=8, le=65_536)]
Fraction = Annotated[float, msgspec.Meta(ge=0, lt=1)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Weight = Annotated[float, msgspec.Meta(ge=0, le=1e6)]
Rate = Annotated[float, msgspec.Meta(gt=0, le=1)]
Positive = Annotated[float, msgspec.Meta(gt=0, le=1e6)]
Passes = Annotated[float, msgspec.Meta(gt=0, le=10_000)]
Number = Annotated[int, msgspec.Meta(ge=0, le=10_000_000)]
Seed = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1000)]
"""NumPy's and TensorFlow's seeds have 32 bits; a training with several seeds counts up from it."""

WEIGHTS_LIMIT = 500_000_000
"""2 GB in float32, and three times that for the optimizer."""


class ClassifierSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings of every training with labels, per text or per word.

    - `warmup_ratio`: the share of the steps in which the learning rate rises; then it falls to 0.
    - `max_grad_norm`: gradients are scaled to this global norm at most.
    - `hard_label_weight`: with a teacher, the weight of the loss on the labels beside the loss on
      the teacher's logits. Per text that is the mean squared error to the logits (Tang et al. 2019,
      "Distilling Task-Specific Knowledge from BERT into Simple Neural Networks"), per word
      cross-entropy to a mixture of label and teacher's distribution.
    - `transfer_size`: number of texts made from the training texts that the teacher labels;
      `unlabelled`: collections whose texts it labels (`edgeseq_converters.training.transfer`);
      `fragment_ratio`: the share of the made texts that are short runs of words.
    - `min_piece_count`: word pieces rarer in the training texts leave the vocabulary, which changes
      no prediction for a text without them; 0 keeps all.
    - `max_tokens`: longer texts are truncated; special tokens count.
    - `word_feature_size`: of a token classifier, numbers per word for each of its shape, prefix and
      suffix (`edgeseq.tasks.word_features`); 0: it sees the word pieces alone. `word_feature_rows`:
      rows of each of the three tables.
    - `patience`: epochs without a better development score before training ends.
    - `pooling` `markers`: for texts with marked mentions (the task `coref`); each text is learnt
      with its two names in both roles.
    - `crf`: for a label per word. Scores between the labels of words that follow each other are
      learnt too, and the best path of labels is decoded (`edgeseq_converters.training.crf`).
    """

    epochs: Epochs
    batch_size: Count
    learning_rate: Rate
    warmup_ratio: Fraction
    weight_decay: Weight
    dropout: Fraction
    patience: Count
    max_grad_norm: Positive = 1.0
    hard_label_weight: Weight = 0.3
    transfer_size: Number = 0
    fragment_ratio: Share = 0.5
    unlabelled: tuple[str, ...] = ()
    min_piece_count: Number = 0
    max_tokens: Tokens = 128
    crf: bool = False
    word_feature_size: Annotated[int, msgspec.Meta(ge=0, le=8192)] = 0
    word_feature_rows: Count = 2000
    seed: Seed = 0

    @property
    def word_features(self) -> WordFeatures | None:
        """The tables of word features, None without them."""
        if not self.word_feature_size:
            return None
        return WordFeatures(rows=self.word_feature_rows, size=self.word_feature_size)


class BertSettings(ClassifierSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a BERT is fine-tuned.

    Accuracy on the development split of `customer-feedback` (MiniLM-L6, 19,000 training texts), and
    work, counting a layer's forward pass as 1 and its backward pass as 2: two epochs above 2 frozen
    layers 77.1 % for 26 (the defaults), two above 3 frozen 76.1 % for 21, one above 2 frozen 75.9 %
    for 14. Each is one run, the last two before duplicates left the set; 1 point is about the
    standard error.

    - `frozen_layers`: the lowest layers, which are not trained; None: a third of them. With more
      than one epoch their states are computed once.
    - `head_lr_multiplier`: the head starts at 0 and learns this much faster.
    - `layer_decay`: each layer learns this much slower than the one above it (Howard & Ruder 2018,
      "Universal Language Model Fine-tuning for Text Classification", discriminative fine-tuning).
    - `score_weight`: where all training examples have a score (the raters' mean), the weight of a
      second head's squared error to it; the head is dropped after training.
    - `score_noise`: the standard error of those scores. A text whose score lies near a border
      between two classes then counts partly as each (`edgeseq_converters.training.texts`).
    - `hidden_state_weight`: with a teacher, the weight of the squared distance of the states.
    - `layers`: how many of the checkpoint's layers are kept, evenly spread from the lowest on;
      None: all.
    """

    epochs: Epochs = 2
    batch_size: Count = 32
    learning_rate: Rate = 2e-4
    warmup_ratio: Fraction = 0.06
    weight_decay: Weight = 0.01
    dropout: Fraction = 0.05
    patience: Count = 2
    frozen_layers: Number | None = None
    head_lr_multiplier: Weight = 5.0
    layer_decay: Rate = 1.0
    score_weight: Weight = 0.5
    score_noise: Weight = 0.0
    hidden_state_weight: Weight = 1.0
    pooling: Literal["mean", "cls", "markers"] = "mean"
    layers: Layers | None = None


class StudentSettings(ClassifierSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a small model with an embedding table of its own is trained, alone or from a teacher.

    - `token_dropout`: the share of the tokens whose embedding is set to 0.
    - `pretrained_embeddings`: the embedding table starts as the word-piece table of the teacher or
      checkpoint, projected to `embedding_size` by principal components; else at random.
    - `token_state_weight`: the table starts as the teacher's table beside the state that the
      teacher's last layer gives each piece on its own, both projected (Tulkens & van Dongen 2024,
      "Model2Vec"). This is the weight of the states; 0 leaves them out.
    """

    epochs: Epochs = 6
    batch_size: Count = 128
    learning_rate: Rate = 3e-3
    warmup_ratio: Fraction = 0.05
    weight_decay: Weight = 0.0
    dropout: Fraction = 0.3
    patience: Count = 3
    token_dropout: Fraction = 0.1
    embedding_size: Width = 128
    hidden_size: Width = 128
    pretrained_embeddings: bool = True
    token_state_weight: Weight = 0.0
    min_piece_count: Number = 2


class LstmSettings(StudentSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How an LSTM is trained, alone or from a teacher.

    With `min_piece_count` 1 the int8 model of `customer-feedback` has 3.2 MB.
    """

    layers: Layers = 1
    bidirectional: bool = True
    pooling: Literal["max", "mean", "last", "markers"] = "max"


class BagSettings(StudentSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a bag of embeddings is trained, alone or from a teacher; it labels texts alone.

    `hidden_size` is that of the layer between the pooled embeddings and the head.
    """

    pooling: Literal["max", "mean"] = "mean"


class LmSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings of every language model.

    - `epochs` may be a fraction: a pass over WikiText-2 takes minutes.
    - `warmup_steps`: steps in which the learning rate rises; `constant_ratio`: the share of the
      training at the peak rate, from which it falls to 0 in a straight line.
    - `num_sampled`: words of the sampled softmax (`edgeseq_converters.training.language_model
      .sampling`).
    - `embedding_dropout` is of the words' vectors, `output_dropout` of the states before the
      softmax.
    - `min_word_count`: rarer words are unknown.
    """

    epochs: Passes
    batch_size: Count
    learning_rate: Rate
    warmup_steps: Count
    embedding_size: Width
    embedding_dropout: Fraction
    output_dropout: Fraction
    max_grad_norm: Positive
    num_sampled: Count = 1536
    constant_ratio: Fraction = 0.5
    weight_decay: Weight = 0.02
    min_word_count: Count = 1
    seed: Seed = 0


class LmLstmSettings(LmSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How an LSTM language model is trained.

    - `batch_size` texts are read side by side, `bptt_steps` words of each at a time; the gradient
      is truncated there and the state carried along.
    - `pretrained_embeddings`: the table starts as the checkpoint's word pieces, projected down;
      else at random.
    - `word_cache_size`: words that followed states like the present one, among so many read last,
      become likelier (`edgeseq.tasks.word_cache`); 0: none. How much is fitted to the development
      split after training.
    """

    epochs: Passes = 8.0
    batch_size: Count = 64
    bptt_steps: Count = 35
    learning_rate: Rate = 3e-3
    warmup_steps: Count = 200
    embedding_size: Width = 256
    hidden_size: Width = 384
    embedding_dropout: Fraction = 0.2
    output_dropout: Fraction = 0.3
    max_grad_norm: Positive = 0.5
    pretrained_embeddings: bool = True
    word_cache_size: Annotated[int, msgspec.Meta(ge=0, le=65_536)] = 0


class LmBertSettings(LmSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a causal transformer is trained from the lowest layers of a BERT.

    - `batch_size` windows of `context_length` words per step. That is also the most that the model
      ever sees at once: the positions that are kept of the checkpoint.
    - `embedding_size` of 176 makes a file as large as the LSTM's (10.3 and 10.2 MB in int8).
    - `embedding_lr_multiplier`: the embedding table learns this much faster than the rest. A word
      is seen seldom, and the layers start from pre-trained weights.
    """

    epochs: Passes = 3.0
    batch_size: Count = 8
    context_length: Annotated[int, msgspec.Meta(ge=2, le=8192)] = 128
    learning_rate: Rate = 1e-3
    warmup_steps: Count = 50
    embedding_size: Width = 176
    layers: Layers = 2
    embedding_dropout: Fraction = 0.1
    output_dropout: Fraction = 0.1
    max_grad_norm: Positive = 1.0
    embedding_lr_multiplier: Positive = 2.0


class TrainerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a run of a training needs besides its settings.

    - `name`: the model's name; None: that of the output folder.
    - `teacher`: the trained-model folder of a BERT to distil from.
    - `checkpoint`: pre-trained weights; None: the teacher's, else the default checkpoint's, whose
      package file `data_dir` may hold.
    - `overwrite`: replace an existing output folder.
    - `checkpoint_interval_s`: seconds between two writes of the training's state beside the output
      (0: every step), from which an interrupted training resumes; None: never.
    - `max_seconds`: pause after this time with the state written; the same training resumes later.
    - `teacher_cache`: keeps the teacher's logits for its other students.
    """

    name: str | None = None
    teacher: Path | None = None
    checkpoint: str | Path | None = None
    data_dir: Path | None = None
    overwrite: bool = False
    checkpoint_interval_s: Annotated[float, msgspec.Meta(ge=0)] | None = None
    max_seconds: Annotated[float, msgspec.Meta(gt=0)] | None = None
    teacher_cache: TeacherCache | None = None


AnyClassifierSettings = BertSettings | LstmSettings | BagSettings
AnySettings = AnyClassifierSettings | LmBertSettings | LmLstmSettings

_MENTIONS: dict[str, Any] = {"pooling": "markers", "max_tokens": 512}
"""All passages of GAP are shorter."""
TASK_DEFAULTS: dict[tuple[str, str], dict[str, Any]] = {
    ("coref", "bert"): _MENTIONS
    | {"epochs": 3, "batch_size": 16, "learning_rate": 1.5e-4, "warmup_ratio": 0.1}
    | {"dropout": 0.1, "frozen_layers": 0},
    ("coref", "lstm"): _MENTIONS | {"epochs": 12, "batch_size": 64, "dropout": 0.4, "patience": 4},
    ("token-classification", "bert"): {"epochs": 3, "frozen_layers": 0},
    ("token-classification", "lstm"): {"epochs": 8, "batch_size": 64, "hard_label_weight": 0.5},
}
"""Defaults by (task or head, architecture) that differ. `coref`: few texts, read often, and all
layers must change for a question that no pre-training asked. Token classification: every word is an
example, so smaller batches; parts of speech are known in the lowest layers, so none is frozen."""


def settings_type(arch: str, task: str) -> type[AnySettings]:
    """The settings of `arch` (`lstm`, `bert` or `bag`) for `task`.

    Raises `InputError` for another architecture, for numeric sequences, and for a bag where a text
    has no label of its own or is a question about two of its words.
    """
    if is_numeric(task_of(task).head):
        raise InputError(
            "numeric sequences are converted and measured, not trained on",
            where="task",
            found=task,
            fix="train with Keras or PyTorch, then run `edgeseq convert`",
        )
    if arch not in ("lstm", "bert", "bag"):
        raise InputError("unknown architecture", found=repr(arch), expected="lstm, bert or bag")
    if arch == "bag":
        if task_of(task).head != "text-classification" or task == COREF.name:
            raise InputError(
                "a bag of embeddings labels whole texts alone",
                where="arch",
                found=f"the task {task}",
                fix="train an lstm or a bert",
            )
        return BagSettings
    if task_of(task).is_streaming:
        return LmBertSettings if arch == "bert" else LmLstmSettings
    return BertSettings if arch == "bert" else LstmSettings


def read_settings(values: Mapping[str, Any], arch: str, task: str) -> AnySettings:
    """Settings from a table of a suite file or from options; the rest are the task's defaults.

    Raises `InputError` naming the setting that is unknown or out of range.
    """
    kind = settings_type(arch, task)
    defaults: dict[str, Any] = {}
    for name in (task_of(task).head, task):
        defaults = TASK_DEFAULTS.get((name, arch), defaults)
    try:
        settings: AnySettings = from_builtins(defaults | dict(values), kind)
    except msgspec.ValidationError as failure:
        raise InputError(
            "invalid training setting",
            where="train",
            found=str(failure),
            expected="settings among " + ", ".join(kind.__struct_fields__),
        ) from failure
    if isinstance(settings, ClassifierSettings) and settings.crf:
        _check_crf(task)
    _check_size(settings)
    _check_word_features(settings, task)
    return settings


def _check_word_features(settings: AnySettings, task: str) -> None:
    """Raises `InputError` for word features of a task without a label per word, and below layers
    that are not trained."""
    if isinstance(settings, LmSettings) or not settings.word_feature_size:
        return
    if task_of(task).head != "token-classification":
        raise InputError(
            "word features are for token classification",
            where="word_feature_size",
            found=f"the task {task}",
            fix="remove it",
        )
    if isinstance(settings, BertSettings) and settings.frozen_layers != 0:
        raise InputError(
            "word features are learnt below all layers, so that none can be frozen",
            where="frozen_layers",
            found=settings.frozen_layers,
            expected=0,
            fix="set frozen_layers=0",
        )


def _check_crf(task: str) -> None:
    """Raises `InputError` where words have no labels of their own."""
    if task_of(task).head != "token-classification":
        raise InputError(
            "a CRF needs a label for each word",
            where="crf",
            found=f"the task {task}",
            fix="leave crf out",
        )


def read_classifier_settings(
    values: Mapping[str, Any], arch: str, task: str
) -> AnyClassifierSettings:
    """`read_settings` of a task with labels; raises `InputError` for a language model as well."""
    settings = read_settings(values, arch, task)
    if isinstance(settings, LmSettings):
        raise InputError("needs a task with labels", where="task", found=task)
    return settings


def _check_size(settings: AnySettings) -> None:
    """Raises `InputError` for a recurrent network that no machine here could train."""
    if not isinstance(settings, LstmSettings | LmLstmSettings):
        return
    layers = settings.layers if isinstance(settings, LstmSettings) else 1
    directions = 2 if isinstance(settings, LstmSettings) and settings.bidirectional else 1
    hidden, inputs = settings.hidden_size, settings.embedding_size
    # Four gates (Hochreiter & Schmidhuber 1997), each with a matrix for the input and the state.
    first = 4 * hidden * (inputs + hidden)
    others = (layers - 1) * 4 * hidden * (directions * hidden + hidden)
    weights = directions * (first + others)
    if weights > WEIGHTS_LIMIT:
        raise InputError(
            "the network is too large",
            where="train",
            found=f"{weights:,} weights in its layers",
            expected=f"<= {WEIGHTS_LIMIT:,}",
            fix="make hidden_size, embedding_size or layers smaller",
        )


def check_teacher(settings: AnySettings, *, has_teacher: bool) -> None:
    """Raises `InputError` for a setting that needs a teacher, without one, and for a language model
    with one."""
    if isinstance(settings, LmSettings):
        if has_teacher:
            raise InputError("distillation is not supported for language models", where="teacher")
        return
    for name in ("transfer_size", "unlabelled", "token_state_weight"):
        if getattr(settings, name, None) and not has_teacher:
            raise InputError("needs a teacher", where=name, fix="name one with --teacher")
