"""What several tests share: a small invented corpus, and a small BERT checkpoint of our own."""

from __future__ import annotations

import csv
import json
import random
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

THINGS = (
    "kettle",
    "lamp",
    "headset",
    "tent",
    "blender",
    "router",
    "jacket",
    "camera",
    "phone case",
)
GOOD = ("works beautifully", "is a delight", "feels solid", "was worth every cent", "never fails")
BAD = ("broke within a week", "is a waste of money", "rattles badly", "leaks", "arrived damaged")
PLAIN = (
    "comes in a grey box",
    "has two buttons",
    "was ordered in March",
    "weighs a kilo",
    "is new",
)
TAILS = ("", " and I told my sister", ", as my neighbour said", " after ten days", ", honestly")
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LABELS = ("negative", "neutral", "positive")

# The beginning of a suite over an invented corpus; the model's recipes and training follow.
INVENTED_SUITE = """
schema_version = 1
name = "invented"
task = "sentiment"

[data]
name = "invented"
train = "{corpus}/train.csv"
dev = "{corpus}/dev.csv"
test = "{corpus}/test.csv"

[[model]]
name = "tiny-bert"
arch = "bert"
checkpoint = "{checkpoint}"
"""


def invented_rows(count: int, *, seed: int) -> list[tuple[str, str]]:
    """`count` (text, label) pairs of an invented product review corpus, reproducible by seed."""
    rng = random.Random(seed)  # noqa: S311 - an invented corpus, not a secret
    rows = []
    for _ in range(count):
        label = rng.choice(LABELS)
        said = {"negative": BAD, "neutral": PLAIN, "positive": GOOD}[label]
        text = f"The {rng.choice(THINGS)} {rng.choice(said)}{rng.choice(TAILS)}."
        rows.append((text, label))
    return rows


def write_csv(path: Path, rows: Sequence[tuple[str, str]]) -> Path:
    """Writes rows as a CSV file with the columns `text` and `label`."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows(rows)
    return path


@pytest.fixture(scope="session")
def invented_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.csv (600 rows), dev.csv (100) and test.csv (200)."""
    folder = tmp_path_factory.mktemp("corpus")
    for seed, (part, count) in enumerate((("train", 600), ("dev", 100), ("test", 200))):
        write_csv(folder / f"{part}.csv", invented_rows(count, seed=seed))
    return folder


def word_pieces(texts: Sequence[str]) -> dict[str, int]:
    """A WordPiece vocabulary of the texts' letters and words; the long ones are cut in two.

    It is the same in every run, which a trained one is not: a trainer decides ties by the order
    of a hash table, and then what a small model learns in a few steps differs as well.
    """
    words = sorted(set(re.findall(r"[a-z]+|[^a-z\s]", " ".join(texts).lower())))
    letters = sorted({letter for word in words for letter in word})
    parts = [
        part
        for word in words
        for part in ((word,) if len(word) <= 6 else (word[:4], f"##{word[4:]}"))
    ]
    pieces = [*SPECIAL_TOKENS, *letters, *(f"##{letter}" for letter in letters), *parts]
    return {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}


@pytest.fixture(scope="session")
def small_bert_checkpoint(tmp_path_factory: pytest.TempPathFactory, invented_corpus: Path) -> Path:
    """A Hugging Face BERT checkpoint with 2 layers of 32 and random weights, and its tokenizer."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("checkpoint") / "small-bert"
    with (invented_corpus / "train.csv").open(encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    tokenizer = Tokenizer(models.WordPiece(word_pieces(texts), unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizer", "do_lower_case": True})
    )
    return folder
