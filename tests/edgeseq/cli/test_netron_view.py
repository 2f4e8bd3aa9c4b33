"""`edgeseq inspect --open`: Netron itself serves the file on loopback until Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from edgeseq import installation
from edgeseq.cli.inspect import inspect
from edgeseq.cli.netron_view import open_in_netron
from edgeseq.errors import InputError

SCRIPT = """
import sys
from pathlib import Path
from edgeseq.cli.netron_view import open_in_netron
open_in_netron(Path(sys.argv[1]))
"""


def test_netron_serves_the_file_until_it_is_interrupted(tmp_path: Path) -> None:
    model, opened = tmp_path / "model.tflite", tmp_path / "opened"
    model.write_bytes(b"\x18\0\0\0TFL3" + bytes(56))
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}\n', encoding="utf-8")
    browser.chmod(0o755)
    viewer = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(model)],
        env={**os.environ, "BROWSER": f"{browser} %s", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert viewer.stdout is not None
        lines = (line.strip() for line in viewer.stdout)
        address = next(line for line in lines if line.startswith("http://127.0.0.1:"))
        with urllib.request.urlopen(f"{address}/data/model.tflite", timeout=30) as answer:  # noqa: S310 - loopback
            assert answer.read() == model.read_bytes()
        viewer.send_signal(signal.SIGINT)
        viewer.wait(30)
    finally:
        viewer.kill()
        viewer.wait()
    assert opened.read_text("utf-8").strip().rstrip("/") == address


def test_what_netron_cannot_open_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = tmp_path / "bundle.zip"
    packed.write_bytes(b"PK")
    with pytest.raises(InputError, match="unpack the bundle first"):
        open_in_netron(packed)
    with pytest.raises(InputError, match="choose one of them"):
        inspect(packed, open_graph=True, json=True)
    monkeypatch.setitem(sys.modules, "netron", None)
    with pytest.raises(InputError, match=r"run: .+\[netron\]'"):
        installation.import_extra("netron")
