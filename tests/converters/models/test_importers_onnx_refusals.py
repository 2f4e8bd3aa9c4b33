"""ONNX files with something that a network cannot have, one field changed, or damaged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeseq.errors import CheckpointError
from edgeseq_converters.models.read import read_network
from edgeseq_converters.models.reference_recurrent import answers

from .test_importers_onnx import TEXTS, Reader, Variant, check, export, onnx, onnxruntime, randomize

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(randomize(Reader()), tmp_path_factory.mktemp("onnx") / "model.onnx")


def changed(good: Path, folder: Path, change: Callable[[Any], None]) -> Path:
    """A copy of a sound file with one thing changed."""
    model = onnx.load(good)
    change(model)
    onnx.save(model, folder / "changed.onnx")
    return folder / "changed.onnx"


def node_of(model: Any, operator: str) -> Any:
    return next(node for node in model.graph.node if node.op_type == operator)


def test_lengths_of_padded_texts(good: Path, tmp_path: Path) -> None:
    """A batch with its lengths answers each text at its real length, as the network does."""

    def with_lengths(model: Any) -> None:
        node_of(model, "LSTM").input[4] = "lengths"
        lengths = onnx.helper.make_tensor_value_info("lengths", onnx.TensorProto.INT32, ["texts"])
        model.graph.input.append(lengths)

    path = changed(good, tmp_path, with_lengths)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    ids = np.asarray([[5, 1, 4, 9], [7, 7, 0, 0]])
    expected = session.run(None, {"ids": ids, "lengths": np.asarray([4, 2], np.int32)})[0]
    found = answers(read_network(path), [[5, 1, 4, 9], [7, 7]])
    np.testing.assert_allclose(np.stack(found), expected, atol=1e-5)


def first(module: Any, ids: Any, words: Any) -> Any:
    return module.head(module.reader(words)[0][:, 0, :6])


def cells(module: Any, ids: Any, words: Any) -> Any:
    return module.head(module.reader(words)[1][1][-1])


def fed(module: Any, ids: Any, words: Any) -> Any:
    state = torch.ones(2, 1, 6)
    return module.head(module.reader(words, (state, state))[1][0][-1])


def flat(module: Any, ids: Any, words: Any) -> Any:
    return module.reader(words)[0].flatten(1)


def other(module: Any, ids: Any, words: Any) -> Any:
    return torch.erf(module.reader(words)[0])


def parted(module: Any, ids: Any, words: Any) -> Any:
    return torch.split(module.reader(words)[0], [4, 8], 2)[0].max(dim=1).values


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (
            first,
            "takes something else than the last token|is applied to something else|first token",
        ),
        (cells, "takes a tensor that nothing known gives"),
        (fed, "cannot be converted|an initial state, not zero|depends on the text"),
        (flat, r"ties it to one length; pool over the tokens"),
        (parted, r"\(Split\) splits into parts of several sizes: found \[4, 8\]"),
        (other, r"\(Erf\) cannot be converted.*leave it out of the exported module"),
    ],
)
def test_what_a_graph_may_not_do(tmp_path: Path, step: Any, message: str) -> None:
    path = export(randomize(Variant(step)), tmp_path / "model.onnx")
    with pytest.raises(CheckpointError, match=message) as refusal:
        read_network(path)
    assert "\n" not in str(refusal.value)


def attribute(operator: str, **values: Any) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        node = node_of(model, operator)
        kept = [entry for entry in node.attribute if entry.name not in values]
        del node.attribute[:]
        node.attribute.extend(kept)
        for name, value in values.items():
            node.attribute.append(onnx.helper.make_attribute(name, value))

    return change


def peephole(model: Any) -> None:
    node = node_of(model, "LSTM")
    weights = np.ones((1, 18), np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "peephole"))
    node.input.extend(["peephole"] if len(node.input) == 7 else ["", "peephole"])


def own_domain(model: Any) -> None:
    node_of(model, "LSTM").domain = "com.example"


def two_outputs(model: Any) -> None:
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info("words.weight"))


def opset(model: Any) -> None:
    model.opset_import[0].version = 99


def integers(model: Any) -> None:
    table = next(t for t in model.graph.initializer if t.name == "words.weight")
    table.CopyFrom(onnx.numpy_helper.from_array(np.zeros((17, 5), np.int8), "words.weight"))


def elsewhere(model: Any) -> None:
    table = next(t for t in model.graph.initializer if t.name == "words.weight")
    table.ClearField("raw_data")
    table.data_location = onnx.TensorProto.EXTERNAL
    entry = table.external_data.add()
    entry.key, entry.value = "location", "../outside.bin"


def huge(model: Any) -> None:
    table = next(t for t in model.graph.initializer if t.name == "words.weight")
    table.dims[0] = 1 << 40


def short(model: Any) -> None:
    table = next(t for t in model.graph.initializer if t.name == "words.weight")
    table.raw_data = table.raw_data[:-4]


def odd(model: Any) -> None:
    table = next(t for t in model.graph.initializer if t.name == "words.weight")
    table.raw_data = table.raw_data[:-3]


def longer(model: Any) -> None:
    table = next(t for t in model.graph.initializer if t.name == "words.weight")
    table.raw_data += bytes(4)


def no_rows(model: Any) -> None:
    table = next(t for t in model.graph.initializer if t.name == "words.weight")
    table.CopyFrom(onnx.numpy_helper.from_array(np.zeros((0, 5), np.float32), "words.weight"))


def added(
    operator: str, *inputs: str, shape: Sequence[int] = (), **values: Any
) -> Callable[[Any], None]:
    """A node whose output nothing takes; it may take the array `shape`."""

    def change(model: Any) -> None:
        array = np.asarray(shape, np.int64)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, "shape"))
        model.graph.node.append(onnx.helper.make_node(operator, inputs, ["unused"], **values))

    return change


ONES = onnx.helper.make_tensor("value", onnx.TensorProto.FLOAT, [1], [1.0])
STATES = "/reader/LSTM_output_1"


def sparse(model: Any) -> None:
    model.graph.sparse_initializer.add()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (attribute("LSTM", clip=3.0), r"\(LSTM\) clips its gates"),
        (attribute("LSTM", input_forget=1), "couples its gates"),
        (
            attribute("LSTM", activations=["Sigmoid", "Relu", "Tanh"]),
            "functions that the runtime.*relu",
        ),
        (attribute("LSTM", activation_alpha=[0.2]), "has activation_alpha"),
        (attribute("LSTM", hidden_size=7), "another hidden_size: found 6"),
        (attribute("LSTM", direction="sideways"), "another number of directions"),
        (attribute("LSTM", layout=1), "does not run over the tokens|fit"),
        (attribute("LSTM", unheard_of=1), "an attribute that is not known: found unheard_of"),
        (attribute("Gemm", transA=1), r"\(Gemm\) does not multiply the features"),
        (attribute("Gemm", bias_scale=2.0), "not known: found bias_scale"),
        (attribute("BatchNormalization", training_mode=1), "eval mode; export model.eval"),
        (attribute("Gather", batch_dims=1), "not known: found batch_dims"),
        (peephole, "is given peepholes, not zero"),
        (own_domain, "not one of ONNX' own operators: found com.example"),
        (two_outputs, "has several outputs"),
        (opset, "version of the operator set.*found 99"),
        (integers, "type that cannot be converted"),
        (elsewhere, r"not beside the model: found \.\./outside\.bin"),
        (huge, "is too large"),
        (short, "is a damaged ONNX file"),
        (odd, "is a damaged ONNX file"),
        (longer, "is a damaged ONNX file"),
        (no_rows, r"has no table: found \[0, 5\]"),
        (attribute("LSTM", activations=3), "strange activations: found 3, expected texts"),
        (added("Cast", "words.weight"), "type that cannot be converted: found 0"),
        (added("Reshape", "", "shape", shape=[3]), "shapes in a way that is not known"),
        (added("Reshape", STATES, "shape", shape=[1] * 3000), "a shape that is not known"),
        (added("ConstantOfShape", "shape", shape=[-1], value=ONES), r"too large: found \[-1\]"),
        (
            added("ConstantOfShape", "shape", shape=[1 << 32, 1 << 32], value=ONES),
            "a constant that is too large",
        ),
        (sparse, "sparse arrays"),
    ],
)
def test_changed_fields_are_refused(
    good: Path, tmp_path: Path, change: Callable[[Any], None], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message) as refusal:
        read_network(changed(good, tmp_path, change))
    assert "\n" not in str(refusal.value)


def test_damaged_files(good: Path, tmp_path: Path) -> None:
    whole = good.read_bytes()
    for content in (b"", b"no protobuf at all", whole[: len(whole) // 2]):
        (tmp_path / "cut.onnx").write_bytes(content)
        with pytest.raises(CheckpointError, match=r"ONNX file|takes a tensor|several outputs"):
            read_network(tmp_path / "cut.onnx")
    with pytest.raises(CheckpointError, match="describes its layers itself"):
        read_network(good, description=tmp_path / "network.toml")


def test_weights_beside_the_model(good: Path, tmp_path: Path) -> None:
    model = onnx.load(good)
    onnx.save(
        model, tmp_path / "model.onnx", save_as_external_data=True, location="model.data",
        size_threshold=0,
    )  # fmt: skip
    expected = answers(read_network(good), TEXTS)
    np.testing.assert_array_equal(answers(read_network(tmp_path / "model.onnx"), TEXTS), expected)
    (tmp_path / "model.data").unlink()
    with pytest.raises(CheckpointError, match=r"keep model\.data in the model's folder"):
        read_network(tmp_path / "model.onnx")
    (tmp_path / "model.data").write_bytes(b"cut")
    with pytest.raises(CheckpointError, match="is a damaged ONNX file"):
        read_network(tmp_path / "model.onnx")


def test_a_length_beside_the_model_that_is_not_the_arrays(good: Path, tmp_path: Path) -> None:
    model = onnx.load(good)
    table = next(t for t in model.graph.initializer if t.name == "words.weight")
    table.ClearField("raw_data")
    table.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", "beside.bin"), ("length", str(10**18))):
        entry = table.external_data.add()
        entry.key, entry.value = key, value
    (tmp_path / "beside.bin").write_bytes(bytes(17 * 5 * 4))
    (tmp_path / "far.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(CheckpointError, match=r"found 10+ bytes in beside\.bin, expected 340"):
        read_network(tmp_path / "far.onnx")


def pooled(module: Any, ids: Any, words: Any) -> Any:
    return torch.nn.functional.max_pool1d(words.transpose(1, 2), 7).flatten(1)


def test_a_window_as_long_as_the_text_pools_it_without_padding_alone(tmp_path: Path) -> None:
    path = export(randomize(Variant(pooled)), tmp_path / "model.onnx", length=7)
    check(path, [[5, 1, 4, 16, 2, 9, 11]])

    def pad(model: Any) -> None:
        attribute("MaxPool", auto_pad="SAME_UPPER")(model)
        node = node_of(model, "MaxPool")
        node.attribute.remove(next(entry for entry in node.attribute if entry.name == "pads"))

    with pytest.raises(CheckpointError, match=r"\(\w+\) flattens states of all tokens"):
        read_network(changed(path, tmp_path, pad))
