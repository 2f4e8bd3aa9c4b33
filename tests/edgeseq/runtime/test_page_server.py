"""The server of a page: only listed files, only below its secret path, only bounded uploads."""

from __future__ import annotations

import http.client
import os
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from edgeseq.errors import DeviceError, InputError
from edgeseq.runtime.browser.collect import PageProgress, run_golden_texts, wait_for_result
from edgeseq.runtime.browser.page_server import PageServer, serve_contents, serve_page

LIMIT_BYTES = 1000


def read_result(content: bytes) -> str:
    if content != b"good":
        raise InputError("is not good", where="upload")
    return content.decode()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PageServer[str]]:
    (tmp_path / "page").mkdir()
    (tmp_path / "secret").write_text("secret")
    for name in ("index.html", "a.wasm", "b.mjs", "unlisted"):
        (tmp_path / "page" / name).write_text(name)
    with serve_page(
        tmp_path / "page",
        ("index.html", "a.wasm", "b.mjs"),
        replaced={"b.mjs": b"other"},
        read_result=read_result,
        limit_bytes=LIMIT_BYTES,
    ) as opened:
        yield opened


def request(
    server: PageServer[str],
    name: str,
    *,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, bytes, dict[str, str]]:
    parts = urlsplit(server.address)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    path = name if name.startswith("/") else parts.path + name
    connection.request("GET" if body is None else "POST", path, body=body, headers=headers or {})
    answer = connection.getresponse()
    found = answer.status, answer.read(), dict(answer.getheaders())
    connection.close()
    return found


def test_listed_files_are_served_with_what_a_page_needs(server: PageServer[str]) -> None:
    status, content, headers = request(server, "")
    assert (status, content) == (200, b"index.html")
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert request(server, "a.wasm?x")[2]["Content-Type"] == "application/wasm"
    assert request(server, "b.mjs")[1] == b"other"
    assert server.address.startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    "name", ["unlisted", "../secret", "%2e%2e/secret", "/index.html", "/", "//secret", "/abc/"]
)
def test_nothing_else_is_served(server: PageServer[str], name: str) -> None:
    assert request(server, name)[0] == 404


def test_a_result_is_taken_once_it_is_accepted(server: PageServer[str]) -> None:
    status, line, _ = request(server, "result", body=b"bad")
    assert (status, line) == (400, b"upload: is not good")
    assert request(server, "result", body=b"x" * (LIMIT_BYTES + 1))[0] == 413
    assert request(server, "other", body=b"good")[0] == 404
    assert request(server, "/result", body=b"good")[0] == 404
    assert request(server, "progress", body=b'{"share": 0.5, "count": 7}')[0] == 204
    assert request(server, "progress", body=b"nonsense")[0] == 204
    assert request(server, "result", body=b"good")[0] == 204
    told: list[PageProgress] = []
    assert wait_for_result(server, on_progress=told.append) == "good"
    assert told == [PageProgress(0.5, 7)]


def test_a_page_that_fails_or_says_nothing_ends_the_wait(server: PageServer[str]) -> None:
    request(server, "failure", body=b"no WebAssembly\x1b[2J")
    with pytest.raises(DeviceError, match="no WebAssembly") as caught:
        wait_for_result(server)
    assert "\x1b" not in str(caught.value)
    with pytest.raises(DeviceError, match="no browser sent anything"):
        wait_for_result(server, first_s=0.2)


def test_a_browser_that_dies_ends_the_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "chromium"
    program.write_text("#!/bin/sh\nkill -SEGV $$\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path / "index.html").write_text("<head>")
    begin = time.monotonic()
    with pytest.raises(DeviceError, match="killed by SIGSEGV"):
        run_golden_texts(tmp_path, ["index.html"])
    assert time.monotonic() - begin < 60  # far below the limit of a page that is silent


def test_an_address_of_another_machine_is_refused(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("")
    with (
        pytest.raises(InputError, match="cannot listen on this address"),
        serve_page(
            tmp_path,
            ("index.html",),
            replaced={},
            read_result=read_result,
            limit_bytes=1,
            bind="192.0.2.1",
        ),
    ):
        pass


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:9000", 200),
        ("127.0.0.1", 200),
        ("[::1]:80", 200),
        ("LOCALHOST", 200),
        ("evil.example", 404),
        ("127.0.0.1.evil.example", 404),
        ("localhost@evil.example:80", 404),
        ("localhost.", 404),
        ("192.168.1.10", 404),
        ("[::1", 404),
        ("", 404),
    ],
)
def test_a_site_whose_name_leads_to_this_machine_gets_nothing(
    server: PageServer[str], host: str, status: int
) -> None:
    assert request(server, "", headers={"Host": host})[0] == status
    posted = request(server, "progress", body=b"{}", headers={"Host": host})[0]
    assert posted == (204 if status == 200 else 404)


def test_contents_are_served_as_they_are_now_and_take_nothing() -> None:
    contents = {"index.html": b"first", "status.json": b"{}"}
    with serve_contents(contents) as address:
        page = PageServer[str](address)
        assert request(page, "")[1] == b"first"
        assert request(page, "status.json?7")[2]["Content-Type"] == "application/json"
        contents["index.html"] = b"second"
        assert request(page, "index.html")[1] == b"second"
        for name in ("../etc/passwd", "%2e%2e/x", "/", "/index.html", "x/../index.html"):
            assert request(page, name)[0] == 404, name
        assert request(page, "index.html", body=b"x")[0] == 404
        port = urlsplit(address).port or 0
        with (
            pytest.raises(InputError, match=f"127.0.0.1:{port}: another program listens"),
            serve_contents(contents, port=port),
        ):
            pass
    with pytest.raises(ConnectionRefusedError):
        request(page, "")
