"""A published model on its own labels: the bundle's answers against its framework's, to the text.

    cd benchmarks
    python -m studies.public_models.labelled FOLDER [--texts 2000] [--write]
    python -m studies.public_models --write              puts it into public-models.md

`dgaintel` classifies domain names as those of people or of malware, character by character, in a
row of 82 ids filled up behind the name with 0; its repository has the labelled names. `FOLDER`
holds the package's model and the repository's `datasets/domains.csv`, under any name. The names are
those with the lowest SHA-256 of each class.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

import edgeseq as es
from edgeseq.errors import EdgeseqError, InputError
from edgeseq.formats.storage import sha256_file, write_json
from studies.public_models.frameworks import reference_of
from studies.public_models.sources import find_models, read_sources

MODEL = "domains-conv-lstm"
LABELLED_SHA256 = "9d0119ba9c8aa16d830f7601942fbf24d18adf822f697d7564130f093d7c0497"
ALPHABET = "-.0123456789_abcdefghijklmnopqrstuvwxyz"
LENGTH, PAD_ID = 82, 0
CLASSES = ("legit", "dga")
RESULT = Path(__file__).parents[2] / "results" / "public-models" / "labels.json"
RECIPES = ("float32", "dynamic_wi8_afp32")


class LabelledRow(msgspec.Struct, frozen=True):
    """One recipe's bundle: right labels of `n`, and labels that are the framework's."""

    recipe: str
    n_right: int
    n_equal: int


class LabelledResult(msgspec.Struct, frozen=True):
    """The framework's right labels of `n` texts, and those of the bundles."""

    model: str
    framework: str
    edgeseq_version: str
    n: int
    n_right: int
    bundles: tuple[LabelledRow, ...]


def character_tokenizer() -> str:
    """The published table of characters as a tokenizer.json: the first has the id 0."""
    vocabulary = {character: index for index, character in enumerate(ALPHABET)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=ALPHABET[0]))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    return str(tokenizer.to_str())


def read_names(path: Path, count: int) -> list[tuple[str, int]]:
    """Domain names and their class, as many of each; of those that the table can spell."""
    by_class: dict[int, list[tuple[str, str]]] = {0: [], 1: []}
    with path.open(encoding="utf-8", newline="") as file:
        for kind, name, *_ in csv.reader(file):
            spelled = kind in CLASSES and set(name) <= set(ALPHABET) and 0 < len(name) <= LENGTH
            if spelled:
                digest = hashlib.sha256(name.encode()).hexdigest()
                by_class[CLASSES.index(kind)].append((digest, name))
    chosen = []
    for label, names in by_class.items():
        chosen += [(name, label) for _, name in sorted(set(names))[: count // 2]]
    return chosen


def framework_labels(path: Path, names: Sequence[str]) -> tuple[str, list[int]]:
    """The framework, and its labels of the names."""
    reference = reference_of(path)
    ids = np.full((len(names), LENGTH), PAD_ID, np.int32)
    for row, name in zip(ids, names, strict=True):
        row[: len(name)] = [ALPHABET.index(character) for character in name]
    scores = np.concatenate([reference.answer(part) for part in np.array_split(ids, 20)])
    return reference.framework, [int(score >= 0.5) for score in scores[:, 0]]


def measure(folder: Path, count: int) -> LabelledResult:
    """Labels of the framework and of a bundle for each recipe.

    Raises `InputError` when a file is missing, and what conversion raises.
    """
    sources, _ = read_sources()
    found = find_models([source for source in sources if source.name == MODEL], folder)
    labelled = next(
        (p for p in folder.rglob("*") if p.is_file() and sha256_file(p) == LABELLED_SHA256), None
    )
    if MODEL not in found or labelled is None:
        raise InputError(
            "does not hold the model and its labelled names",
            where=folder,
            fix="see studies/public_models/sources.toml, and datasets/domains.csv of "
            "the repository sudo-rushil/dga-intel",
        )
    rows = read_names(labelled, count)
    names, labels = [name for name, _ in rows], [label for _, label in rows]
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        model = work / "model.h5"
        model.write_bytes(found[MODEL].path.read_bytes())
        framework, expected = framework_labels(model, names)
        tokenizer, data = work / "tokenizer.json", work / "names.csv"
        tokenizer.write_text(character_tokenizer(), encoding="utf-8")
        with data.open("w", encoding="utf-8", newline="") as file:
            # The labels in the order of the outputs: 1 − score, score.
            csv.writer(file).writerows([("text", "label"), *((n, str(c)) for n, c in rows)])
        loaded = es.load_model(model, tokenizer=tokenizer, max_tokens=LENGTH)
        texts = es.load_dataset(data, task="text-classification")
        bundles = []
        for recipe in RECIPES:
            bundle = es.convert(
                loaded, texts, recipe=recipe, padding="post", truncation="post", pad_id=PAD_ID,
                out=work / recipe, progress=None,
            )  # fmt: skip
            answers = [int(answer.label) for answer in bundle.predict(names)]
            bundles.append(LabelledRow(recipe, _equal(answers, labels), _equal(answers, expected)))
    right = _equal(expected, labels)
    return LabelledResult(MODEL, framework, es.__version__, len(rows), right, tuple(bundles))


def _equal(one: Sequence[int], other: Sequence[int]) -> int:
    return sum(a == b for a, b in zip(one, other, strict=True))


def main(arguments: list[str]) -> int:
    """The command; its exit codes are those of `edgeseq`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args(arguments)
    try:
        result = measure(options.folder, options.texts)
    except EdgeseqError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    if options.write:
        write_json(RESULT, result)
    for line in labelled_lines(result):
        sys.stdout.write(f"{line}\n")
    return 0


def labelled_lines(result: LabelledResult) -> list[str]:
    """The result as Markdown."""
    rows = [
        f"| {row.recipe} | {row.n_right / result.n:.2%} | {row.n_equal} of {result.n} |"
        for row in result.bundles
    ]
    return [
        f"`{result.model}` on {result.n} labelled names of its own repository, padded behind as it "
        f"was trained (edgeseq {result.edgeseq_version}):",
        "",
        "| bundle | accuracy | labels equal to the framework's |",
        "|---|---|---|",
        f"| {result.framework} itself | {result.n_right / result.n:.2%} | |",
        *rows,
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
