"""The suite file is read strictly, and every refusal names what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

import edgeseq
from edgeseq.errors import InputError
from edgeseq.progress import no_progress
from edgeseq.suite.checks import check_suite
from edgeseq.suite.jobs.data import run as read_data
from edgeseq.suite.plan import SuiteData, data_step, plan
from edgeseq.suite.quick import find_suite, quick_suite
from edgeseq.suite.schema import read_suite
from edgeseq.suite.steps import Step
from edgeseq.suite.unlabelled import resolve_unlabelled, unlabelled_of

GOOD = """
schema_version = 1
name = "mine"
task = "sentiment"
[data]
train = "texts.csv"
text_column = "text"
label_column = "label"
[[model]]
name = "teacher"
arch = "bert"
[[model]]
name = "student"
arch = "lstm"
teacher = "teacher"
recipes = ["float32"]
"""


def _read(tmp_path: Path, content: str) -> object:
    path = tmp_path / "suite.toml"
    path.write_text(content, encoding="utf-8")
    return read_suite(path)


def test_the_demo_suite_is_valid() -> None:
    suite = read_suite(Path(edgeseq.__file__).parent / "suites" / "demo.toml")
    assert [model.arch for model in suite.models] == ["bert", "lstm"]
    assert {model.recipes for model in suite.models} == {("float32", "dynamic_wi8_afp32")}


def test_the_sentiment_suite_has_settings_that_training_knows() -> None:
    """The names and ranges of its settings, and teachers where they are needed."""
    from edgeseq_converters.training.settings import BertSettings, check_teacher, read_settings

    suite = read_suite(Path(edgeseq.__file__).parent / "suites" / "sentiment.toml")
    layers = []
    for model in suite.models:
        settings = read_settings(model.train, model.arch, suite.task)
        check_teacher(settings, has_teacher=model.teacher is not None)
        if isinstance(settings, BertSettings):
            layers.append(settings.layers)
    assert layers == [None, None, 3, 2, 1]


@pytest.mark.parametrize("task", ["sequence", "sequence-classification"])
def test_a_suite_of_numeric_sequences_is_refused_before_training(task: str, tmp_path: Path) -> None:
    path = tmp_path / "suite.toml"
    path.write_text(GOOD.replace("sentiment", task))
    with pytest.raises(InputError, match="numeric sequences are converted and measured, not"):
        check_suite(read_suite(path))


@pytest.mark.parametrize("name", ["demo", "sentiment", "pos", "ner", "coref", "lm"])
def test_a_quick_suite_has_one_small_model_per_architecture(name: str) -> None:
    suite = read_suite(find_suite(name))
    quick = quick_suite(suite)
    check_suite(quick)  # its settings are known, and fit the task
    archs = [model.arch for model in quick.models]
    assert sorted(archs) == sorted({model.arch for model in suite.models})
    assert all(model.seeds == 1 and len(model.recipes) <= 2 for model in quick.models)
    assert not unlabelled_of(quick)


def test_a_quick_suite_keeps_the_teacher_of_a_model(tmp_path: Path) -> None:
    other = '[[model]]\nname = "other"\narch = "bert"\n'
    content = GOOD.replace('[[model]]\nname = "teacher"', f'{other}[[model]]\nname = "teacher"')
    models = quick_suite(read_suite(_written(tmp_path, content))).models
    assert [model.name for model in models] == ["other", "teacher", "student"]


def test_a_bert_may_have_a_teacher_and_several_seeds(tmp_path: Path) -> None:
    student = GOOD.replace('arch = "lstm"', 'arch = "bert"')
    suite = read_suite(_written(tmp_path, student.replace('name = "student"', SEEDS)))
    assert [(model.arch, model.teacher, model.seeds) for model in suite.models] == [
        ("bert", None, 1),
        ("bert", "teacher", 3),
    ]
    steps = plan(
        suite,
        data=SuiteData(
            data_step(suite.data, task=suite.task, suite_path=tmp_path / "s", data_dir=None), "0"
        ),
        root=tmp_path,
        runtime_identity={},
    )
    first, second = (step for step in steps if step.job == "train")
    assert "teacher" not in first.arguments
    assert "seeds" not in first.arguments
    assert second.arguments["teacher"] == "models/teacher"
    assert second.arguments["seeds"] == 3
    assert second.after == (first,)


def test_a_suite_trains_without_unlabelled_texts_that_are_not_at_hand(tmp_path: Path) -> None:
    """Only students depend on them, and on their content."""
    (tmp_path / "texts.csv").write_text(
        "text,label\n" + "".join(f"text {n},{'ab'[n % 2]}\n" for n in range(40))
    )
    (tmp_path / "more.txt").write_text("one more text\n")
    setting = '[model.train]\nunlabelled = ["wikitext2", "more.txt"]\n'
    path = _written(tmp_path, GOOD.replace("sentiment", "text-classification") + setting)
    suite = resolve_unlabelled(read_suite(path), tmp_path)
    more = str(tmp_path / "more.txt")
    assert unlabelled_of(suite) == ("wikitext2", more)
    folder = tmp_path / "data"

    def students(wikitext: str | None) -> tuple[str, list[Step]]:
        if wikitext is not None:
            (folder / "wikitext2").mkdir(parents=True, exist_ok=True)
            for split in ("train", "valid", "test"):
                (folder / "wikitext2" / f"{split}.txt").write_text(wikitext)
        step = data_step(
            suite.data,
            task=suite.task,
            suite_path=path,
            data_dir=folder if wikitext is not None else None,
            unlabelled=unlabelled_of(suite),
        )
        out = str(tmp_path / "data.json")
        answer = read_data({**step.arguments, "out": out}, no_progress)
        data = SuiteData(step, answer["sha256"], answer["unlabelled_sha256"])
        steps = plan(suite, data=data, root=tmp_path, runtime_identity={})
        return answer["note"], [step for step in steps if step.job == "train"]

    note, (_, student) = students(None)
    assert "wikitext2 is not on this machine" in note
    assert student.arguments["settings"]["unlabelled"] == [more]
    note, (teacher, student) = students(" a sentence of five words . \n")
    assert "wikitext2: 1 unlabelled texts" in note
    assert student.arguments["settings"]["unlabelled"] == ["wikitext2", more]
    _, (same, changed) = students(" another sentence of six words . \n")
    assert same.fingerprint == teacher.fingerprint
    assert changed.fingerprint != student.fingerprint


SEEDS = 'seeds = 3\nname = "student"'


def _written(tmp_path: Path, content: str) -> Path:
    path = tmp_path / "suite.toml"
    path.write_text(content, encoding="utf-8")
    return path


def test_bundle_names_are_model_and_recipe(tmp_path: Path) -> None:
    path = tmp_path / "suite.toml"
    path.write_text(GOOD, encoding="utf-8")
    assert read_suite(path).bundle_names() == (
        "teacher-float32",
        "teacher-dynamic_wi8_afp32",
        "student-float32",
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("schema_version = 1", "schema_version = 9"), "schema_version"),
        (('task = "sentiment"', 'task = "weather"'), "unknown task"),
        (('arch = "bert"', 'arch = "gpt"'), "$.model[0].arch"),
        (('name = "student"', 'name = "teacher"'), "two models of one name"),
        (('teacher = "teacher"', 'teacher = "nobody"'), "'nobody'"),
        (('teacher = "teacher"', 'checkpoint = "x"'), "checkpoint"),
        (('recipes = ["float32"]', 'recipes = ["int3"]'), "$.model[1].recipes[0]"),
        (('recipes = ["float32"]', 'recipes = ["float32", "float32"]'), "each once"),
        (('name = "student"', 'name = "../student"'), "is not a name"),
        (('train = "texts.csv"', 'tarin = "texts.csv"'), "tarin"),
        (('train = "texts.csv"\n', ""), "[data]"),
        (("[data]", "[bench]\nmemory_curve = ['x']\n[data]"), "memory_curve"),
        (("[data]", "[data"), "is not valid TOML"),
    ],
)
def test_refusals_name_the_place(tmp_path: Path, change: tuple[str, str], says: str) -> None:
    assert change[0] in GOOD
    with pytest.raises(InputError) as caught:
        _read(tmp_path, GOOD.replace(*change, 1))
    line = str(caught.value)
    assert says in line
    assert "suite.toml" in line or says == "unknown task"
    assert "\n" not in line


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_suite(tmp_path / "none.toml")


def test_bytes_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "suite.toml"
    path.write_bytes(b"name = '\xff'")
    with pytest.raises(InputError, match="is not valid TOML"):
        read_suite(path)


def test_a_model_may_be_lowered_in_several_ways(tmp_path: Path) -> None:
    suite = read_suite(Path(edgeseq.__file__).parent / "suites" / "lm.toml")
    assert "transformer-2-float32-cached" in suite.bundle_names()
    assert "transformer-2-float32" in suite.bundle_names()
    assert "lstm-384-float32-cached" not in suite.bundle_names()
    for lowerings, message in (
        ('["auto", "auto"]', "lowerings, each once"),
        ('["any"]', "is not a suite"),
    ):
        path = tmp_path / "suite.toml"
        path.write_text(
            'schema_version = 1\nname = "own"\ntask = "lm"\n[data]\nname = "wikitext2"\n'
            f'[[model]]\nname = "one"\narch = "bert"\nlowerings = {lowerings}\n'
        )
        with pytest.raises(InputError, match=message):
            read_suite(path)
