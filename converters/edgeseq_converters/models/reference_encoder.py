"""The float reference of the BERT family in NumPy, straight from the published equations.

Devlin et al. 2019 (BERT), Sanh et al. 2019 (DistilBERT), Liu et al. 2019 (RoBERTa), Clark et al.
2020 (ELECTRA), Lan et al. 2020 (ALBERT), Sun et al. 2020 (MobileBERT). It shares no code with the
graph that is converted. Texts of a batch have the same length, so a mask is not needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from edgeseq.formats.trained_model import BertConfig, TrainedModel
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.encoder import (
    WORD_FEATURE_PROJECTION,
    WORD_FEATURE_TABLE,
    bert_arrays,
    bert_config,
    feed_forward_prefixes,
    layer_sources,
)
from edgeseq_converters.models.reference_recurrent import marked

BATCH = 32
IdArray = npt.NDArray[np.int32]
Observe = Callable[[str, FloatArray, FloatArray], None]


def bert_answers(model: TrainedModel, texts: Sequence[Sequence[int]]) -> list[FloatArray]:
    """What a BERT answers to each text, given as token ids: [labels] of `classes`, [n, labels] of
    `tokens`, [n, vocabulary] of `vocabulary` and `next`, [hidden] of `embedding`.

    Raises `CheckpointError` when the model's arrays do not fit its configuration.
    """
    reference = BertReference(model)
    by_length: dict[int, list[int]] = {}
    for position, token_ids in enumerate(texts):
        by_length.setdefault(len(token_ids), []).append(position)
    predictions: list[FloatArray] = [np.zeros(0, np.float32)] * len(texts)
    for positions in by_length.values():
        for start in range(0, len(positions), BATCH):
            batch = positions[start : start + BATCH]
            answers = reference(np.asarray([texts[position] for position in batch], np.int32))
            for position, answer in zip(batch, answers, strict=True):
                predictions[position] = answer
    return predictions


class BertReference:
    """A BERT as a function of token ids.

    `observe` is given the inputs [batch, n, in] (or [batch, in]) and the outputs [batch, n, out]
    of each linear layer, by the layer's name. Raises `CheckpointError` when the model's arrays do
    not fit its configuration.
    """

    def __init__(self, model: TrainedModel, observe: Observe | None = None) -> None:
        self.config: BertConfig = bert_config(model)
        self._observe = observe
        self._arrays = bert_arrays(model)

    def __call__(self, token_ids: IdArray) -> FloatArray:
        """Answers for `token_ids` int32 [batch, n], or with word features ids and their words' rows
        [batch, n, 4]: [batch, labels] of `classes`, [batch, n,
        labels] of `tokens`, [batch, n, vocabulary] of `vocabulary` and `next`, [batch, hidden]
        of `embedding`."""
        states = self.states(token_ids)
        config = self.config
        if config.head == "token_classification":
            return self._linear("classifier", states)
        if config.head in ("masked_lm", "causal_lm"):
            states = self._linear("transform.dense", states)
            if config.head == "masked_lm":
                states = _ACTIVATIONS[config.head_act or ""](states)
                states = self._layer_norm("transform.LayerNorm", states)
            decoder = "embeddings.word_embeddings" if config.tied_decoder else "decoder"
            logits = states @ self._arrays[f"{decoder}.weight"].T + self._arrays["decoder.bias"]
            if self._observe is not None:
                self._observe("decoder", states, logits)
            return np.asarray(logits)
        if config.pooling == "markers":
            pooled = marked(config.marker_ids, token_ids, states)
        else:
            pooled = states[:, 0] if config.pooling == "cls" else states.mean(axis=1)
        if config.head == "feature_extraction":
            return _normalized(pooled) if config.normalized else np.asarray(pooled)
        if config.head_act is not None:
            pooled = _ACTIVATIONS[config.head_act](self._linear("pooler.dense", pooled))
        return self._linear("classifier", pooled)

    def states(self, token_ids: IdArray) -> FloatArray:
        """The last layer's states [batch, n, hidden] for `token_ids` int32 [batch, n]."""
        states = self._embeddings(token_ids)
        for number in layer_sources(self.config):
            states = self._layer(f"encoder.layer.{number}.", states)
        return states

    def _embeddings(self, token_ids: IdArray) -> FloatArray:
        arrays, length = self._arrays, token_ids.shape[1]
        ids_and_rows = token_ids.reshape(*token_ids.shape[:2], -1)
        rest = arrays["embeddings.position_embeddings.weight"][:length]
        if self.config.type_vocabulary_size:
            rest = rest + arrays["embeddings.token_type_embeddings.weight"][0]
        words = arrays["embeddings.word_embeddings.weight"][ids_and_rows[:, :, 0]]
        if WORD_FEATURE_TABLE in arrays:
            rows = arrays[WORD_FEATURE_TABLE][ids_and_rows[:, :, 1:]]
            rows = rows.reshape(*rows.shape[:2], -1)
            words = words + self._linear(WORD_FEATURE_PROJECTION, rows)
        if self.config.trigram:
            zeros = np.zeros_like(words[:, :1])
            after = np.concatenate([words[:, 1:], zeros], axis=1)
            before = np.concatenate([zeros, words[:, :-1]], axis=1)
            joined = np.concatenate([after, words, before], axis=2)
            words = self._linear("embeddings.project", joined)
        if self.config.head == "causal_lm":
            words = self._linear("embeddings.project", words)
            return self._norm("embeddings.LayerNorm", words + rest)
        states = self._norm("embeddings.LayerNorm", words + rest)
        if self.config.embedding_size is not None and not self.config.trigram:
            states = self._linear("embeddings.project", states)
        return states

    def _layer(self, name: str, states: FloatArray) -> FloatArray:
        residual, query_input = states, states
        if self.config.bottleneck_size is not None:
            residual, query_input = (
                self._norm(
                    f"{name}bottleneck.{part}.LayerNorm",
                    self._linear(f"{name}bottleneck.{part}.dense", states),
                )
                for part in ("input", "attention")
            )
        mixed = self._attention(f"{name}attention.self.", query_input, states)
        mixed = self._linear(f"{name}attention.output.dense", mixed)
        inner = self._norm(f"{name}attention.output.LayerNorm", residual + mixed)
        for part in feed_forward_prefixes(self.config):
            grown = self._linear(f"{name}{part}intermediate.dense", inner)
            grown = _ACTIVATIONS[self.config.hidden_act](grown)
            shrunk = self._linear(f"{name}{part}output.dense", grown)
            inner = self._norm(f"{name}{part}output.LayerNorm", inner + shrunk)
        if self.config.bottleneck_size is None:
            return inner
        widened = self._linear(f"{name}output.bottleneck.dense", inner)
        return self._norm(f"{name}output.bottleneck.LayerNorm", states + widened)

    def _attention(self, name: str, query_input: FloatArray, value_input: FloatArray) -> FloatArray:
        """Queries and keys of `asked`, values of `told`."""
        query, key, value = (
            self._by_head(self._linear(name + part, of))
            for part, of in (("query", query_input), ("key", query_input), ("value", value_input))
        )
        scores = query @ key.swapaxes(2, 3) / np.float32(np.sqrt(query.shape[-1]))
        if self.config.head == "causal_lm":
            length = scores.shape[-1]
            scores = np.where(np.tri(length, dtype=bool), scores, -np.float32(np.inf))
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        mixed = scores / scores.sum(axis=-1, keepdims=True) @ value
        batch, heads, length, size = mixed.shape
        return np.asarray(mixed.swapaxes(1, 2).reshape(batch, length, heads * size))

    def _by_head(self, rows: FloatArray) -> FloatArray:
        batch, length, size = rows.shape
        heads = self.config.attention_heads
        return rows.reshape(batch, length, heads, size // heads).swapaxes(1, 2)

    def _linear(self, name: str, inputs: FloatArray) -> FloatArray:
        weight, bias = self._arrays[f"{name}.weight"], self._arrays[f"{name}.bias"]
        outputs = np.asarray(inputs @ weight.T + bias)
        if self._observe is not None:
            self._observe(name, inputs, outputs)
        return outputs

    def _norm(self, name: str, inputs: FloatArray) -> FloatArray:
        if self.config.norm == "scale":
            return np.asarray(
                inputs * self._arrays[f"{name}.weight"] + self._arrays[f"{name}.bias"]
            )
        return self._layer_norm(name, inputs)

    def _layer_norm(self, name: str, inputs: FloatArray) -> FloatArray:
        centred = inputs - inputs.mean(axis=-1, keepdims=True)
        variance = (centred**2).mean(axis=-1, keepdims=True)
        normal = centred / np.sqrt(variance + self.config.layer_norm_eps)
        return np.asarray(
            normal * self._arrays[f"{name}.weight"] + self._arrays[f"{name}.bias"], np.float32
        )


def _normalized(vectors: FloatArray) -> FloatArray:
    """Rows of length 1; a row of zeros stays one (torch.nn.functional.normalize: ε = 1e-12)."""
    lengths = np.sqrt((vectors**2).sum(axis=-1, keepdims=True))
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)


def _relu(x: FloatArray) -> FloatArray:
    return np.maximum(x, np.float32(0))


def _gelu(x: FloatArray) -> FloatArray:
    return np.asarray(0.5 * x * (1.0 + _erf(x * np.float32(np.sqrt(0.5)))), np.float32)


def _gelu_tanh(x: FloatArray) -> FloatArray:
    """Hendrycks and Gimpel 2016, the tanh form."""
    inner = np.float32(np.sqrt(2.0 / np.pi)) * (x + 0.044715 * x**3)
    return np.asarray(0.5 * x * (1.0 + np.tanh(inner)), np.float32)


def _erf(x: FloatArray) -> FloatArray:
    """Abramowitz and Stegun 1964, formula 7.1.26: |error| <= 1.5e-7, about float32's own."""
    magnitude = np.abs(x)
    t = 1.0 / (1.0 + 0.3275911 * magnitude)
    polynomial = t * (
        0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429)))
    )
    return np.asarray(np.sign(x) * (1.0 - polynomial * np.exp(-magnitude * magnitude)))


def _tanh(x: FloatArray) -> FloatArray:
    return np.asarray(np.tanh(x), np.float32)


_ACTIVATIONS = {"gelu": _gelu, "gelu_new": _gelu_tanh, "relu": _relu, "tanh": _tanh}
