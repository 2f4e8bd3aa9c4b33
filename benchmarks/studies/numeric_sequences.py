"""Public numeric LSTMs in every recipe and lowering: their error as float models and as files.

| name | repository | model | data |
|---|---|---|---|
| `localization` | github.com/CaffeinatedEngineer/LSTM_3D_Localization | PyTorch, two LSTM layers of 64 units: a place from ten readings of three distances | its own splits |
| `fuel` | github.com/AreHumphrey/RNN_Fuel_consumption_prediction | Keras 3, LSTM layers of 64 and 32 units: a car's consumption from eleven facts | its own train and test |
| `prices` | github.com/BingqiShen/Stock-price-prediction-using-LSTM | Keras 2.3, three LSTM layers of 50 units: the highest price of the next day from 90 days | `DatasetForLSTM/GZMT.xlsx`, scaled as there |

The files of a repository are fetched by hand into a folder and are not part of this one.

    python -m studies.numeric_sequences localization FOLDER --out bundles

prints a row per bundle: the error of the framework itself on the test sequences, that of the file,
by how much it rose, the largest difference of the two, and the bundle's size.
"""  # noqa: E501

from __future__ import annotations

import argparse
import re
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt
import tf_keras

import edgeseq as es
from edgeseq.datasets.sequence_data import numbers_of
from edgeseq.errors import EdgeseqError
from edgeseq.formats.bundle_manifest import Lowering
from edgeseq.tasks.examples import AnyDataset
from edgeseq_converters.convert.lower.dispatch import recipes_of
from studies.public_models.torch_reference import DescribedModule

LOWERINGS: tuple[Lowering, ...] = ("loop", "unrolled", "fused")
TITLES = "| recipe | lowering | MAE | rise | largest difference | bytes |"
Floats = npt.NDArray[np.float32]
LAYERS = """
[input]
features = 3
[[layer]]
kind = "lstm"
prefix = "lstm"
[[layer]]
kind = "pool"
how = "last-token"
[[layer]]
kind = "linear"
prefix = "fc"
"""


class PublicModel(NamedTuple):
    """A model with its data, and its own framework's answers to [N, steps, features]."""

    model: es.Model
    data: AnyDataset
    answer: Callable[[Floats], Floats]


def localization(folder: Path, scratch: Path) -> PublicModel:
    """The PyTorch model, whose layers are those of its `train_lstm.py`."""
    names = {"train": "train", "dev": "val", "test": "test"}
    files = {
        split: join_arrays(folder, name, scratch / f"{split}.npz") for split, name in names.items()
    }
    data = es.load_dataset(files["train"], dev=files["dev"], test=files["test"])
    path, description = folder / "lstm_model.pth", scratch / "network.toml"
    description.write_text(LAYERS)
    answer = DescribedModule(path, description).answer
    return PublicModel(es.load_model(path, description=description), data, answer)


def fuel(folder: Path, scratch: Path) -> PublicModel:
    """The Keras 3 model."""
    files = [join_arrays(folder, name, scratch / f"{name}.npz") for name in ("train", "test")]
    path = folder / "fuel_lstm_model.keras"
    model: Any = keras.models.load_model(path, compile=False)
    data = es.load_dataset(files[0], test=files[1])
    return PublicModel(es.load_model(path), data, lambda x: np.asarray(model.predict(x, verbose=0)))


def prices(folder: Path, scratch: Path) -> PublicModel:
    """The Keras 2 model."""
    table = scratch / "prices.csv"
    values = read_column(folder / "GZMT.xlsx", "High")
    scaled = (values - values.min()) / (values.max() - values.min())
    table.write_text("high\n" + "".join(f"{value:.9g}\n" for value in scaled))
    path = folder / "GZMT.xlsx_saved_lstm_model.h5"
    model: Any = tf_keras.models.load_model(path, compile=False)
    data = es.load_dataset(table, window=90, target="high")
    return PublicModel(es.load_model(path), data, lambda x: np.asarray(model.predict(x, verbose=0)))


SOURCES: dict[str, Callable[[Path, Path], PublicModel]] = {
    "localization": localization,
    "fuel": fuel,
    "prices": prices,
}


def join_arrays(folder: Path, name: str, out: Path) -> Path:
    """`X_NAME.npy` and `y_NAME.npy` as one file."""
    arrays = {
        key: np.load(folder / f"{title}_{name}.npy") for key, title in (("x", "X"), ("y", "y"))
    }
    np.savez(out, **{key: array.astype(np.float32) for key, array in arrays.items()})
    return out


def read_column(path: Path, title: str) -> npt.NDArray[np.float64]:
    """The numbers below `title` on the first sheet of an .xlsx file; `ValueError` without them."""
    with zipfile.ZipFile(path) as archive:
        strings = re.findall(r"<t[^>]*>([^<]*)</t>", archive.read("xl/sharedStrings.xml").decode())
        sheet = archive.read("xl/worksheets/sheet1.xml").decode()
    cells = re.findall(r'<c r="([A-Z]+)(\d+)"([^>]*)><v>([^<]*)</v>', sheet)
    columns = [
        column
        for column, row, kind, value in cells
        if row == "1" and 't="s"' in kind and strings[int(value)] == title
    ]
    if not columns:
        raise ValueError(f"{path} has no column {title}")
    return np.asarray(
        [float(value) for column, row, _, value in cells if column == columns[0] and row != "1"]
    )


class AnsweredTest(NamedTuple):
    """The test sequences, each [steps, features], with their targets and the framework's answers,
    both [N, outputs]."""

    sequences: list[Floats]
    targets: npt.NDArray[Any]
    expected: Floats


def answered_test(public: PublicModel) -> AnsweredTest:
    """The test split as the framework answers it."""
    sequences = [numbers_of(public.data, example) for example in public.data.test]
    targets = np.asarray([example.target for example in public.data.test])
    return AnsweredTest(sequences, targets, public.answer(np.stack(sequences)))


def bundle_row(
    public: PublicModel, test: AnsweredTest, recipe: str, lowering: Lowering, out: Path
) -> str:
    """One row of the table."""
    try:
        bundle = es.convert(
            public.model,
            public.data,
            recipe=recipe,
            lowering=lowering,
            out=out,
            overwrite=True,
            progress=None,
        )
    except EdgeseqError as refusal:
        return f"| {recipe} | {lowering} | refused: {refusal.what} | | | |"
    predicted = bundle.predict_sequences(test.sequences)
    values = np.asarray([list(prediction.values.values()) for prediction in predicted])
    error, float_error = (np.abs(x - test.targets).mean() for x in (values, test.expected))
    return (
        f"| {recipe} | {lowering} | {error:.5f} | {error / float_error - 1:+.2%} "
        f"| {np.abs(values - test.expected).max():.2g} | {bundle.size_bytes:,} |"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Converts, and prints the rows."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("name", choices=sorted(SOURCES))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    public = SOURCES[options.name](options.folder, options.out)
    test = answered_test(public)
    sys.stdout.write(f"{public.data}\n{TITLES}\n|{'---|' * 6}\n")
    for lowering in LOWERINGS:
        for recipe in recipes_of("lstm", lowering):
            out = options.out / f"{recipe}-{lowering}"
            sys.stdout.write(f"{bundle_row(public, test, recipe, lowering, out)}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
