"""Bad input to the installed command: one line that names the place, exit code 2, no traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeseq.installation import command_with_extras

EDGESEQ = Path(sysconfig.get_path("scripts")) / "edgeseq"
ROWS = "text,label\nthe lamp leaks,bad\nthe tent is fine,good\n"


def _edgeseq(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(EDGESEQ), *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )


def _assert_refused(done: subprocess.CompletedProcess[str], *names: str, code: int = 2) -> None:
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert len(lines) == 1, done.stderr
    for name in names:
        assert name in lines[0]


def _file(folder: Path, content: str | bytes, name: str = "texts.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ("", "texts.csv"),
        ("text,label\n", "texts.csv"),
        ("sentence,label\nthe lamp leaks,bad\n", "texts.csv:1"),
        (ROWS + ",bad\n", "texts.csv:4"),
        (ROWS + "   ,bad\n", "texts.csv:4"),
        (ROWS + "no label here\n", "texts.csv:4"),
        (ROWS.encode() + b"caf\xe9,good\n", "texts.csv:4"),
        (ROWS + "a\x00b,good\n", "texts.csv:4"),
        (ROWS + '"never closed,good\n', "texts.csv"),
    ],
    ids=[
        "empty-file",
        "no-rows",
        "wrong-column",
        "empty-text",
        "blank-text",
        "no-label",
        "not-utf8",
        "nul",
        "open-quote",
    ],
)
def test_a_bad_file_is_refused_with_its_line(
    tmp_path: Path, content: str | bytes, place: str
) -> None:
    _assert_refused(_edgeseq("data", "show", _file(tmp_path, content)), place)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    _assert_refused(_edgeseq("data", "show", tmp_path / "none.csv"), "none.csv")
    folder = tmp_path / "folder.csv"
    folder.mkdir()
    _assert_refused(_edgeseq("data", "show", folder), "folder.csv")


def test_an_unknown_label_in_the_test_part_is_refused_before_any_training(tmp_path: Path) -> None:
    _file(tmp_path, ROWS * 1, "train.csv")
    _file(tmp_path, ROWS + "the kettle,strange\n", "test.csv")
    suite = _file(
        tmp_path,
        'schema_version=1\nname="x"\ntask="sentiment"\n[data]\ntrain="train.csv"\ndev="train.csv"\n'
        'test="test.csv"\n[[model]]\nname="m"\narch="lstm"\n',
        "suite.toml",
    )
    done = _edgeseq("run", suite, "--out", tmp_path / "out")
    _assert_refused(done, "strange")
    assert not (tmp_path / "out" / "models").exists()


def test_an_unknown_training_setting_is_refused_before_any_training(tmp_path: Path) -> None:
    _file(tmp_path, ROWS, "train.csv")
    suite = _file(
        tmp_path,
        'schema_version=1\nname="x"\ntask="sentiment"\n[data]\ntrain="train.csv"\n'
        '[[model]]\nname="m"\narch="lstm"\ntrain={ epohcs = 3 }\n',
        "suite.toml",
    )
    _assert_refused(_edgeseq("run", suite, "--out", tmp_path / "out"), "epohcs")
    assert not (tmp_path / "out").exists()


def _t5(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "t5", "vocab_size": 10}))


def _no_config(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")


def _pickle_only(folder: Path) -> None:
    config = {"model_type": "bert", "hidden_size": 8, "num_attention_heads": 2}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x02.")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "says"),
    [(_t5, "t5"), (_no_config, "config.json"), (_pickle_only, "safetensors")],
)
def test_an_unsupported_checkpoint_is_refused(
    tmp_path: Path, invented_corpus: Path, make: Callable[[Path], None], says: str
) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    make(folder)
    done = _edgeseq(
        *("train", "sentiment", "--arch", "bert", "--checkpoint", folder),
        *("--data", invented_corpus / "train.csv", "--out", tmp_path / "out"),
    )
    _assert_refused(done, says)
    assert not (tmp_path / "out").exists()


def test_random_and_truncated_model_files_are_refused(tmp_path: Path) -> None:
    junk = _file(tmp_path, b"\x1c\x00\x00\x00TFL3" + bytes(range(256)), "junk.tflite")
    _assert_refused(_edgeseq("inspect", junk), "junk.tflite")
    _assert_refused(_edgeseq("inspect", _file(tmp_path, b"", "none.tflite")), "none.tflite")
    _assert_refused(_edgeseq("bench", tmp_path, "--out", tmp_path / "r.json"), str(tmp_path))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system to fill up")
def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)],  # noqa: S607
        check=False,
        capture_output=True,
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount: {mounted.stderr.decode()}")
    try:
        (disk / "filler").write_bytes(bytes(56 * 1024))
        suite = _file(
            tmp_path,
            "#" * 20_000 + '\nschema_version=1\nname="x"\ntask="sentiment"\n[data]\n'
            'name="sst3"\n[[model]]\nname="m"\narch="lstm"\n',
            "suite.toml",
        )
        _assert_refused(_edgeseq("run", suite, "--out", disk / "out"), "disk is full")
        assert [path.name for path in disk.rglob("*") if path.is_file()] == ["filler"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)  # noqa: S607


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "none.toml"),
        ("convert", "none", "--out", "x"),
        ("predict", "none", "text"),
        ("inspect", "none"),
        ("report", "none.json", "--out", "x"),
        ("recommend", "none.json", "--memory", "64MB"),
        ("recommend", "none.json", "--memory", "64"),
        ("data", "show", "nonesuch"),
        ("bench", "none", "--out", "x.json", "--on", "moon"),
        ("train", "weather", "--arch", "lstm", "--out", "x"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else str(value),
)
def test_every_command_refuses_what_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    _assert_refused(_edgeseq(*arguments))
    assert list(tmp_path.iterdir()) == []


def test_a_command_whose_extra_is_not_installed_says_what_to_install(
    tmp_path: Path, invented_corpus: Path
) -> None:
    code = (
        "import sys; sys.modules['tensorflow'] = sys.modules['keras'] = None\n"
        "from edgeseq.cli import main; main()"
    )
    arguments = [
        "train",
        "sentiment",
        "--arch",
        "lstm",
        "--data",
        str(invented_corpus / "train.csv"),
    ]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments, "--out", str(tmp_path / "out")],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    _assert_refused(done, command_with_extras(["convert"]))
