"""Serves a page to a browser, and takes what the page of an export sends.

Only the files that were listed are served, below a path that cannot be guessed: a page of another
origin, or another device of the network, gets and sends nothing without the address. On loopback,
requests for hosts of other names are refused as well: a site whose name was pointed to 127.0.0.1
(DNS rebinding) gets nothing.
"""

from __future__ import annotations

import contextlib
import errno
import http.server
import ipaddress
import queue
import secrets
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, TypeVar
from urllib.parse import urlsplit

from edgeseq.errors import InputError, OutputError, printable

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".wasm": "application/wasm",
}
# The first two isolate the page, which gives it a finer clock (5 µs instead of 100 in Chromium).
_HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_NOTE_LIMIT_BYTES = 4096
# A phone that is asleep in the middle of an upload must not hold a thread for ever.
_SOCKET_TIMEOUT_S = 60.0
_KEY_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # no letter that is taken for another
_KEY_LETTERS = 8

ResultT = TypeVar("ResultT")


class PageNote(NamedTuple):
    """What a page said of itself: its progress, or what went wrong in it."""

    kind: Literal["progress", "failure"]
    content: bytes


@dataclass(frozen=True)
class PageResult(Generic[ResultT]):
    """A page's result, as it was read."""

    value: ResultT


class PageServer(Generic[ResultT]):
    """A server on `address` until the block of `serve_page` ends; `messages` is what came in."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.messages: queue.Queue[PageNote | PageResult[ResultT]] = queue.Queue(maxsize=1024)


@contextlib.contextmanager
def serve_page(
    folder: Path,
    names: tuple[str, ...],
    *,
    replaced: Mapping[str, bytes],
    read_result: Callable[[bytes], ResultT],
    limit_bytes: int,
    bind: str = "127.0.0.1",
    port: int = 0,
) -> Iterator[PageServer[ResultT]]:
    """Serves the files `names` of `folder`.

    Args:
        folder: The export.
        names: Its files, relative to it.
        replaced: Contents that take the place of files, or are added.
        read_result: Reads a result that a page sent, in a thread of the server; raises `InputError`
            for one that is refused, whose line the page is told.
        limit_bytes: The largest result.
        bind: The address of this machine to listen on.
        port: 0 for any that is free.

    Raises:
        InputError: This machine has no such address, or the port is taken.
        OutputError: This program may not listen on the port.
    """
    page = PageServer[ResultT]("")
    result_reader = read_result  # a class body does not see an outer name that it defines

    class Handler(_Handler):
        files = {name: folder / name for name in names} | dict(replaced)
        limits = {  # noqa: RUF012 - never changed
            "progress": _NOTE_LIMIT_BYTES,
            "failure": _NOTE_LIMIT_BYTES,
            "result": limit_bytes,
        }
        server_page = page
        read_result = staticmethod(result_reader)

    with _serve(Handler, bind, port) as page.address:
        yield page


@contextlib.contextmanager
def serve_contents(contents: Mapping[str, bytes], *, port: int = 0) -> Iterator[str]:
    """Serves `contents` by name on 127.0.0.1 until the block ends, and gives the address.

    `index.html` is the page. The mapping may be changed meanwhile. Raises `InputError` where the
    port is taken, `OutputError` where this program may not listen on it.
    """

    class Handler(_Handler):
        files = contents

    with _serve(Handler, "127.0.0.1", port) as address:
        yield address


@contextlib.contextmanager
def _serve(handler: type[_Handler], bind: str, port: int) -> Iterator[str]:
    """Answers requests with `handler` in threads; gives the address with its key."""
    handler.key = "".join(secrets.choice(_KEY_ALPHABET) for _ in range(_KEY_LETTERS))
    handler.is_loopback = _is_loopback(bind)
    with _listen(bind, port, handler) as server:
        host = f"[{bind}]" if ":" in bind else bind
        thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
        thread.start()
        try:
            yield f"http://{host}:{server.server_address[1]}/{handler.key}/"
        finally:
            server.shutdown()
            thread.join()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listen(
    bind: str, port: int, handler: type[http.server.BaseHTTPRequestHandler]
) -> http.server.ThreadingHTTPServer:
    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True
        address_family = socket.AF_INET6 if ":" in bind else socket.AF_INET

        def handle_error(self, *_: Any) -> None:
            """Ignores a browser that goes away."""

    try:
        return Server((bind, port), handler)
    except PermissionError as error:
        raise OutputError("may not listen there", where=f"{bind}:{port}") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise InputError(
                "another program listens on this port",
                where=f"{bind}:{port}",
                fix="name another --port, or leave it out",
            ) from error
        raise InputError(
            "cannot listen on this address",
            where="--bind",
            found=f"{bind}: {error.strerror or error}",
            expected="an address of this machine",
            fix="name one that `ip address` shows, such as 192.168.1.10",
        ) from error


class _Handler(http.server.BaseHTTPRequestHandler):
    """One connection; a subclass has the files and what may be sent."""

    timeout = _SOCKET_TIMEOUT_S
    protocol_version = "HTTP/1.1"
    key: str
    is_loopback: bool
    files: Mapping[str, Path | bytes]
    limits: Mapping[str, int] = {}
    server_page: PageServer[Any]
    read_result: Callable[[bytes], Any]

    def do_GET(self) -> None:
        """Answers with a file that was listed."""
        name = self._name()
        entry = None if name is None else self.files.get(name)
        if name is None or entry is None:
            self._answer(HTTPStatus.NOT_FOUND, b"not found")
            return
        content = entry if isinstance(entry, bytes) else entry.read_bytes()
        kind = _TYPES.get(Path(name).suffix, "application/octet-stream")
        self._answer(HTTPStatus.OK, content, kind)

    def _name(self) -> str | None:
        """The name of the file that is requested; None where this server has no such path or is
        called by a foreign name."""
        if self.is_loopback and not self._is_called_loopback():
            return None
        path, prefix = self.path.partition("?")[0], f"/{self.key}/"
        return (path.removeprefix(prefix) or "index.html") if path.startswith(prefix) else None

    def _is_called_loopback(self) -> bool:
        """Whether the header Host is this machine's; its port may be a tunnel's."""
        try:
            return _is_loopback(urlsplit(f"//{self.headers.get('Host', '')}").hostname or "")
        except ValueError:
            return False

    def do_POST(self) -> None:
        """Takes what the page sends."""
        name = self._name()
        limit_bytes = None if name is None else self.limits.get(name)
        length = self.headers.get("Content-Length", "")
        if limit_bytes is None or not length.isascii() or not length.isdigit():
            self.close_connection = True
            self._answer(HTTPStatus.NOT_FOUND, b"not found")
            return
        if int(length) > limit_bytes:
            self.close_connection = True
            self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, b"too large")
            return
        content = self.rfile.read(int(length))
        kind: Any = name
        try:
            is_result = kind == "result"
            read = type(self).read_result
            message = PageResult(read(content)) if is_result else PageNote(kind, content)
            self.server_page.messages.put_nowait(message)
        except InputError as error:
            self._answer(HTTPStatus.BAD_REQUEST, printable(str(error)).encode())
        except queue.Full:
            self._answer(HTTPStatus.TOO_MANY_REQUESTS, b"too many messages")
        else:
            self._answer(HTTPStatus.NO_CONTENT, b"")

    def _answer(
        self, status: HTTPStatus, content: bytes, kind: str = "text/plain; charset=utf-8"
    ) -> None:
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the library's
        """Says nothing: the terminal shows the measurement's progress."""
