"""Numeric sequences all the way: arrays and weights to bundles, predictions, results, reports."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import edgeseq as es
from edgeseq.cli.convert_table import print_error_rise
from edgeseq.datasets.sequence_data import Windows, load_sequences, numbers_of
from edgeseq.errors import (
    BundleError,
    CheckpointError,
    ConversionError,
    DataError,
    InputError,
    RefusedError,
)
from edgeseq.formats.bundle import read_bundle
from edgeseq.formats.listed_files import FileEntry
from edgeseq.formats.result import ResultRecord, Settings
from edgeseq.formats.storage import write_json
from edgeseq.formats.trained_model import ModelManifest, TrainedModel, not_trained_here
from edgeseq.reporting.deployment_report import make_report
from edgeseq.reporting.rows import derive_row
from edgeseq.tasks.regression import MAE, RMSE
from edgeseq_benchmarks.bench.runner import bench
from edgeseq_benchmarks.bench.sequence_predictor import predict_sequences
from edgeseq_benchmarks.bench.verify import verify
from edgeseq_converters.convert.import_model import ImportOptions, load_model
from edgeseq_converters.convert.pipeline import convert
from edgeseq_converters.convert.plan import ConversionOptions
from edgeseq_converters.convert.quantize.output_correction import (
    correct_outputs,
    network_of_features,
)
from edgeseq_converters.models.from_trained import network_of
from edgeseq_converters.models.network_layers import Dense
from edgeseq_converters.models.read import read_network
from edgeseq_converters.models.reference import reference_answers
from edgeseq_converters.models.reference_recurrent import answers
from edgeseq_converters.models.stored_network import network_to_folder

from ...sequence_models import write_sequence_model

STEPS, FEATURES, COUNT = 8, 2, 40
NUMBERS, CLASSES = "sequence", "sequence-classification"


def write_model(folder: Path, outputs: int, activation: str) -> es.Model:
    """A random LSTM that gives so many outputs."""
    rng, sizes = np.random.default_rng(outputs), (FEATURES, 16, outputs)
    weights, description = write_sequence_model(
        folder, rng, sizes=sizes, scale=0.4, activation=activation
    )
    return es.load_model(weights, description=description)


def float_answers(folder: Path, sequences: Any) -> Any:
    network = read_network(folder / "m.safetensors", description=folder / "network.toml")
    return np.stack(answers(network, list(sequences)))


Bundles = dict[str, tuple[es.Bundle, Path]]


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Bundles:
    """A bundle that predicts two numbers and one that predicts one of three classes, with the
    folders of their weights and arrays; targets are the float model's with some noise."""
    rng = np.random.default_rng(0)
    sequences = rng.normal(size=(COUNT, STEPS, FEATURES)).astype(np.float32)
    bundles = {}
    for task, outputs, activation in ((NUMBERS, 2, "linear"), (CLASSES, 3, "softmax")):
        folder = tmp_path_factory.mktemp(task)
        model = write_model(folder, outputs, activation)
        answer = float_answers(folder, sequences)
        targets = answer + rng.normal(size=answer.shape, scale=0.1)
        y = targets if task == NUMBERS else targets.argmax(axis=1)
        np.savez(folder / "data.npz", x=sequences, y=y)
        bundle = es.convert(model, folder / "data.npz", out=folder / "bundle", progress=None)
        bundles[task] = (bundle, folder)
    return bundles


def test_a_bundle_predicts_numbers_as_the_float_model(converted: Bundles) -> None:
    bundle, folder = converted[NUMBERS]
    sequences = np.load(folder / "data.npz")["x"]
    predicted = bundle.predict_sequences(sequences)
    assert bundle.labels == ("y.0", "y.1")
    values = np.asarray([list(prediction.values.values()) for prediction in predicted])
    assert np.abs(values - float_answers(folder, sequences)).max() < 0.02
    assert {prediction.label for prediction in predicted} == {None}
    fidelity = bundle.manifest.fidelity
    assert fidelity.label_agreement is None
    assert fidelity.score == pytest.approx(fidelity.float_score, rel=0.1)


def test_a_bundle_predicts_classes_as_the_float_model(converted: Bundles) -> None:
    bundle, folder = converted[CLASSES]
    sequences = np.load(folder / "data.npz")["x"]
    predicted = bundle.predict_sequences(list(sequences))
    values = np.asarray([list(prediction.values.values()) for prediction in predicted])
    assert np.abs(values - float_answers(folder, sequences)).max() < 0.02
    assert bundle.manifest.fidelity.label_agreement == 1.0
    assert predicted[0].label == max(
        predicted[0].values, key=lambda name: predicted[0].values[name]
    )


@pytest.fixture
def measure(brief: Settings) -> Callable[[es.Bundle], ResultRecord]:
    """Measures a bundle in a moment."""
    both = msgspec.structs.replace(brief, runners=("native", "python"))
    return lambda bundle: bench([bundle.path], settings=both)


def test_a_measurement_has_the_errors_that_the_predictions_make(
    converted: Bundles, measure: Callable[[es.Bundle], ResultRecord]
) -> None:
    bundle, folder = converted[NUMBERS]
    data = load_sequences({"train": folder / "data.npz"})
    sequences = [numbers_of(data, example) for example in data.test]
    targets = np.asarray([example.target for example in data.test])
    predicted = bundle.predict_sequences(sequences)
    errors = np.asarray([list(prediction.values.values()) for prediction in predicted]) - targets
    record = measure(bundle)
    assert sorted(run.runner for run in record.runs) == ["native", "python"]
    for run in record.runs:
        assert run.predictions is not None
        row = derive_row(record, run)
        assert row.metric == "mae"
        assert row.score == pytest.approx(np.abs(errors).mean(), rel=1e-6)
        sums = RMSE.counts(run.predictions, bundle.labels).sum(axis=0)
        assert float(RMSE.value(sums)) == pytest.approx(np.sqrt((errors**2).mean()), rel=1e-6)
        assert (row.n_examples, row.n_answers) == (len(data.test), 2 * len(data.test))
        assert {point.tokens for point in run.lengths} == {8}
        assert max(phase.rss_bytes for phase in run.memory) > 1e6
        assert not [finding for finding in run.findings if finding.code == "native-not-run"]
    assert "| model | MAE | " in make_report([record]).to_markdown()


def test_a_measurement_of_classes_has_an_accuracy(
    converted: Bundles, measure: Callable[[es.Bundle], ResultRecord]
) -> None:
    bundle, folder = converted[CLASSES]
    data = load_sequences({"train": folder / "data.npz"})
    predicted = bundle.predict_sequences([numbers_of(data, example) for example in data.test])
    right = [p.label == example.label for p, example in zip(predicted, data.test, strict=True)]
    record = measure(bundle)
    row = derive_row(record, record.runs[0])
    assert (row.metric, row.score) == ("accuracy", sum(right) / len(right))


def test_less_error_is_better() -> None:
    assert MAE.rank(0.1) > MAE.rank(0.2) > MAE.rank(None)
    assert MAE.points(0.1, 0.101) == pytest.approx(100 * np.log(1.01))


def test_a_bundle_of_a_fixed_length_takes_no_other(converted: Bundles, tmp_path: Path) -> None:
    _, folder = converted[NUMBERS]
    model = es.load_model(folder / "m.safetensors", description=folder / "network.toml")
    data = folder / "data.npz"
    bundle = es.convert(model, data, lowering="unrolled", out=tmp_path / "b", progress=None)
    (entry,) = bundle.manifest.signature.inputs
    assert entry.shape == (1, STEPS, FEATURES)
    with pytest.raises(DataError, match=r"found \[7, 2\], expected \[8, 2\]"):
        bundle.predict_sequences([np.zeros((7, FEATURES))])
    with pytest.raises(DataError, match="has sequences that do not have the model's fixed length"):
        es.convert(model, data, length=5, out=tmp_path / "c", progress=None)


def test_an_open_length_beforehand_does_not_let_a_fixed_one_take_other_lengths(
    converted: Bundles, tmp_path: Path
) -> None:
    _, folder = converted[NUMBERS]
    arrays = np.load(folder / "data.npz")
    rows = arrays["x"].reshape(-1, FEATURES)
    lengths = [STEPS - 1, STEPS + 1] * (COUNT // 2)
    np.savez(tmp_path / "mixed.npz", x=rows, y=arrays["y"], lengths=lengths)
    data = load_sequences({"train": tmp_path / "mixed.npz"})
    description = folder / "network.toml"
    imported = load_model(folder / "m.safetensors", ImportOptions(description=description))
    options = ConversionOptions(lowerings=("loop", "unrolled"))
    with pytest.raises(DataError, match=r"do not have the model's fixed length: found 7, 9, exp"):
        convert(imported, data, tmp_path / "bundles", options)


def test_a_float_that_loses_too_much_is_refused(converted: Bundles, tmp_path: Path) -> None:
    """The float model is off by next to nothing."""
    _, folder = converted[NUMBERS]
    model = es.load_model(folder / "m.safetensors", description=folder / "network.toml")
    arrays = np.load(folder / "data.npz")
    answer = float_answers(folder, arrays["x"])
    np.savez(tmp_path / "exact.npz", x=arrays["x"], y=answer + 1e-5)
    with pytest.raises(RefusedError, match=r"points of MAE, .* on 4 development examples"):
        es.convert(
            model,
            tmp_path / "exact.npz",
            recipe="dynamic_wi4_afp32",
            max_drop=0,
            out=tmp_path / "b",
            progress=None,
        )
    assert [path.name for path in tmp_path.iterdir()] == ["exact.npz"]


def test_what_rounding_moved_is_moved_back(converted: Bundles) -> None:
    """Features that are 0.9 times the float model's and 0.1 more ask for a head that undoes it."""
    _, folder = converted[NUMBERS]
    network = read_network(folder / "m.safetensors", description=folder / "network.toml")
    config, arrays = network_to_folder(network)
    training = not_trained_here("")
    manifest = ModelManifest("m", NUMBERS, "lstm", ("a", "b"), STEPS, training, network=config)
    model = TrainedModel(manifest, dict(arrays), "")
    sequences = np.random.default_rng(4).normal(size=(30, STEPS, FEATURES)).astype(np.float32)
    reference = reference_answers(model, list(sequences))
    before = network_of_features(model)
    assert before is not None
    features = np.stack(answers(before, list(sequences))).reshape(len(sequences), -1)
    moved = np.float32(0.9) * features + np.float32(0.1)
    last = network_of(correct_outputs(model, list(moved), reference)).layers[-1]
    assert isinstance(last, Dense)
    [error, untouched] = [
        np.abs(moved @ dense.kernel + dense.bias - np.stack(reference)).mean()
        for dense in (last, network.layers[-1])
        if isinstance(dense, Dense)
    ]
    assert error < untouched / 20


def test_products_in_float_where_integers_cost_a_percent(
    converted: Bundles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Targets that the float model is next to: a dynamic recipe gives up integer products, a static
    one keeps them; a line names the error of both."""
    _, folder = converted[NUMBERS]
    x = np.random.default_rng(5).normal(size=(400, STEPS, FEATURES)).astype(np.float32)
    answer = float_answers(folder, x)
    noise = np.random.default_rng(6).normal(size=answer.shape)
    model = es.load_model(folder / "m.safetensors", description=folder / "network.toml")
    np.savez(tmp_path / "close.npz", x=x, y=answer + 1e-3 * noise)
    bundles = {
        recipe: es.convert(
            model, tmp_path / "close.npz", recipe=recipe, out=tmp_path / recipe, progress=None
        )
        for recipe in ("dynamic_wi8_afp32", "static_wi8_ai8")
    }
    rises = {}
    for recipe, bundle in bundles.items():
        fidelity = bundle.manifest.fidelity
        assert fidelity.score is not None
        assert fidelity.float_score is not None
        rises[recipe] = fidelity.score / fidelity.float_score - 1
        print_error_rise(bundle.manifest, MAE)
    assert 0.01 < 50 * rises["dynamic_wi8_afp32"] < rises["static_wi8_ai8"]
    made_in_float = [bundle.manifest.provenance.float_products for bundle in bundles.values()]
    assert made_in_float == [True, False]
    printed = " ".join(capsys.readouterr().err.split())
    assert "dynamic_wi8_afp32 loop: products are computed in float32, integers would" in printed
    rise = f"static_wi8_ai8 loop: MAE is {rises['static_wi8_ai8']:.1%} above the float model's on 4"
    assert rise in printed


def test_a_static_recipe_refuses_to_clip_what_it_is_tested_on(
    converted: Bundles, tmp_path: Path
) -> None:
    """A series that rises beyond what it was calibrated on, as prices do."""
    _, folder = converted[NUMBERS]
    model = es.load_model(folder / "m.safetensors", description=folder / "network.toml")
    x = np.linspace(0, 1, COUNT * STEPS * FEATURES).reshape(COUNT, STEPS, FEATURES)
    np.savez(tmp_path / "rising.npz", x=x, y=np.zeros((COUNT, 2)))
    options: dict[str, Any] = {"out": tmp_path / "b", "progress": None, "overwrite": True}
    with pytest.raises(ConversionError, match=r"4 of 4 test sequences lie beyond the numbers that"):
        es.convert(model, tmp_path / "rising.npz", recipe="static_wi8_ai8", **options)
    es.convert(model, tmp_path / "rising.npz", recipe="dynamic_wi8_afp32", **options)
    np.savez(tmp_path / "steady.npz", x=x[::-1] % 0.5, y=np.zeros((COUNT, 2)))
    es.convert(model, tmp_path / "steady.npz", recipe="static_wi8_ai8", **options)


def test_a_bundle_of_sequences_is_profiled_and_packed(converted: Bundles, tmp_path: Path) -> None:
    bundle, _ = converted[CLASSES]
    packed = bundle.save(tmp_path / "packed.zip")
    inspection = packed.inspect(profile=True)
    assert inspection.profile is not None
    assert inspection.profile.tokens == STEPS
    assert packed.predict_sequences([np.zeros((3, FEATURES))])[0].steps == 3


def test_texts_and_sequences_are_not_mixed_up(converted: Bundles, tmp_path: Path) -> None:
    bundle, folder = converted[NUMBERS]
    with pytest.raises(BundleError, match=r"reads numeric sequences, not texts; call predict_seq"):
        bundle.predict(["a text"])
    with pytest.raises(InputError, match="holds numeric sequences, not texts"):
        es.summarize_dataset(folder / "data.npz")
    model = es.load_model(folder / "m.safetensors", description=folder / "network.toml")
    texts = tmp_path / "texts.csv"
    texts.write_text("text,label\n" + "".join(f"word {n},{'ab'[n % 2]}\n" for n in range(60)))
    with pytest.raises(DataError, match=r"holds texts, and the model takes numeric sequences"):
        es.convert(model, texts, out=tmp_path / "b", progress=None)
    with pytest.raises(InputError, match="window and target are of a table of time steps, and no"):
        es.convert(model, es.load_dataset(texts), window=3, target="label", progress=None)
    with pytest.raises(InputError, match="numeric sequences are converted and measured"):
        es.train(es.load_dataset(folder / "data.npz"), arch="lstm", progress=None)


@pytest.mark.parametrize(
    ("arrays", "error", "message"),
    [
        (
            {"y": np.zeros(COUNT)},
            CheckpointError,
            r"outputs is not that of the labels: found 2, ex",
        ),
        (
            {"y": np.zeros((COUNT, 2)), "x": np.zeros((COUNT, 3, 4))},
            DataError,
            "found 4, expected 2",
        ),
        ({}, DataError, "has no targets to compare with"),
        ({"y": np.zeros(2), "x": np.zeros((2, 3, FEATURES))}, DataError, "has too few sequences"),
    ],
)
def test_data_that_does_not_fit_is_refused(
    arrays: dict[str, Any],
    error: type[Exception],
    message: str,
    converted: Bundles,
    tmp_path: Path,
) -> None:
    _, folder = converted[NUMBERS]
    model = es.load_model(folder / "m.safetensors", description=folder / "network.toml")
    np.savez(tmp_path / "data.npz", **{"x": np.zeros((COUNT, STEPS, FEATURES)), **arrays})
    with pytest.raises(error, match=message):
        es.convert(model, tmp_path / "data.npz", out=tmp_path / "b", progress=None)


def drop_rows(path: Path) -> None:
    rows = np.load(path / "eval.npy")
    np.save(path / "eval.npy", rows[:-1])


def add_nan(path: Path) -> None:
    rows = np.load(path / "eval.npy")
    rows[0] = np.nan
    np.save(path / "eval.npy", rows)


def pack_rows(path: Path) -> None:
    """An archive of arrays in the place of one array."""
    rows = np.load(path / "eval.npy")
    with (path / "eval.npy").open("wb") as file:
        np.savez(file, rows)


def misplace_golden(path: Path) -> None:
    golden = json.loads((path / "golden.json").read_text())
    golden["examples"][0]["text"] = "a text"
    (path / "golden.json").write_text(json.dumps(golden))


def drop_inputs(path: Path) -> None:
    manifest = json.loads((path / "bundle.json").read_text())
    manifest["signature"]["inputs"] = []
    (path / "bundle.json").write_text(json.dumps(manifest))


def shift_golden(path: Path) -> None:
    golden = json.loads((path / "golden.json").read_text())
    golden["examples"][0]["logits"][0] += 1.0
    (path / "golden.json").write_text(json.dumps(golden))


def drop_target(path: Path) -> None:
    lines = (path / "eval.jsonl").read_text().splitlines()
    example = json.loads(lines[0])
    example["target"].pop()
    (path / "eval.jsonl").write_text("\n".join([json.dumps(example), *lines[1:]]))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop_rows, "has no such rows"),
        (add_nan, "does not hold the numbers of this model"),
        (pack_rows, "is not an array of numbers"),
        (
            misplace_golden,
            "has an example that names no rows: found 'a text', expected START:STEPS",
        ),
        (drop_inputs, "its signature is not that of a text, token or sequence classifier"),
        (drop_target, "is not a sequence of this model: .*1 targets, expected 1 to 8 steps, 2 tar"),
    ],
)
def test_a_damaged_bundle_is_refused(
    damage: Callable[[Path], None], message: str, converted: Bundles, tmp_path: Path
) -> None:
    path = converted[NUMBERS][0].save(tmp_path / "b").path
    damage(path)
    reseal(path)
    with pytest.raises(BundleError, match=message):
        verify(read_bundle(path))


def test_a_foreign_signature_is_refused_before_sequences_are_compared_with_it(
    converted: Bundles, tmp_path: Path
) -> None:
    path = converted[NUMBERS][0].save(tmp_path / "b").path
    drop_inputs(path)
    with pytest.raises(BundleError, match="its signature is not that of a text, token or sequence"):
        predict_sequences(path, [np.zeros((3, FEATURES))])


def test_other_numbers_than_where_it_was_converted_are_found(
    converted: Bundles, tmp_path: Path
) -> None:
    path = converted[NUMBERS][0].save(tmp_path / "b").path
    shift_golden(path)
    reseal(path)
    assert [finding.code for finding in verify(read_bundle(path))] == ["golden-differs"]


def reseal(path: Path) -> None:
    """Writes the sizes and hashes of the files as they are."""
    manifest = read_bundle_manifest(path)
    files = {name: FileEntry.of(path / name) for name in manifest.files}
    write_json(path / "bundle.json", msgspec.structs.replace(manifest, files=files))


def read_bundle_manifest(path: Path) -> Any:
    from edgeseq.formats.bundle import read_manifest

    return read_manifest(path / "bundle.json")


TABLE = "a,b,state\n" + "".join(f"{n},{n * n},{'low' if n < 20 else 'high'}\n" for n in range(30))


def test_windows_of_a_table_predict_the_next_row(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("\n".join(line.rpartition(",")[0] for line in TABLE.splitlines()))
    data = es.load_dataset(path, window=4, target="b")
    assert (data.task, data.labels) == ("sequence", ("b",))
    sizes = [len(part) for part in (data.train, data.dev, data.test)]
    assert sizes == [22, 2, 2]
    last = data.test[-1]
    assert numbers_of(data, last).tolist() == [[n, n * n] for n in (25, 26, 27, 28)]
    assert last.target == (29.0 * 29,)


def test_windows_of_a_table_have_the_class_of_their_last_row(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(TABLE)
    data = load_sequences({"train": path}, windows=Windows(4, "state"))
    assert (data.task, data.labels) == ("sequence-classification", ("high", "low"))
    assert [example.label for example in data.train][15:18] == ["low", "low", "high"]
    assert numbers_of(data, data.train[0]).shape == (4, 2)
    with pytest.raises(InputError, match="window and target go together: found window"):
        es.load_dataset(path, window=4)
    with pytest.raises(InputError, match="window: is not a number of rows: found 0, expected 1 or"):
        es.load_dataset(path, window=0, target="state")
    with pytest.raises(DataError, match=r"has no such column: found c, expected a, b, state"):
        es.load_dataset(path, window=4, target="c")


def test_classes_may_be_one_hot_and_named(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    classes = np.arange(30) % 3
    x, names = np.zeros((30, 2, 1)), np.asarray(["sit", "walk", "run"])
    np.savez(path, x=x, y=np.eye(3)[classes], labels=names)
    data = es.load_dataset(path)
    assert (data.task, data.labels) == ("sequence-classification", ("sit", "walk", "run"))
    assert [example.label for example in data.train[:4]] == ["sit", "walk", "run", "sit"]
    np.savez(path, x=x, y=classes.astype(np.float32))
    assert es.load_dataset(path).task == "sequence"
