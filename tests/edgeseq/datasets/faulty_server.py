"""An HTTP server on loopback that serves files as GitHub does, and fails as networks do."""

from __future__ import annotations

import contextlib
import http.server
import re
import threading
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple


class Fault(NamedTuple):
    """What goes wrong with one answer: after `share` of what was asked for, `kind` happens.

    `cut` ends the connection; `stall` sends nothing more for as long as the client waits; `status`
    answers with that code; `whole` ignores the asked range.
    """

    kind: str
    share: float = 0.5
    status: int = 503


class FaultyServer(http.server.ThreadingHTTPServer):
    """Serves `files` by path; each path's answers take their faults from `faults` in turn."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, Path | bytes] = {}
        self.faults: defaultdict[str, deque[Fault]] = defaultdict(deque)
        self.requests: list[tuple[str, str | None]] = []
        self.ended = threading.Event()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def serve() -> Iterator[FaultyServer]:
    """A server in a thread, gone at the end."""
    with FaultyServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.ended.set()
            server.shutdown()
            thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    server: FaultyServer

    def do_GET(self) -> None:
        self.server.requests.append((self.path, self.headers["Range"]))
        file = self.server.files.get(self.path)
        faults = self.server.faults[self.path]
        fault = faults.popleft() if faults else Fault("none", 1.0)
        if file is None or fault.kind == "status":
            self.send_error(404 if file is None else fault.status)
            return
        content = file if isinstance(file, bytes) else file.read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
        start = int(asked[1]) if asked and fault.kind != "whole" else 0
        if start >= len(content) > 0:
            self.send_error(416)
            return
        body = content[start:]
        position = int(len(body) * fault.share)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "text/plain")
        self.send_header("Accept-Ranges", "bytes")
        if start:
            last = len(content) - 1
            self.send_header("Content-Range", f"bytes {start}-{last}/{len(content)}")
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # the client gave up
            self.wfile.write(body[:position] if fault.kind in ("cut", "stall") else body)
        if fault.kind == "stall":
            self.server.ended.wait(5)

    def log_message(self, *arguments: object) -> None:
        """Nothing is printed."""
