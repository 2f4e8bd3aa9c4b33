"""The study of public models, on files that Keras 2, Keras 3 and PyTorch write here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edgeseq.errors import InputError, ResultError
from edgeseq.formats.storage import read_json, sha256_file
from studies.public_models.__main__ import PAGE, RESULT, whole_page
from studies.public_models.compare import (
    PAIRS,
    FileDifference,
    ModelOutcome,
    compare_model,
    file_difference,
    lay_out,
)
from studies.public_models.frameworks import Array, NoReference, Reference, answers_of
from studies.public_models.sources import (
    LIST,
    SAVED_MODEL,
    FileBeside,
    Source,
    find_models,
    read_sources,
)
from studies.public_models.table import EXACT, StudyResult, is_exact, lines

VOCABULARY, LENGTH = 13, 6


def layers_of(keras: Any, *, steps: int | None, mask: bool) -> Any:
    """An embedding, a recurrent layer and a softmax, with weights away from their start."""
    model = keras.Sequential(
        [
            keras.Input((steps,)),
            keras.layers.Embedding(VOCABULARY, 4, mask_zero=mask),
            keras.layers.LSTM(5),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    rng = np.random.default_rng(4)
    model.set_weights([rng.normal(size=array.shape) for array in model.get_weights()])
    return model


def entry(name: str, path: Path) -> str:
    return (
        f'[[model]]\nname = "{name}"\nrepository = "someone/models"\ncommit = "{"0" * 40}"\n'
        f'path = "models/{name}{path.suffix}"\nsha256 = "{sha256_file(path)}"\n'
    )


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of files under names of their own, and the list that knows them."""
    tf_keras, keras = pytest.importorskip("tf_keras"), pytest.importorskip("keras")
    torch = pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("public")
    paths = {
        "keras-2": folder / "a.h5",
        "keras-3": folder / "b.keras",
        "weights": folder / "c.pth",
        "conv-2d": folder / "d.h5",
    }
    layers_of(tf_keras, steps=LENGTH, mask=False).save(paths["keras-2"])
    layers_of(keras, steps=None, mask=True).save(paths["keras-3"])
    torch.save({"lstm.weight_ih_l0": torch.zeros(4, 2), "odd": torch.zeros(1)}, paths["weights"])
    images = tf_keras.Sequential([tf_keras.Input((5, 5, 1)), tf_keras.layers.Conv2D(2, 3)])
    images.save(paths["conv-2d"])
    listed = "\n".join(entry(name, path) for name, path in paths.items())
    absent = entry("absent", paths["keras-2"]).replace(sha256_file(paths["keras-2"]), "f" * 64)
    sources = folder / "list.toml"
    sources.write_text(f"[package]\n\n{listed}\n{absent}", encoding="utf-8")
    return folder, sources


@pytest.fixture(scope="module")
def outcomes(study: tuple[Path, Path]) -> dict[str, ModelOutcome]:
    folder, listed = study
    sources, _ = read_sources(listed)
    found = find_models(sources, folder)
    return {
        source.name: compare_model(
            source,
            found.get(source.name),
            pairs=PAIRS if source.name == "keras-2" else [("loop", "float32")],
        )
        for source in sources
    }


def test_files_are_found_by_their_content(outcomes: dict[str, ModelOutcome]) -> None:
    assert [name for name, outcome in outcomes.items() if not outcome.found] == ["absent"]
    assert outcomes["keras-2"].path == "models/keras-2.h5"


def test_a_folder_is_found_by_all_of_its_files(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    names = (SAVED_MODEL, "saved_model.pb", "variables/variables.index")
    files = [kept / str(number) for number, _ in enumerate(names)]
    for file, name in zip(files, names, strict=True):
        file.write_text(name)
    listed, *others = (
        FileBeside(f"models/names/{name}", sha256_file(file))
        for file, name in zip(files, names, strict=True)
    )
    source = Source(name="a", path=listed.path, sha256=listed.sha256, beside=tuple(others))
    found = find_models([source], kept)
    folder, beside = lay_out(source, found["a"], tmp_path)
    assert folder == tmp_path / "names"
    assert [path.relative_to(folder).as_posix() for path in beside] == list(names[1:])
    assert all((folder / name).read_text() == name for name in names)
    files[-1].write_text("other weights")
    assert not find_models([source], kept)


@pytest.mark.parametrize(("name", "framework"), [("keras-2", "tf_keras"), ("keras-3", "keras")])
def test_a_file_gives_the_outputs_of_its_framework(
    outcomes: dict[str, ModelOutcome], name: str, framework: str
) -> None:
    outcome = outcomes[name]
    assert outcome.framework.split()[0] == framework
    assert not outcome.refused
    assert outcome.files[0].n_inputs == 20
    assert outcome.files[0].max_abs_error <= EXACT
    assert is_exact(outcome)


def test_weights_have_the_layers_that_lie_beside_them(tmp_path: Path) -> None:
    tf_keras = pytest.importorskip("tf_keras")
    model = layers_of(tf_keras, steps=LENGTH, mask=False)
    weights, layers = tmp_path / "w.h5", tmp_path / "l.json"
    model.save_weights(weights)
    layers.write_text(model.to_json(), encoding="utf-8")
    beside = (FileBeside("models/model.json", sha256_file(layers)),)
    source = Source(name="a", path="models/model.h5", sha256=sha256_file(weights), beside=beside)
    found = find_models([source], tmp_path)["a"]
    assert is_exact(compare_model(source, found, pairs=[("loop", "float32")]))


def test_int8_weights_differ_a_little(outcomes: dict[str, ModelOutcome]) -> None:
    *floats, int8 = outcomes["keras-2"].files
    assert [file.lowering for file in floats] == ["loop", "projected", "unrolled", "fused"]
    assert max(file.max_abs_error for file in floats) < int8.max_abs_error < 0.1


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_an_output_that_is_not_finite_is_not_exact(
    outcomes: dict[str, ModelOutcome], wrong: float
) -> None:
    answers = [np.zeros(3), np.ones(3)]
    file = FileDifference("float32", "loop")
    difference = file_difference(file, answers, [np.zeros(3), np.array([1, wrong, 1])])
    assert not is_exact(msgspec.structs.replace(outcomes["keras-2"], files=(difference,)))
    assert msgspec.json.decode(msgspec.json.encode(difference), type=FileDifference) == difference


def test_a_framework_that_fails_or_gives_no_number_is_no_reference() -> None:
    def fail(batch: Array) -> Array:
        raise MemoryError

    for answer, reason in (
        (fail, "fake 1 cannot run it: MemoryError: no message"),
        (lambda batch: batch * np.nan, "fake 1 gives numbers that are not finite"),
    ):
        reference = Reference("fake 1", "", answer, None, 2)
        with pytest.raises(NoReference, match=reason):
            answers_of(reference, np.ones((1, 3, 2)))


def test_a_refusal_is_listed_with_its_cause(outcomes: dict[str, ModelOutcome]) -> None:
    assert "[None, 5, 5, 1]" in outcomes["conv-2d"].refused
    assert outcomes["weights"].refused
    assert str(Path.home()) not in outcomes["weights"].refused


def test_the_table_counts_what_converts(outcomes: dict[str, ModelOutcome]) -> None:
    result = StudyResult("2026-01-02T03:04:05+00:00", "0.1.0", tuple(outcomes.values()))
    text = "\n".join(lines(result))
    assert text.startswith("Of 4 public models 2 convert; 2 of them give")
    assert "| keras-2 | someone/models 0000000000 | Keras 2" in text
    assert text.endswith("Not at hand when this was written: absent.")


def test_a_list_that_names_a_model_twice_is_refused(tmp_path: Path) -> None:
    listed = tmp_path / "list.toml"
    one = f'[[model]]\nname = "a"\npath = "a.h5"\nsha256 = "{"0" * 64}"\n'
    listed.write_text(f"[package]\n{one}{one}", encoding="utf-8")
    with pytest.raises(InputError, match="names a model twice: found a"):
        read_sources(listed)


def test_every_model_says_where_it_is_from() -> None:
    sources, packages = read_sources()
    assert LIST.is_file()
    for source in sources:
        assert len(source.sha256) == 64
        if source.package:
            assert source.package in packages
        else:
            assert len(source.commit) == 40
            assert source.repository.count("/") == 1


def test_the_page_is_that_of_the_result() -> None:
    result = read_json(RESULT, StudyResult, error=ResultError)
    assert PAGE.read_text(encoding="utf-8") == whole_page(result)
    listed = [source.name for source in read_sources()[0]]
    measured = [model.name for model in result.models]
    assert measured == [name for name in listed if name in measured]
    assert sum(is_exact(model) for model in result.models) >= 15
