"""From a trained-model folder to a checked bundle, and every way in which that is refused."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from edgeseq.errors import (
    CheckpointError,
    ConversionError,
    DataError,
    EdgeseqError,
    InputError,
    OutputError,
)
from edgeseq.formats.bundle import check_model, read_bundle
from edgeseq.formats.tflite_file import is_table, parse_tflite, read_tflite
from edgeseq.formats.tflite_runtimes import runtime_support
from edgeseq.formats.trained_model import TrainedModel, write_model_folder
from edgeseq.progress import ProgressUpdate
from edgeseq.tasks.examples import Dataset
from edgeseq_converters.convert.import_model import load_model
from edgeseq_converters.convert.lower.dispatch import LOWERINGS, recipes_of
from edgeseq_converters.convert.pipeline import convert
from edgeseq_converters.convert.plan import ConversionOptions
from edgeseq_converters.convert.recipes import RECIPES, get_recipe
from edgeseq_converters.convert.verify import interpreter_process
from edgeseq_converters.convert.verify.structure import check_converted, file_signature

Bundles = dict[tuple[str, str], Path]
RECIPE = "dynamic_wi8_afp32"
KEYS = [(arch, recipe) for arch in LOWERINGS for recipe in recipes_of(arch, LOWERINGS[arch][0])]


@pytest.mark.parametrize("key", KEYS)
def test_a_bundle_is_whole_and_its_golden_answers_hold(
    key: tuple[str, str], bundles: Bundles, invented_dataset: Dataset
) -> None:
    bundle = read_bundle(bundles[key])
    check_model(bundle)
    manifest = bundle.manifest
    assert (manifest.arch, manifest.recipe) == key
    assert manifest.lowering == {"bag": "pooled", "lstm": "loop", "bert": "encoder"}[manifest.arch]
    assert bundle.read_examples() == invented_dataset.test
    assert manifest.fidelity.n_examples == 24
    # Random weights leave little between one label and the next: in 4 bits more of them change.
    assert manifest.fidelity.label_agreement >= (0.8 if "wi4" in manifest.recipe else 0.9)
    assert manifest.provenance.conversion_seconds
    assert manifest.provenance.converter_peak_memory_bytes
    assert manifest.provenance.converter_peak_memory_bytes < 3 << 30
    lengths = {len(example.token_ids) for example in bundle.golden.examples}
    assert len(lengths) >= 8
    runner = Interpreter(model_path=str(bundle.model_path)).get_signature_runner()
    for example in bundle.golden.examples:
        answer = runner(input_ids=np.asarray([example.token_ids], np.int32))["logits"][0]
        assert np.abs(answer - example.logits).max() <= bundle.golden.tolerance


def test_golden_tolerance_tells_another_model_apart(bundles: Bundles) -> None:
    bundle = read_bundle(bundles["bert", RECIPE])
    answers = np.asarray([example.logits for example in bundle.golden.examples])
    assert bundle.golden.tolerance < np.abs(answers - answers[::-1]).max() / 2


@pytest.mark.parametrize("arch", ["lstm", "bert"])
def test_recipes_shrink_the_weights(arch: str, bundles: Bundles) -> None:
    sizes = {
        recipe: read_tflite(bundles[arch, recipe] / "model.tflite").sizes()
        for (of, recipe) in bundles
        if of == arch
    }
    full = sum(sizes["float32"].weights.values()) + sum(sizes["float32"].embedding.values())
    half = sum(sizes["float16"].weights.values()) + sum(sizes["float16"].embedding.values())
    eighth = sizes[RECIPE].weights["INT8"] + sizes[RECIPE].embedding.get("INT8", 0)
    assert half < 0.6 * full
    assert eighth > 0.18 * full
    assert sizes[RECIPE].weights.get("FLOAT32", 0) < 0.2 * full


@pytest.mark.parametrize("key", KEYS)
def test_only_builtin_operators_that_the_runtime_has(
    key: tuple[str, str], bundles: Bundles
) -> None:
    support = {
        one.runtime: one for one in runtime_support(read_tflite(bundles[key] / "model.tflite"))
    }
    assert support["ai-edge-litert 2.3.0"].loads
    refused = " ".join(support["tflite-runtime 2.14.0"].missing_operators)
    assert ("FULLY_CONNECTED version 12" in refused) == key[1].startswith("dynamic")
    assert ("EMBEDDING_LOOKUP version 4" in refused) == (key[1] == "dynamic_wi4_ei4_afp32")


@pytest.mark.parametrize(
    "recipe", [r for k, r in KEYS if k == "lstm" and "static" not in r and "wi4" not in r]
)
def test_an_older_runtime_is_given_operators_that_it_has(
    recipe: str, lstm_folder: Path, invented_dataset: Dataset, tmp_path: Path
) -> None:
    runtime = "tflite-runtime==2.14"
    out = tmp_path / "bundle"
    manifest = convert(
        load_model(lstm_folder),
        invented_dataset,
        out,
        ConversionOptions(recipes=(recipe,), runtime=runtime),
    ).bundles[0][1]
    # Where this Python can have that runtime, the file was really loaded and asked in it.
    tried = manifest.provenance.tried_runtime
    installable = sys.version_info < (3, 12)
    said = "answered 16 texts" if installable else "not tried, it needs Python 3.11"
    assert tried is not None
    assert said in tried
    support = {one.runtime: one for one in runtime_support(read_tflite(out / "model.tflite"))}
    assert support["tflite-runtime 2.14.0"].loads, support[
        "tflite-runtime 2.14.0"
    ].missing_operators


@pytest.mark.index
@pytest.mark.parametrize("recipe", ["float32", "float16"])
def test_an_encoder_for_an_older_runtime_is_really_loaded_there(
    recipe: str, bert_folder: Path, invented_dataset: Dataset, tmp_path: Path
) -> None:
    manifest = convert(
        load_model(bert_folder),
        invented_dataset,
        tmp_path / "bundle",
        ConversionOptions(recipes=(recipe,), runtime="tflite-runtime==2.14"),
    ).bundles[0][1]
    assert manifest.provenance.tried_runtime is not None
    assert manifest.provenance.tried_runtime.startswith("tflite-runtime 2.14.0: ")


def test_a_runtime_without_the_operators_is_an_error(
    bert_folder: Path, invented_dataset: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(ConversionError, match=r"tflite-runtime 2.14.0 cannot load.*version 12"):
        convert(
            load_model(bert_folder),
            invented_dataset,
            tmp_path / "bundle",
            ConversionOptions(recipes=("dynamic_wi4_afp32",), runtime="tflite-runtime==2.14"),
        )
    assert not (tmp_path / "bundle").exists()
    with pytest.raises(InputError, match=r"unknown runtime.*tflite-runtime==2.14.0"):
        convert(
            load_model(bert_folder),
            invented_dataset,
            tmp_path / "b",
            ConversionOptions(recipes=(RECIPE,), runtime="onnx"),
        )


@pytest.mark.parametrize("arch", ["lstm", "bert"])
def test_one_interpreter_takes_every_length_and_the_cost_follows_it(
    arch: str, bundles: Bundles
) -> None:
    runner = Interpreter(
        model_path=str(bundles[arch, "float32"] / "model.tflite"), num_threads=1
    ).get_signature_runner()
    fastest = {}
    for length in (4, 48, 4):
        token_ids = np.full((1, length), 5, np.int32)
        times = []
        for _ in range(50):
            begin = time.perf_counter()
            runner(input_ids=token_ids)
            times.append(time.perf_counter() - begin)
        fastest[length] = min(times)
    assert fastest[48] > 1.5 * fastest[4]


@pytest.mark.parametrize("recipe", [RECIPE, "float16"])
def test_a_file_that_was_not_quantized_is_refused(recipe: str, bundles: Bundles) -> None:
    path = bundles["bert", "float32"] / "model.tflite"
    with pytest.raises(ConversionError, match="changed only 0%"):
        check_converted(
            read_tflite(path),
            get_recipe(recipe),
            expected=file_signature("logits", (1, 3)),
            where=path,
        )
    with pytest.raises(ConversionError, match="expected signature"):
        check_converted(
            read_tflite(path),
            get_recipe("float32"),
            expected=file_signature("logits", (1, 4)),
            where=path,
        )


def test_small_weights_are_quantized_too(make: Any) -> None:
    model = parse_tflite(make.export(make.lstm(hidden=4, embedding=4), RECIPE), where="small")
    check_converted(
        model, get_recipe(RECIPE), expected=file_signature("logits", (1, 3)), where=Path("small")
    )
    tables = [one for one, readers in model.constants() if is_table(one, readers)]
    assert {tensor.dtype for tensor in tables if tensor.shape[1] > 1} == {"INT8"}
    scales = [tensor for tensor in tables if tensor.shape[1] == 1]
    assert [tensor.dtype for tensor in scales] == ["FLOAT32"]
    weights = [t for t, readers in model.constants() if ("FULLY_CONNECTED", 1) in readers]
    assert len(weights) == 3
    assert {tensor.dtype for tensor in weights} == {"INT8"}


def test_answers_beyond_the_bound_are_refused(
    tmp_path: Path, lstm_folder: Path, invented_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = msgspec.structs.replace(
        RECIPES[RECIPE], bound=msgspec.structs.replace(RECIPES[RECIPE].bound, relative_error=1e-9)
    )
    monkeypatch.setitem(RECIPES, RECIPE, strict)
    seen: list[ProgressUpdate] = []
    with pytest.raises(ConversionError, match=r"differ from the float model's.*finer recipe"):
        convert(
            load_model(lstm_folder),
            invented_dataset,
            tmp_path / "out",
            ConversionOptions(recipes=(RECIPE,)),
            progress=seen.append,
        )
    assert list(tmp_path.iterdir()) == []
    finished = [one.stage for one in seen if one.done == one.total]
    assert [stage.split()[0] for stage in finished] == ["convert", "compare"]


DEATHS = [
    (f"import os; os.kill(os.getpid(), {signal.SIGSEGV:d})", "killed by SIGSEGV"),
    ("import sys; print('no such pass', file=sys.stderr); sys.exit(3)", "found no such pass"),
    ("pass", "exit status 0"),
]


@pytest.mark.parametrize("death", DEATHS, ids=["signal", "exit", "silence"])
def test_an_interpreter_that_dies_becomes_one_line_and_leaves_nothing(
    death: tuple[str, str],
    tmp_path: Path,
    lstm_folder: Path,
    invented_dataset: Dataset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command, cause = death
    child = tmp_path / "child.py"
    child.write_text(command)
    monkeypatch.setattr(interpreter_process, "CHILD", (str(child),))
    out = tmp_path / "output" / "bundle"
    with pytest.raises(ConversionError, match=re.escape(cause)) as caught:
        convert(
            load_model(lstm_folder),
            invented_dataset,
            out,
            ConversionOptions(recipes=(RECIPE,)),
        )
    assert "\n" not in str(caught.value)
    assert list(out.parent.iterdir()) == []


@contextlib.contextmanager
def _little_room(folder: Path) -> Iterator[None]:
    """A file system of 16 KB at `folder`; for others than root, no file beyond 2 KB anywhere."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "edgeseq-test", str(folder)]
    if not os.geteuid() and not subprocess.run(mount, check=False).returncode:
        try:
            yield
        finally:
            subprocess.run(["umount", str(folder)], check=True)  # noqa: S607
        return
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_leaves_nothing(
    tmp_path: Path, lstm_folder: Path, invented_dataset: Dataset
) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    with _little_room(folder):
        with pytest.raises(EdgeseqError, match=r"disk is full|cannot be written|died") as caught:
            convert(
                load_model(lstm_folder),
                invented_dataset,
                folder / "out",
                ConversionOptions(recipes=(RECIPE,)),
            )
        assert list(folder.iterdir()) == []
    assert "\n" not in str(caught.value)


def test_what_stands_at_out_is_kept_unless_it_may_be_replaced(
    bundles: Bundles, lstm_folder: Path, invented_dataset: Dataset
) -> None:
    out = bundles["lstm", RECIPE]
    before = (out / "bundle.json").read_bytes()
    with pytest.raises(OutputError, match="already exists"):
        convert(
            load_model(lstm_folder), invented_dataset, out, ConversionOptions(recipes=(RECIPE,))
        )
    assert (out / "bundle.json").read_bytes() == before


def _folder(tmp_path: Path, model: TrainedModel) -> Path:
    write_model_folder(tmp_path / "source", model)
    return tmp_path / "source"


def _drop(model: TrainedModel) -> None:
    model.weights.pop("lstm.0.forward.bias")


def _cut(model: TrainedModel) -> None:
    model.weights["dense.kernel"] = model.weights["dense.kernel"][:-1]


def _poison(model: TrainedModel) -> None:
    model.weights["dense.bias"] = np.full(3, np.nan, np.float32)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_drop, "has no array lstm.0.forward.bias"),
        (_cut, r"dense.kernel does not have the shape.*\[15, 3\].*\[16, 3\]"),
        (_poison, "not a number"),
    ],
)
def test_damaged_weights_are_named(
    spoil: Callable[[TrainedModel], None],
    said: str,
    tmp_path: Path,
    make: Any,
    invented_dataset: Dataset,
) -> None:
    model = make.lstm()
    spoil(model)
    with pytest.raises(CheckpointError, match=said):
        convert(
            load_model(_folder(tmp_path, model)),
            invented_dataset,
            tmp_path / "out",
            ConversionOptions(recipes=(RECIPE,)),
        )
    assert not (tmp_path / "out").exists()


def test_bad_requests_are_refused_before_anything_runs(
    tmp_path: Path, lstm_folder: Path, bert_folder: Path, make: Any, invented_dataset: Dataset
) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match=r"unknown recipe.*float32 or float16 or dynamic"):
        convert(
            load_model(lstm_folder), invented_dataset, out, ConversionOptions(recipes=("int4",))
        )
    with pytest.raises(InputError, match=r"unknown lowering of a bert.*auto or encoder"):
        convert(
            load_model(bert_folder),
            invented_dataset,
            out,
            ConversionOptions(recipes=(RECIPE,), lowerings=("loop",)),
        )
    other = msgspec.structs.replace(invented_dataset, labels=("no", "yes"))
    with pytest.raises(DataError, match=r"labels are not those of the model"):
        convert(load_model(lstm_folder), other, out, ConversionOptions(recipes=(RECIPE,)))
    for part in ("dev", "test"):
        empty = msgspec.structs.replace(invented_dataset, **{part: ()})
        with pytest.raises(DataError, match=r"no (development|test) examples"):
            convert(load_model(lstm_folder), empty, out, ConversionOptions(recipes=(RECIPE,)))
    model = msgspec.structs.replace(make.lstm(), tokenizer_json='{"model": 3}')
    with pytest.raises(CheckpointError, match="not a tokenizer file"):
        convert(
            load_model(_folder(tmp_path, model)),
            invented_dataset,
            out,
            ConversionOptions(recipes=(RECIPE,)),
        )
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("bundle.json", "a bundle that was converted already"),
        ("notes.txt", "another folder"),
    ],
)
def test_foreign_sources_are_told_what_is_accepted(
    name: str, kind: str, tmp_path: Path, invented_dataset: Dataset
) -> None:
    (tmp_path / name).write_text("{}")
    with pytest.raises(CheckpointError, match=f"found {kind}, expected a trained-model folder"):
        convert(
            load_model(tmp_path),
            invented_dataset,
            tmp_path / "out",
            ConversionOptions(recipes=(RECIPE,)),
        )
    (tmp_path / "model.keras").write_text("")
    with pytest.raises(CheckpointError, match=r"model\.keras"):
        convert(
            load_model(tmp_path / "model.keras"),
            invented_dataset,
            tmp_path / "out",
            ConversionOptions(recipes=(RECIPE,)),
        )


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command_writes_bundles_and_inspect_reads_them(
    tmp_path: Path, lstm_folder: Path
) -> None:
    data = tmp_path / "data.csv"
    labels = ("negative", "neutral", "positive")
    rows = [f"this teapot was number {n} and {labels[n % 3]},{labels[n % 3]}" for n in range(300)]
    data.write_text("text,label\n" + "\n".join(rows) + "\n")
    run = [sys.executable, "-m", "edgeseq", "convert", str(lstm_folder), "--data", str(data)]
    done = subprocess.run(
        [*run, "--out", str(tmp_path / "out"), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (manifest,) = json.loads(done.stdout)
    assert manifest["recipe"] == RECIPE
    inspect = [sys.executable, "-m", "edgeseq", "inspect", "--json"]
    for path in (tmp_path / "out", tmp_path / "out" / "model.tflite"):
        done = _run([*inspect, str(path)])
        answer = json.loads(done.stdout)
        assert [one["key"] for one in answer["signatures"]] == ["serving_default"]
        assert {"WHILE", "FULLY_CONNECTED"} <= {one["name"] for one in answer["operators"]}
    done = _run([*run, "--out", str(tmp_path / "x"), "--recipe", "q4"])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: unknown recipe")
    assert len(done.stderr.splitlines()) == 1
