"""MediaPipe's process: how its end is told, without MediaPipe."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from edgeseq.errors import DeviceError, EdgeseqError, RefusedError
from edgeseq.runtime.mediapipe import classify


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        ("sys.exit('a log line\\nbad metadata\\n\\n')", RefusedError, "refuses .* bad metadata"),
        ("sys.exit(3)", RefusedError, "refuses the model: found exit status 3"),
        ("os.kill(os.getpid(), 9)", DeviceError, "MediaPipe crashed: found killed by SIGKILL"),
        ("sys.exit('libEGL.so.1: cannot open shared object file')", DeviceError, "no libEGL.so.1"),
    ],
)
def test_a_failure_is_told_with_its_cause(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    error: type[EdgeseqError],
    message: str,
) -> None:
    child = tmp_path / "child.py"
    child.write_text(f"import os, sys\n{code}\n", encoding="utf-8")
    monkeypatch.setattr(classify, "CHILD", child)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    with pytest.raises(error, match=message):
        classify.classify_texts(tmp_path / "model.tflite", ["soup"])
