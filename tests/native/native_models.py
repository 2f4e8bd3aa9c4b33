"""Small models of every head and lowering with random weights, as files for both runners."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from edgeseq.formats.bundle_manifest import Signature, TensorSpec
from edgeseq.formats.runner_file import RunnerSettings, compile_runner_file
from edgeseq.formats.tflite_file import parse_tflite
from edgeseq.formats.trained_model import TrainedModel
from edgeseq.tasks.multilabel_classification import threshold_logits
from edgeseq.tasks.registry import task_of
from edgeseq.tasks.tag_transitions import TagTransitions
from edgeseq.tasks.word_cache import WordCache
from edgeseq.tasks.word_features import WordFeatures
from edgeseq_benchmarks.bench import protocol

from ..converters.conftest import WORDS, export, make_bert, make_lstm, make_network
from ..next_word_models import VOCABULARY as STREAM_WORDS
from ..next_word_models import causal_transformer, stream_of_network

TAGS = ("O", "B-X", "I-X", "B-Y", "I-Y")
MAX_TOKENS = 24
STREAM_KINDS = ("stream", "stream-cache", "window")
THRESHOLDS = (0.3, 0.5, 0.8)


class Case(NamedTuple):
    """A model to be written: its kind, the conversion's recipe and lowering."""

    kind: str
    recipe: str
    lowering: str

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.recipe}-{self.lowering}"


class Files(NamedTuple):
    """What was written, and the command that loads it without its paths."""

    folder: Path
    case: Case
    labels: tuple[str, ...]
    settings: dict[str, Any]

    def load(self, *, native: bool, first_text: protocol.Text, **more: Any) -> protocol.LoadModel:
        name = "runner.bin" if native else "tokenizer.json"
        return protocol.LoadModel(
            model_path=str(self.folder / "model.tflite"),
            tokenizer_path=str(self.folder / name),
            first_text=first_text,
            **{"threads": 1, "spawned_ns": 0, **self.settings, **more},
        )

    @property
    def head(self) -> str:
        return str(self.settings["head"])


def all_cases() -> Iterator[Case]:
    """Every head in every lowering, and every recipe where it is new."""
    from edgeseq_converters.convert.lower.dispatch import LOWERINGS, recipes_of

    for lowering in ("loop", "projected", "unrolled"):
        for recipe in recipes_of("lstm", lowering):
            yield Case("lstm", recipe, lowering)
    for recipe in recipes_of("bert", LOWERINGS["bert"][0]):
        yield Case("bert", recipe, "encoder")
    yield Case("lstm2", "dynamic_wi8_afp32", "loop")
    for kind, recipe in itertools.product(("tags", "marks"), ("float32", "dynamic_wi8_afp32")):
        yield Case(f"{kind}-lstm", recipe, "loop")
        yield Case(f"{kind}-bert", recipe, "encoder")
    yield Case("tags-lstm", "dynamic_wi8_afp32", "unrolled")
    yield Case("tags-crf-lstm", "float32", "loop")
    yield Case("tags-words-lstm", "float32", "loop")
    yield Case("labels-lstm", "dynamic_wi8_afp32", "loop")
    yield Case("labels-bert", "float32", "encoder")
    yield Case("stream", "float32", "loop")
    yield Case("stream", "dynamic_wi8_afp32", "loop")
    yield Case("stream-cache", "dynamic_wi8_afp32", "loop")
    for recipe, lowering in itertools.product(
        ("float32", "dynamic_wi8_afp32"), ("encoder", "cached")
    ):
        yield Case("window", recipe, lowering)


def write_case(case: Case, folder: Path) -> Files:
    """Writes model.tflite, tokenizer.json and runner.bin into a new folder."""
    model = make_model(case)
    manifest = model.manifest
    steps = MAX_TOKENS if case.lowering == "unrolled" else None
    content = export(model, case.recipe, case.lowering, steps, calibration_ids(case))
    [entry] = parse_tflite(content, where=case.name).signatures
    specs = [
        tuple(
            TensorSpec(name, tensor.dtype.lower(), tuple(tensor.shape))  # type: ignore[arg-type]
            for name, tensor in side.items()
        )
        for side in (entry.inputs, entry.outputs)
    ]
    size = len(Tokenizer.from_str(model.tokenizer_json).get_vocab())
    thresholds = THRESHOLDS if case.kind.startswith("labels") else ()
    settings = RunnerSettings(
        name=case.name,
        task=manifest.task,
        max_tokens=manifest.max_tokens,
        vocabulary_size=size,
        labels=manifest.labels,
        transitions=manifest.transitions,
        word_features=manifest.word_features,
        signature=Signature(entry.key, specs[0], specs[1]),
        thresholds=thresholds,
    )
    folder.mkdir()
    (folder / "model.tflite").write_bytes(content)
    (folder / "tokenizer.json").write_text(model.tokenizer_json)
    (folder / "runner.bin").write_bytes(compile_runner_file(model.tokenizer_json, settings))
    task = task_of(manifest.task)
    return Files(
        folder=folder,
        case=case,
        labels=manifest.labels,
        settings={
            "max_tokens": manifest.max_tokens,
            "labels": len(manifest.labels) or size,
            "signature_key": entry.key,
            "input_name": "input_ids",
            "output_name": "logits",
            "head": task.head,
            "span_labels": manifest.labels if task.bio_labels else (),
            "thresholds": threshold_logits(thresholds),
            "transitions": manifest.transitions,
            "word_features": manifest.word_features,
        },
    )


def calibration_ids(case: Case) -> list[list[int]]:
    """Token ids that every vocabulary here has."""
    rng = np.random.default_rng(1)
    return [rng.integers(4, 30, length).tolist() for length in range(3, 20)]


def make_model(case: Case) -> TrainedModel:
    """A model with random weights."""
    if case.kind.startswith("stream"):
        model = make_stream()
        cache = WordCache(8, 2.0, 0.3) if case.kind == "stream-cache" else None
        return msgspec.structs.replace(
            model, manifest=msgspec.structs.replace(model.manifest, word_cache=cache)
        )
    if case.kind == "window":
        return causal_transformer("window")
    vocabulary = Tokenizer.from_str(word_pieces()).get_vocab_size()
    if case.kind.endswith("bert"):
        model = make_bert(max_tokens=48, vocabulary=vocabulary)
    elif case.kind == "lstm2":
        model = make_lstm(layers=2, bidirectional=True, vocabulary=vocabulary, pooling="last")
    else:
        model = make_lstm(vocabulary=vocabulary, pooling="none" if "tags" in case.kind else "max")
    manifest = msgspec.structs.replace(model.manifest, max_tokens=MAX_TOKENS)
    model = TrainedModel(manifest, model.weights, word_pieces())
    if case.kind.startswith("labels"):
        manifest = msgspec.structs.replace(manifest, task="multilabel-classification")
        return TrainedModel(manifest, model.weights, model.tokenizer_json)
    if case.kind.startswith("tags"):
        return as_tagger_of(case.kind, model)
    return as_marked(model) if case.kind.startswith("marks") else model


def word_pieces() -> str:
    """A tokenizer of BERT's kind: every letter, a few whole words and endings."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    signs = ".,;:!?'\"()[]/-中文"
    tokens = [
        *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
        *WORDS,
        *letters,
        *(f"##{letter}" for letter in letters),
        *("##ing", "##ed", "##s"),
        *signs,
    ]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    return str(tokenizer.to_str())


def as_tagger(model: TrainedModel) -> TrainedModel:
    """The model with a label for each word, under the rules of BIO."""
    manifest = msgspec.structs.replace(model.manifest, task="ner", labels=TAGS)
    name = "dense.kernel" if manifest.lstm else "classifier.weight"
    axis = 1 if manifest.lstm else 0
    kernel = model.weights[name]
    shape = list(kernel.shape)
    shape[axis] = len(TAGS)
    rng = np.random.default_rng(2)
    bias = "dense.bias" if manifest.lstm else "classifier.bias"
    weights = model.weights | {
        name: rng.normal(size=shape, scale=0.5).astype(np.float32),
        bias: rng.normal(size=len(TAGS), scale=0.1).astype(np.float32),
    }
    if manifest.bert:
        config = msgspec.structs.replace(manifest.bert, head="token_classification")
        manifest = msgspec.structs.replace(manifest, bert=config)
    return TrainedModel(manifest, weights, model.tokenizer_json)


def as_tagger_of(kind: str, model: TrainedModel) -> TrainedModel:
    """A tagger, with transitions or word features where its kind says so."""
    tagger = as_tagger(model)
    if kind.startswith("tags-crf"):
        manifest = msgspec.structs.replace(tagger.manifest, transitions=random_transitions())
        return TrainedModel(manifest, tagger.weights, tagger.tokenizer_json)
    return with_word_features(tagger) if kind.startswith("tags-words") else tagger


def random_transitions(num_labels: int = len(TAGS), *, seed: int = 9) -> TagTransitions:
    """Scores between labels that change many tags."""
    rng = np.random.default_rng(seed)
    start, end, *pairs = rng.normal(size=(num_labels + 2, num_labels)).astype(np.float32).tolist()
    return TagTransitions(tuple(start), tuple(map(tuple, pairs)), tuple(end))


def with_word_features(model: TrainedModel) -> TrainedModel:
    """The LSTM with random rows of word features behind its embeddings."""
    rng, features = np.random.default_rng(10), WordFeatures(rows=50, size=6)
    table = rng.normal(size=(features.table_rows, features.size)).astype(np.float32)
    weights = model.weights | {"word_features.weight": table}
    for name in (name for name in model.weights if name.endswith("ward.kernel")):
        rows = rng.normal(size=(features.width, weights[name].shape[1]), scale=0.4)
        weights[name] = np.concatenate([weights[name], rows.astype(np.float32)])
    manifest = msgspec.structs.replace(model.manifest, word_features=features)
    return TrainedModel(manifest, weights, model.tokenizer_json)


def as_marked(model: TrainedModel) -> TrainedModel:
    """The model that looks at marked mentions of its text."""
    from edgeseq_converters.models.network_layers import marked_features
    from edgeseq_converters.training.marks import add_markers, marks_of

    config: Any = model.manifest.lstm or model.manifest.bert
    name = "embedding.weight" if model.manifest.lstm else "embeddings.word_embeddings.weight"
    tokenizer_json, table = add_markers(model.tokenizer_json, model.weights[name])
    config = msgspec.structs.replace(
        config, vocabulary_size=len(table), pooling="markers", marker_ids=marks_of(tokenizer_json)
    )
    rng = np.random.default_rng(3)
    head = rng.normal(size=(marked_features(config.hidden_size, 3), 3), scale=0.3)
    head = head.astype(np.float32)
    labels = {"task": "coref", "labels": ("A", "B", "neither")}
    if model.manifest.lstm:
        manifest = msgspec.structs.replace(model.manifest, lstm=config, **labels)
        kernel = {"dense.kernel": head}
    else:
        manifest = msgspec.structs.replace(model.manifest, bert=config, **labels)
        kernel = {"classifier.weight": np.ascontiguousarray(head.T)}
    return TrainedModel(manifest, {**model.weights, name: table, **kernel}, tokenizer_json)


def make_stream() -> TrainedModel:
    """An LSTM that predicts the next word."""
    from edgeseq_converters.models.network import Network
    from edgeseq_converters.models.network_layers import Dense

    size = len(STREAM_WORDS)
    network = make_network(hidden=12, embedding=8, vocabulary=size, head="tokens")
    rng = np.random.default_rng(4)
    words = Dense("words", *(rng.normal(size=s).astype(np.float32) for s in ((12, size), (size,))))
    network = Network("next", network.embedding, (*network.layers[:-1], words))
    return stream_of_network(network, "next")


SENTENCES = (
    "the teapot was lovely",
    "Never a BLANKET, always the ladder!",
    "an éclair naïve Übung",
    "中文 text and 日本語",
    "control\x01characters\x00and\ttabs\nand lines",
    "emoji \N{GRINNING FACE} alone",
    "\N{GRINNING FACE}",
    "",
    "   ",
    "word " * 60,
    "unbelievablylongwordthatisnotinthevocabulary" * 4,
    "was\N{NO-BREAK SPACE}this\N{IDEOGRAPHIC SPACE}quite slow",
)


def texts_for(files: Files) -> Sequence[protocol.Text]:
    """Texts of the model's kind, short and long, some of them strange."""
    kind = files.case.kind
    rng = np.random.default_rng(6)
    if kind in STREAM_KINDS:
        names = [*STREAM_WORDS, "unheard"]
        return [" ".join(rng.choice(names, n)) for n in (1, 2, 5, 9, 16, 17, 33, 70)]
    if kind.startswith("tags"):
        pool = [*WORDS, "xyzzy", "\x01", "\N{GRINNING FACE}", "engines", "naïve"]
        words = [tuple(map(str, rng.choice(pool, n))) for n in (0, 1, 2, 7, 19, 40, 90)]
        return [*words, ("a" * 70, "the", "b" * 30), *SENTENCES]
    if kind.startswith("marks"):
        return [*(marked(rng, n) for n in (3, 8, 20, 60)), *SENTENCES]
    return [*SENTENCES, *(" ".join(rng.choice(WORDS, n)) for n in (1, 3, 8, 20, 50))]


def marked(rng: np.random.Generator, length: int) -> str:
    """A text with its three mentions marked, in any order and place."""
    words = [str(word) for word in rng.choice(WORDS, length)]
    for name, place in zip("PAB", sorted(rng.integers(0, length, 3), reverse=True), strict=True):
        words[place] = f"[{name}] {words[place]} [/{name}]"
    return " ".join(words)
