"""The forms in which checkpoints come: parts, half precision, pickles, older tokenizers, heads."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_torch_file
from tokenizers import ByteLevelBPETokenizer, Tokenizer

from edgeseq.errors import CheckpointError
from edgeseq_converters.models.huggingface.checkpoint import read_checkpoint, read_model
from edgeseq_converters.models.huggingface.files import Files
from edgeseq_converters.models.huggingface.weights import read_weights
from edgeseq_converters.models.reference_encoder import bert_answers

TEXT = "The kettle rattles badly, honestly."


@pytest.fixture
def folder(small_bert_checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of the small checkpoint that a test may change."""
    import shutil

    return Path(shutil.copytree(small_bert_checkpoint, tmp_path / "checkpoint"))


def change_config(folder: Path, **fields: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def tensors(folder: Path) -> dict[str, Any]:
    return {n: torch.from_numpy(a) for n, a in load_file(folder / "model.safetensors").items()}


def to_pickle(folder: Path, content: Any = None) -> Path:
    """Replaces model.safetensors by pytorch_model.bin."""
    path = folder / "pytorch_model.bin"
    torch.save(tensors(folder) if content is None else content, path)
    (folder / "model.safetensors").unlink()
    return path


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(folder: Path, dtype: Any) -> None:
    plain = read_checkpoint(folder).weights
    rounded = {name: tensor.to(dtype) for name, tensor in tensors(folder).items()}
    save_torch_file(rounded, folder / "model.safetensors")
    for name, array in read_checkpoint(folder).weights.items():
        assert array.dtype == np.float32
        expected = torch.from_numpy(plain[name]).to(dtype).to(torch.float32).numpy()
        np.testing.assert_array_equal(array, expected)


def test_a_pickle_of_tensors(folder: Path) -> None:
    plain = read_checkpoint(folder).weights
    to_pickle(folder)
    for name, array in read_checkpoint(folder).weights.items():
        np.testing.assert_array_equal(array, plain[name])


class Harmful:
    """What an evil checkpoint holds: unpickling it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def test_code_in_a_pickle_is_not_run(folder: Path, tmp_path: Path) -> None:
    trace = tmp_path / "was-run"
    path = to_pickle(folder, {"embeddings.word_embeddings.weight": Harmful(trace)})
    with pytest.raises(CheckpointError, match="is not a file of tensors alone") as caught:
        read_checkpoint(folder)
    path.write_bytes(pickle.dumps(Harmful(trace), protocol=2))
    with pytest.raises(CheckpointError, match="is not a file of tensors alone"):
        read_checkpoint(folder)
    assert not trace.exists()
    assert "\n" not in str(caught.value)


def test_a_pickle_without_pytorch_is_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to_pickle(folder)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(CheckpointError, match=r"PyTorch is not installed.*pip install torch"):
        read_weights(Files(folder, name="somewhere"))


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_weights_in_parts(folder: Path, kind: str) -> None:
    plain = read_checkpoint(folder).weights
    every = tensors(folder)
    (folder / "model.safetensors").unlink()
    stem, name = ("model", "model.safetensors") if kind == "safetensors" else ("pytorch_model",) * 2
    places = {}
    for number, part in enumerate((0, 1), start=1):
        chosen = {name: t for place, (name, t) in enumerate(every.items()) if place % 2 == part}
        file = f"{stem}-0000{number}-of-00002.{kind}"
        (save_torch_file if kind == "safetensors" else torch.save)(chosen, folder / file)
        places |= dict.fromkeys(chosen, file)
    index = folder / f"{stem}.{kind}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    for name, array in read_checkpoint(folder).weights.items():
        np.testing.assert_array_equal(array, plain[name])
    (folder / f"{stem}-00002-of-00002.{kind}").unlink()
    with pytest.raises(CheckpointError, match=r"00002-of-00002.*no such file"):
        read_checkpoint(folder)


def test_an_index_does_not_lead_out_of_the_folder(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder.parent / "model.safetensors")
    index = {"weight_map": {"embeddings.word_embeddings.weight": "../model.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="names a file outside of the checkpoint"):
        read_checkpoint(folder)


def test_byte_pairs_make_a_tokenizer(tmp_path: Path) -> None:
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained = ByteLevelBPETokenizer()
    texts = [TEXT, "The lamp works beautifully", "das kostet 5 €"] * 3
    trained.train_from_iterator(texts, vocab_size=330, special_tokens=specials, show_progress=False)
    trained.save_model(str(tmp_path))
    config = transformers.RobertaConfig(
        vocab_size=trained.get_vocab_size(),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=66,
    )
    transformers.RobertaModel(config).save_pretrained(tmp_path)
    model = read_model(tmp_path)
    read = Tokenizer.from_str(model.tokenizer_json)
    theirs = transformers.RobertaTokenizer.from_pretrained(tmp_path)
    for text in (TEXT, "  spaced  €  out", "unseen ŵords 東京"):
        assert read.encode(text).ids == theirs(text)["input_ids"]
    # The space before it belongs to the mask, as in the tokenizer.json of roberta-base.
    assert read.encode("a <mask>").ids == [*read.encode("a").ids[:-1], 4, 2]
    assert model.manifest.max_tokens == 64


def test_word_pieces_make_the_tokenizer_of_transformers(folder: Path) -> None:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    pieces = sorted(tokenizer.get_vocab(), key=tokenizer.token_to_id)
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    read = Tokenizer.from_str(read_checkpoint(folder).tokenizer_json)
    theirs = transformers.BertTokenizer.from_pretrained(folder)
    for text in (TEXT, "Ünïcode 東京 [MASK] don't", "a" * 150):
        assert read.encode(text).ids == theirs(text)["input_ids"]


def test_a_checkpoint_without_tokenizer_is_one_line(folder: Path) -> None:
    (folder / "tokenizer.json").rename(folder / "spiece.model")
    with pytest.raises(CheckpointError, match=r"has neither tokenizer.json.*found spiece.model"):
        read_checkpoint(folder)


def sentence_files(folder: Path, *, pooling: str = "mean_tokens", last: str = "Normalize") -> None:
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "path": "2_Last", "type": f"sentence_transformers.models.{last}"},
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    modes = {f"pooling_mode_{one}": one == pooling for one in ("cls_token", "mean_tokens", "max")}
    settings = {"word_embedding_dimension": 32, **modes}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(settings))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 40}))


@pytest.mark.parametrize(("pooling", "expected"), [("mean_tokens", "mean"), ("cls_token", "cls")])
def test_sentence_embeddings_pool_as_the_files_say(
    folder: Path, pooling: str, expected: str
) -> None:
    sentence_files(folder, pooling=pooling)
    model = read_model(folder, task="similarity")
    config = model.manifest.bert
    assert config is not None
    assert (config.head, config.pooling, config.normalized) == (
        "feature_extraction",
        expected,
        True,
    )
    assert model.manifest.max_tokens == 40
    assert model.manifest.task == "similarity"
    (vector,) = bert_answers(model, [[2, 5, 9, 3]])
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)


def test_refuses_what_a_sentence_model_adds(folder: Path) -> None:
    sentence_files(folder, last="Dense")
    with pytest.raises(CheckpointError, match=r"found Dense, expected Transformer, Pooling"):
        read_model(folder)


def test_refuses_another_pooling(folder: Path) -> None:
    sentence_files(folder, pooling="max")
    with pytest.raises(CheckpointError, match=r"pooling mode is not supported: found max"):
        read_model(folder)


def test_refuses_a_head_that_it_has_not(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"tensor pooler.dense.weight|tensor classifier"):
        read_model(folder, head="sequence_classification")
    change_config(folder, architectures=["BertForQuestionAnswering"])
    with pytest.raises(CheckpointError, match=r"architectures.*QuestionAnswering.*expected …For"):
        read_model(folder)


def test_labels_are_the_checkpoints(folder: Path) -> None:
    arrays = load_file(folder / "model.safetensors")
    arrays |= {"classifier.weight": np.ones((3, 32), np.float32)}
    arrays |= {"classifier.bias": np.zeros(3, np.float32)}
    save_file(arrays, folder / "model.safetensors")
    change_config(
        folder,
        architectures=["BertForTokenClassification"],
        id2label={"0": "O", "1": "B-PER", "2": "I-PER"},
    )
    model = read_model(folder, max_tokens=20)
    assert model.manifest.labels == ("O", "B-PER", "I-PER")
    assert model.manifest.max_tokens == 20
    assert model.manifest.name == "checkpoint"
    with pytest.raises(CheckpointError, match="max_tokens 65, expected 1 to 64"):
        read_model(folder, max_tokens=65)


@pytest.mark.index
def test_the_default_embeds_like_transformers() -> None:
    from ai_edge_litert.interpreter import Interpreter

    from edgeseq_converters.convert.lower.encoder import encoder
    from edgeseq_converters.convert.recipes import get_recipe
    from edgeseq_converters.models.huggingface.checkpoint import DEFAULT_CHECKPOINT

    model = read_model(DEFAULT_CHECKPOINT)
    tokenizer = Tokenizer.from_str(model.tokenizer_json)
    texts = ["works well", TEXT, "Delivery took three weeks. " * 12]
    ids = [tokenizer.encode(text).ids for text in texts]
    expected = bert_answers(model, ids)
    for recipe, cosine in (("float32", 0.9999), ("dynamic_wi8_afp32", 0.99)):
        content = encoder.lower(model, get_recipe(recipe))
        runner = Interpreter(model_content=content, num_threads=1).get_signature_runner()
        for one, wanted in zip(ids, expected, strict=True):
            found = runner(input_ids=np.asarray([one], np.int32))["embedding"][0]
            assert found @ wanted >= cosine
