"""What every Keras layer is checked for."""

from __future__ import annotations

import re

from edgeseq.errors import CheckpointError
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.keras.config import KerasLayer

_TRAINING_ONLY = re.compile(
    r".*_(initializer|regularizer|constraint)|(recurrent_)?dropout|unit_forget_bias|seed|trainable"
)
_EVERYWHERE = (
    # Looked at for every layer, or shapes that the arrays have.
    *("name", "dtype", "quantization_config"),
    *("batch_input_shape", "batch_shape", "input_shape", "input_dim", "input_length"),
)
_DTYPES = ("float32", "float16", "bfloat16", "float64", "mixed_float16", "mixed_bfloat16")


_REASONS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (
        ("Conv2D", "SeparableConv2D", "DepthwiseConv2D", "MaxPooling2D", "AveragePooling2D"),
        "runs over two axes, and a sequence has one",
        "use Conv1D and pooling of one dimension over the sequence",
    ),
    (
        ("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"),
        "convolves its states, which no cell of the runtime does",
        "retrain with Conv1D before an LSTM",
    ),
    (
        ("RNN", "StackedRNNCells", "LSTMCell", "GRUCell", "SimpleRNNCell"),
        "wraps cells that are built in code",
        "use LSTM, GRU or SimpleRNN layers, one for each cell, and set their weights",
    ),
    (
        ("MultiHeadAttention", "GroupQueryAttention"),
        "has several heads",
        "use Attention, or convert a checkpoint of the BERT family",
    ),
    (
        ("LeakyReLU", "PReLU", "ELU", "ThresholdedReLU"),
        "has a function that no lowering has",
        "retrain with relu, tanh or sigmoid",
    ),
    (
        ("ZeroPadding1D", "Cropping1D", "UpSampling1D", "Conv1DTranspose"),
        "changes the number of steps beside windows",
        "pad or cut the inputs before the model, and save it without the layer",
    ),
)
"""Classes, why they have no place in a network, and what would make the model convertible."""


def unknown(layer: KerasLayer) -> CheckpointError:
    """The refusal of a layer that has no place in a network."""
    if layer.class_name in ("Lambda", "TFOpLambda"):
        return layer.refuse("holds code, which is not run", fix="use Keras' own layers instead")
    if layer.class_name == "Masking":
        return layer.refuse(
            "skips steps that are padding, which only an embedding's ids can mark",
            fix="save the model without it, and give the file sequences without padding",
        )
    if layer.class_name in ("Sequential", "Functional", "Model"):
        return layer.refuse("is a model inside the model", fix="put its layers in one model")
    if layer.class_name in ("TextVectorization", "StringLookup", "Hashing"):
        return layer.refuse(
            "turns text into ids", fix="save the model without it, with ids as its input"
        )
    for classes, reason, fix in _REASONS:
        if layer.class_name in classes:
            return layer.refuse(f"cannot be converted: it {reason}", fix=fix)
    return layer.refuse(
        "cannot be converted",
        fix="build the model of these layers, set its weights and save that",
        expected="Embedding, LSTM, GRU, SimpleRNN, Bidirectional, TimeDistributed, Dense, "
        "convolutions and pooling over time, BatchNormalization, LayerNormalization, merges, "
        "Attention, activations, dropout",
    )


def check_settings(layer: KerasLayer, *read: str) -> None:
    """Refuses a setting that is not `read` and not known: what it does to the answer cannot be
    known either."""
    for key, value in layer.config.items():
        known = key in read or key in _EVERYWHERE or _TRAINING_ONLY.fullmatch(key)
        if not known and value not in (None, False):
            raise layer.refuse("has an unknown setting", found=f"{key} = {value}")


def check_dtype(layer: KerasLayer) -> None:
    """Refuses weights that are quantized: the settings of their scales are not read."""
    policy = layer.config.get("dtype")
    if isinstance(policy, dict):
        inside = policy.get("config")
        policy = inside.get("name") if isinstance(inside, dict) else None
    quantized = layer.config.get("quantization_config") is not None
    if quantized or not (policy is None or policy in _DTYPES):
        raise layer.refuse("is quantized", found=policy, fix="save the float model")


def check_shape(layer: KerasLayer, name: str, array: FloatArray, *sizes: int | None) -> None:
    fits = array.ndim == len(sizes) and all(
        size in (None, actual) for size, actual in zip(sizes, array.shape, strict=True)
    )
    if not fits:
        raise layer.refuse(
            f"has a {name} that does not match the layer's config",
            found=list(array.shape),
            expected=["any" if size is None else size for size in sizes],
        )
