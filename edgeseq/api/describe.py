"""Descriptions of weights that have no layers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from edgeseq.api.convert import padding_options
from edgeseq.api.data import DatasetSource, resolve_dataset
from edgeseq.api.model import Model, resolve_model
from edgeseq.api.options import check_options
from edgeseq.api.progress import ProgressOption, progress_of
from edgeseq_converters.convert.describe_weights import DescribedWeights, write_description
from edgeseq_converters.convert.describe_weights import describe_weights as describe
from edgeseq_converters.convert.import_model import ImportOptions
from edgeseq_converters.convert.plan import ConversionOptions

if TYPE_CHECKING:
    from typing_extensions import Unpack


class DescribeWeightsOptions(TypedDict, total=False):
    """Options of `describe_weights`."""

    padding: str | None
    truncation: str | None
    pad_id: int | None
    data_dir: str | Path | None
    overwrite: bool
    progress: ProgressOption


def describe_weights(
    model: Model | str | Path,
    data: DatasetSource | None = None,
    *,
    out: str | Path | None = None,
    **options: Unpack[DescribeWeightsOptions],
) -> DescribedWeights:
    """Tell the layers of PyTorch or Keras weights by the names and shapes of their arrays.

    What these do not tell is "?" in the text, such as pooling and activations. With data the
    possible values are compared on the development part, and the best are proposed.

    Args:
        model: A file of weights, or a model that `load_model` made of one, with its tokenizer.
        data: The data set (or what `load_dataset` takes) to compare on; needs a tokenizer.
        out: The TOML file to write, which `load_model` takes as `description`.
        padding: As for `convert`.
        truncation: As for `convert`.
        pad_id: As for `convert`.
        data_dir: Folder of local copies of data.
        overwrite: Overwrite `out` if it exists.
        progress: A callback, "auto" for a progress bar, or None.

    Returns:
        The text, what is unknown in it, and the scores of what was compared.

    Raises:
        CheckpointError: The layers cannot be told, or do not fit the data.
        InputError: Data without a tokenizer.
        OutputError: `out` exists or cannot be written.

    Examples:
        >>> es.describe_weights("weights.pt", out="network.toml").unknown
    """
    check_options(options, DescribeWeightsOptions)
    model = resolve_model(model)
    imported = ImportOptions(
        name=model.name, tokenizer=model.tokenizer, max_tokens=model.max_tokens
    )
    conversion = ConversionOptions(padding=padding_options(options))
    with progress_of(options.get("progress", "auto")) as callback:
        dataset = None
        if data is not None:
            data_dir = options.get("data_dir")
            dataset = resolve_dataset(data, data_dir=data_dir, progress=callback)
        described = describe(model.source, dataset, imported, conversion, progress=callback)
    if out is not None:
        write_description(described, Path(out), overwrite=options.get("overwrite", False))
    return described
