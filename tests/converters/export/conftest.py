"""Bundles that are exported for the web, and their pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

import edgeseq as es
from edgeseq.formats.trained_model import read_model_folder, write_model_folder
from edgeseq_converters.convert.import_model import load_model
from edgeseq_converters.convert.pipeline import convert
from edgeseq_converters.convert.plan import ConversionOptions

from ...multilabel_data import as_multilabel


@pytest.fixture(scope="session")
def web_bundles(
    tmp_path_factory: pytest.TempPathFactory,
    lstm_folder: Path,
    bert_folder: Path,
    invented_dataset: Any,
) -> dict[str, Path]:
    """An LSTM in int8 and a BERT in float32, by architecture; and the LSTM with any number of
    labels per text."""
    root = tmp_path_factory.mktemp("web-bundles")
    for folder, recipe in ((lstm_folder, "dynamic_wi8_afp32"), (bert_folder, "float32")):
        options = ConversionOptions(recipes=(recipe,))
        convert(load_model(folder), invented_dataset, root / folder.name, options)
    model = read_model_folder(lstm_folder)
    manifest = msgspec.structs.replace(model.manifest, task="multilabel-classification")
    labels_folder = tmp_path_factory.mktemp("labels") / "labels"
    write_model_folder(labels_folder, msgspec.structs.replace(model, manifest=manifest))
    options = ConversionOptions(recipes=("float32",))
    data = as_multilabel(invented_dataset)
    convert(load_model(labels_folder), data, root / "labels", options)
    return {name: root / name for name in ("lstm", "bert", "labels")}


@pytest.fixture(scope="session")
def pages(
    tmp_path_factory: pytest.TempPathFactory, web_bundles: dict[str, Path]
) -> dict[str, Path]:
    """Their exports, with the libraries that npm fetches."""
    root = tmp_path_factory.mktemp("pages")
    for name, bundle in web_bundles.items():
        es.export(bundle, "web", out=root / name)
    return {name: root / name for name in web_bundles}
