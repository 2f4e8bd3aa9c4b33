"""Checks of a converted file's operators, weights and signature, read from the file itself."""

from __future__ import annotations

from pathlib import Path

from edgeseq.errors import ConversionError
from edgeseq.formats.bundle_manifest import Signature, TensorSpec, feature_input
from edgeseq.formats.tflite_file import Tensor, TfliteFile, is_table
from edgeseq.formats.tflite_runtimes import runtime_support
from edgeseq_converters.convert.recipes import MIN_QUANTIZED_ELEMENTS, Recipe

_WEIGHT_INPUTS = frozenset(
    {("FULLY_CONNECTED", 1), ("BATCH_MATMUL", 1), ("CONV_2D", 1)}
    | {("UNIDIRECTIONAL_SEQUENCE_LSTM", index) for index in range(1, 9)}
)
"""Operators and the index of the input that takes a weight."""
WEIGHT_DTYPES = {"float32": "FLOAT32", "float16": "FLOAT16", "int8": "INT8", "int4": "INT4"}
TABLE_DTYPES = WEIGHT_DTYPES | {"float16": "INT16", "int4": "INT8"}
"""Tables hold float16 numbers as bits, and int8 rows beside int4 matrices, except the token
embeddings of some recipes (`edgeseq_converters.convert.quantize.weights`)."""


def file_signature(
    output: str,
    shape: tuple[int, ...],
    length: int | None = None,
    features: int | None = None,
    *,
    has_word_features: bool = False,
) -> Signature:
    """The signature of a file from `input_ids`, or `input_features` where there are `features`, to
    `output`; `length`: of a fixed-length model; `has_word_features`: it also takes these."""
    entry = TensorSpec("input_ids", "int32", (1, length or -1))
    if features is not None:
        entry = TensorSpec("input_features", "float32", (1, length or -1, features))
    inputs = (entry, feature_input(length or -1)) if has_word_features else (entry,)
    outputs = (TensorSpec(output, "float32", shape),)
    return Signature(key="serving_default", inputs=inputs, outputs=outputs)


def check_converted(
    model: TfliteFile,
    recipe: Recipe,
    *,
    where: Path,
    expected: Signature | None = None,
    embedding_table: str | None = None,
) -> Signature:
    """Checks a file's operators, weights and signature, and returns the signature: `expected`, or
    without one the file's only one. `embedding_table` is the name of the table of token embeddings.

    Raises `ConversionError` when it lacks the signature or has several without one being expected,
    holds an operator from outside TFLite, or its weights are not of the recipe's type.
    """
    _check_operators(model, where)
    _check_weights(model, recipe, where, embedding_table=embedding_table)
    keys = [entry.key for entry in model.signatures]
    key = "stream" if expected is None else expected.key
    if keys.count(key) != 1 or (expected is None and len(keys) != 1):
        raise ConversionError(
            f"has not exactly one signature {key}",
            where=where,
            found=", ".join(keys) or "none",
        )
    entry = model.signatures[keys.index(key)]
    signature = Signature(
        key=entry.key, inputs=_specs(entry.inputs, where), outputs=_specs(entry.outputs, where)
    )
    if expected is not None and signature != expected:
        raise ConversionError(
            "does not have the expected signature",
            where=where,
            found=f"{signature.inputs} to {signature.outputs}",
            expected=f"{expected.inputs} to {expected.outputs}",
        )
    return signature


def _specs(tensors: dict[str, Tensor], where: Path) -> tuple[TensorSpec, ...]:
    specs = []
    for name, tensor in tensors.items():
        if tensor.dtype == "INT32":
            specs.append(TensorSpec(name, "int32", tensor.shape))
        elif tensor.dtype == "FLOAT32":
            specs.append(TensorSpec(name, "float32", tensor.shape))
        else:
            raise ConversionError(
                f"{name} has a type that no input or output has",
                where=where,
                found=tensor.dtype,
                expected="INT32 or FLOAT32",
            )
    return tuple(specs)


def _check_operators(model: TfliteFile, where: Path) -> None:
    """Raises `ConversionError` for an operator from outside TFLite."""
    foreign = sorted({use.name for use in model.operator_uses() if ":" in use.name})
    if foreign:
        raise ConversionError(
            "needs operators from outside TFLite",
            where=where,
            found=", ".join(foreign),
            expected="builtin operators only",
            fix="this is a fault of the lowering: choose another with --lowering",
        )


def check_runtime(model: TfliteFile, runtime: str, *, where: Path) -> None:
    """Raises `ConversionError` naming the operators for which `runtime` (a name of
    `edgeseq.formats.tflite_runtimes`) would refuse to load the file."""
    for support in runtime_support(model):
        if support.runtime == runtime and not support.loads:
            raise ConversionError(
                f"{runtime} cannot load the model",
                where=where,
                found=", ".join(support.missing_operators),
                fix="choose another --recipe or --lowering",
            )


def _check_weights(
    model: TfliteFile, recipe: Recipe, where: Path, *, embedding_table: str | None = None
) -> None:
    """Checks that every large weight matrix and table has the recipe's type; that of
    `embedding_table` is `recipe.embedding`.

    Raises `ConversionError` naming the first that has another.
    """
    matching_elements = mismatched_elements = 0
    example = ""
    for tensor, readers in model.constants():
        table = is_table(tensor, readers)
        weight = ("DEQUANTIZE", 0) in readers or not _WEIGHT_INPUTS.isdisjoint(readers)
        # A table of one column holds row scales.
        if not (weight or table):
            continue
        if table and tensor.shape[1] == 1:
            continue
        expected = (TABLE_DTYPES if table else WEIGHT_DTYPES)[recipe.weights]
        # The writer numbers its tensors: NAME:7.
        if recipe.embedding == "int4" and tensor.name.rpartition(":")[0] == embedding_table:
            expected = WEIGHT_DTYPES["int4"]
        if tensor.dtype == expected:
            matching_elements += tensor.elements
        elif tensor.elements >= MIN_QUANTIZED_ELEMENTS:
            mismatched_elements += tensor.elements
            mismatch = f"{tensor.name} is {tensor.dtype} {list(tensor.shape)}, not {expected}"
            example = example or mismatch
    if mismatched_elements:
        share = matching_elements / (matching_elements + mismatched_elements)
        raise ConversionError(
            f"the recipe {recipe.name} changed only {share:.0%} of the weights",
            where=where,
            found=example,
            expected="every array of at least 1024 elements",
            fix="choose another --recipe or --lowering",
        )
    if not matching_elements and recipe.weights != "float32":
        raise ConversionError(
            f"the recipe {recipe.name} changes nothing: no weight is of its type",
            where=where,
            expected=WEIGHT_DTYPES[recipe.weights],
            fix="use the recipe float32",
        )
