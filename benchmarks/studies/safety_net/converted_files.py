"""Hashes of files that whole conversions write, as bundles and bare, from every source."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from edgeseq.datasets.wikitext import stream_dataset
from edgeseq.formats.trained_model import TrainedModel, write_model_folder
from edgeseq.tasks.examples import (
    EOS,
    UNKNOWN,
    AnyDataset,
    Dataset,
    StreamExample,
    TaggedExample,
    TextExample,
)
from edgeseq_converters.convert.bare_file import convert_to_file
from edgeseq_converters.convert.import_model import ImportOptions, load_model
from edgeseq_converters.convert.pipeline import convert
from edgeseq_converters.convert.plan import ConversionOptions
from edgeseq_converters.models.stored_network import network_to_folder

from . import seeded
from .entries import Entries, file_hash

WORDS = ("[UNK]", UNKNOWN, EOS, *(f"w{n}" for n in range(seeded.VOCABULARY_SIZE - 3)))
BERT_SIZES = {
    "vocab_size": seeded.VOCABULARY_SIZE,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 26,
    "type_vocab_size": 1,
}


def convert_bundle(
    source: Path, out: Path, dataset: AnyDataset, recipe: str, tokenizer: Path | None = None
) -> bytes:
    """The model file of a bundle converted from any source."""
    model = load_model(source, ImportOptions(tokenizer=tokenizer))
    convert(model, dataset, out, ConversionOptions(recipes=(recipe,)))
    return (out / "model.tflite").read_bytes()


def convert_recurrent_file(
    source: Path, out: Path, recipe: str, description: Path | None = None
) -> bytes:
    """A bare file of a Keras or PyTorch network."""
    model = load_model(source, ImportOptions(description=description))
    convert_to_file(model, out, ConversionOptions(recipes=(recipe,)))
    return out.read_bytes()


def convert_checkpoint_file(source: Path, out: Path, recipe: str, head: Any) -> bytes:
    """A bare file of a Hugging Face checkpoint."""
    model = load_model(source, ImportOptions(head=head))
    convert_to_file(model, out, ConversionOptions(recipes=(recipe,)))
    return out.read_bytes()


def converted_files() -> Entries:
    """Every conversion, in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="safety-net-") as folder:
        return {
            f"converted/{name}": file_hash(produce)
            for part in (_trained_models, _keras_files, _torch_files, _checkpoints)
            for name, produce in part(Path(folder))
        }


def _trained_models(folder: Path) -> Iterator[tuple[str, Any]]:
    config, weights = network_to_folder(seeded.next_word_network("lstm"))
    tokenizer_json = _tokenizer_json()
    cases: dict[str, tuple[TrainedModel, AnyDataset]] = {
        "lstm/text-classification": (
            seeded.lstm_model("sentiment", bidirectional=True, tokenizer_json=tokenizer_json),
            text_dataset(),
        ),
        "bert/token-classification": (
            seeded.encoder_model("pos", head="token_classification", tokenizer_json=tokenizer_json),
            tagged_dataset(),
        ),
        "lstm/language-modeling": (
            seeded.trained_model(
                "lm", "lstm", dict(weights), labels=(), network=config,
                max_tokens=1 << 20, tokenizer_json=tokenizer_json,
            ),
            word_dataset(),
        ),
    }  # fmt: skip
    for name, (model, dataset) in cases.items():
        source = folder / name.replace("/", "-")
        write_model_folder(source, model)
        recipes = ["dynamic_wi8_afp32"]
        if name == "lstm/text-classification":
            recipes += ["dynamic_wi4_ei4_afp32", "static_wi8_ai8"]
        for recipe in recipes:
            out = folder / f"{source.name}-bundle-{recipe}"
            yield (
                f"trained-model/{name}/bundle/{recipe}",
                partial(convert_bundle, source, out, dataset, recipe),
            )


def _keras_files(folder: Path) -> Iterator[tuple[str, Any]]:
    import keras  # noqa: PLC0415 - TensorFlow: after everything that does without it

    layers = keras.layers
    for kind, layer in (("lstm", layers.LSTM), ("gru", layers.GRU)):
        model = keras.Sequential(
            [
                layers.Input((None,), dtype="int32"),
                layers.Embedding(seeded.VOCABULARY_SIZE, 8, mask_zero=kind == "gru"),
                layers.Bidirectional(layer(8, return_sequences=True)),
                layers.GlobalMaxPooling1D(),
                layers.Dense(len(seeded.LABELS), activation="softmax"),
            ],
            name=kind,
        )
        shapes = [weight.shape for weight in model.get_weights()]
        model.set_weights([seeded.array(f"{kind} {n}", *s) for n, s in enumerate(shapes)])
        for suffix in (".keras", ".h5"):
            source = folder / f"{kind}{suffix}"
            model.save(source)
            for recipe in ("float32", "dynamic_wi8_afp32"):
                out = folder / f"{kind}{suffix}-{recipe}.tflite"
                yield (
                    f"keras/{kind}/{suffix[1:]}/bare/{recipe}",
                    partial(convert_recurrent_file, source, out, recipe),
                )
    tokenizer = folder / "tokenizer.json"
    tokenizer.write_text(_tokenizer_json(), encoding="utf-8")
    out = folder / "keras-bundle"
    yield (
        "keras/lstm/keras/bundle/dynamic_wi8_afp32",
        partial(
            convert_bundle,
            folder / "lstm.keras",
            out,
            text_dataset(),
            "dynamic_wi8_afp32",
            tokenizer,
        ),
    )


def _torch_files(folder: Path) -> Iterator[tuple[str, Any]]:
    for kind, gates in (("lstm", 4), ("gru", 3)):
        hidden = 8
        shapes = {"words.weight": (seeded.VOCABULARY_SIZE, 6), "head.bias": (3,)}
        shapes["head.weight"] = (3, 2 * hidden)
        for direction in ("", "_reverse"):
            shapes[f"reader.weight_ih_l0{direction}"] = (gates * hidden, 6)
            shapes[f"reader.weight_hh_l0{direction}"] = (gates * hidden, hidden)
            for bias in ("bias_ih", "bias_hh"):
                shapes[f"reader.{bias}_l0{direction}"] = (gates * hidden,)
        source = folder / f"{kind}.safetensors"
        save_file({name: seeded.array(name, *shape) for name, shape in shapes.items()}, source)
        description = folder / f"{kind}.json"
        parts = [
            {"kind": kind, "prefix": "reader"},
            {"kind": "pool", "how": "last"},
            {"kind": "linear", "prefix": "head", "activation": "softmax"},
        ]
        description.write_text(
            json.dumps({"name": "reviews", "embedding": {"weight": "words.weight"}, "layer": parts})
        )
        out = folder / f"torch-{kind}.tflite"
        yield (
            f"torch/{kind}/safetensors/bare/dynamic_wi8_afp32",
            partial(convert_recurrent_file, source, out, "dynamic_wi8_afp32", description),
        )


def _checkpoints(folder: Path) -> Iterator[tuple[str, Any]]:
    heads = {
        "bert": {"bert.pooler.dense": (32, 32), "classifier": (3, 32)},
        "roberta": {"classifier.dense": (32, 32), "classifier.out_proj": (3, 32)},
    }
    labels = {str(number): label for number, label in enumerate(seeded.LABELS)}
    for family, linears in heads.items():
        source = folder / family
        source.mkdir()
        config = {"model_type": family, "id2label": labels, "pad_token_id": 1, **BERT_SIZES}
        config["architectures"] = [f"{ARCHITECTURES[family]}ForSequenceClassification"]
        (source / "config.json").write_text(json.dumps(config))
        (source / "tokenizer.json").write_text(_tokenizer_json(), encoding="utf-8")
        save_file(_checkpoint_arrays(family, linears), source / "model.safetensors")
        for head in ("sequence_classification", "feature_extraction"):
            out = folder / f"{family}-{head}.tflite"
            yield (
                f"huggingface/{family}/{HEAD_KEYS[head]}/bare/float32",
                partial(convert_checkpoint_file, source, out, "float32", head),
            )
    yield (
        "huggingface/bert/sequence-classification/bundle/dynamic_wi8_afp32",
        partial(
            convert_bundle,
            folder / "bert",
            folder / "bert-bundle",
            text_dataset(),
            "dynamic_wi8_afp32",
        ),
    )


ARCHITECTURES = {"bert": "Bert", "roberta": "Roberta"}
HEAD_KEYS = {
    "sequence_classification": "sequence-classification",
    "feature_extraction": "feature-extraction",
}


def _checkpoint_arrays(
    family: str, head_linears: dict[str, tuple[int, int]]
) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    """Arrays under the names of transformers' BertForSequenceClassification and Roberta's."""
    hidden, inner = BERT_SIZES["hidden_size"], BERT_SIZES["intermediate_size"]
    linears: dict[str, tuple[int, int]] = dict(head_linears)
    norms = [f"{family}.embeddings.LayerNorm"]
    for number in range(BERT_SIZES["num_hidden_layers"]):
        layer = f"{family}.encoder.layer.{number}"
        for name in ("self.query", "self.key", "self.value", "output.dense"):
            linears[f"{layer}.attention.{name}"] = (hidden, hidden)
        linears[f"{layer}.intermediate.dense"] = (inner, hidden)
        linears[f"{layer}.output.dense"] = (hidden, inner)
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
    arrays = {}
    for table, rows in (("word", "vocab_size"), ("position", "max_position_embeddings"),
                        ("token_type", "type_vocab_size")):  # fmt: skip
        name = f"{family}.embeddings.{table}_embeddings.weight"
        arrays[name] = seeded.array(name, BERT_SIZES[rows], hidden, scale=0.2)
    for name, shape in linears.items():
        arrays[f"{name}.weight"] = seeded.array(f"{name}.weight", *shape, scale=0.2)
        arrays[f"{name}.bias"] = seeded.array(f"{name}.bias", shape[0], scale=0.2)
    for name in norms:
        arrays[f"{name}.weight"] = 1 + seeded.array(f"{name}.weight", hidden, scale=0.2)
        arrays[f"{name}.bias"] = seeded.array(f"{name}.bias", hidden, scale=0.2)
    return arrays


def _tokenizer_json() -> str:
    """A tokenizer of whole words."""
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=WORDS[0]))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return str(tokenizer.to_str())


def _sentences(split: str, count: int = 12) -> list[tuple[str, ...]]:
    draw = seeded.generator(f"sentences {split}")
    return [
        tuple(f"w{n}" for n in draw.integers(0, 30, int(draw.integers(2, 12))))
        for _ in range(count)
    ]


def text_dataset() -> AnyDataset:
    """Texts with one label each."""
    return _dataset(
        "sentiment",
        {
            split: tuple(
                TextExample(f"{split}/{n}", " ".join(words), seeded.LABELS[n % 3])
                for n, words in enumerate(_sentences(split))
            )
            for split in ("train", "dev", "test")
        },
    )


def tagged_dataset() -> AnyDataset:
    """Sentences with one label per word."""
    return _dataset(
        "pos",
        {
            split: tuple(
                TaggedExample(f"{split}/{n}", words, (seeded.LABELS[n % 3],) * len(words))
                for n, words in enumerate(_sentences(split))
            )
            for split in ("train", "dev", "test")
        },
    )


def word_dataset() -> AnyDataset:
    """Running text."""
    splits: dict[Any, Any] = {
        split: tuple(
            StreamExample(f"{split}/{n}", (*words, EOS))
            for n, words in enumerate(_sentences(split, 40))
        )
        for split in ("train", "dev", "test")
    }
    return stream_dataset("seeded", splits, licence="", origin="")


def _dataset(task: str, splits: dict[str, Any]) -> AnyDataset:
    return Dataset(
        name="seeded", task=task, labels=seeded.LABELS, licence="", origin="", sha256="0" * 64,
        **splits,
    )  # fmt: skip
