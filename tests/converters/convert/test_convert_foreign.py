"""Models from elsewhere: to bundles with their tokenizer and data, and to bare files."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from edgeseq.errors import (
    CheckpointError,
    ConversionError,
    DataError,
    EdgeseqError,
    InputError,
    OutputError,
    RefusedError,
)
from edgeseq.formats.bundle import check_model, read_bundle
from edgeseq.formats.bundle_manifest import Fidelity
from edgeseq.formats.tflite_file import read_tflite
from edgeseq.formats.tflite_runtimes import runtime_support
from edgeseq.formats.trained_model import TrainedModel, read_model_folder, write_model_folder
from edgeseq.runtime.interpreter import SignatureNames, TfliteModel
from edgeseq.tasks.examples import Dataset
from edgeseq_converters.convert.bare_file import BareFile, convert_to_file
from edgeseq_converters.convert.fit_model import with_logits
from edgeseq_converters.convert.import_model import ImportOptions, load_model
from edgeseq_converters.convert.lower.dispatch import recipes_of
from edgeseq_converters.convert.pipeline import ConvertedBundles, convert
from edgeseq_converters.convert.plan import ConversionOptions
from edgeseq_converters.convert.verify.fidelity import check_drop
from edgeseq_converters.models.network import Network
from edgeseq_converters.models.network_layers import Activation, Dense
from edgeseq_converters.models.reference_recurrent import answers, apply

WORDS = 34


def convert_to_bundles(
    source: Path,
    dataset: Dataset,
    out: Path,
    *recipes: str,
    imports: ImportOptions = ImportOptions(),  # noqa: B008 - frozen
    **options: Any,
) -> ConvertedBundles:
    """Loads and converts."""
    return convert(
        load_model(source, imports), dataset, out, ConversionOptions(recipes=recipes, **options)
    )


def convert_bare(source: Path, out: Path, recipe: str, **options: Any) -> BareFile:
    """Loads and converts to one file."""
    return convert_to_file(load_model(source), out, ConversionOptions(recipes=(recipe,), **options))


@pytest.fixture(scope="module")
def keras_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The essay's sentiment network: Embedding → LSTM → Dense(3, softmax)."""
    import keras

    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.layers.Input((None,), dtype="int32"),
            keras.layers.Embedding(WORDS, 12, embeddings_initializer="random_normal"),
            keras.layers.Bidirectional(keras.layers.LSTM(10)),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    path = tmp_path_factory.mktemp("keras") / "feedback.keras"
    model.save(path)
    return path


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory, lstm_folder: Path) -> Path:
    """The invented words' tokenizer.json."""
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    path.write_bytes((lstm_folder / "tokenizer.json").read_bytes())
    return path


def keras_answers(path: Path, texts: list[list[int]]) -> np.ndarray[Any, Any]:
    import keras

    model = keras.saving.load_model(path)
    return np.stack([np.asarray(model(np.asarray([text]))[0]) for text in texts])


def test_a_keras_file_becomes_a_bundle_that_answers_as_keras(
    keras_file: Path, tokenizer: Path, invented_dataset: Dataset, tmp_path: Path
) -> None:
    imports = ImportOptions(tokenizer=tokenizer, max_tokens=40)
    result = convert_to_bundles(
        keras_file, invented_dataset, tmp_path / "out", "float32", imports=imports
    )
    [(place, manifest)] = result.bundles
    bundle = read_bundle(place)
    check_model(bundle)
    assert (manifest.name, manifest.arch, manifest.max_tokens) == ("out", "lstm", 40)
    assert "feedback.keras (sha256 " in str(manifest.provenance.training)
    texts = [list(example.token_ids) for example in bundle.golden.examples]
    answering = TfliteModel(bundle.model_path)
    found = apply("softmax", np.stack([answering.infer(text) for text in texts]))
    np.testing.assert_allclose(found, keras_answers(keras_file, texts), atol=1e-5)


def test_a_trimmed_vocabulary_answers_the_same(
    keras_file: Path, tokenizer: Path, invented_dataset: Dataset, tmp_path: Path
) -> None:
    made = {}
    for trim in (False, True):
        imports = ImportOptions(tokenizer=tokenizer, name=f"trim-{trim}")
        few = Dataset(**{**vars_of(invented_dataset), "train": invented_dataset.train[:2]})
        result = convert_to_bundles(
            keras_file, few, tmp_path / str(trim), "float32", imports=imports, trim_vocabulary=trim
        )
        rows = result.vocabulary
        assert (rows.rows_after < rows.rows_before) == trim
        [(place, _)] = result.bundles
        made[trim] = read_bundle(place)
    small, large = (made[trim].manifest.files["model.tflite"].size_bytes for trim in (True, False))
    assert small < large
    for example in invented_dataset.train[:2]:
        found = []
        for bundle in made.values():
            ids = Tokenizer.from_file(str(bundle.tokenizer_path)).encode(example.text).ids
            found.append(TfliteModel(bundle.model_path).infer(ids))
        np.testing.assert_array_equal(*found)


def with_word_pieces(folder: Path) -> TrainedModel:
    """The model with its words as the pieces of a WordPiece."""
    model = read_model_folder(folder)
    content = json.loads(model.tokenizer_json)
    content["model"] = {
        "type": "WordPiece",
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
        "vocab": content["model"]["vocab"],
    }
    return TrainedModel(model.manifest, model.weights, json.dumps(content))


def test_rare_pieces_go_and_the_texts_that_change_are_counted(
    bert_folder: Path, invented_dataset: Dataset, tmp_path: Path
) -> None:
    write_model_folder(tmp_path / "bert", with_word_pieces(bert_folder))
    whole = Tokenizer.from_str(read_model_folder(tmp_path / "bert").tokenizer_json)
    few = Dataset(**{**vars_of(invented_dataset), "train": invented_dataset.train[:6]})
    counts = Counter(piece for example in few.train for piece in whole.encode(example.text).tokens)
    assert 1 in counts.values()
    assert max(counts.values()) >= 3
    for count in (1, 3):
        result = convert_to_bundles(
            tmp_path / "bert",
            few,
            tmp_path / str(count),
            "dynamic_wi4_ei4_afp32",
            imports=ImportOptions(name=f"count-{count}"),
            trim_vocabulary=True,
            min_piece_count=count,
        )
        [(place, manifest)] = result.bundles
        vocabulary = result.vocabulary
        small = Tokenizer.from_file(str(read_bundle(place).tokenizer_path))
        kept = set(small.get_vocab())
        assert vocabulary.rows_after == len(kept) < vocabulary.rows_before
        assert {piece for piece, found in counts.items() if found >= count} <= kept
        assert all(
            counts[piece] >= count or piece.startswith("[") or len(piece.removeprefix("##")) == 1
            for piece in kept
        )
        texts = [example.text for example in few.dev]
        assert vocabulary.changed_tokenization == sum(
            whole.encode(text).tokens != small.encode(text).tokens for text in texts
        )
        assert vocabulary.changed_tokenization > 0
        check_model(read_bundle(place))
        assert manifest.recipe == "dynamic_wi4_ei4_afp32"


def vars_of(dataset: Dataset) -> dict[str, Any]:
    return {name: getattr(dataset, name) for name in dataset.__struct_fields__}


def test_a_trained_model_takes_another_name(
    lstm_folder: Path, invented_dataset: Dataset, tmp_path: Path
) -> None:
    [(place, manifest)] = convert_to_bundles(
        lstm_folder,
        invented_dataset,
        tmp_path / "b",
        "float32",
        imports=ImportOptions(name="mine"),
    ).bundles
    assert manifest.name == read_bundle(place).manifest.name == "mine-float32"
    assert read_model_folder(lstm_folder).manifest.name == "random-lstm"


def test_recipe_auto_keeps_the_smallest_that_passes_and_says_why_not(
    lstm_folder: Path, invented_dataset: Dataset, tmp_path: Path
) -> None:
    loose = convert_to_bundles(
        lstm_folder, invented_dataset, tmp_path / "loose", "auto", max_drop=100
    )
    assert [manifest.recipe for _, manifest in loose.bundles] == ["dynamic_wi4_ei4_afp32"]
    # Every recipe would have to gain 200 points.
    with pytest.raises(RefusedError, match="no recipe is good enough") as caught:
        convert_to_bundles(
            lstm_folder, invented_dataset, tmp_path / "strict", "auto", max_drop=-200
        )
    assert caught.value.exit_code == 3
    for recipe in recipes_of("lstm", "loop"):
        assert f"{recipe}: loses" in str(caught.value)
    assert not (tmp_path / "strict").exists()


def test_recipe_auto_tries_a_bert_in_4_bits_first(
    bert_folder: Path, invented_dataset: Dataset, tmp_path: Path
) -> None:
    smallest = convert_to_bundles(
        bert_folder, invented_dataset, tmp_path / "bert", "auto", max_drop=100
    )
    assert [manifest.recipe for _, manifest in smallest.bundles] == ["dynamic_wi4_ei4_afp32"]


def test_the_gate_counts_points_or_keeps_99_percent() -> None:
    def fidelity(score: float) -> Fidelity:
        return Fidelity(1000, 0.1, 0.99, 0.99, float_score=0.8, score=score)

    check_drop(fidelity(0.792), None, where="r")
    check_drop(fidelity(0.7905), 1.0, where="r")
    with pytest.raises(RefusedError, match=r"loses 0.90 points of 80.00 .* at most 0.80"):
        check_drop(fidelity(0.791), None, where="r")
    with pytest.raises(RefusedError, match=r"loses 1.10 points"):
        check_drop(fidelity(0.789), 1.0, where="r")


def test_lowering_auto_makes_a_bundle_of_each(
    lstm_folder: Path, invented_dataset: Dataset, tmp_path: Path
) -> None:
    made = convert_to_bundles(
        lstm_folder,
        invented_dataset,
        tmp_path,
        *("dynamic_wi8_afp32", "static_wi8_ai8"),
        lowerings=("auto",),
        length=24,
    )
    names = {manifest.name for _, manifest in made.bundles}
    assert len(names) == 5
    assert "random-lstm-dynamic_wi8_afp32-loop" in names
    assert "random-lstm-static_wi8_ai8-unrolled" in names
    assert made.refused == {
        "static_wi8_ai8 projected": "the lowering has no such recipe",
        "dynamic_wi8_afp32 fused": "the lowering has no fixed length",
        "static_wi8_ai8 fused": "the lowering has no fixed length",
    }
    for place, manifest in made.bundles:
        check_model(read_bundle(place))
        assert manifest.max_tokens == 24


@pytest.mark.parametrize("recipe", ["float32", "dynamic_wi8_afp32", "static_wi8_ai8"])
def test_a_bare_file_holds_the_network_as_written(
    recipe: str, keras_file: Path, tmp_path: Path
) -> None:
    ids = tmp_path / "ids.jsonl"
    texts = [[3, 5, 7], [9], [4, 4, 30, 12, 8]]
    ids.write_text("".join(json.dumps(text) + "\n" for text in texts))
    made = convert_bare(keras_file, tmp_path / "m.tflite", recipe, token_ids=ids)
    assert (made.output, made.shape, made.n_examples) == ("probabilities", (1, 3), 3)
    model = TfliteModel(Path(made.path), signature=SignatureNames(output="probabilities"))
    found = np.stack([model.infer(text) for text in texts])
    limit = {"float32": 1e-5, "dynamic_wi8_afp32": 0.02, "static_wi8_ai8": 0.05}[recipe]
    np.testing.assert_allclose(found, keras_answers(keras_file, texts), atol=limit)


@pytest.mark.index
def test_a_bare_file_for_an_older_runtime_is_checked_and_asked(
    keras_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "old.tflite"
    made = convert_bare(keras_file, out, "dynamic_wi8_afp32", runtime="tflite-runtime==2.14")
    installable = sys.version_info < (3, 12)
    said = "answered 16 texts" if installable else "not tried"
    assert said in str(made.tried_runtime)
    support = {one.runtime: one.loads for one in runtime_support(read_tflite(out))}
    assert support["tflite-runtime 2.14.0"]


def test_a_tagger_answers_for_each_token(tmp_path: Path) -> None:
    """The essay's third network, at its real length and unrolled."""
    import keras

    keras.utils.set_random_seed(2)
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((None,), dtype="int32"),
            layers.Embedding(WORDS, 8),
            layers.LSTM(6, return_sequences=True),
            layers.TimeDistributed(layers.Dense(5, activation="softmax")),
        ]
    )
    model.save(tmp_path / "tagger.keras")
    text = [3, 9, 4, 21]
    [wanted] = keras_answers(tmp_path / "tagger.keras", [text])
    for lowering, length in (("loop", None), ("unrolled", 12)):
        out = tmp_path / f"{lowering}.tflite"
        made = convert_bare(
            tmp_path / "tagger.keras", out, "float32", lowerings=(lowering,), length=length
        )
        tokens = length or -1
        assert made.shape == (1, tokens, 5)
        found = TfliteModel(out, signature=SignatureNames(output="probabilities")).infer(text)
        np.testing.assert_allclose(found[: len(text)], wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (Dense("d", np.ones((4, 3), np.float32), np.zeros(3, np.float32), "softmax"), 3),
        (Dense("d", np.ones((4, 1), np.float32), np.ones(1, np.float32), "sigmoid"), 2),
    ],
)
def test_logits_have_the_probabilities_of_the_network(
    last: Dense, expected: int, make: Any
) -> None:
    network: Network = make.network(hidden=4)
    network = Network("n", network.embedding, (*network.layers[:-1], last))
    logits = with_logits(network)
    assert logits.outputs == expected
    [wanted] = answers(network, [[1, 2, 3]])
    [found] = answers(logits, [[1, 2, 3]])
    probabilities = apply("softmax", found)
    np.testing.assert_allclose(probabilities[-len(wanted) :], wanted, atol=1e-6)
    apart = (*network.layers[:-1], Dense("d", last.kernel, last.bias), Activation("a", "softmax"))
    if expected == 3:
        assert with_logits(Network("n", network.embedding, apart)).layers[-1] is apart[-2]


def test_bad_input_is_one_line(
    keras_file: Path, tokenizer: Path, invented_dataset: Dataset, make: Any, tmp_path: Path
) -> None:
    out = tmp_path / "m.tflite"
    bad, empty, far = (tmp_path / name for name in ("bad.jsonl", "empty.jsonl", "far.jsonl"))
    bad.write_text("[1, 2]\nhello\n")
    empty.write_text("\n")
    far.write_text("[1, 99]\n")
    static, exact = "static_wi8_ai8", "float32"
    two = Dataset(**{**vars_of(invented_dataset), "labels": ("no", "yes")})

    def prepare(**imports: Any) -> None:
        dataset = imports.pop("dataset", invented_dataset)
        source = imports.pop("source", keras_file)
        convert_to_bundles(source, dataset, out, imports=ImportOptions(**imports))

    cases: list[tuple[type[EdgeseqError], str, Any]] = [
        (InputError, "needs inputs to calibrate on", lambda: convert_bare(keras_file, out, static)),
        (DataError, "bad.jsonl:2", lambda: convert_bare(keras_file, out, exact, token_ids=bad)),
        (DataError, "no token ids", lambda: convert_bare(keras_file, out, exact, token_ids=empty)),
        (DataError, "0 to 33", lambda: convert_bare(keras_file, out, exact, token_ids=far)),
        (
            ConversionError,
            "needs the whole text",
            lambda: convert_bare(keras_file, out, exact, streaming=True),
        ),
        (InputError, "--tokenizer", prepare),
        (CheckpointError, "3, expected 2", lambda: prepare(tokenizer=tokenizer, dataset=two)),
        (CheckpointError, "Hugging Face", lambda: prepare(source=tokenizer)),
    ]
    for kind, said, action in cases:
        with pytest.raises(kind) as caught:
            action()
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)
        assert not out.exists()
    out.write_text("mine")
    with pytest.raises(OutputError, match="already exists"):
        convert_bare(keras_file, out, exact)
    assert out.read_text() == "mine"
