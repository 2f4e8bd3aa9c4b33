"""Exports for microcontrollers, run in TensorFlow Lite Micro's own interpreter."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

import edgeseq as es
from edgeseq.errors import DeviceError, RefusedError
from edgeseq.formats.bundle import BundleFiles, read_bundle
from edgeseq.formats.export_folder import ExportFolder
from edgeseq.formats.result import MicroFootprint, read_result
from edgeseq.formats.runner_file import UnsupportedTokenizerError
from edgeseq.formats.trained_model import write_model_folder
from edgeseq.reporting.deployment_report import make_report
from edgeseq_converters.convert.import_model import load_model
from edgeseq_converters.convert.pipeline import convert
from edgeseq_converters.convert.plan import ConversionOptions
from edgeseq_converters.convert.tflite import operators as op
from edgeseq_converters.convert.tflite.model import Writer
from edgeseq_converters.export.golden import bundle_logits
from edgeseq_converters.export.micro.exact_operators import GATES, LABEL, Rows, product, widened
from edgeseq_converters.export.micro.micro_runtime import (
    is_installed,
    read_arena_bytes,
    run_in_litert,
    run_micro,
)
from edgeseq_converters.export.micro.target import TARGET
from edgeseq_converters.export.micro.tokenizer_check import find_c_compiler, tokenize_in_c
from edgeseq_converters.export.micro.vocabulary_table import vocabulary_table

from ...fake_results import make_result
from ..conftest import Make

needs_interpreter = pytest.mark.skipif(not is_installed(), reason="needs tflite-micro")
needs_compiler = pytest.mark.skipif(find_c_compiler() is None, reason="needs a C compiler")


def make_bundle(
    make: Make,
    folder: Path,
    *,
    recipe: str = "static_wi8_ai8",
    lowering: str = "fused",
    **lstm: Any,
) -> BundleFiles:
    """A bundle of an LSTM with random weights."""
    write_model_folder(folder / "model", make.lstm(**lstm))
    options = ConversionOptions(recipes=(recipe,), lowerings=(lowering,))
    convert(load_model(folder / "model"), make.dataset(), folder / "bundle", options)
    return read_bundle(folder / "bundle")


@pytest.fixture(scope="module")
def maximum(tmp_path_factory: pytest.TempPathFactory, make_models: Make) -> ExportFolder:
    """Two layers under a maximum, whose running value is a state too."""
    folder = tmp_path_factory.mktemp("micro")
    return es.export(
        make_bundle(make_models, folder, layers=2).path, "micro", out=folder / "export"
    )


@pytest.fixture(scope="module")
def make_models() -> Make:
    return Make()


@needs_interpreter
@pytest.mark.parametrize(("pooling", "layers"), [("last", 1), ("max", 2)])
def test_the_interpreter_answers_as_litert(
    pooling: str, layers: int, make: Make, tmp_path: Path
) -> None:
    bundle = make_bundle(make, tmp_path, pooling=pooling, layers=layers)
    exported = es.export(bundle.path, "micro", out=tmp_path / "export")
    outputs = TARGET.run_golden(exported)
    assert not outputs.findings
    assert outputs.outputs == tuple(example.output for example in exported.golden.examples)
    assert exported.golden.tolerance == 0
    settings = exported.manifest.settings
    assert 1000 < settings["arena_bytes"] < 16_000
    # The fused operator of the bundle computes sigmoid and tanh in another way.
    of_bundle = bundle_logits(bundle, [it.token_ids for it in exported.golden.examples])
    assert np.abs(of_bundle - outputs.outputs).max() <= 2.01 * settings["logit_step"]


@needs_interpreter
@pytest.mark.parametrize("row_scales", [False, True])
def test_a_product_is_the_same_in_both_runtimes(row_scales: bool, tmp_path: Path) -> None:
    """Of thousands of rows, some of which differ by one without scales of few bits."""
    random = np.random.default_rng(0)
    weights = random.integers(-127, 128, (16_384, 32), np.int8)
    steps = random.uniform(1e-5, 1e-4, len(weights) if row_scales else 1)
    rows = Rows(weights, random.integers(-100_000, 100_000, len(weights)), tuple(steps))
    writer = Writer("one product")
    graph = writer.graph("main")
    ids = graph.input("id", "int32", (1,))
    embeddings = graph.constant("embeddings", random.integers(-127, 128, (3, 32), np.int8), LABEL)
    sums = product(widened(op.gather(embeddings, ids)), rows, GATES)
    graph.outputs = [op.dequantize(sums)]
    writer.add_signature("main", {"id": ids}, {"sums": graph.outputs[0]})
    (tmp_path / "model.tflite").write_bytes(writer.pack())
    texts = [[0], [1], [2]]
    outputs = run_micro(tmp_path / "model.tflite", texts).outputs
    assert (outputs == run_in_litert(tmp_path / "model.tflite", texts)).all()
    assert len(np.unique(outputs)) > 1000


@needs_interpreter
def test_texts_do_not_see_each_other(maximum: ExportFolder) -> None:
    ids = [example.token_ids for example in maximum.golden.examples]
    path = maximum.path / "model.tflite"
    forward, backward = run_micro(path, ids), run_micro(path, ids[::-1])
    assert (forward.outputs == backward.outputs[::-1]).all()


@pytest.mark.parametrize(
    ("options", "reason", "fix"),
    [
        ({"bidirectional": True}, "bidirectional", "--set bidirectional=false"),
        ({"pooling": "mean"}, "mean over all tokens", "--set pooling=max"),
        ({"recipe": "dynamic_wi8_afp32"}, "recipe dynamic_wi8_afp32", "--recipe static_wi8_ai8"),
        ({"lowering": "loop"}, "lowering loop", "--lowering fused"),
    ],
)
def test_refuses_what_a_microcontroller_cannot_run(
    options: dict[str, Any], reason: str, fix: str, make: Make, tmp_path: Path
) -> None:
    bundle = make_bundle(make, tmp_path, **options)
    with pytest.raises(RefusedError) as refused:
        es.export(bundle.path, "micro", out=tmp_path / "export")
    assert reason in str(refused.value)
    assert fix in str(refused.value)


def tokenizer_of(kind: str) -> Tokenizer:
    """A small tokenizer of one of the kinds that a table can hold."""
    if kind == "wordpiece":
        pieces = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "tea", "##pot", "##s", "the", ".", "'", "é")
        tokenizer = Tokenizer(
            models.WordPiece(
                {piece: number for number, piece in enumerate(pieces)}, unk_token="[UNK]"
            )
        )
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=False)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
        return tokenizer
    if kind == "characters":
        vocabulary = {"?": 0} | {letter: n for n, letter in enumerate(" abcdehopstTé", start=1)}
        tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
        tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
        return tokenizer
    words = {"the": 0, "tea_pot": 1, "...": 2, "The": 3, "?": 4, "don": 5, "pot,": 6, "'": 7}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="?"))
    split = {"words": pre_tokenizers.Whitespace(), "spaces": pre_tokenizers.WhitespaceSplit()}
    tokenizer.pre_tokenizer = split[kind]
    return tokenizer


@needs_compiler
@pytest.mark.parametrize("kind", ["wordpiece", "characters", "words", "spaces"])
def test_the_c_tokenizer_is_the_bundles(kind: str, maximum: ExportFolder, tmp_path: Path) -> None:
    compiler = find_c_compiler()
    assert compiler is not None
    tokenizer = tokenizer_of(kind)
    tokenizer.enable_truncation(8)
    table = vocabulary_table(tokenizer.to_str(), 8)
    for name in ("tokenizer.c", "tokenizer.h", "tokenize_texts.c"):
        (tmp_path / name).write_bytes((maximum.path / name).read_bytes())
    (tmp_path / "vocabulary.h").write_text(table.header())
    (tmp_path / "vocabulary.c").write_text(table.source())
    texts = [
        *("the teapots.", "The tea_pot, don't...", "teapotsteapots thethe", "pot, \t the\x01 the"),
        *("the " * 20, "x" * 500, "TEAPOT'S", "thé é", "a\nb", "...", "teapot?!"),
    ]
    expected = [tokenizer.encode(text).ids for text in texts]
    assert tokenize_in_c(tmp_path, texts, compiler) == expected
    # An empty text is read as one unknown token, as edgeseq.runtime.text_tokenizer has it.
    empty = tokenizer.encode("").ids or [tokenizer.token_to_id(tokenizer.model.unk_token)]
    assert tokenize_in_c(tmp_path, [""], compiler) == [empty]


def test_a_tokenizer_may_leave_settings_out() -> None:
    tokenizer = tokenizer_of("characters")
    content = json.loads(tokenizer.to_str())
    for setting in ("normalizer", "post_processor"):
        del content[setting]
    del content["model"]["type"]
    assert vocabulary_table(json.dumps(content), 8) == vocabulary_table(tokenizer.to_str(), 8)


def test_an_interpreter_with_other_words_in_its_log_is_refused() -> None:
    assert read_arena_bytes("x\nArena allocation total 12 bytes\n") == 12
    with pytest.raises(DeviceError, match="does not report its allocations"):
        read_arena_bytes("Arena: 12 bytes")


@pytest.mark.parametrize("longest", [0, 1025, 10**12])
def test_a_tokenizer_whose_words_do_not_fit_on_a_stack_is_refused(longest: int) -> None:
    content = json.loads(tokenizer_of("wordpiece").to_str())
    content["model"]["max_input_chars_per_word"] = longest
    with pytest.raises(UnsupportedTokenizerError, match="does not hold the longest word"):
        vocabulary_table(json.dumps(content), 8)


def test_a_pattern_that_does_not_match_every_character_is_no_split_into_characters() -> None:
    tokenizer = tokenizer_of("characters")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    with pytest.raises(UnsupportedTokenizerError, match="has no such pre-tokenizer"):
        vocabulary_table(tokenizer.to_str(), 8)


@needs_compiler
def test_golden_tokens_come_from_the_exported_tokenizer(maximum: ExportFolder) -> None:
    compiler = find_c_compiler()
    assert compiler is not None
    examples = maximum.golden.examples
    answers = tokenize_in_c(maximum.path, [example.text for example in examples], compiler)
    assert answers == [list(example.token_ids) for example in examples]


@needs_compiler
def test_data_files_are_the_model(maximum: ExportFolder, tmp_path: Path) -> None:
    compiler = find_c_compiler()
    assert compiler is not None
    model = maximum.path / "model.tflite"
    program = tmp_path / "dump.cc"
    size = model.stat().st_size
    program.write_text(
        '#include <cstdio>\n#include "model_data.h"\n'
        f"int main() {{ return std::fwrite(g_model_data, 1, {size}, stdout) != {size}; }}\n"
    )
    command = [*compiler, "-std=c++17", "-Wall", "-Wextra", "-Werror", "-x", "c++"]
    sources = [str(program), str(maximum.path / "model_data.cc")]
    subprocess.run(
        [*command, *sources, "-I", str(maximum.path), "-o", str(tmp_path / "dump")], check=True
    )
    dumped = subprocess.run([tmp_path / "dump"], capture_output=True, check=True).stdout
    assert dumped == model.read_bytes()


@needs_interpreter
def test_bench_on_micro_gives_footprints_and_the_reason_of_a_bert(
    make: Make, tmp_path: Path, bert_folder: Path
) -> None:
    fits = make_bundle(make, tmp_path)
    es.convert(bert_folder, make.dataset(), out=tmp_path / "bert")
    result = es.bench([fits.path, tmp_path / "bert"], device="micro")
    result.save(tmp_path / "micro.json")
    measured, refused = read_result(tmp_path / "micro.json").footprints
    assert measured.bundle.model_sha256 == fits.model_sha256
    assert measured.refused is None
    assert measured.arena_bytes is not None
    assert 1000 < measured.arena_bytes < 10_000
    assert measured.flash_bytes is not None
    assert measured.flash_bytes > 0.5 * fits.model_path.stat().st_size
    assert (refused.arena_bytes, refused.flash_bytes) == (None, None)
    assert refused.refused is not None
    assert "attention needs all tokens" in refused.refused


def test_a_report_has_rows_of_microcontrollers() -> None:
    measured = make_result()
    first, second, *_ = (run.bundle for run in measured.runs)
    footprints = (
        MicroFootprint(first, arena_bytes=3_312, flash_bytes=281_558),
        MicroFootprint(second, refused="attention needs all tokens of a text at once"),
    )
    micro = msgspec.structs.replace(measured, runs=(), footprints=footprints)
    text = make_report([measured, micro]).to_markdown()
    [table] = re.findall(r"## On a microcontroller\n.*?\n\n(\|.*?)\n\n", text, re.DOTALL)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert [row[1:] for row in rows[2:]] == [
        ["3.31 kB", "282 kB", ""],
        ["–", "–", "attention needs all tokens of a text at once"],
    ]
