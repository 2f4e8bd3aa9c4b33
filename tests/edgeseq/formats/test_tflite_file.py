"""Reading .tflite files: sound ones, and every way of being damaged."""

from __future__ import annotations

import struct
from pathlib import Path

import flatbuffers
import pytest
import tflite
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgeseq.errors import BundleError
from edgeseq.formats.tflite_file import parse_tflite, read_tflite
from edgeseq.formats.tflite_runtimes import operator_versions, runtime_support

Offset = int


def _vector(builder: flatbuffers.Builder, entries: list[Offset]) -> Offset:
    builder.StartVector(4, len(entries), 4)
    for entry in reversed(entries):
        builder.PrependUOffsetTRelative(entry)
    return int(builder.EndVector())


def _numbers(builder: flatbuffers.Builder, numbers: list[int]) -> Offset:
    builder.StartVector(4, len(numbers), 4)
    for number in reversed(numbers):
        builder.PrependInt32(number)
    return int(builder.EndVector())


def _tensor(
    builder: flatbuffers.Builder, name: str, dtype: int, shape: list[int], buffer: int
) -> Offset:
    text, sizes = builder.CreateString(name), _numbers(builder, shape)
    tflite.TensorStart(builder)
    tflite.TensorAddName(builder, text)
    tflite.TensorAddType(builder, dtype)
    tflite.TensorAddShapeSignature(builder, sizes)
    tflite.TensorAddBuffer(builder, buffer)
    return int(tflite.TensorEnd(builder))


def _operator(
    builder: flatbuffers.Builder, code: int, inputs: list[int], outputs: list[int]
) -> Offset:
    given_, made = _numbers(builder, inputs), _numbers(builder, outputs)
    tflite.OperatorStart(builder)
    tflite.OperatorAddOpcodeIndex(builder, code)
    tflite.OperatorAddInputs(builder, given_)
    tflite.OperatorAddOutputs(builder, made)
    return int(tflite.OperatorEnd(builder))


def _named(builder: flatbuffers.Builder, name: str, tensor: int) -> Offset:
    text = builder.CreateString(name)
    tflite.TensorMapStart(builder)
    tflite.TensorMapAddName(builder, text)
    tflite.TensorMapAddTensorIndex(builder, tensor)
    return int(tflite.TensorMapEnd(builder))


def _codes(
    builder: flatbuffers.Builder, codes: list[tuple[int, int]], custom: str | None
) -> Offset:
    named = builder.CreateString(custom) if custom else None
    entries = []
    for code, version in codes:
        tflite.OperatorCodeStart(builder)
        tflite.OperatorCodeAddDeprecatedBuiltinCode(builder, min(code, 127))
        tflite.OperatorCodeAddBuiltinCode(builder, code)
        tflite.OperatorCodeAddVersion(builder, version)
        if named is not None:
            tflite.OperatorCodeAddCustomCode(builder, named)
        entries.append(tflite.OperatorCodeEnd(builder))
    return _vector(builder, entries)


def _buffers(builder: flatbuffers.Builder, contents: tuple[bytes, ...]) -> Offset:
    buffers = []
    for content in contents:
        data = builder.CreateByteVector(content) if content else None
        tflite.BufferStart(builder)
        if data is not None:
            tflite.BufferAddData(builder, data)
        buffers.append(tflite.BufferEnd(builder))
    return _vector(builder, buffers)


def _subgraph(builder: flatbuffers.Builder, operators: list[tuple[list[int], list[int]]]) -> Offset:
    types = tflite.TensorType
    tensors = _vector(
        builder,
        [
            _tensor(builder, "ids", types.INT32, [1, -1], 0),
            _tensor(builder, "table", types.INT8, [10, 4], 1),
            _tensor(builder, "weight", types.FLOAT32, [3, 4], 2),
            _tensor(builder, "rows", types.FLOAT32, [-1, 4], 0),
            _tensor(builder, "answer", types.FLOAT32, [-1, 3], 0),
        ],
    )
    entries = [_operator(builder, code, *ends) for code, ends in enumerate(operators)]
    entries_vector = _vector(builder, entries)
    inputs, outputs = _numbers(builder, [0]), _numbers(builder, [4])
    name = builder.CreateString("main")
    tflite.SubGraphStart(builder)
    tflite.SubGraphAddTensors(builder, tensors)
    tflite.SubGraphAddInputs(builder, inputs)
    tflite.SubGraphAddOutputs(builder, outputs)
    tflite.SubGraphAddOperators(builder, entries_vector)
    tflite.SubGraphAddName(builder, name)
    return int(tflite.SubGraphEnd(builder))


def _signature(builder: flatbuffers.Builder) -> Offset:
    key = builder.CreateString("serving_default")
    inputs = _vector(builder, [_named(builder, "input_ids", 0)])
    outputs = _vector(builder, [_named(builder, "logits", 4)])
    tflite.SignatureDefStart(builder)
    tflite.SignatureDefAddInputs(builder, inputs)
    tflite.SignatureDefAddOutputs(builder, outputs)
    tflite.SignatureDefAddSignatureKey(builder, key)
    return int(tflite.SignatureDefEnd(builder))


def make_model(
    codes: list[tuple[int, int]] | None = None, *, custom: str | None = None, last_input: int = 2
) -> bytes:
    """A model that looks up a row of an int8 table and multiplies it with a float weight."""
    builder = flatbuffers.Builder(1024)
    builtin = tflite.BuiltinOperator
    codes = codes or [(builtin.GATHER, 4), (builtin.FULLY_CONNECTED, 12)]
    code_vector = _codes(builder, codes, custom)
    buffers = _buffers(builder, (b"", bytes(40), bytes(48), b"2.17.0\0\0\0\0"))
    operators = [([1, 0], [3]), ([3, last_input, -1], [4])][: len(codes)]
    subgraphs = _vector(builder, [_subgraph(builder, operators)])
    signatures = _vector(builder, [_signature(builder)])
    label = builder.CreateString("min_runtime_version")
    tflite.MetadataStart(builder)
    tflite.MetadataAddName(builder, label)
    tflite.MetadataAddBuffer(builder, 3)
    metadata = _vector(builder, [tflite.MetadataEnd(builder)])
    description = builder.CreateString("made by hand")
    tflite.ModelStart(builder)
    tflite.ModelAddVersion(builder, 3)
    tflite.ModelAddOperatorCodes(builder, code_vector)
    tflite.ModelAddSubgraphs(builder, subgraphs)
    tflite.ModelAddBuffers(builder, buffers)
    tflite.ModelAddSignatureDefs(builder, signatures)
    tflite.ModelAddMetadata(builder, metadata)
    tflite.ModelAddDescription(builder, description)
    builder.Finish(tflite.ModelEnd(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


SOUND = make_model()


def test_everything_that_is_in_a_model_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(SOUND)
    model = read_tflite(path)
    assert (model.description, model.min_runtime_version) == ("made by hand", "2.17.0")
    uses = [(use.subgraph, use.name, use.version, use.count) for use in model.operator_uses()]
    assert uses == [("main", "GATHER", 4, 1), ("main", "FULLY_CONNECTED", 12, 1)]
    (signature,) = model.signatures
    assert signature.key == "serving_default"
    assert signature.inputs["input_ids"].shape == (1, -1)
    assert signature.outputs["logits"].dtype == "FLOAT32"
    sizes = model.sizes()
    assert sizes.embedding == {"INT8": 40}
    assert sizes.weights == {"FLOAT32": 48}
    assert sizes.total == len(SOUND) == sizes.rest + 88


def test_operators_from_outside_are_named() -> None:
    custom = make_model([(tflite.BuiltinOperator.CUSTOM, 1)], custom="FlexErf")
    (use,) = parse_tflite(custom, where="x").operator_uses()
    assert use.name == "CUSTOM:FlexErf"
    unknown = make_model([(4000, 1)])
    (use,) = parse_tflite(unknown, where="x").operator_uses()
    assert use.name == "BUILTIN:4000"
    assert not any(one.loads for one in runtime_support(parse_tflite(unknown, where="x")))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"TFL3", "not a .tflite file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "not a .tflite file"),
        (SOUND[:100], "damaged"),
        (SOUND[: len(SOUND) // 2], "damaged"),
        (make_model(last_input=5), "beyond the subgraph's tensors"),
        (make_model(last_input=-2), "beyond the subgraph's tensors"),
    ],
)
def test_a_damaged_file_is_named_in_one_line(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    with pytest.raises(BundleError, match=said) as caught:
        read_tflite(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_what_is_not_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such file"):
        read_tflite(tmp_path / "none.tflite")
    with pytest.raises(BundleError, match="is a folder, not a file"):
        read_tflite(tmp_path)


def _ends_in_an_answer_or_a_bundle_error(content: bytes) -> None:
    try:
        model = parse_tflite(content, where="fuzz")
    except BundleError:
        return
    model.sizes()
    model.operator_uses()
    runtime_support(model)


@settings(max_examples=300)
@given(st.integers(0, len(SOUND)))
def test_a_truncated_file_never_crashes(length: int) -> None:
    _ends_in_an_answer_or_a_bundle_error(SOUND[:length])


@settings(max_examples=600)
@given(st.lists(st.tuples(st.integers(8, len(SOUND) - 1), st.integers(0, 255)), max_size=8))
def test_flipped_bytes_never_crash(changes: list[tuple[int, int]]) -> None:
    content = bytearray(SOUND)
    for place, value in changes:
        content[place] = value
    _ends_in_an_answer_or_a_bundle_error(bytes(content))


@settings(max_examples=300)
@given(st.integers(2, len(SOUND) // 4 - 1), st.sampled_from([0xFFFFFFFF, 0x7FFFFFFF, 1 << 20]))
@example(2, 0xFFFFFFFF)
def test_huge_lengths_and_offsets_end_soon(place: int, value: int) -> None:
    content = bytearray(SOUND)
    struct.pack_into("<I", content, 4 * place, value)
    _ends_in_an_answer_or_a_bundle_error(bytes(content))


@given(st.binary(max_size=400))
def test_random_bytes_behind_the_identifier_never_crash(rest: bytes) -> None:
    _ends_in_an_answer_or_a_bundle_error(rest[:4].ljust(4, b"\0") + b"TFL3" + rest[4:])


def test_the_table_of_versions_is_what_the_installed_runtime_does() -> None:
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    import importlib.metadata

    runtime = f"ai-edge-litert {importlib.metadata.version('ai-edge-litert')}"
    if runtime not in operator_versions():
        pytest.skip(f"the table has no column for {runtime}")
    codes = vars(tflite.BuiltinOperator)

    def loads(name: str, version: int) -> bool:
        try:
            interpreter.Interpreter(model_content=make_model([(codes[name], version)]))
        except ValueError as error:
            return "Didn't find op" not in str(error)
        return True

    names = ("FULLY_CONNECTED", "GATHER", "WHILE", "GELU", "BATCH_MATMUL", "BROADCAST_TO", "CAST")
    for name in names:
        lowest, highest = operator_versions()[runtime][name]
        assert loads(name, lowest)
        assert loads(name, highest)
        assert not loads(name, highest + 1)
        assert lowest == 1 or not loads(name, lowest - 1)
