"""Reading checkpoints: what is accepted, and the one line for everything else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

from edgeseq.errors import CheckpointError, FetchError
from edgeseq_converters.models.encoder import encoder_shapes
from edgeseq_converters.models.huggingface.checkpoint import (
    DEFAULT_CHECKPOINT,
    parse_config,
    read_checkpoint,
    read_model,
)


@pytest.fixture
def folder(small_bert_checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of the small checkpoint that a test may damage."""
    return Path(shutil.copytree(small_bert_checkpoint, tmp_path / "checkpoint"))


def change_config(folder: Path, **fields: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def change_weights(folder: Path, change: Any) -> None:
    path = folder / "model.safetensors"
    arrays = load_file(path)
    save_file(change(arrays), path)


def test_reads_a_folder(folder: Path) -> None:
    checkpoint = read_checkpoint(folder, pooling="cls")
    assert checkpoint.config.layers == 2
    assert checkpoint.config.hidden_size == 32
    assert checkpoint.config.hidden_act == "gelu"
    assert checkpoint.config.pooling == "cls"
    assert set(checkpoint.weights) == set(encoder_shapes(checkpoint.config))
    assert all(array.dtype == np.float32 for array in checkpoint.weights.values())
    assert str(folder) in checkpoint.identity


def test_prefixed_and_older_names_are_the_same_weights(folder: Path) -> None:
    plain = read_checkpoint(folder)

    def rename(name: str) -> str:
        name = name.replace("LayerNorm.weight", "LayerNorm.gamma")
        return "bert." + name.replace("LayerNorm.bias", "LayerNorm.beta")

    change_weights(folder, lambda arrays: {rename(n): a for n, a in arrays.items()})
    for name, array in read_checkpoint(folder).weights.items():
        np.testing.assert_array_equal(array, plain.weights[name])


def test_float16_becomes_float32(folder: Path) -> None:
    change_weights(folder, lambda arrays: {n: a.astype(np.float16) for n, a in arrays.items()})
    weights = read_checkpoint(folder).weights
    assert all(array.dtype == np.float32 for array in weights.values())


def test_truncation_and_padding_are_off(folder: Path) -> None:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=9)
    tokenizer.save(str(folder / "tokenizer.json"))
    read = Tokenizer.from_str(read_checkpoint(folder).tokenizer_json)
    assert read.truncation is None
    assert read.padding is None


def test_vocabulary_file_stands_in_for_a_tokenizer(folder: Path) -> None:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    pieces = sorted(tokenizer.get_vocab(), key=tokenizer.token_to_id)
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    read = Tokenizer.from_str(read_checkpoint(folder).tokenizer_json)
    text = "The kettle rattles badly, honestly."
    # A Hugging Face BERT tokenizer adds the special tokens, the trained one above does not.
    assert read.encode(text).tokens == ["[CLS]", *tokenizer.encode(text).tokens, "[SEP]"]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("model_type", "xlnet", "model_type is not supported: found 'xlnet', expected bert or"),
        ("position_embedding_type", "relative_key", "position_embedding_type is not supported"),
        ("is_decoder", True, "is_decoder is not supported: found True, expected False"),
        ("add_cross_attention", True, "add_cross_attention is not supported"),
        ("pruned_heads", {"0": [1]}, "pruned_heads is not supported"),
        ("quantization_config", {"bits": 4}, "quantization_config is not supported"),
        ("hidden_act", "silu", "hidden_act is not supported: found 'silu', expected gelu or"),
        ("num_attention_heads", 5, "num_attention_heads does not divide hidden_size"),
        ("vocab_size", 0, "vocab_size is not a size: found 0"),
        ("num_hidden_layers", 3, "tensor encoder.layer.2.attention.self.query.weight is missing"),
        ("intermediate_size", 96, r"found \[64, 32\], expected \[96, 32\]"),
    ],
)
def test_refuses_what_the_graph_does_not_honour(
    folder: Path, field: str, value: object, message: str
) -> None:
    change_config(folder, **{field: value})
    with pytest.raises(CheckpointError, match=message) as caught:
        read_checkpoint(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_says_that_there_are_no_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "tf_model.h5")
    with pytest.raises(CheckpointError, match=r"neither model.safetensors nor .*found tf_model.h5"):
        read_checkpoint(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_damaged_files_are_named(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"not what it should be")
    with pytest.raises(CheckpointError, match=name):
        read_checkpoint(folder)


def test_refuses_values_that_are_no_numbers(folder: Path) -> None:
    name = "encoder.layer.1.output.dense.bias"

    def spoil(arrays: dict[str, Any]) -> dict[str, Any]:
        return {**arrays, name: np.full_like(arrays[name], np.nan)}

    change_weights(folder, spoil)
    with pytest.raises(CheckpointError, match=f"tensor {name} holds NaN"):
        read_checkpoint(folder)


def test_refuses_other_element_types(folder: Path) -> None:
    change_weights(folder, lambda arrays: {n: a.astype(np.int8) for n, a in arrays.items()})
    with pytest.raises(CheckpointError, match="found I8, expected float32 or float16"):
        read_checkpoint(folder)


def test_refuses_a_tokenizer_larger_than_the_table(folder: Path) -> None:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_tokens(["brandnew"])
    tokenizer.save(str(folder / "tokenizer.json"))
    with pytest.raises(CheckpointError, match="id beyond the word table"):
        read_checkpoint(folder)


@pytest.mark.parametrize("source", ["/no/such/folder", "../elsewhere", "a/b/c", ""])
def test_refuses_what_is_neither_folder_nor_hub_id(source: str) -> None:
    if source == "":
        source = " "
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        read_checkpoint(source)


def test_hub_failure_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def no_network(*_: object, **__: object) -> str:
        raise LocalEntryNotFoundError("Cannot connect\nand more lines")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", no_network)
    with pytest.raises(FetchError, match="hub did not give this checkpoint") as caught:
        read_checkpoint("somebody/something")
    assert "\n" not in str(caught.value)


def test_hub_id_is_read_from_the_hub_clients_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(folder))
    checkpoint = read_checkpoint("somebody/something")
    assert checkpoint.identity.startswith("somebody/something (weights sha256 ")


def test_missing_fields_have_the_defaults_of_transformers() -> None:
    fields = {
        "model_type": "bert",
        "vocab_size": 8,
        "hidden_size": 4,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 6,
        "max_position_embeddings": 5,
        "type_vocab_size": 1,
    }
    where = Path("config.json")
    config = parse_config(json.dumps(fields).encode(), pooling="mean", where=where)
    assert config.layer_norm_eps == pytest.approx(1e-12)  # transformers' default


@pytest.mark.index
def test_the_default_loads() -> None:
    checkpoint = read_checkpoint(DEFAULT_CHECKPOINT)
    assert checkpoint.config.layers == 6
    assert checkpoint.config.hidden_size == 384
    assert checkpoint.weights["embeddings.word_embeddings.weight"].shape == (30522, 384)
    tokenizer = Tokenizer.from_str(checkpoint.tokenizer_json)
    assert tokenizer.encode("works well").tokens == ["[CLS]", "works", "well", "[SEP]"]


def test_a_hub_checkpoint_is_pinned_and_says_its_commit(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = tmp_path / "snapshots" / commit
    shutil.copytree(folder, snapshot)
    revisions = []

    def download(hub_id: str, *, revision: str | None, **_: object) -> str:
        assert hub_id == "somebody/something"
        revisions.append(revision)
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    for source in ("somebody/something", "somebody/something@v1.0"):
        assert read_checkpoint(source).identity.startswith(f"somebody/something@{commit} (weights")
    assert revisions == [None, "v1.0"]
    assert read_model("somebody/something").manifest.name == "something"
