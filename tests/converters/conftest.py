"""Random models of both architectures in the trained-model format, and an invented data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from edgeseq.formats.trained_model import (
    Arch,
    BagConfig,
    BertConfig,
    LstmConfig,
    ModelManifest,
    TrainedModel,
    Training,
    write_model_folder,
)
from edgeseq.tasks.examples import Dataset, TextExample
from edgeseq_converters.models.network import Network
from edgeseq_converters.models.network_layers import (
    GATES,
    AttentionPool,
    Cell,
    Dense,
    Embedding,
    Layer,
    Pool,
    Recurrent,
)

LABELS = ("negative", "neutral", "positive")
WORDS = (
    *("the", "a", "this", "it", "was", "is", "very", "not", "quite", "never", "and", "but"),
    *("teapot", "ladder", "blanket", "engine", "window", "garden", "pencil", "basket"),
    *("fine", "broken", "lovely", "slow", "bright", "noisy", "clean", "heavy", "cheap", "solid"),
)
VOCABULARY = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3} | {
    word: number for number, word in enumerate(WORDS, start=4)
}


def make_tokenizer(*, special: bool) -> str:
    """tokenizer.json of a tokenizer of whole words."""
    tokenizer = Tokenizer(models.WordLevel(VOCABULARY, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if special:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    return str(tokenizer.to_str())


def make_manifest(arch: str, max_tokens: int, **config: Any) -> ModelManifest:
    """model.json of a model that was never trained."""
    training = Training(
        data_name="invented",
        data_sha256="0" * 64,
        n_train=0,
        seed=0,
        epochs=0,
        settings={},
        seconds=0.0,
        dev_score=0.0,
    )
    return ModelManifest(
        name=f"random-{arch}",
        task="sentiment",
        arch=arch,  # type: ignore[arg-type]
        labels=LABELS,
        max_tokens=max_tokens,
        training=training,
        **config,
    )


def make_bag(*, hidden: int = 16, embedding: int = 12, seed: int = 0) -> TrainedModel:
    """A bag of embeddings with random weights."""
    rng = np.random.default_rng(seed)
    config = BagConfig(len(VOCABULARY), embedding, hidden, pooling="mean")
    shapes = {
        "embedding.weight": (len(VOCABULARY), embedding),
        "hidden.kernel": (embedding, hidden),
        "hidden.bias": (hidden,),
        "dense.kernel": (hidden, len(LABELS)),
        "dense.bias": (len(LABELS),),
    }
    weights = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return TrainedModel(
        make_manifest("bag", 64, bag=config), weights, make_tokenizer(special=False)
    )


def make_lstm(
    *,
    hidden: int = 16,
    embedding: int = 12,
    layers: int = 1,
    bidirectional: bool = False,
    pooling: Any = "max",
    vocabulary: int = len(VOCABULARY),
    seed: int = 0,
) -> TrainedModel:
    """An LSTM with random weights, large enough that gates are not all at their middle."""
    rng = np.random.default_rng(seed)

    def draw(*shape: int, scale: float = 0.4) -> np.ndarray[Any, Any]:
        return rng.normal(size=shape, scale=scale).astype(np.float32)

    directions = ("forward", "backward") if bidirectional else ("forward",)
    features = hidden * len(directions)
    weights = {
        "embedding.weight": draw(vocabulary, embedding, scale=1.0),
        "dense.kernel": draw(features, len(LABELS), scale=1.0),
        "dense.bias": draw(len(LABELS)),
    }
    for layer in range(layers):
        inputs = embedding if layer == 0 else features
        for direction in directions:
            prefix = f"lstm.{layer}.{direction}."
            weights[prefix + "kernel"] = draw(inputs, 4 * hidden)
            weights[prefix + "recurrent_kernel"] = draw(hidden, 4 * hidden, scale=0.2)
            weights[prefix + "bias"] = draw(4 * hidden)
    config = LstmConfig(
        vocabulary_size=vocabulary,
        embedding_size=embedding,
        hidden_size=hidden,
        layers=layers,
        bidirectional=bidirectional,
        pooling=pooling,
    )
    manifest = make_manifest("lstm", 64, lstm=config)
    return TrainedModel(manifest, weights, make_tokenizer(special=False))


def make_bert(
    *,
    hidden: int = 32,
    intermediate: int = 64,
    layers: int = 2,
    heads: int = 4,
    pooling: Any = "mean",
    hidden_act: Any = "gelu",
    vocabulary: int = len(VOCABULARY),
    max_tokens: int = 160,
    seed: int = 0,
) -> TrainedModel:
    """A BERT with random weights under the names of Hugging Face."""
    rng = np.random.default_rng(seed)

    def draw(*shape: int, scale: float = 0.2) -> np.ndarray[Any, Any]:
        return rng.normal(size=shape, scale=scale).astype(np.float32)

    def norm(name: str) -> dict[str, Any]:
        return {f"{name}.weight": 1 + draw(hidden), f"{name}.bias": draw(hidden)}

    def dense(name: str, outputs: int, inputs: int) -> dict[str, Any]:
        return {f"{name}.weight": draw(outputs, inputs), f"{name}.bias": draw(outputs)}

    weights = {
        "embeddings.word_embeddings.weight": draw(vocabulary, hidden),
        "embeddings.position_embeddings.weight": draw(max_tokens, hidden),
        "embeddings.token_type_embeddings.weight": draw(2, hidden),
        **norm("embeddings.LayerNorm"),
        **dense("classifier", len(LABELS), hidden),
    }
    for number in range(layers):
        prefix = f"encoder.layer.{number}"
        for part in ("query", "key", "value"):
            weights |= dense(f"{prefix}.attention.self.{part}", hidden, hidden)
        weights |= dense(f"{prefix}.attention.output.dense", hidden, hidden)
        weights |= norm(f"{prefix}.attention.output.LayerNorm")
        weights |= dense(f"{prefix}.intermediate.dense", intermediate, hidden)
        weights |= dense(f"{prefix}.output.dense", hidden, intermediate)
        weights |= norm(f"{prefix}.output.LayerNorm")
    config = BertConfig(
        vocabulary_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=intermediate,
        layers=layers,
        attention_heads=heads,
        max_position_embeddings=max_tokens,
        type_vocabulary_size=2,
        hidden_act=hidden_act,
        layer_norm_eps=1e-12,
        pooling=pooling,
    )
    manifest = make_manifest("bert", max_tokens, bert=config)
    return TrainedModel(manifest, weights, make_tokenizer(special=True))


def make_cell(
    rng: np.random.Generator,
    kind: Any,
    inputs: int,
    hidden: int,
    *,
    reset_after: bool = True,
    functions: Mapping[str, Any] = MappingProxyType({}),
) -> Cell:
    """One direction of a recurrent layer as Keras would start it, with biases that matter."""
    gates = GATES[kind] * hidden
    limit = np.sqrt(6 / (inputs + gates))
    square, _ = np.linalg.qr(rng.normal(size=(gates, hidden)))
    after = kind == "gru" and reset_after
    return Cell(
        kind,
        rng.uniform(-limit, limit, (inputs, gates)).astype(np.float32),
        np.ascontiguousarray(square.T, np.float32),
        rng.normal(size=gates, scale=0.1).astype(np.float32),
        rng.normal(size=gates, scale=0.1).astype(np.float32) if after else None,
        **functions,
    )


def make_network(
    *,
    kind: Any = "lstm",
    layers: int = 1,
    bidirectional: bool = False,
    hidden: int = 8,
    embedding: int = 6,
    vocabulary: int = 50,
    head: str = "final",
    mask_zero: bool = False,
    merge: Any = "concat",
    reset_after: bool = True,
    function: Any = "linear",
    cell_functions: Mapping[str, Any] = MappingProxyType({}),
    seed: int = 0,
) -> Network:
    """A network with random weights; `head`: final, max, mean, last, attention, or tokens;
    `cell_functions` has a cell's `gate_function` and `function`."""
    rng = np.random.default_rng(seed)
    features = embedding
    made: list[Layer] = []
    for number in range(layers):
        cells = [
            make_cell(
                *(rng, kind, features, hidden), reset_after=reset_after, functions=cell_functions
            )
            for _ in range(2 if bidirectional else 1)
        ]
        sequences = number < layers - 1 or head != "final"
        made.append(Recurrent(f"{kind}.{number}", *cells, merge=merge, sequences=sequences))
        features = made[-1].features
    if head in ("max", "mean", "last"):
        made.append(Pool("pool", head))  # type: ignore[arg-type]
    if head == "attention":
        kernel, query = rng.normal(size=(features, 5)), rng.normal(size=5)
        arrays = (array.astype(np.float32) for array in (kernel, np.zeros(5), query))
        made.append(AttentionPool("attention", *arrays))
    kernel = rng.normal(size=(features, 3), scale=0.3).astype(np.float32)
    bias = rng.normal(size=3, scale=0.1).astype(np.float32)
    made.append(Dense("dense", kernel, bias, function))
    table = rng.normal(size=(vocabulary, embedding), scale=0.5).astype(np.float32)
    return Network("random", Embedding("embedding", table, mask_zero), tuple(made))


def make_dataset(count: int = 24, seed: int = 0) -> Dataset:
    """Invented texts of 1 to 20 words with random labels."""
    rng = np.random.default_rng(seed)

    def part(name: str) -> tuple[TextExample, ...]:
        return tuple(
            TextExample(
                id=f"{name}/{number}",
                text=" ".join(rng.choice(WORDS, int(rng.integers(1, 21)))),
                label=str(rng.choice(LABELS)),
            )
            for number in range(count)
        )

    return Dataset(
        name="invented",
        task="sentiment",
        labels=LABELS,
        train=part("train"),
        dev=part("dev"),
        test=part("test"),
        licence="none",
        origin="invented",
        sha256="0" * 64,
    )


def export(
    model: TrainedModel,
    recipe: str = "float32",
    lowering: str = "auto",
    steps: int | None = None,
    texts: Any = (),
) -> bytes:
    """The .tflite content of a model, converted in this process."""
    from edgeseq_converters.convert.lower.dispatch import Target, choose_lowering, lower
    from edgeseq_converters.convert.recipes import get_recipe

    target = Target(choose_lowering(model.manifest.arch, lowering), steps)
    return lower(model, get_recipe(recipe), target, texts)


@pytest.fixture(scope="session")
def invented_dataset() -> Dataset:
    """24 texts in each part."""
    return make_dataset()


@pytest.fixture(scope="session")
def bag_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained-model folder of a bag of embeddings with random weights."""
    folder = tmp_path_factory.mktemp("models") / "bag"
    write_model_folder(folder, make_bag())
    return folder


@pytest.fixture(scope="session")
def lstm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained-model folder of a bidirectional LSTM with random weights."""
    folder = tmp_path_factory.mktemp("models") / "lstm"
    write_model_folder(folder, make_lstm(bidirectional=True, hidden=20, embedding=32))
    return folder


@pytest.fixture(scope="session")
def bert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained-model folder of a BERT with random weights."""
    folder = tmp_path_factory.mktemp("models") / "bert"
    write_model_folder(folder, make_bert(max_tokens=48))
    return folder


Bundles = dict[tuple[str, str], Path]


@pytest.fixture(scope="session")
def bundles(
    tmp_path_factory: pytest.TempPathFactory,
    bag_folder: Path,
    lstm_folder: Path,
    bert_folder: Path,
    invented_dataset: Dataset,
) -> Bundles:
    """A bundle of each architecture in each recipe that it has, by (arch, recipe)."""
    from concurrent.futures import ThreadPoolExecutor

    from edgeseq_converters.convert.import_model import load_model
    from edgeseq_converters.convert.lower.dispatch import LOWERINGS, recipes_of
    from edgeseq_converters.convert.pipeline import convert
    from edgeseq_converters.convert.plan import ConversionOptions

    root = tmp_path_factory.mktemp("bundles")
    folders: tuple[tuple[Arch, Path], ...] = (
        ("bag", bag_folder),
        ("lstm", lstm_folder),
        ("bert", bert_folder),
    )
    jobs = [
        ((str(arch), recipe), folder, root / f"{arch}-{recipe}")
        for arch, folder in folders
        for recipe in recipes_of(arch, LOWERINGS[arch][0])
    ]

    def run(job: tuple[tuple[str, str], Path, Path]) -> tuple[tuple[str, str], Path]:
        key, folder, out = job
        convert(load_model(folder), invented_dataset, out, ConversionOptions(recipes=(key[1],)))
        return key, out

    with ThreadPoolExecutor(max_workers=2) as pool:
        return dict(pool.map(run, jobs))


class Make(NamedTuple):
    """The factories above, for tests that make their own."""

    lstm: Callable[..., TrainedModel] = make_lstm
    bert: Callable[..., TrainedModel] = make_bert
    network: Callable[..., Network] = make_network
    dataset: Callable[..., Dataset] = make_dataset
    manifest: Callable[..., ModelManifest] = make_manifest
    export: Callable[..., bytes] = export


@pytest.fixture(scope="session")
def make() -> Make:
    return Make()
