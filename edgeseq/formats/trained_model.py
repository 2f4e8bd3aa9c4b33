"""The trained-model folder: what `edgeseq train` writes and `edgeseq convert` reads.

    DIR/model.json            this module's `ModelManifest`
    DIR/weights.safetensors   float32 arrays under the names that the architecture documents
    DIR/tokenizer.json        a `tokenizers` file, truncation and padding off
    DIR/train_logits.safetensors  optional (`edgeseq.formats.train_logits`): a teacher's logits
    from training

It depends on no framework, so that every lowering starts from the same arrays.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from edgeseq.errors import CheckpointError
from edgeseq.formats.arrays import array_bytes, arrays_from_bytes
from edgeseq.formats.padding import TEXT_ALONE, Padding
from edgeseq.formats.storage import new_folder, read_bytes, read_json, write_bytes, write_json
from edgeseq.formats.train_logits import TrainLogits, write_train_logits
from edgeseq.tasks.tag_transitions import TagTransitions
from edgeseq.tasks.word_cache import WordCache
from edgeseq.tasks.word_features import WordFeatures

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

SCHEMA_VERSION = 2
Arch = Literal["bag", "lstm", "bert"]
"""`bag`: a network without recurrence over embeddings, for which the order of tokens is nothing."""
Family = Literal["bert", "distilbert", "electra", "roberta", "mobilebert", "albert"]
BertHead = Literal[
    "sequence_classification",
    "token_classification",
    "masked_lm",
    "feature_extraction",
    "causal_lm",
]


LAYERS_LIMIT = 1000
"""More layers than any network has; each takes its place in a list before its arrays are read."""
Layers = Annotated[int, msgspec.Meta(ge=1, le=LAYERS_LIMIT)]


class LstmConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Dimensions of an LSTM classifier.

    Arrays: `embedding.weight` [vocabulary, embedding]; for layer l and direction d (`forward`,
    and `backward` if bidirectional) `lstm.{l}.{d}.kernel` [in, 4·hidden], `.recurrent_kernel`
    [hidden, 4·hidden], `.bias` [4·hidden], gates in Keras' order i, f, c, o; `dense.kernel`
    [features, labels], `dense.bias` [labels]. `hidden_size` is per direction.

    `pooling` `markers`: the states at the tokens `marker_ids` (the opening marker of each mention,
    see `edgeseq.tasks.mentions`) concatenated, followed by the elementwise products of the
    first state with each of the others. `none`: logits per token.
    """

    vocabulary_size: int
    embedding_size: int
    hidden_size: int
    layers: Layers
    bidirectional: bool
    pooling: Literal["max", "mean", "last", "markers", "none"]
    marker_ids: tuple[int, ...] = ()


class BagConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Dimensions of a classifier of pooled embeddings.

    Arrays: `embedding.weight` [vocabulary, embedding]; `hidden.kernel` [embedding, hidden] and
    `hidden.bias` [hidden], followed by a rectifier; `dense.kernel` [hidden, labels], `dense.bias`
    [labels].
    """

    vocabulary_size: int
    embedding_size: int
    hidden_size: int
    pooling: Literal["max", "mean"]


class NetworkLayer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One layer of an imported recurrent network.

    `options` by kind: `recurrent` cell (lstm, gru, rnn), directions, merge, sequences, and where
    they are not sigmoid and tanh gate_function and function; `dense` and `activation` function;
    `pool` and `join` how; `attention` function; `layer_norm` epsilon; `convolution`
    stride, dilation, border, function; `window_pool` how, size, stride, border;
    `pairwise_attention` how, scale; `columns` begin, end; `flatten` tokens; `repeat` rows. A layer
    that is not fed by the one before it has `inputs`: the places of those that feed it, separated
    by commas, -1 for the embedding.
    Its arrays are `{place in the network}.{array}`,
    for `recurrent` `{place}.{forward or backward}.{array}`. The kernel of
    a `dense` layer that is `tied` is the transposed embedding table.
    """

    name: str
    kind: Literal[
        "recurrent",
        "dense",
        "scale",
        "pool",
        "attention",
        "activation",
        "layer_norm",
        "convolution",
        "window_pool",
        "join",
        "pairwise_attention",
        "columns",
        "flatten",
        "repeat",
    ]
    options: dict[str, str] = {}


class NetworkConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A recurrent network of any form: an embedding, `embedding.weight` [vocabulary, size], and
    layers. `mask_zero`: the id 0 to the right of a text is padding.

    One of numeric sequences has `features` numbers a step, a vocabulary of 0 and no table.
    """

    vocabulary_size: int
    embedding: str
    mask_zero: bool
    layers: tuple[NetworkLayer, ...]
    features: int | None = None


class BertConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Dimensions of an encoder of the BERT family and its head.

    The fields describe the computation; `family` says only where the weights come from. Texts have
    one segment, number 0. Per token:

        states = norm(word + position + segment), then projected where `embedding_size` is set
        states = norm(project(next word, word, previous word) + position + segment) with `trigram`

    - `embedding_size`: width of the tables where it is not the hidden size (ELECTRA, ALBERT).
    - `trigram` (MobileBERT): the rows of the next, this and the previous token (0 beyond the ends)
      are joined and projected; positions and segments have the hidden size and are added then.
    - `norm`: `layer` is layer norm, `scale` a product and a sum alone (MobileBERT's "NoNorm").
    - `layer_sources`: for each layer the number that its arrays carry (ALBERT shares them); empty
      when each has its own.
    - `bottleneck_size` (MobileBERT): a layer works on states narrowed to this size, queries and
      keys on a second narrow projection, values on the wide states; widened again at its end.
    - `feed_forwards`: feed-forward blocks in a layer, each with residual and norm.
    - `head`: `sequence_classification` gives logits per text from the pooled states,
      `token_classification` logits per token, `masked_lm` logits of the masked word at every token,
      `feature_extraction` the pooled states, scaled to length 1 if `normalized`, and `causal_lm`
      logits of the next word at every token, which attends to itself and the tokens before it. In
      the last one embeddings are projected from `embedding_size` before positions are added,
      states = norm(project(word) + position), and logits = table · transform(state) + bias, where
      the transform is a linear layer alone.
    - `head_act`: null, or the activation of a dense layer before the classifier
      (`sequence_classification`) or of the transform before its layer norm (`masked_lm`).
    - `tied_decoder`: whether the decoder is the embedding table.
    - `pooling` `markers` (head `sequence_classification`): as in `LstmConfig`, from the last
      layer's states.

    Arrays carry the Hugging Face names of BERT without the leading `bert.`, for every family
    (linear weights are [out, in]): `embeddings.word_embeddings.weight`, `encoder.layer.0.
    attention.self.query.weight`, …; and `embeddings.project`, `encoder.layer.0.bottleneck.
    {input,attention}.{dense,LayerNorm}`, `encoder.layer.0.ffn.0.{intermediate.dense,output.dense,
    output.LayerNorm}` and `encoder.layer.0.output.bottleneck.{dense,LayerNorm}` as MobileBERT has
    them. Heads: `classifier.weight` [labels, pooled], `classifier.bias` [labels], before them
    `pooler.dense`; `transform.dense`, `transform.LayerNorm`, `decoder.bias` [vocabulary] and,
    unless tied, `decoder.weight` [vocabulary, transform].
    `edgeseq_converters.models.encoder` lists them all with their shapes.
    """

    vocabulary_size: int
    hidden_size: int
    intermediate_size: int
    layers: Layers
    attention_heads: Annotated[int, msgspec.Meta(ge=1)]
    max_position_embeddings: int
    type_vocabulary_size: int
    hidden_act: Literal["gelu", "gelu_new", "relu"]
    layer_norm_eps: float
    pooling: Literal["mean", "cls", "markers"]
    family: Family = "bert"
    head: BertHead = "sequence_classification"
    embedding_size: int | None = None
    trigram: bool = False
    norm: Literal["layer", "scale"] = "layer"
    layer_sources: tuple[int, ...] = ()
    bottleneck_size: int | None = None
    feed_forwards: Layers = 1
    head_act: Literal["gelu", "gelu_new", "relu", "tanh"] | None = None
    normalized: bool = False
    tied_decoder: bool = True
    marker_ids: tuple[int, ...] = ()


class TransferRecord(msgspec.Struct, frozen=True):
    """The unlabelled texts that a student was also trained on: how many of each kind or source,
    how many of each were skipped (empty, duplicates, or a text of the dev or test split), and
    the hash of those used (`edgeseq.formats.train_logits.texts_sha256`)."""

    texts: dict[str, int]
    skipped: dict[str, int]
    sha256: str


class Training(msgspec.Struct, frozen=True):
    """How a model was trained, enough to repeat it; `dev_score` is the task's metric in 0..1.

    `dev_scores` has the score of each epoch; `seed_scores`, where several seeds were tried, that
    of each seed, of which this model is the best.

    `teacher_logits` says where a distilled model's targets came from: `stored` are the teacher's
    logits of its last training epoch (that of its weights), `computed` those of its final
    weights.
    """

    data_name: str
    data_sha256: str
    n_train: int
    seed: int
    epochs: int
    settings: dict[str, Any]
    seconds: float
    dev_score: float
    test_score: float | None = None
    teacher: str | None = None
    teacher_logits: Literal["stored", "computed"] | None = None
    initial_weights: str | None = None
    tool_versions: dict[str, str] = {}
    dev_scores: tuple[float, ...] = ()
    seed_scores: dict[str, float] = {}
    transfer: TransferRecord | None = None


def not_trained_here(identity: str) -> Training:
    """The record of a model that comes from elsewhere: `identity` names its file and hash."""
    return Training(
        data_name="",
        data_sha256="",
        n_train=0,
        seed=0,
        epochs=0,
        settings={},
        seconds=0.0,
        dev_score=0.0,
        initial_weights=identity,
    )


class ModelManifest(msgspec.Struct, frozen=True):
    """`model.json`. Exactly one of `bag`, `lstm`, `network` and `bert` is set, that of `arch`; a
    `network` is of `arch` `lstm`, or `bag` without a recurrent layer.

    `max_tokens` is the model's longest input in tokens, special tokens included; `padding` how
    texts of other lengths become one; `transitions` are those between the labels of a sentence's
    words, where they were trained (a CRF); `word_cache` is that of a language model.
    `word_features` are what a token classifier with arrays of this module's `LstmConfig` or
    `BertConfig` sees of words beside their pieces: the array `word_features.weight`
    [1 + 3 · rows, size] (`edgeseq.tasks.word_features`), of which a token's three rows are joined.
    An LSTM reads them behind the token's embedding; an encoder adds them to the sum of its
    embeddings after a projection, `word_features.project.weight` [embedding, 3 · size] and `.bias`
    [embedding].
    """

    name: str
    task: str
    arch: Arch
    labels: tuple[str, ...]
    max_tokens: int
    training: Training
    lstm: LstmConfig | None = None
    bag: BagConfig | None = None
    bert: BertConfig | None = None
    network: NetworkConfig | None = None
    padding: Padding = TEXT_ALONE
    transitions: TagTransitions | None = None
    word_features: WordFeatures | None = None
    word_cache: WordCache | None = None
    schema_version: int = SCHEMA_VERSION


class TrainedModel(msgspec.Struct, frozen=True):
    """A trained model in memory: manifest, float32 arrays by name, tokenizer.json's content."""

    manifest: ModelManifest
    weights: dict[str, Any]
    tokenizer_json: str

    @property
    def parameters(self) -> int:
        """Number of weights in all arrays."""
        return sum(int(array.size) for array in self.weights.values())


def write_model_folder(
    path: Path,
    model: TrainedModel,
    *,
    overwrite: bool = False,
    train_logits: TrainLogits | None = None,
) -> None:
    """Writes the folder completely or not at all, with `train_logits` if there are any.

    Raises `OutputError` when it exists (without `overwrite`), or the disk is full.
    """
    with new_folder(path, overwrite=overwrite, marker="model.json") as draft:
        write_bytes(draft / "weights.safetensors", array_bytes(model.weights))
        write_bytes(draft / "tokenizer.json", model.tokenizer_json.encode())
        write_json(draft / "model.json", model.manifest)
        if train_logits is not None:
            write_train_logits(draft, train_logits)


def read_model_folder(path: Path) -> TrainedModel:
    """Reads the folder; raises `CheckpointError` naming the file that is missing or damaged."""
    if not path.is_dir():
        raise CheckpointError(
            "is not a trained-model folder", where=path, fix="name what `edgeseq train` wrote"
        )
    manifest = read_json(
        path / "model.json", ModelManifest, error=CheckpointError, schema_version=SCHEMA_VERSION
    )
    kinds = ("bag", "lstm", "network", "bert")
    configs = [name for name in kinds if getattr(manifest, name) is not None]
    allowed = [manifest.arch] if manifest.arch == "bert" else [manifest.arch, "network"]
    if len(configs) != 1 or configs[0] not in allowed:
        raise CheckpointError(
            "dimensions do not go with arch", where=path / "model.json", found=manifest.arch
        )
    transitions = manifest.transitions
    if transitions is not None and not transitions.is_for(len(manifest.labels)):
        raise CheckpointError(
            "its transitions do not fit its labels",
            where=path / "model.json",
            found=f"{len(transitions.start)}, {len(transitions.pairs)} rows, "
            f"{len(transitions.end)}",
            expected=f"{len(manifest.labels)} of each",
            fix="train again",
        )
    content = read_bytes(path / "weights.safetensors", error=CheckpointError)
    weights: dict[str, npt.NDArray[np.float32]] = arrays_from_bytes(
        content, where=path / "weights.safetensors", fix="train again"
    )
    tokenizer_json = read_bytes(path / "tokenizer.json", error=CheckpointError).decode("utf-8")
    return TrainedModel(manifest=manifest, weights=weights, tokenizer_json=tokenizer_json)
