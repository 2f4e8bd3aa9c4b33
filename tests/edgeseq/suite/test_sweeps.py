"""Sweeps of a suite file: which models `[grid]`, `[model.grid]` and `seeds` give."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeseq.errors import InputError
from edgeseq.suite.checks import check_suite
from edgeseq.suite.schema import Suite, read_suite

HEAD = 'schema_version = 1\nname = "mine"\ntask = "sentiment"\n'
DATA = '[data]\nname = "customer-feedback"\n'
LSTM = '[[model]]\nname = "lstm"\narch = "lstm"\n'
BERT = '[[model]]\nname = "bert"\narch = "bert"\n'
STUDENT = LSTM + 'teacher = "bert"\n'


def _read(tmp_path: Path, *parts: str) -> Suite:
    path = tmp_path / "suite.toml"
    path.write_text("".join((HEAD, *parts)), encoding="utf-8")
    return read_suite(path)


def test_a_grid_of_a_model_gives_every_combination_and_the_training_knows_them(
    tmp_path: Path,
) -> None:
    grid = '[model.grid]\nhidden_size = [8, 16]\nlearning_rate = [1e-3, 0.5]\npooling = ["max"]\n'
    suite = _read(tmp_path, DATA, LSTM, "train = { epochs = 3 }\n", grid)
    check_suite(suite)
    assert {model.name: model.train for model in suite.models} == {
        f"lstm-hidden_size-{size}-learning_rate-{rate:g}-pooling-max": {
            "epochs": 3,
            "hidden_size": size,
            "learning_rate": rate,
            "pooling": "max",
        }
        for size in (8, 16)
        for rate in (1e-3, 0.5)
    }
    assert len(suite.bundle_names()) == len(set(suite.bundle_names())) == 8


def test_a_grid_of_the_suite_holds_for_all_but_where_a_model_has_its_own(tmp_path: Path) -> None:
    other = LSTM.replace('name = "lstm"', 'name = "other"') + "grid = { epochs = [5] }\n"
    suite = _read(tmp_path, DATA, "[grid]\nepochs = [1, 2]\n", LSTM, other)
    assert [(model.name, model.train) for model in suite.models] == [
        ("lstm-epochs-1", {"epochs": 1}),
        ("lstm-epochs-2", {"epochs": 2}),
        ("other-epochs-5", {"epochs": 5}),
    ]


def test_seeds_count_from_each_models_own_and_go_with_the_teachers(tmp_path: Path) -> None:
    student = STUDENT + "seeds = 2\ntrain = { seed = 7 }\n"
    suite = _read(tmp_path, "seeds = 3\n", DATA, BERT, student)
    assert [(model.name, model.teacher, model.train["seed"]) for model in suite.models] == [
        ("bert-seed-0", None, 0),
        ("bert-seed-1", None, 1),
        ("bert-seed-2", None, 2),
        ("lstm-seed-7", "bert-seed-0", 7),
        ("lstm-seed-9", "bert-seed-1", 9),
        ("lstm-seed-11", "bert-seed-2", 11),
    ]


def test_a_student_is_trained_with_each_of_the_teachers(tmp_path: Path) -> None:
    small = '[[model]]\nname = "small"\narch = "bert"\n'
    bert = BERT + "grid = { layers = [3, 6] }\n"
    student = LSTM + 'grid = { teacher = ["bert", "small"] }\n'
    suite = _read(tmp_path, DATA, bert, small, student)
    assert [(model.name, model.teacher) for model in suite.models[3:]] == [
        ("lstm-teacher-bert-bert.layers-3", "bert-layers-3"),
        ("lstm-teacher-bert-bert.layers-6", "bert-layers-6"),
        ("lstm-teacher-small", "small"),
    ]


def test_boards_are_read(tmp_path: Path) -> None:
    assert _read(tmp_path, 'boards = ["kitchen", "local"]\n', DATA, LSTM).boards == (
        "kitchen",
        "local",
    )


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ((DATA, "[grid]\nepochs = []\n", LSTM), "needs values"),
        ((DATA, "[grid]\nepochs = [1, 1]\n", LSTM), "each once"),
        ((DATA, '[grid]\nrecipes = ["float32"]\n', LSTM), "does not go into a grid"),
        ((DATA, "[grid]\nepochs = [[1]]\n", LSTM), "$.grid"),
        ((DATA, '[grid]\narch = ["gpt"]\n', LSTM), "$.model[0].arch"),
        (("seeds = 2\n", DATA, "[grid]\nseed = [1, 2]\n", LSTM), "varies twice"),
        (("seeds = 2\n", DATA, LSTM, 'train = { seed = "x" }\n'), "is not a seed"),
        ((DATA, LSTM, f"grid = {{ epochs = {list(range(1, 1002))} }}\n"), "too many models"),
        ((DATA, LSTM, 'teacher = "lstm"\ngrid = { epochs = [1] }\n'), "earlier BERT"),
    ],
)
def test_refusals_name_the_place(tmp_path: Path, parts: tuple[str, ...], says: str) -> None:
    with pytest.raises(InputError) as caught:
        _read(tmp_path, *parts)
    assert says in str(caught.value)


def test_a_setting_that_a_model_does_not_have_is_refused_before_training(tmp_path: Path) -> None:
    suite = _read(tmp_path, DATA, "[grid]\nhidden_size = [8]\n", BERT)
    with pytest.raises(InputError, match="hidden_size"):
        check_suite(suite)
