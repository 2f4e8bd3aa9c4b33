"""Data sets by name: own files, the hub, local copies, and `edgeseq data`."""

from __future__ import annotations

import hashlib
import os
import sys
import types
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from edgeseq.cli.app import app
from edgeseq.datasets.hub import from_hub_splits, load_hub
from edgeseq.datasets.readers import Columns
from edgeseq.datasets.registry import default_name, entries, load_dataset
from edgeseq.datasets.splits import (
    bucket,
    canonical_sha256,
    fill_splits,
    make_dataset,
    split_of_group,
)
from edgeseq.datasets.summary import sample, summarize
from edgeseq.datasets.user_files import load_files
from edgeseq.errors import DataError, FetchError, InputError
from edgeseq.tasks.examples import TaggedExample, TextExample
from edgeseq.tasks.registry import TASKS


def make_csv(folder: Path, name: str = "shop.csv", n: int = 200, first: int = 0) -> Path:
    path = folder / name
    rows = (f"order number {i} came,{('late', 'early')[i % 2]}\n" for i in range(first, first + n))
    path.write_text("text,label\n" + "".join(rows))
    return path


def example(number: int, label: str = "a", **fields: str) -> TextExample:
    return TextExample(f"id{number}", f"text {number}", label, **fields)


def dataset_of(**parts):
    given = {"train": [example(1), example(2, "b")], "dev": [example(3)], "test": [example(4)]}
    return make_dataset("made", "sentiment", ("a", "b"), given | parts, licence="", origin="")


def test_buckets_do_not_change() -> None:
    # Fixed for good: another number here would move examples between train and test.
    assert [bucket(group) for group in ("", "a", "product/1")] == [52, 50, 38]
    parts = [split_of_group(str(number)) for number in range(10_000)]
    assert 7_800 < parts.count("train") < 8_200
    assert 850 < parts.count("dev") < 1_150


def test_hash_of_a_data_set_sees_every_field_and_the_order() -> None:
    hashes = {
        dataset_of().sha256,
        dataset_of(dev=[example(5)]).sha256,
        dataset_of(train=[example(2, "b"), example(1)]).sha256,
        dataset_of(test=[example(4, source="s")]).sha256,
        dataset_of(test=[example(4, group="s")]).sha256,
        dataset_of(dev=[example(4)], test=[example(3)]).sha256,
        canonical_sha256("ner", ("a", "b"), []),
    }
    assert len(hashes) == 7
    assert dataset_of().sha256 == dataset_of().sha256


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"dev": []}, "the dev split is empty"),
        ({"test": [example(4, "c")]}, "example 'id4' of test has an unknown label: found 'c'"),
        ({"test": [example(1)]}, "an id appears twice: found 'id1'"),
        ({"train": [example(1)]}, "no example to learn from: found no 'b' in train"),
    ],
)
def test_data_sets_that_cannot_be_used(parts, message: str) -> None:
    with pytest.raises(DataError, match=message):
        dataset_of(**parts)


def test_one_file_is_divided_by_hash(tmp_path: Path) -> None:
    dataset = load_files("text-classification", train=make_csv(tmp_path))
    sizes = [len(part) for part in (dataset.train, dataset.dev, dataset.test)]
    assert sum(sizes) == 200
    assert 140 < sizes[0] < 180
    assert dataset.labels == ("early", "late")
    assert load_dataset(str(tmp_path / "shop.csv")).sha256 == dataset.sha256
    assert all(split_of_group(one.text) == "dev" for one in dataset.dev)


def test_given_parts_stay_and_missing_ones_are_cut_from_train(tmp_path: Path) -> None:
    train = make_csv(tmp_path)
    test = make_csv(tmp_path, "other.csv", n=20, first=1000)
    dataset = load_files("sentiment", train=train, test=test)
    assert len(dataset.test) == 20
    assert len(dataset.train) + len(dataset.dev) == 200
    assert len(dataset.train) > 160
    dev = make_csv(tmp_path, "dev.csv", n=10, first=2000)
    dataset = load_files("sentiment", train=train, dev=dev, test=test, labels=("late", "early"))
    assert [len(part) for part in (dataset.train, dataset.dev, dataset.test)] == [200, 10, 20]
    assert dataset.labels == ("late", "early")


def test_groups_and_equal_texts_are_never_divided() -> None:
    rows = [example(number, group=f"review {number // 5}") for number in range(500)]
    copies = [TextExample(str(number), f"text {number % 40}", "a") for number in range(400)]
    for examples, key in ((rows, "group"), (copies, "text")):
        parts = fill_splits({"train": tuple(examples)})
        seen = [{getattr(one, key) for one in part} for part in parts.values()]
        assert all(seen)
        assert not seen[0] & seen[1] | seen[0] & seen[2] | seen[1] & seen[2]


def test_own_files_that_are_wrong(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"shop.csv:2: unknown label: found 'late'"):
        load_files("sentiment", train=make_csv(tmp_path), labels=("x", "y"))
    tiny = tmp_path / "tiny.csv"
    tiny.write_text("text,label\na,x\nb,y\n")
    with pytest.raises(DataError, match=r"split is empty|no example to learn from"):
        load_files("sentiment", train=tiny)
    tiny.write_text("".join(f"text {number},same\n" for number in range(100)))
    with pytest.raises(DataError, match="two labels or more: found 'same'"):
        load_files("sentiment", train=tiny, columns=Columns(1, 2))


def test_unknown_names_and_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unknown data set: found 'nope'"):
        load_dataset("nope")
    with pytest.raises(DataError, match="is not a folder"):
        load_dataset("sst3", data_dir=tmp_path / "missing")
    with pytest.raises(DataError, match="sst3 is not on this machine"):
        load_dataset("sst3", data_dir=tmp_path)
    (tmp_path / "vaderSentiment-3.3.2.tar.gz").write_bytes(b"not the release")
    with pytest.raises(FetchError, match="not have the hash of the pinned release"):
        load_dataset("customer-feedback", data_dir=tmp_path)


def test_sst3_in_both_forms(tmp_path: Path) -> None:
    derived = tmp_path / "a" / "sst5" / "derived_sst3"
    derived.mkdir(parents=True)
    plain = tmp_path / "b"
    plain.mkdir()
    for part in ("train", "dev", "test"):
        rows = [(number, f"{part} sentence {number}") for number in range(5)]
        names = ("negative", "negative", "neutral", "positive", "positive")
        table = "".join(f"{names[number]}\t{text}\n" for number, text in rows)
        (derived / f"{part}.tsv").write_text(table)
        (plain / f"stsa.fine.{part}").write_text("".join(f"{n} {text}\n" for n, text in rows))
    first = load_dataset("sst3", data_dir=tmp_path / "a")
    assert first.sha256 == load_dataset("sst3", data_dir=plain).sha256
    assert first.labels == ("negative", "neutral", "positive")
    assert {entry.name: entry.is_local for entry in entries(plain)}["sst3"]
    (plain / "stsa.fine.dev").write_text("7 wrong\n")
    with pytest.raises(DataError, match=r"stsa.fine.dev:1: is not a rated sentence"):
        load_dataset("sst3", data_dir=plain)


class FakeHubPart(list):
    """Rows with declared features, as the hub's data sets have them."""

    def __init__(self, rows, names=("bad", "good"), extra=()):
        super().__init__(rows)
        string = types.SimpleNamespace(dtype="string")
        label = types.SimpleNamespace(dtype="int64", names=list(names))
        self.features = {"sentence": string, "label": label} | dict.fromkeys(extra, string)


def hub_rows(n: int, label: int | None = None, tag: str = ""):
    return [
        {"sentence": f"{tag} {i}", "label": i % 2 if label is None else label} for i in range(n)
    ]


def test_hub_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {
        "train": FakeHubPart(hub_rows(200)),
        "validation": FakeHubPart(hub_rows(10, tag="v")),
        "test": FakeHubPart(hub_rows(10, label=-1)),
    }
    dataset = from_hub_splits("hf:made", "text-classification", parts)
    assert dataset.labels == ("bad", "good")
    assert len(dataset.dev) == 10
    assert len(dataset.train) + len(dataset.test) == 200, "withheld labels: test is cut from train"
    module = types.SimpleNamespace(load_dataset=lambda name, config: parts)
    monkeypatch.setitem(sys.modules, "datasets", module)
    assert load_dataset("hf:made").sha256 == dataset.sha256
    assert load_hub("hf:made:config").name == "hf:made:config"


def test_hub_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    two_texts = {"train": FakeHubPart(hub_rows(4), extra=["title"])}
    with pytest.raises(DataError, match="text column is not plain: found 'sentence', 'label'"):
        from_hub_splits("hf:made", "sentiment", two_texts)
    with pytest.raises(DataError, match="has no train split: found test"):
        from_hub_splits("hf:made", "sentiment", {"test": FakeHubPart(hub_rows(4))})
    with pytest.raises(DataError, match="unknown label: found 7"):
        from_hub_splits("hf:made", "sentiment", {"train": FakeHubPart(hub_rows(4, label=7))})

    def unreachable(name: str, config: str | None):
        raise ConnectionError("Couldn't reach it\nand more")

    module = types.SimpleNamespace(load_dataset=unreachable)
    monkeypatch.setitem(sys.modules, "datasets", module)
    with pytest.raises(FetchError, match="found Couldn't reach it; check the name"):
        load_hub("hf:made")
    with pytest.raises(DataError, match="no data set named"):
        load_hub("hf:")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(FetchError, match=r"pip install 'edgeseq\[datasets\]'"):
        load_hub("hf:made")


def test_summary_counts_copies_between_test_and_train() -> None:
    test = [TextExample("t1", "text 1", "a"), TextExample("t2", "new words here", "b")]
    summary = summarize(dataset_of(test=test))
    assert summary.test_texts_in_train == 1
    assert [row.total for row in summary.balance] == [2, 1, 2]
    assert (summary.lengths[2].words_p50, summary.lengths[2].words_max) == (2, 3)
    assert [one.label for one in summary.samples] == ["a", "b"]


def test_samples_are_those_with_the_smallest_hashes_of_each_label() -> None:
    labels = ("a", "b", "c")
    train = [
        TaggedExample(str(n), ("w", "w"), (labels[n % 3], labels[n // 3 % 3])) for n in range(40)
    ]
    data = msgspec.structs.replace(dataset_of(), labels=labels, train=tuple(train))

    def by_hash(example: TaggedExample) -> bytes:
        return hashlib.sha256(example.id.encode()).digest()

    expected: list[TaggedExample] = []
    for label in labels:
        unused = [one for one in train if label in one.tags and one not in expected]
        expected += sorted(unused, key=by_hash)[:3]
    assert sample(data, 3) == tuple(expected)
    assert sample(msgspec.structs.replace(data, labels=()), 2) == tuple(
        sorted(train, key=by_hash)[:2]
    )


def test_command_line_lists_gets_and_shows(tmp_path: Path) -> None:
    runner = CliRunner()
    listed = runner.invoke(app, ["data", "list", "--json"], env={"EDGESEQ_DATA": ""})
    names = [entry["name"] for entry in msgspec.json.decode(listed.stdout)]
    assert names[:2] == ["customer-feedback", "sst3"]
    assert "customer-feedback" in runner.invoke(app, ["data", "list"]).stdout

    path = make_csv(tmp_path)
    got = runner.invoke(app, ["data", "get", str(path), "--out", str(tmp_path / "o"), "--json"])
    sizes = msgspec.json.decode(got.stdout)["sizes"]
    lines = (tmp_path / "o" / "train.jsonl").read_bytes().splitlines()
    assert len(lines) == sizes["train"]
    assert msgspec.json.decode(lines[0], type=TextExample).label in ("early", "late")

    shown = runner.invoke(app, ["data", "show", str(path), "--text-column", "text"])
    assert shown.exit_code == 0
    assert "class balance" in shown.stdout
    numbered = ["data", "show", str(path), "--text-column", "1", "--label-column", "1", "--json"]
    assert isinstance(runner.invoke(app, numbered).exception, DataError)


@pytest.mark.parametrize("verb", ["list", "get", "show"])
def test_every_verb_has_an_example(verb: str) -> None:
    result = CliRunner().invoke(app, ["data", verb, "--help"])
    assert result.exit_code == 0
    assert f"Example: edgeseq data {verb}" in result.stdout


@pytest.mark.skipif("EDGESEQ_DATA" not in os.environ, reason="set EDGESEQ_DATA to use local copies")
def test_local_copy_of_sst3() -> None:
    dataset = load_dataset("sst3", data_dir=Path(os.environ["EDGESEQ_DATA"]))
    sizes = tuple(len(part) for part in (dataset.train, dataset.dev, dataset.test))
    assert sizes == {entry.name: entry.sizes for entry in entries()}["sst3"]


def test_every_task_has_a_data_set_of_its_own() -> None:
    found = {task.name: default_name(task.name) for task in TASKS.values() if task.title}
    assert found["sentiment"] == "customer-feedback"
    assert found["pos"] == "ud-ewt"
    assert found["ner"] == "e-ner"
    assert found["coref"] == "gap"
    assert found["lm"] == "wikitext2"
    with pytest.raises(InputError, match="text-classification has no built-in data set"):
        default_name("text-classification")


def test_a_hub_data_set_is_pinned_and_says_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    train = FakeHubPart(hub_rows(200))
    url = f"hf://datasets/made@{commit}/data/train.parquet"
    train.info = types.SimpleNamespace(download_checksums={url: {}})  # type: ignore[attr-defined]
    calls = []

    def load(name: str, config: str | None, **options: str):
        calls.append((name, config, options))
        return {"train": train}

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load))
    assert load_hub("hf:made").origin == f"Hugging Face hub, made at {commit}"
    load_hub(f"hf:made:config@{commit}")
    assert calls == [("made", None, {}), ("made", "config", {"revision": commit})]
