"""Conversion: from a model to bundles or a bare .tflite file."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from edgeseq.api.bundle import Bundle, converted_bundle
from edgeseq.api.data import DatasetOptions, DatasetSource, load_dataset, resolve_dataset
from edgeseq.api.model import Model, output_folder, resolve_model
from edgeseq.api.options import check_options
from edgeseq.api.progress import ProgressOption, progress_of
from edgeseq.errors import InputError
from edgeseq.formats.codec import from_builtins
from edgeseq.progress import ProgressCallback
from edgeseq.tasks.examples import AnyDataset
from edgeseq.tasks.label_thresholds import threshold_choice
from edgeseq.tasks.registry import get_task
from edgeseq_converters.convert.bare_file import BareFile, convert_to_file
from edgeseq_converters.convert.choose_padding import PaddingOptions
from edgeseq_converters.convert.import_model import ImportedModel, ImportOptions, load_model
from edgeseq_converters.convert.pipeline import convert as convert_bundles
from edgeseq_converters.convert.plan import ConversionOptions
from edgeseq_converters.models.huggingface.heads import check_head

if TYPE_CHECKING:
    from typing_extensions import Unpack


PADDINGS, TRUNCATIONS = ("pre", "post", "none", "auto"), ("pre", "post")


class ConvertOptions(TypedDict, total=False):
    """Options of `convert` and `convert_all`."""

    length: int | None
    runtime: str | None
    max_drop: float | None
    trim_vocab: bool
    min_piece_count: int | None
    padding: str | None
    truncation: str | None
    pad_id: int | None
    thresholds: str | float | None
    task: str | None
    data_dir: str | Path | None
    window: int | None
    target: str | None
    overwrite: bool
    progress: ProgressOption


class TfliteOptions(TypedDict, total=False):
    """Options of `convert_to_tflite`."""

    length: int | None
    runtime: str | None
    ids: str | Path | None
    head: str
    streaming: bool
    overwrite: bool
    progress: ProgressOption


@dataclass(frozen=True)
class ConversionResult:
    """What `convert_all` made.

    Attributes:
        bundles: The bundles, in the order of lowerings and recipes.
        refused: Why a recipe (`recipe lowering`) was left out.
        vocabulary_size: Rows of the embedding table before and after trimming.
        n_retokenized: Validation texts that trimming tokenizes differently.
        n_dev: Validation texts.
    """

    bundles: tuple[Bundle, ...]
    refused: dict[str, str]
    vocabulary_size: tuple[int, int]
    n_retokenized: int
    n_dev: int


def convert(
    model: Model | str | Path,
    data: DatasetSource | None = None,
    *,
    recipe: str = "dynamic_wi8_afp32",
    lowering: str | None = None,
    out: str | Path | None = None,
    **options: Unpack[ConvertOptions],
) -> Bundle:
    """Convert a model to a bundle: quantized, written as TFLite, compared with the float model.

    Args:
        model: A model, or what `load_model` takes.
        data: The data set (or what `load_dataset` takes) to compare on; its test split goes into
            the bundle. By default what the model was trained on.
        recipe: `float32`, `float16`, `dynamic_wi8_afp32`, `weight_only_wi8_afp32`,
            `static_wi8_ai8`, `dynamic_wi4_afp32` or `dynamic_wi4_ei4_afp32`;
            `auto`: the smallest that loses no more than `max_drop`.
        lowering: Of an LSTM `loop` (default), `projected`, `unrolled` or `fused`.
        out: The bundle's folder, whose name is the bundle's; by default a temporary one that is
            removed with the bundle (see `Bundle.save`).
        length: Fixed number of tokens; longer texts are truncated, shorter ones filled up with −1.
            By default open (`unrolled`: the longest that the model takes).
        runtime: An older runtime that must load the file, such as `tflite-runtime==2.14`.
        max_drop: Points of the metric that may be lost on the validation split.
        trim_vocab: Drop the tokens that the train split never uses.
        min_piece_count: With `trim_vocab`, drop tokens that it uses fewer times than this.
        padding: Of a recurrent network from elsewhere that was trained on padded texts without a
            mask: `pre` or `post`, where a text is filled up to its longest input; `none`, the text
            alone; `auto`, which of them scores best on the validation split.
        truncation: Which end of a longer text is cut: its beginning (`pre`, the default with
            padding, as in Keras) or its end (`post`).
        pad_id: The token id of padding, by default 0.
        thresholds: Where a text may have any number of labels: `per-label` (default) or `shared`,
            chosen on the validation split, or one probability for all labels.
        task: What the file `data` is for; by default what its content tells.
        data_dir: Folder of local copies of data.
        window: As for `load_dataset`, where `data` is a table of time steps.
        target: As for `load_dataset`.
        overwrite: Overwrite `out` if it exists.
        progress: A callback, "auto" for a progress bar, or None.

    Raises:
        CheckpointError: The model cannot be read, or does not fit the data.
        ConversionError: The converted model differs from the float model by more than the recipe's
            bound, or the runtime lacks an operator.
        RefusedError: It loses more than `max_drop`.
        OutputError: `out` exists or cannot be written.

    Examples:
        >>> bundle = es.convert(model, data, recipe="dynamic_wi8_afp32", out="bundles/mine")
    """
    check_options(options, ConvertOptions)
    if lowering == "auto":
        raise InputError("several bundles", where="lowering", found="auto", fix="call convert_all")
    recipes, lowerings = (recipe,), () if lowering is None else (lowering,)
    model = resolve_model(model)
    with output_folder(out, f"{model.name or model.source.stem}-{recipe}") as (path, folder):
        result = _convert(model, data, path, (recipes, lowerings), folder=folder, options=options)
    return result.bundles[0]


def convert_all(
    model: Model | str | Path,
    data: DatasetSource | None = None,
    *,
    recipes: Sequence[str] = (),
    lowerings: Sequence[str] = (),
    out: str | Path,
    **options: Unpack[ConvertOptions],
) -> ConversionResult:
    """Convert a model by several recipes and lowerings.

    Args:
        model: A model, or what `load_model` takes.
        data: As for `convert`.
        recipes: As for `convert`; `auto` without others.
        lowerings: As for `convert`; `auto`: all that the model has.
        out: The folder of the bundles MODEL-RECIPE[-LOWERING]; with one of each, the bundle.
        **options: As for `convert`.

    Raises:
        InputError: The recipes and lowerings do not go together.
        Exception: What `convert` raises.

    Examples:
        >>> result = es.convert_all(model, data, recipes=["float32", "float16"], out="all")
        >>> [bundle.name for bundle in result.bundles]
    """
    check_options(options, ConvertOptions)
    combinations = (tuple(recipes), tuple(lowerings))
    return _convert(
        resolve_model(model), data, Path(out), combinations, folder=None, options=options
    )


def _convert(
    model: Model,
    data: DatasetSource | None,
    out: Path,
    combinations: tuple[tuple[str, ...], tuple[str, ...]],
    *,
    folder: tempfile.TemporaryDirectory[str] | None,
    options: ConvertOptions,
) -> ConversionResult:
    min_piece_count, trim_vocab = options.get("min_piece_count"), options.get("trim_vocab", False)
    if min_piece_count is not None and not trim_vocab:
        raise InputError(
            "min_piece_count needs trim_vocab", found=min_piece_count, fix="add trim_vocab"
        )
    recipes, lowerings = combinations
    thresholds = options.get("thresholds")
    conversion = ConversionOptions(
        recipes=recipes,
        lowerings=lowerings,
        length=options.get("length"),
        runtime=options.get("runtime"),
        max_drop=options.get("max_drop"),
        trim_vocabulary=trim_vocab,
        min_piece_count=min_piece_count or 1,
        padding=padding_options(options),
        thresholds=None if thresholds is None else threshold_choice(thresholds),
        overwrite=options.get("overwrite", False),
    )
    with progress_of(options.get("progress", "auto")) as callback:
        dataset = _data_of(model, data, options, callback)
        imported = _import(model, "auto", callback)
        converted = convert_bundles(imported, dataset, out, conversion, progress=callback)
    vocabulary = converted.vocabulary
    return ConversionResult(
        bundles=tuple(converted_bundle(path, folder) for path, _ in converted.bundles),
        refused=converted.refused,
        vocabulary_size=(vocabulary.rows_before, vocabulary.rows_after),
        n_retokenized=vocabulary.changed_tokenization,
        n_dev=len(dataset.dev),
    )


def padding_options(options: Mapping[str, object]) -> PaddingOptions:
    """The options `padding`, `truncation` and `pad_id`; raises `InputError` for unknown values."""
    named = {"side": "padding", "truncation": "truncation", "pad_id": "pad_id"}
    values = {field: options.get(option) for field, option in named.items()}
    for option, choices in (("padding", PADDINGS), ("truncation", TRUNCATIONS)):
        if options.get(option) not in (None, *choices):
            raise InputError(
                "is unknown",
                where=f"--{option}",
                found=options.get(option),
                expected=" or ".join(choices),
            )
    return from_builtins(values, PaddingOptions)


def _import(model: Model, head: str, progress: ProgressCallback) -> ImportedModel:
    """The model's arrays; `head` is that of a Hugging Face checkpoint."""

    options = ImportOptions(
        name=model.name,
        tokenizer=model.tokenizer,
        description=model.description,
        max_tokens=model.max_tokens,
        same_inputs=model.same_inputs,
        head=check_head(head),
    )
    return load_model(model.source, options, progress=progress)


def _data_of(
    model: Model,
    data: DatasetSource | None,
    options: ConvertOptions,
    progress: ProgressOption,
) -> AnyDataset:
    """The data set to convert with: by default what the model was trained on."""
    manifest, data_dir, task = model.manifest, options.get("data_dir"), options.get("task")
    if manifest is not None:
        if task not in (None, manifest.task):
            raise InputError(
                "the model was trained for another task",
                where="--task",
                found=task,
                expected=manifest.task,
                fix="remove it",
            )
        task = manifest.task
    window, target = options.get("window"), options.get("target")
    if not isinstance(data, (str, Path)) and (window is not None or target is not None):
        raise InputError(
            "window and target are of a table of time steps, and none is named",
            where="--window" if target is None else "--target",
            fix="name the table as the data, or remove them",
        )
    if data is not None:
        named: DatasetOptions = {"data_dir": data_dir, "progress": progress}
        named |= {"window": window, "target": target}
        if task is not None:
            named["task"] = get_task(task).name
        return resolve_dataset(data, **named)
    if manifest is None:
        raise InputError(
            "a model from elsewhere needs the data that it was made for",
            where=model.source,
            fix="name the data, or convert to a bare file (--out MODEL.tflite, convert_to_tflite)",
        )
    return load_dataset(
        manifest.training.data_name, task=manifest.task, data_dir=data_dir, progress=progress
    )


def convert_to_tflite(
    model: Model | str | Path,
    out: str | Path,
    *,
    recipe: str = "dynamic_wi8_afp32",
    lowering: str = "auto",
    **options: Unpack[TfliteOptions],
) -> BareFile:
    """Convert a model to a bare .tflite file, without data, tokenizer and labels.

    Args:
        model: A model, or what `load_model` takes.
        out: The .tflite file to write.
        recipe: As for `convert`; not `auto`.
        lowering: As for `convert`.
        length: Fixed number of tokens; by default open.
        runtime: An older runtime that must load the file.
        ids: File of token ids to compare and calibrate on, a JSON list per line, or of arrays
            (.npz, .npy, .csv) for a network over numbers; by default random ones.
        head: Of a Hugging Face checkpoint; `auto`: the one that it was made with.
        streaming: Of a recurrent network: states as inputs and outputs.
        overwrite: Overwrite `out` if it exists.
        progress: A callback, "auto" for a progress bar, or None.

    Returns:
        The file's path, size in bytes, output name and shape, and largest error of an output.

    Raises:
        CheckpointError: The model cannot be read.
        ConversionError: The file differs from the float model, or the runtime lacks an operator.

    Examples:
        >>> es.convert_to_tflite("sentiment.keras", "sentiment.tflite").output
    """
    check_options(options, TfliteOptions)
    ids = options.get("ids")
    conversion = ConversionOptions(
        recipes=(recipe,),
        lowerings=(lowering,),
        length=options.get("length"),
        runtime=options.get("runtime"),
        token_ids=None if ids is None else Path(ids),
        streaming=options.get("streaming", False),
        overwrite=options.get("overwrite", False),
    )
    with progress_of(options.get("progress", "auto")) as callback:
        imported = _import(resolve_model(model), options.get("head", "auto"), callback)
        return convert_to_file(imported, Path(out), conversion, progress=callback)
