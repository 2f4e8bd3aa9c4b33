"""Exports for MediaPipe Tasks, answered by MediaPipe's own TextClassifier."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from msgspec.structs import replace
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from typer.testing import CliRunner

import edgeseq as es
from edgeseq.cli.app import app
from edgeseq.errors import FetchError, InputError, RefusedError
from edgeseq.formats.bundle import BundleFiles, read_bundle
from edgeseq.formats.bundle_manifest import Signature, TensorSpec
from edgeseq.formats.export_target import ExportOptions
from edgeseq.formats.trained_model import write_model_folder
from edgeseq.runtime.interpreter import TfliteModel
from edgeseq.runtime.text_tokenizer import TextTokenizer
from edgeseq_converters.export.golden import softmax
from edgeseq_converters.export.mediapipe.graph import adapt_to_bert
from edgeseq_converters.export.mediapipe.target import TARGET
from edgeseq_converters.export.mediapipe.tokenizers import SpecialTokens, mediapipe_tokenizer
from studies.export_mediapipe import classify_in_browser

from .mediapipe_probe import classify, mediapipe_token_ids

PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnopqrstuvwxyz.,!'", "é", "中")
CONTINUED = tuple(f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyzé")
WORDS = ("lamp", "tent", "good", "bad", "##ing", "the", "is", "was")
WORD_PIECES = {piece: number for number, piece in enumerate((*PIECES, *CONTINUED, *WORDS))}
PLAIN = (
    *("The lamp is good.", "the TENT was Bad!", "don't, ever", "good " * 40, "a", "lamping tents"),
    "tab\tand  spaces , everywhere .",
)
ODD = (
    *("Café NAÏVE Über", "non\u00a0breaking\u2003space", "\vvertical\ftab\r\n", "soft\u00adhyphen"),
    *("中文 mixed中a", "emoji 😀", "“quotes” – dash…", "[MASK] [SEP] [UNK]", "a\u0301 mark"),
    *("x" * 100, "x" * 101, "é" * 51, "İstanbul ſ K", "control\x01\x7f", "ｆｕｌｌ", "\u2028line"),
    *("", "   ", "." * 99, "<PAD> <UNKNOWN> <START>", "snake_case @me #tag", "don’t"),
)
Export = Callable[..., Path]


def word_piece_json(*, start: bool, end: bool) -> str:
    """A lower-casing WordPiece tokenizer of letters and a few words."""
    tokenizer = Tokenizer(models.WordPiece(WORD_PIECES, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    template = "[CLS] " * start + "$A" + " [SEP]" * end
    tokenizer.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return str(tokenizer.to_str())


def word_level_json(pre_tokenizer: Any, *, start: bool = False) -> str:
    """A lower-casing tokenizer of whole words."""
    words = ("[UNK]", "lamp", "tent", "good", "bad", "the", "is", "was", "don", "t", "café", "a")
    tokenizer = Tokenizer(
        models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]")
    )
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizer
    if start:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="a $A", special_tokens=[("a", 11)]
        )
    return str(tokenizer.to_str())


TOKENIZERS = {
    "bert": word_piece_json(start=True, end=True),
    "pieces": word_piece_json(start=False, end=False),
    "start": word_piece_json(start=True, end=False),
    "end": word_piece_json(start=False, end=True),
    "words": word_level_json(pre_tokenizers.WhitespaceSplit()),
    "start word": word_level_json(pre_tokenizers.WhitespaceSplit(), start=True),
    "signs": word_level_json(pre_tokenizers.Whitespace()),
    "both": word_level_json(
        pre_tokenizers.Sequence(
            [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation("isolated")]
        )
    ),
    "char": word_level_json(pre_tokenizers.CharDelimiterSplit(" ")),
}


@pytest.mark.parametrize("name", sorted(TOKENIZERS))
def test_tokens_are_those_of_mediapipe_itself(name: str, tmp_path: Path) -> None:
    tokenizer = mediapipe_tokenizer(TOKENIZERS[name], where=name)
    texts, length = [*PLAIN, *ODD], 24
    answers = mediapipe_token_ids(tokenizer, texts, length, tmp_path / "probe.tflite")
    special = getattr(tokenizer, "special", None)
    for text, answer in zip(texts, answers, strict=True):
        if special is None:
            ids = tokenizer.token_ids(text, length)
            assert [*ids, *[-1] * (length - len(ids))] == answer, text
        else:
            ids = tokenizer.token_ids(text, length - special.num_dropped)
            count = len(ids) + special.num_dropped
            known = slice(
                0 if special.knows_start else 1, count if special.knows_end else count - 1
            )
            assert ids == answer[known], text
            assert answer[count:] == [0] * (length - count), text


@pytest.mark.parametrize(
    ("name", "odd"), [("bert", "CAFÉS"), ("words", "LaMp"), ("start word", "LaMp")]
)
def test_texts_that_both_read_alike_have_the_bundles_tokens(name: str, odd: str) -> None:
    tokenizer = mediapipe_tokenizer(TOKENIZERS[name], where=name)
    reference = TextTokenizer.from_json(TOKENIZERS[name], 24)
    for text in ("the TENT was Bad", "The lamp is good", "good " * 40, "lamp  tent"):
        assert tokenizer.token_ids(text, 24) == reference.token_ids(text)
    assert tokenizer.token_ids(odd, 24) != reference.token_ids(odd)


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory, make: Any) -> Export:
    """Converts a random model with one of `TOKENIZERS` and exports it."""
    root = tmp_path_factory.mktemp("exports")
    dataset = make.dataset(count=12)
    texts = (*PLAIN, *("good tent " * n for n in range(1, 20)), "Café")
    test = tuple(
        replace(dataset.test[0], id=str(number), text=text) for number, text in enumerate(texts)
    )
    dataset = replace(dataset, dev=test[:-1], test=test)

    def run(arch: str, tokenizer: str, recipe: str) -> Path:
        name = f"{arch}-{tokenizer}"
        out = root / f"{name}-export"
        if out.exists():
            return out
        factory = make.bert if arch == "bert" else make.lstm
        settings = {"max_tokens": 20} if arch == "bert" else {"bidirectional": True}
        options = {} if arch == "bert" else {"lowering": "unrolled", "length": 12}
        model = factory(vocabulary=len(WORD_PIECES), **settings)
        model = replace(model, tokenizer_json=TOKENIZERS[tokenizer])
        write_model_folder(root / name, model)
        bundle = root / f"{name}-bundle"
        es.convert(root / name, dataset, recipe=recipe, out=bundle, progress=None, **options)
        return es.export(bundle, "mediapipe", out=out).path

    return run


OPEN = Signature(
    "serving_default",
    (TensorSpec("input_ids", "int32", (1, -1)),),
    (TensorSpec("logits", "float32", (1, 3)),),
)


def bundle_of(folder: Path) -> BundleFiles:
    return read_bundle(folder.with_name(folder.name.replace("-export", "-bundle")))


@pytest.mark.parametrize("special", [(True, True), (False, False), (True, False), (False, True)])
@pytest.mark.parametrize(("arch", "length"), [("bert", None), ("bert", 12), ("lstm", 12)])
def test_the_rewritten_graph_gets_the_bundles_tokens(
    make: Any, tmp_path: Path, special: tuple[bool, bool], arch: str, length: int | None
) -> None:
    """Inputs as MediaPipe makes them, in LiteRT; the model's own graph gets the tokens."""
    model = make.bert(max_tokens=12) if arch == "bert" else make.lstm(bidirectional=True)
    content = make.export(model, "float32", "auto" if arch == "bert" else "unrolled", length)
    (tmp_path / "model.tflite").write_bytes(content)
    original = TfliteModel(tmp_path / "model.tflite")
    tokens = SpecialTokens(*special)
    adapted = adapt_to_bert(content, tokens, max_tokens=12).pack()
    interpreter = Interpreter(model_content=adapted)
    inputs = {entry["index"] for entry in interpreter.get_input_details()}
    assert inputs == {0, 1, 2}
    for words in ([], [5], [5, 6, 7], list(range(4, 14)), list(range(4, 30))):
        room = 12 - sum(special)
        expected_ids = [2] * special[0] + words[:room] + [3] * special[1]
        if not expected_ids:
            continue
        size = len(words) + 2 if length is None else length + tokens.num_dropped
        ids = [2, *words[: size - 2], 3]
        padding = [0] * (size - len(ids))
        for index in range(3):
            interpreter.resize_tensor_input(index, [1, size], strict=True)
        interpreter.allocate_tensors()
        for index, row in enumerate(([*ids, *padding], [1] * len(ids) + padding, [0] * size)):
            interpreter.set_tensor(index, np.asarray([row], np.int32))
        interpreter.invoke()
        answer = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        logits = original.infer(expected_ids)
        np.testing.assert_allclose(answer, softmax(logits[None]), atol=1e-5)


@pytest.mark.parametrize(
    ("arch", "tokenizer", "recipe"),
    [
        ("bert", "bert", "dynamic_wi8_afp32"),
        ("lstm", "pieces", "dynamic_wi8_afp32"),
        ("lstm", "words", "float32"),
    ],
)
def test_mediapipe_answers_as_the_bundle(
    export: Export, arch: str, tokenizer: str, recipe: str
) -> None:
    folder = export(arch, tokenizer, recipe)
    bundle = bundle_of(folder)
    texts = [example.text for example in bundle.read_examples()]
    read = mediapipe_tokenizer(TOKENIZERS[tokenizer], where="")
    limit = bundle.manifest.max_tokens
    reference = TextTokenizer.from_json(TOKENIZERS[tokenizer], limit)
    alike = [text for text in texts if read.token_ids(text, limit) == reference.token_ids(text)]
    settings = es.api.export.read_export(folder).manifest.settings
    assert settings["num_texts_tokenized_differently"] == len(texts) - len(alike)
    assert len(alike) >= 20
    answer = classify(folder / "model.tflite", alike)
    assert answer.names == bundle.labels
    predictions = es.load_bundle(bundle.path).predict(alike)
    expected = [list(prediction.scores.values()) for prediction in predictions]
    assert np.ptp(np.asarray(expected), axis=0).max() > 0.05  # the texts have different answers
    np.testing.assert_allclose(answer.scores, expected, atol=1e-4)


def test_the_command_exports_checks_and_notices_another_answer(
    export: Export, tmp_path: Path
) -> None:
    source = export("bert", "bert", "dynamic_wi8_afp32")
    bundle = source.with_name(source.name.replace("-export", "-bundle"))
    classify(source / "model.tflite", ["a"])
    runner, out = CliRunner(), tmp_path / "app"
    arguments = ["export", str(bundle), "--for", "mediapipe", "--out", str(out)]
    done = runner.invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "reads 1 of 27 texts (3.7 %) differently" in done.output
    assert "1 with accents" in done.output
    assert sorted(path.name for path in out.iterdir()) == [
        *("README.md", "export.json", "golden.json", "model.tflite"),
    ]
    checked = runner.invoke(app, ["export", "--check", str(out)])
    assert checked.exit_code == 0, checked.output
    assert "golden texts in MediaPipe" in checked.output
    assert es.check_export(out).max_abs_difference < 1e-4

    exported = es.api.export.read_export(out)
    first = exported.golden.examples[0]
    moved = replace(first, output=(first.output[0] + 0.2, *first.output[1:]))
    golden = replace(exported.golden, examples=(moved, *exported.golden.examples[1:]))
    es.api.export.write_export_files(out, exported.manifest, golden, "")
    assert len(es.check_export(out).findings) == 1
    with pytest.raises(RefusedError, match=r"text 1: an output differs by 0\.2"):
        runner.invoke(app, ["export", "--check", str(out)], catch_exceptions=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lowering": "loop"}, "a loop is a second one.*--lowering unrolled"),
        ({"lowering": "projected"}, "a loop is a second one.*--lowering unrolled"),
        ({"lowering": "fused"}, "never resets the state.*--lowering unrolled"),
        ({"signature": OPEN}, "an open length cannot tell from words"),
        ({"task": "ner"}, "one answer per text, this model one per word"),
        ({"task": "lm"}, "no task that predicts the next word"),
        ({"task": "coref"}, "does not know the markers"),
    ],
)
def test_what_mediapipe_would_answer_differently_is_refused(
    export: Export, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    bundle = bundle_of(export("lstm", "words", "float32"))
    changed = replace(bundle, manifest=replace(bundle.manifest, **changes))
    with pytest.raises(RefusedError, match=message) as refusal:
        TARGET.export(changed, tmp_path, ExportOptions())
    assert "\n" not in str(refusal.value)
    assert not list(tmp_path.iterdir())


def test_a_tokenizer_that_reads_many_texts_differently_is_refused(export: Export) -> None:
    with pytest.raises(RefusedError, match=r"too many texts: .* reads 4 of 27 texts \(14.8 %\)"):
        export("lstm", "signs", "float32")


def test_a_benchmark_in_mediapipe_is_a_result_of_its_own(export: Export) -> None:
    folder = export("lstm", "pieces", "dynamic_wi8_afp32")
    classify(folder / "model.tflite", ["a"])
    bundle = bundle_of(folder)
    result = es.bench([bundle.path], device="mediapipe", quick=True, progress=None)
    (measured,) = result
    assert measured.runner == "mediapipe"
    assert result.record.runtime.package == "mediapipe"
    assert measured.latency.p95 is not None
    texts = [example.text for example in bundle.read_examples()]
    labels = [prediction.label for prediction in es.load_bundle(bundle.path).predict(texts)]
    predictions = result.record.runs[0].predictions
    assert predictions is not None
    same = sum(bundle.labels[a] == b for a, b in zip(predictions.predicted, labels, strict=True))
    assert same >= len(texts) - 1  # one has an accent
    assert set(result.record.runs[0].queries.example) == set(range(len(texts)))
    codes = {finding.code for finding in (*result.record.findings, *result.record.runs[0].findings)}
    assert {"mediapipe-calls", "mediapipe-memory", "tokenizer-differs"} <= codes
    with pytest.raises(InputError, match="--memory: is not possible in MediaPipe"):
        es.bench([bundle.path], device="mediapipe", memory_limits=["64MB"], progress=None)


@pytest.mark.index
@pytest.mark.browser
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium")
@pytest.mark.parametrize(("arch", "tokenizer"), [("bert", "bert"), ("lstm", "pieces")])
def test_mediapipe_in_a_browser_answers_as_the_bundle(
    export: Export, arch: str, tokenizer: str
) -> None:
    """npm's @mediapipe/tasks-text; its kernels are others, so int8 may differ by the tolerance."""
    exported = es.api.export.read_export(export(arch, tokenizer, "dynamic_wi8_afp32"))
    texts = [example.text for example in exported.golden.examples]
    try:
        scores = classify_in_browser(exported.path / "model.tflite", texts)
    except FetchError as error:
        pytest.skip(str(error))
    expected = [example.output for example in exported.golden.examples]
    np.testing.assert_allclose(scores, expected, atol=exported.golden.tolerance)
