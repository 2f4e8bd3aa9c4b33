"""Keras' masks: where they come from, which layers look at them, and what a call may be given.

An embedding with `mask_zero` marks the tokens with the id 0 as padding. Layers hand that on to the
next one, or drop it: behind a convolution padding is computed as any other token. So a model in
which no layer looks at the mask answers as one without it.
"""

from __future__ import annotations

from dataclasses import replace

from edgeseq_converters.models.keras.config import KerasLayer, KerasModel, KerasTensor
from edgeseq_converters.models.keras.joins import JOINS
from edgeseq_converters.models.keras.layers import IDENTITIES
from edgeseq_converters.models.keras.recurrent import RECURRENT
from edgeseq_converters.models.network_layers import Embedding, FloatInput

_OPERATIONS = ("Any", "ExpandDims", "LogicalOr", "ConvertToTensor", "Concatenate")
"""What a functional model of Keras 3 computes masks from masks with, beside its other layers."""
_USERS = (*RECURRENT, "GlobalAveragePooling1D", "GlobalAvgPool1D", "Attention", "AdditiveAttention")
"""Layers that leave out what is masked."""
_DROPPERS = (
    *("Conv1D", "Convolution1D", "SeparableConv1D", "SeparableConvolution1D", "DepthwiseConv1D"),
    *("MaxPooling1D", "MaxPool1D", "AveragePooling1D", "AvgPool1D"),
    *(
        "GlobalMaxPooling1D",
        "GlobalMaxPool1D",
        "Flatten",
        "Reshape",
        "Permute",
        "Sum",
        "Mean",
        "Max",
        "TFOpLambda",
    ),
)
"""Layers that give no mask."""


class MaskReader:
    """Follows the mask through a model."""

    def __init__(self, model: KerasModel, *, ids: str) -> None:
        """`ids` is the name of the layer that gives token ids."""
        self._model = model
        self._ids = ids
        self._layers = {layer.name: layer for layer in model.layers}
        self._used = False
        self._carriers: set[str] = set()
        for layer in model.layers:
            if layer.class_name in ("Embedding", "Masking"):
                self._carriers.add(layer.name)
        self._masks = _names_of_masks(model)

    def is_mask(self, layer: KerasLayer) -> bool:
        """Whether the layer only computes a mask."""
        return layer.name in self._masks

    def note(self, layer: KerasLayer, inputs: tuple[str, ...], *, uses: bool = False) -> None:
        """Notes that a layer gets the masks of `inputs`, and whether it looks at them and hands
        them on. Called for each layer behind those that feed it."""
        if self._carriers.isdisjoint(inputs):
            return
        if uses or layer.class_name in _USERS or layer.class_name == "Softmax":
            self._used = True
        if layer.class_name not in _DROPPERS:
            self._carriers.add(layer.name)

    def as_seen(self, embedding: Embedding) -> Embedding:
        """The embedding without a mask if no layer looks at it."""
        return embedding if self._used else replace(embedding, mask_zero=False)

    def check_call(self, layer: KerasLayer, entry: Embedding | FloatInput | None) -> None:
        """Refuses arguments that change the answer: a fed state, another mask, training mode."""
        joins = layer.class_name in (*JOINS, "Dot")
        if not joins and (len(layer.inputs) != 1 or layer.constants):
            raise layer.refuse(
                "takes several inputs",
                found=len(layer.inputs) + len(layer.constants),
                expected=1,
            )
        for key, value in layer.keywords.items():
            if layer.class_name == "TFOpLambda" and not isinstance(value, KerasTensor):
                continue  # the settings of a function, which its reader looks at
            if key == "mask" and (isinstance(value, KerasTensor) or _is_list_of_masks(value)):
                for mask in value if isinstance(value, list) else [value]:
                    if mask is not None:
                        self._check_mask(layer, mask, entry)
            elif (
                key == "training"
                and value is True
                and layer.class_name in (*IDENTITIES, *RECURRENT, "BatchNormalization")
            ):
                raise layer.refuse("acts as in training when the model answers (training=True)")
            elif value not in (None, False) and key not in ("training", "mask"):
                raise layer.refuse(f"is called with {key}", expected="its input alone")

    def _check_mask(
        self, layer: KerasLayer, value: KerasTensor, entry: Embedding | FloatInput | None
    ) -> None:
        """The mask must be the embedding's own: ids that are not 0; or a Masking layer's."""
        node = self._layers.get(value.layer)
        if node is None or not self._is_embeddings(node, entry):
            raise layer.refuse("is given a mask that is not its embedding's (mask_zero)")

    def _is_embeddings(self, node: KerasLayer, entry: Embedding | FloatInput | None) -> bool:
        """Whether a mask is that of the embedding, or several of it as one."""
        if node.class_name == "NotEqual":
            if node.inputs != (self._ids,):
                return self._is_masking_layers(node)
            is_masked = isinstance(entry, Embedding) and entry.mask_zero
            return is_masked and node.constants == (0,)
        if not self.is_mask(node) or node.class_name == "ZerosLike":
            return False
        if node.class_name == "Any" and (node.config.get("axis") != -1 or _keeps_axis(node)):
            return False
        parts = [self._layers[name] for name in node.inputs]
        # What is joined with a layer's zeros is unchanged by them.
        parts = [part for part in parts if part.class_name != "ZerosLike"]
        return bool(parts) and all(self._is_embeddings(part, entry) for part in parts)

    def _is_masking_layers(self, node: KerasLayer) -> bool:
        """any(inputs != mask_value, axis=-1) of a Masking layer; its reader looks at the value."""
        return any(
            consumer.class_name == "Masking"
            and consumer.inputs == node.inputs
            and node.constants == (consumer.number("mask_value"),)
            for consumer in self._model.layers
        )


def _names_of_masks(model: KerasModel) -> set[str]:
    """The layers that only compute a mask: from ids or steps, or from other masks."""
    masks = {
        layer.name
        for layer in model.layers
        if layer.class_name == "NotEqual"
        or (layer.class_name == "ZerosLike" and layer.config.get("dtype") == "bool")
    }
    joins = [layer for layer in model.layers if layer.class_name in _OPERATIONS and layer.inputs]
    while more := {layer.name for layer in joins if masks.issuperset(layer.inputs)} - masks:
        masks |= more
    return masks


def _keeps_axis(node: KerasLayer) -> bool:
    return bool(node.config.get("keepdims"))


def _is_list_of_masks(value: object) -> bool:
    return isinstance(value, list) and all(
        mask is None or isinstance(mask, KerasTensor) for mask in value
    )
