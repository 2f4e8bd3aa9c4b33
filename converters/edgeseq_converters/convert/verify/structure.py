"""What a converted file must be before anything is measured with it: read off the file itself."""

from __future__ import annotations

from pathlib import Path

from edgeseq.errors import ConversionError
from edgeseq.formats.bundle import Signature, TensorSpec
from edgeseq.formats.tflite_file import Tensor, TfliteFile, is_table
from edgeseq.formats.tflite_runtimes import runtime_support
from edgeseq_converters.convert.recipes import MIN_QUANTIZED_ELEMENTS, Recipe

_WEIGHT_PLACES = frozenset(
    {("FULLY_CONNECTED", 1), ("BATCH_MATMUL", 1), ("CONV_2D", 1)}
    | {("UNIDIRECTIONAL_SEQUENCE_LSTM", place) for place in range(1, 9)}
)
"""Operators and at which input they take a weight."""
WEIGHT_DTYPES = {"float32": "FLOAT32", "float16": "FLOAT16", "int8": "INT8", "int4": "INT4"}
TABLE_DTYPES = WEIGHT_DTYPES | {"float16": "INT16", "int4": "INT8"}
"""Tables hold float16 numbers as bits, and int8 rows beside int4 matrices, but for the words of
some recipes (`edgeseq_converters.convert.quantize.weights`)."""


def check_converted(
    model: TfliteFile,
    recipe: Recipe,
    *,
    answer: tuple[int, ...],
    where: Path,
    words: str | None = None,
    steps: int | None = None,
) -> Signature:
    """Checks that the file is what was asked for and gives its signature; `answer` is
    the shape of its output, `steps` the length of a model of a fixed length, `words` the name of
    its table of words.

    Raises `ConversionError` when it has not exactly one signature from `input_ids` to `logits`,
    holds an operator from outside TFLite, or its weights are not of the recipe's type.
    """
    check_operators(model, where)
    check_weights(model, recipe, where, words=words)
    if len(model.signatures) != 1:
        raise ConversionError(
            "has not exactly one signature",
            where=where,
            found=", ".join(one.key for one in model.signatures) or "none",
            expected=1,
        )
    entry = model.signatures[0]
    signature = Signature(
        key=entry.key, inputs=_specs(entry.inputs, where), outputs=_specs(entry.outputs, where)
    )
    expected = Signature(
        key=entry.key,
        inputs=(TensorSpec("input_ids", "int32", (1, steps or -1)),),
        outputs=(TensorSpec("logits", "float32", answer),),
    )
    if signature != expected:
        raise ConversionError(
            "has another signature than a text classifier or tagger",
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


def check_operators(model: TfliteFile, where: Path) -> None:
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
                found=", ".join(support.lacking),
                fix="choose another --recipe or --lowering",
            )


def check_weights(
    model: TfliteFile, recipe: Recipe, where: Path, *, words: str | None = None
) -> None:
    """Every weight of a product and every looked-up table, if not small, must have the type; that
    of the table called `words` is the recipe's for words.

    Raises `ConversionError` with the first that has not.
    """
    wanted = other = 0
    example = ""
    for tensor, readers in model.constants():
        table = is_table(tensor, readers)
        weight = ("DEQUANTIZE", 0) in readers or not _WEIGHT_PLACES.isdisjoint(readers)
        # A table of one column holds row scales.
        if not (weight or table):
            continue
        if table and tensor.shape[1] == 1:
            continue
        expected = (TABLE_DTYPES if table else WEIGHT_DTYPES)[recipe.weights]
        # The writer numbers its tensors: NAME:7.
        if recipe.words == "int4" and tensor.name.rpartition(":")[0] == words:
            expected = WEIGHT_DTYPES["int4"]
        if tensor.dtype == expected:
            wanted += tensor.elements
        elif tensor.elements >= MIN_QUANTIZED_ELEMENTS:
            other += tensor.elements
            found = f"{tensor.name} is {tensor.dtype} {list(tensor.shape)}, not {expected}"
            example = example or found
    if other:
        raise ConversionError(
            f"the recipe {recipe.name} changed only {wanted / (wanted + other):.0%} of the weights",
            where=where,
            found=example,
            expected="every array of at least 1024 elements",
            fix="choose another --recipe or --lowering",
        )
    if not wanted and recipe.weights != "float32":
        raise ConversionError(
            f"the recipe {recipe.name} changes nothing: no weight is of its type",
            where=where,
            expected=WEIGHT_DTYPES[recipe.weights],
            fix="use the recipe float32",
        )
