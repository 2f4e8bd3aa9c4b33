"""The padding of a model from elsewhere: named, known from its file, or chosen by its scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from edgeseq.errors import CheckpointError, InputError
from edgeseq.formats.padding import Padding, PaddingSide, TruncationSide, describe_scores
from edgeseq.formats.trained_model import TrainedModel
from edgeseq.runtime.text_tokenizer import UNLIMITED_TOKENS, TextTokenizer
from edgeseq.tasks.examples import AnyDataset
from edgeseq.tasks.head import TEXT_HEADS
from edgeseq.tasks.registry import task_of
from edgeseq.tasks.scoring import metric_of
from edgeseq_converters.convert.development_score import development_score, development_texts
from edgeseq_converters.convert.verify.samples import TextInputs
from edgeseq_converters.models.arrays import vocabulary_size
from edgeseq_converters.models.from_trained import network_of
from edgeseq_converters.models.network import TextInput

# In the order of Keras' own defaults: of two with the same score the earlier one is taken.
_SIDES: tuple[PaddingSide, ...] = ("pre", "post", "none")
_TRUNCATIONS: tuple[TruncationSide, ...] = ("pre", "post")


class PaddingOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The padding that a conversion was asked for; None: what the model's file says.

    `side` `auto` takes the best on development texts, of `truncation` alone where that is named.
    `truncation` is by default the file's, else `pre` with padding, as Keras' `pad_sequences`, and
    `post` without.
    """

    side: PaddingSide | Literal["auto"] | None = None
    truncation: TruncationSide | None = None
    pad_id: int | None = None

    @property
    def is_set(self) -> bool:
        """Whether any of them is named."""
        return self != PaddingOptions()


class ChosenPadding(msgspec.Struct, frozen=True):
    """A model's padding; `scores` where it was chosen by them: of each padding the task's metric
    in 0..1, by its sides."""

    padding: Padding
    scores: dict[str, float] = {}


def refuse_padding(options: PaddingOptions, *, where: Path) -> None:
    """Raises `InputError` when a padding is named for a model that knows its own."""
    if options.is_set:
        raise InputError(
            "--padding, --truncation and --pad-id are for recurrent networks from elsewhere",
            where=where,
            found="a model that masks its padding or was trained by edgeseq",
            fix="remove them",
        )


def choose_padding(
    model: TrainedModel,
    text_input: TextInput,
    options: PaddingOptions,
    dataset: AnyDataset,
    *,
    max_tokens: int | None,
) -> ChosenPadding:
    """The padding of `model`; `max_tokens` is the longest input that was named, if it was.

    Raises `InputError` for options that do not go together or with the model, and
    `CheckpointError`, with the score of each padding, for a model of a fixed length without a mask
    whose padding was not named.
    """
    network = model.manifest.network
    is_masked = network is not None and network.mask_zero
    own, side = text_input.padding, options.side
    if side is None and (is_masked or own is not None):
        side = "none" if is_masked or own is None else own.side
    _check_options(model, options, is_masked=is_masked, is_padded=side not in (None, "none"))
    _check_length(model, text_input, max_tokens, side)
    if side is None and text_input.length is None:
        side = "none"
    shortest = network_of(model).required_tokens
    _check_windows(model, shortest, is_padded=side != "none")
    if side is None or side == "auto":
        sides = _SIDES if shortest == 1 else _SIDES[:2]
        scores = _scores(model, sides, options, dataset)
        if side is None:
            n_texts = len(development_texts(dataset))
            raise _refusal(model, text_input, scores, n_texts)
        rank = metric_of(dataset.task).rank
        best = max(scores, key=lambda padding: rank(scores[padding]))
        return ChosenPadding(best, {_name(padding): score for padding, score in scores.items()})
    # Keras' `pad_sequences` cuts the beginning, whichever side it pads.
    usual: TruncationSide = "post" if side == "none" else "pre"
    truncation = options.truncation or (usual if own is None else own.truncation)
    return ChosenPadding(Padding(side, options.pad_id or 0, truncation))


def _check_options(
    model: TrainedModel, options: PaddingOptions, *, is_masked: bool, is_padded: bool
) -> None:
    manifest, rows = model.manifest, vocabulary_size(model)
    is_plain = task_of(manifest.task).head in TEXT_HEADS and manifest.task != "coref"
    if not is_plain and (is_padded or options.truncation == "pre"):
        raise InputError(
            "only plain texts with labels for the whole are padded or cut at their beginning",
            where=manifest.name,
            found=f"the task {manifest.task}",
            fix="remove --padding and --truncation",
        )
    if is_padded and is_masked:
        raise InputError(
            "the model masks its padding, so that padding changes nothing",
            where=manifest.name,
            found=f"--padding {options.side}",
            fix="remove it",
        )
    if options.pad_id is not None and not is_padded:
        raise InputError(
            "--pad-id needs a padding", found=options.pad_id, fix="add --padding pre or post"
        )
    if not 0 <= (options.pad_id or 0) < rows:
        raise InputError(
            "is not a token id of the model",
            where="--pad-id",
            found=options.pad_id,
            expected=f"0 to {rows - 1}",
        )


def _check_length(
    model: TrainedModel, text_input: TextInput, max_tokens: int | None, side: str | None
) -> None:
    """That there is one length to pad to, which is the model's own where it has one."""
    is_padded, length = side not in (None, "none"), text_input.length
    if is_padded and length is None and max_tokens is None:
        raise InputError(
            "a padding needs the number of tokens that the model was trained with",
            where=model.manifest.name,
            fix="name it with --max-tokens",
        )
    if (
        length is not None
        and max_tokens is not None
        and (max_tokens > length or (is_padded and max_tokens < length))
    ):
        raise InputError(
            "the model takes as many tokens as it was trained with",
            where=model.manifest.name,
            found=f"--max-tokens {max_tokens}",
            expected=length if is_padded else f"at most {length}",
            fix="remove it",
        )


def _check_windows(model: TrainedModel, shortest: int, *, is_padded: bool) -> None:
    """That every text fills the windows of the network's convolutions and pooling."""
    if shortest <= (model.manifest.max_tokens if is_padded else 1):
        return
    raise CheckpointError(
        "has no answer to a text that is shorter than the windows of its convolutions and pooling",
        where=model.manifest.name,
        found=f"texts of {model.manifest.max_tokens} tokens" if is_padded else "texts of 1 token",
        expected=f"at least {shortest} tokens",
        fix="name how it was trained to pad: --padding pre or post with --max-tokens",
    )


def _scores(
    model: TrainedModel,
    sides: Sequence[PaddingSide],
    options: PaddingOptions,
    dataset: AnyDataset,
) -> dict[Padding, float]:
    """The float model's score on development texts with each padding that can make a difference,
    of `sides`, in the order of preference.

    Raises `DataError` without development texts.
    """
    examples = development_texts(dataset)
    texts = [example.text for example in examples]
    longest = max(map(len, map(_untruncated(model).token_ids, texts)))
    truncations = (options.truncation,) if options.truncation else _TRUNCATIONS
    if longest <= model.manifest.max_tokens:
        truncations = truncations[:1]
    choices = [
        Padding(side, options.pad_id or 0, truncation)
        for side in sides
        for truncation in truncations
    ]
    return {
        padding: development_score(with_padding(model, padding), examples, dataset)
        for padding in choices
    }


def _untruncated(model: TrainedModel) -> TextTokenizer:
    # Damaged tokenizers are refused there.
    TextInputs(model, vocabulary_size(model))
    return TextTokenizer.from_json(model.tokenizer_json, UNLIMITED_TOKENS)


def with_padding(model: TrainedModel, padding: Padding) -> TrainedModel:
    """The model with another padding."""
    manifest = msgspec.structs.replace(model.manifest, padding=padding)
    return msgspec.structs.replace(model, manifest=manifest)


def _name(padding: Padding) -> str:
    return f"{padding.side}, truncation {padding.truncation}"


def _refusal(
    model: TrainedModel, text_input: TextInput, scores: dict[Padding, float], n_texts: int
) -> CheckpointError:
    metric = metric_of(model.manifest.task)
    truncations = {padding.truncation for padding in scores}
    shown = {
        _name(padding) if len(truncations) > 1 else padding.side: score
        for padding, score in scores.items()
    }
    return CheckpointError(
        f"takes {text_input.length} tokens and has no mask, so that it must be told how it was "
        "trained to pad a text",
        where=model.manifest.name,
        found=f"on {n_texts} development texts {metric.title} {describe_scores(shown)}",
        fix="name it with --padding pre, post or none (auto: the best of these) and --truncation",
    )
