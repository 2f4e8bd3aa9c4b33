"""What no user means and some tools produce: one error line and no hang, whatever is given."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeseq.cli.console import PlainConsole
from edgeseq.errors import BundleError, CheckpointError, DataError, InputError, printable
from edgeseq.formats.bundle import read_bundle
from edgeseq.formats.codec import decode_json
from edgeseq.formats.tokenizer_limits import check_steps
from edgeseq.formats.toml_codec import decode_toml
from edgeseq.suite.checks import check_suite
from edgeseq.suite.engine import SuiteOptions, run_suite
from edgeseq.suite.schema import read_suite
from edgeseq_converters.convert.plan import ConversionOptions, plan_target
from edgeseq_converters.models.huggingface.config import parse_config

SUITE = """schema_version = 1
name = "tickets"
task = "{task}"
data = {{ name = "customer-feedback" }}
bench = {{ {bench} }}
report = {{ budget = "{budget}" }}
[[model]]
name = "a"
arch = "lstm"
{model}
"""


def _run(
    *arguments: str | bytes | Path, stdout: Any = subprocess.PIPE, **environment: str
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "edgeseq", *arguments],
        check=False,
        stdout=stdout,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        timeout=60,
        env={**os.environ, **environment},
    )


def _assert_one_line(done: subprocess.CompletedProcess[bytes], *parts: str) -> None:
    lines = done.stderr.decode().splitlines()
    assert done.returncode == 2, done.stderr
    assert len([line for line in lines if line.startswith("error:")]) == len(lines) == 1, lines
    assert len(lines[0]) < 2500
    for part in parts:
        assert part in lines[0]


def _table(path: Path, *labels: str) -> Path:
    """A CSV file with 30 texts for each label."""
    rows = [f"text {number} {label},{label}" for label in labels for number in range(30)]
    path.write_text("\n".join(["text,label", *rows, ""]), encoding="utf-8")
    return path


def _suite(folder: Path, model: str = "", **fields: str) -> Path:
    path = folder / "suite.toml"
    values = {"task": "sentiment", "bench": "", "budget": "", "model": model} | fields
    path.write_text(SUITE.format(**values))
    return path


@pytest.mark.parametrize(
    "command",
    [
        ("data", "show", "{}.csv"),
        ("inspect", "{}"),
        ("predict", "{}", "text"),
        ("report", "{}", "--out", "report"),
        ("run", "{}.toml"),
        ("convert", "{}", "--out", "out"),
        ("bench", "{}", "--out", "result.json"),
    ],
    ids=lambda command: command[0],
)
def test_a_name_over_255_bytes_is_refused(command: tuple[str, ...]) -> None:
    _assert_one_line(_run(*(word.format("n" * 300) for word in command)), "File name too long")


def test_an_output_name_over_255_bytes_is_refused(tmp_path: Path) -> None:
    data = _table(tmp_path / "t.csv", "x", "y")
    done = _run("data", "export", data, "--out", tmp_path / ("n" * 300))
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr


def test_a_null_character_in_a_suites_path_is_refused(tmp_path: Path) -> None:
    path = _suite(tmp_path)
    path.write_text(path.read_text().replace('name = "customer-feedback"', r'train = "a\u0000b"'))
    _assert_one_line(_run("run", path, "--out", tmp_path / "out"), "null character")


def test_an_argument_that_is_not_utf8_is_refused() -> None:
    _assert_one_line(_run("inspect", b"m\xff.tflite"), "not UTF-8", r"m\udcff")


@pytest.mark.parametrize(
    "command", [("data", "show"), ("inspect",), ("report", "--out", "out"), ("run",), ("compare",)]
)
def test_pipes_and_devices_are_not_waited_for(tmp_path: Path, command: tuple[str, ...]) -> None:
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    files = [pipe, pipe] if command == ("compare",) else [pipe]
    _assert_one_line(_run(*command, *files), "a pipe")


def test_deep_json_and_toml_are_errors() -> None:
    deep = b"[" * 100_000
    with pytest.raises(ValueError, match="nested too deeply"):
        decode_json(deep, list[Any])
    with pytest.raises(ValueError, match="nested too deeply"):
        decode_toml(b"a = " + deep)


def test_an_ascii_locale_shows_every_label(tmp_path: Path) -> None:
    data = _table(tmp_path / "t.csv", "été ✓", "日本")
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = _run("data", "show", data, **ascii_only, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert rb"\u65e5\u672c" in done.stdout


def test_a_full_standard_output_is_an_error_line(tmp_path: Path) -> None:
    data = _table(tmp_path / "t.csv", "x", "y")
    with Path("/dev/full").open("wb") as full:
        for command in (("data", "show", data), ("data", "show", data, "--json"), ("--help",)):
            _assert_one_line(_run(*command, stdout=full), "standard output", "No space left")


@pytest.mark.parametrize(
    ("model", "limit"),
    [
        ('train = { epochs = "ten" }', "got `str`"),
        ('train = { transfer_size = "x" }', "got `str`"),
        ("train = { seed = -1 }", ">= 0"),
        ("train = { hidden_size = 1000000000 }", "<= 8192"),
        ("train = { hidden_size = 8192, layers = 100 }", "<= 500,000,000"),
        (f"train = {{ epochs = {10**30} }}", "<= 10000"),
        ("train = { learning_rate = nan }", "> 0"),
        ("train = { max_grad_norm = inf }", "<= 1000000"),
        ('lowerings = ["encoder"]', "auto or loop or projected or unrolled or fused"),
        ('lowerings = ["cached"]', "auto or loop or projected or unrolled or fused"),
        ('lowerings = ["projected"]\nrecipes = ["static_wi8_ai8"]', "float32 or float16"),
        ('teacher = "b"', "none yet"),
    ],
)
@pytest.mark.parametrize("quick", [False, True])
def test_a_suites_settings_are_checked_before_training(
    tmp_path: Path, model: str, limit: str, quick: bool
) -> None:
    path = _suite(tmp_path, model)
    with pytest.raises(InputError) as caught:
        run_suite(path, tmp_path / "out", SuiteOptions(quick=quick))
    assert limit in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("fields", "limit"),
    [
        ({"bench": "threads = 1000000"}, "<= 1024"),
        ({"bench": "threads = 0"}, ">= 1"),
        ({"bench": 'memory_limits = ["64"]'}, "a number and one of"),
        ({"bench": f'memory_limits = ["{"9" * 400}MB"]'}, "not a usable size"),
        ({"budget": "p95=20"}, "a number and one of"),
        ({"budget": "speed=1"}, "memory"),
    ],
)
def test_a_suites_bench_and_budget_are_checked_before_training(
    tmp_path: Path, fields: dict[str, str], limit: str
) -> None:
    with pytest.raises(InputError, match=limit):
        read_suite(_suite(tmp_path, **fields))


def test_a_missing_checkpoint_folder_is_refused_before_training(tmp_path: Path) -> None:
    path = _suite(tmp_path)
    text = path.read_text().replace('"lstm"', '"bert"\ncheckpoint = "no/such/folder/"')
    path.write_text(text)
    with pytest.raises(InputError, match="no such folder"):
        check_suite(read_suite(path))


def test_a_million_threads_are_refused(tmp_path: Path) -> None:
    done = _run("bench", tmp_path, "--threads", "1000000", "--out", tmp_path / "r.json")
    assert done.returncode == 2
    assert b"1024" in done.stderr


@pytest.mark.parametrize("field", ["num_hidden_layers", "num_attention_heads", "hidden_size"])
def test_a_checkpoint_of_a_billion_layers_is_refused(field: str) -> None:
    config = {"model_type": "bert", field: 10**9}
    with pytest.raises(CheckpointError, match=field):
        parse_config(json.dumps(config).encode(), pooling="mean", where=Path("config.json"))


def _replace(pattern: str, content: str, kind: str = "Regex") -> dict[str, Any]:
    return {"type": "Replace", "pattern": {kind: pattern}, "content": content}


@pytest.mark.parametrize(
    "steps",
    [
        {"type": "Sequence", "normalizers": [_replace("a", "aa", "String")] * 30},
        _replace("", "x" * 1000, "String"),
        _replace(".", "x" * 300),
        _replace("(a+)+$", "b"),
        _replace("(?:a|a)*b", "b"),
        {"type": "Prepend", "prepend": "x" * 1_000_000},
        {"type": "Sequence", "normalizers": [{"type": "NFD"}] * 1000},
        {"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": "(a*)*"}}]},
    ],
)
def test_a_tokenizer_that_explodes_is_refused(steps: dict[str, Any]) -> None:
    with pytest.raises(BundleError, match="its tokenizer"):
        check_steps(steps, error=BundleError, where=Path("tokenizer.json"))


GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|\s*[\r\n]+|\s+(?!\S)"
ALBERT = [
    _replace("``", '"', "String"),
    {"type": "NFKD"},
    {"type": "StripAccents"},
    {"type": "Lowercase"},
    {"type": "Precompiled"},
    _replace(" {2,}", " "),
]


def test_tokenizers_in_use_pass() -> None:
    sequence = {"type": "Sequence", "normalizers": ALBERT}
    splits = [{"type": "Split", "pattern": {"Regex": pattern}} for pattern in (GPT2, LLAMA3)]
    for steps in (None, sequence, {"type": "BertNormalizer"}, *splits):
        check_steps(steps, error=BundleError, where=Path("tokenizer.json"))


def test_terminal_escapes_are_shown_and_not_obeyed(tmp_path: Path) -> None:
    name = "\x1b[31mred\x07\x9b2J\u202egnp.exe"
    shown = r"\x1b[31mred\x07\x9b2J\u202egnp.exe"
    assert printable(name) == shown
    assert shown in str(InputError("no such file", where=name))
    data = _table(tmp_path / "t.csv", name, ":warning: y")
    for options in ((), ("--json",)):
        done = _run("data", "show", data, *options)
        assert done.returncode == 0, done.stderr
        assert not set("\x1b\x07\x9b\u202e") & set(done.stdout.decode())
        assert b":warning:" in done.stdout
    assert json.loads(done.stdout)  # the escapes are JSON's


def test_a_long_error_line_is_cut_with_its_length() -> None:
    line = str(DataError("unknown label", where="t.csv:3", found="x" * 44_000))
    assert len(line) < 1400
    assert "(44,000 characters)" in line


def test_a_console_escapes_table_cells() -> None:
    console = PlainConsole(width=80)
    with console.capture() as capture:
        console.print("a\x1b[1mb")
    assert capture.get() == "a\\x1b[1mb\n"


def test_a_bundle_path_that_the_system_does_not_take_is_a_bundle_error() -> None:
    for path in ("n" * 300, "a\0b"):
        with pytest.raises(BundleError, match="cannot be read"):
            read_bundle(Path(path))


def test_a_billion_unrolled_steps_are_refused() -> None:
    options = ConversionOptions(lowerings=("unrolled",), length=10**9)
    for max_tokens in (None, 10**10):
        with pytest.raises(InputError, match="expected 1 to 4096"):
            plan_target("lstm", "unrolled", options, max_tokens)
