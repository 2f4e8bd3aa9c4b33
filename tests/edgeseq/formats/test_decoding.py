"""Decoding from several threads at once, and that nobody decodes into a struct in another way."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from edgeseq.formats.codec import decode_json, from_builtins, json_decoder

ROOT = Path(__file__).parents[3]

# Three threads meet at a struct that nobody has decoded yet, while the garbage collector runs at
# every few allocations and the interpreter changes threads as often as it can. Made for msgspec's
# own `json.decode`, this ends by a segmentation fault in less than a second.
_MANY_FIRST_TIMES = """
import gc, sys, threading
import msgspec
from edgeseq.formats.codec import decode_json

gc.set_threshold(5)
gc.callbacks.append(lambda phase, info: [None for _ in range(50)])
sys.setswitchinterval(1e-6)
content = b'{"first": {"words": ["a"], "scores": {"a": 1.0}}, "rest": [{"words": []}]}'

def new_struct():
    inner = msgspec.defstruct(
        "Inner", [("words", tuple[str, ...]), ("scores", dict[str, float], {})], frozen=True
    )
    return msgspec.defstruct(
        "Outer", [("first", inner | None), ("rest", tuple[inner, ...], ())], frozen=True
    )

def one(type_, start, found):
    start.wait()
    found.append(decode_json(content, type_))

for _ in range(1500):
    type_, start, found = new_struct(), threading.Barrier(3), []
    threads = [threading.Thread(target=one, args=(type_, start, found)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3 and all(value.first.words == ("a",) for value in found)
"""


def test_threads_that_come_first_together_get_their_values() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", _MANY_FIRST_TIMES],
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-2000:]


class _Row(msgspec.Struct, frozen=True):
    name: str
    sizes: tuple[int, ...]


def test_one_decoder_a_type() -> None:
    assert json_decoder(_Row) is json_decoder(_Row)
    assert decode_json(b'{"name": "a", "sizes": [1]}', _Row) == _Row("a", (1,))
    assert from_builtins({"name": "a", "sizes": [1]}, _Row) == _Row("a", (1,))


def test_what_does_not_fit_is_named_by_its_place() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"\$\.sizes\[1\]"):
        decode_json(b'{"name": "a", "sizes": [1, "b"]}', _Row)
    with pytest.raises(msgspec.ValidationError, match=r"\$\.sizes\[1\]"):
        from_builtins({"name": "a", "sizes": [1, "b"]}, _Row)
    with pytest.raises(msgspec.DecodeError):
        decode_json(b"{", _Row)


def test_nobody_decodes_into_a_type_in_another_way() -> None:
    """`msgspec.json.decode(content)` without a type builds nothing and may stand anywhere."""
    found = []
    for folder in ("edgeseq", "converters", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Call):
                    continue
                called = ast.unparse(node.func)
                typed = any(keyword.arg == "type" for keyword in node.keywords)
                if called in ("msgspec.convert", "msgspec.json.Decoder") or (
                    called == "msgspec.json.decode" and (typed or len(node.args) > 1)
                ):
                    found.append(f"{path.relative_to(ROOT).as_posix()}:{node.lineno} {called}")
    assert [one for one in found if not one.startswith("edgeseq/formats/codec.py:")] == []
    assert len(found) == 2
